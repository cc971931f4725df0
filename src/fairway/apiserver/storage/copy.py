"""Copying everything from one storage into another, and making sure that it has arrived."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.apiserver.storage.contract import Conflict, Entry, Storage, StorageError, Transaction

_ROOT = "/"
# What every storage takes in one transaction: etcd has limits of 128 operations and 1.5 MiB.
_KEYS = 100
_BYTES = 1_000_000


async def copy_storage(source: Storage, target: Storage, *, force: bool = False) -> int:
    """Put every key of ``source`` into ``target``; how many there are. Neither may be written by others meanwhile.

    Revisions are the target's own. Its past is compacted away in the end, so that a client that comes with a version
    of the source is told to list again. Raises `StorageError`: for a target with keys, unless ``force`` lets them go,
    and when target and source are not equal in the end.
    """
    there = (await target.list(_ROOT)).entries
    if there and not force:
        raise StorageError(f"the target has {len(there)} keys; --force deletes them first")
    for start in range(0, len(there), _KEYS):
        await target.transact(Transaction(deletes=frozenset(entry.key for entry in there[start : start + _KEYS])))
    wanted = (await source.list(_ROOT)).entries
    for batch in _batches(wanted):
        puts = {entry.key: entry.value for entry in batch}
        try:
            await target.transact(Transaction(expect=dict.fromkeys(puts, 0), puts=puts))
        except Conflict as conflict:
            raise StorageError(f"somebody else writes to the target: {conflict}; stop its API servers") from None
    await _verify(wanted, source, target)
    await target.compact(target.revision)
    return len(wanted)


def _batches(entries: tuple[Entry, ...]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        weight = len(entry.key) + len(entry.value)
        if batch and (len(batch) == _KEYS or size + weight > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += weight
    if batch:
        yield batch


async def _verify(wanted: tuple[Entry, ...], source: Storage, target: Storage) -> None:
    expected = {entry.key: entry.value for entry in wanted}
    if {entry.key: entry.value for entry in (await source.list(_ROOT)).entries} != expected:
        raise StorageError("the source has changed while it was copied; stop its API servers and copy again")
    found = {entry.key: entry.value for entry in (await target.list(_ROOT)).entries}
    if found != expected:
        differing = sum(found.get(key) != value for key, value in expected.items()) + len(found.keys() - expected)
        raise StorageError(f"the copy differs in {differing} of {len(expected)} keys; copy again with --force")
