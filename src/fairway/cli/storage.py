"""``fairway storage``: what can be done with the API server's storage while no API server runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from fairway.apiserver.storage.etcd_address import DEFAULT_PREFIX
from fairway.cli.apiserver import etcd_address
from fairway.cli.output import EXIT_USAGE, FLAGS, CommandError

if TYPE_CHECKING:
    from fairway.apiserver.storage.contract import Storage
    from fairway.apiserver.storage.etcd_address import EtcdAddress

app = App(
    name="storage",
    help="The API server's storage: copy it from SQLite to etcd and back.",
    default_parameter=FLAGS,
)


@app.command
def copy(
    source: str,
    target: str,
    /,
    *,
    force: bool = False,
    etcd_prefix: str = DEFAULT_PREFIX,
    etcd_cafile: Path | None = None,
    etcd_certfile: Path | None = None,
    etcd_keyfile: Path | None = None,
) -> None:
    """Copy everything in one storage into another, and compare both in the end.

    Example: fairway storage copy sqlite:/var/lib/fairway/state.db etcd:http://127.0.0.1:2379

    Stop the API servers of both first. Objects and allocations stay what they are; resourceVersions become the
    target's, so every client lists again.

    Parameters
    ----------
    source
        sqlite:PATH, or etcd:URL with the members' URLs separated by commas.
    target
        The same; a SQLite file is created if it is not there.
    force
        Delete what is in the target first.
    etcd_prefix
        The path in etcd below which all keys lie.
    etcd_cafile
        What the members' certificates are checked against, in PEM; without it, the system's authorities.
    etcd_certfile
        The certificate to show to etcd, in PEM.
    etcd_keyfile
        The key of that certificate, in PEM.
    """
    from fairway.apiserver.storage.contract import StorageError

    def address(servers: str) -> EtcdAddress | None:
        return etcd_address(
            servers, prefix=etcd_prefix, authority=etcd_cafile, certificate=etcd_certfile, key=etcd_keyfile
        )

    if source == target:
        raise CommandError("source and target are the same", EXIT_USAGE)
    try:
        count = asyncio.run(_copy((source, target), address, force))
    except StorageError as error:
        raise CommandError(str(error)) from None
    print(f"copied {count} keys from {source} to {target}; both are equal")


async def _copy(places: tuple[str, str], address: Callable[[str], EtcdAddress | None], force: bool) -> int:
    from fairway.apiserver.storage.copy import copy_storage

    source, target = places
    async with _opened(source, address, must_exist=True) as old, _opened(target, address) as new:
        return await copy_storage(old, new, force=force)


@contextlib.asynccontextmanager
async def _opened(
    place: str, address: Callable[[str], EtcdAddress | None], *, must_exist: bool = False
) -> AsyncIterator[Storage]:
    """The storage at ``sqlite:PATH`` or ``etcd:URL``; raises `CommandError` and `StorageError`."""
    kind, _, where = place.partition(":")
    if kind == "sqlite" and where:
        from fairway.apiserver.storage.sqlite import SqliteStorage

        if must_exist and not Path(where).is_file():
            raise CommandError(f"{where}: no such file")
        with contextlib.closing(SqliteStorage(Path(where))) as local:
            yield local
        return
    found = address(where) if kind == "etcd" else None
    if found is None:
        raise CommandError(f"{place!r} is no storage; expected sqlite:PATH or etcd:URL", EXIT_USAGE)
    from fairway.apiserver.storage.etcd import EtcdStorage

    remote = await EtcdStorage.open(found)
    try:
        yield remote
    finally:
        await remote.aclose()
