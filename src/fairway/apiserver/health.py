"""``/livez``, ``/readyz`` and ``/healthz``: whether the process lives, and whether it can answer.

::

    /livez      ping                         start it again when this fails
    /readyz     ping, storage, shutdown      send requests elsewhere when this fails
    /healthz    ping, storage                the older way to ask

``?verbose`` lists the checks, ``/readyz/NAME`` is one of them, ``?exclude=NAME`` leaves one out. A storage that is away
is no reason to start the server again: another process would find it away, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs

from fairway.apiserver.requests import Request
from fairway.apiserver.respond import Response
from fairway.apiserver.storage.contract import Storage, StorageError
from fairway.objects.status import unknown_path

PATHS = ("/livez", "/readyz", "/healthz")
_SECONDS = 2.0
_TEXT = "text/plain; charset=utf-8"
log = logging.getLogger(__name__)

# Why a check fails, empty when it does not.
Check = Callable[[], Awaitable[str]]


class Health:
    """Answers the three questions about one server; ``name`` is what its storage is called."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._name = name
        self.stopping = False
        checks: dict[str, Check] = {"ping": _ping, name: self._ask_storage, "shutdown": self._goes_on}
        self._checks: dict[str, dict[str, Check]] = {
            "/livez": {"ping": _ping},
            "/readyz": checks,
            "/healthz": {check: checks[check] for check in ("ping", name)},
        }

    @staticmethod
    def serves(path: str) -> bool:
        return path in PATHS or path.startswith(tuple(f"{one}/" for one in PATHS))

    async def answer(self, request: Request, path: str) -> Response:
        """200, or 500 when a check fails; raises `ApiError` for one that there is not."""
        root, _, single = path[1:].partition("/")
        checks = self._checks[f"/{root}"]
        if single:
            if single not in checks:
                raise unknown_path()
            checks = {single: checks[single]}
        # Unlike other parameters these count when they have no value, and may be there several times.
        query = parse_qs(request.query_string, keep_blank_values=True)
        return await self._report(root, checks, query.get("exclude", []), "verbose" in query and not single)

    async def _report(self, title: str, checks: dict[str, Check], excluded: Sequence[str], verbose: bool) -> Response:
        lines, failed = [], []
        for name, check in checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif problem := await check():
                log.warning("%s: the check %s has failed: %s", title, name, problem)
                # Strangers may ask, too, and the problem names addresses.
                lines.append(f"[-]{name} failed: reason withheld")
                failed.append(name)
            else:
                lines.append(f"[+]{name} ok")
        unknown = ", ".join(f'"{name}"' for name in excluded if name not in checks)
        if unknown:
            lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}")
        lines.append(f"{title} check {'failed' if failed else 'passed'}")
        text = "\n".join(lines) + "\n"
        return Response(500 if failed else 200, text.encode() if failed or verbose else b"ok", _TEXT)

    async def _ask_storage(self) -> str:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._storage.get("/health")
        except TimeoutError:
            return f"{self._name} has not answered within {_SECONDS:g} s"
        except StorageError as error:
            return str(error)
        return ""

    async def _goes_on(self) -> str:
        return "the server is stopping" if self.stopping else ""


async def _ping() -> str:
    return ""
