"""Events end: what nothing was added to for an hour is deleted, as the lease of an Event does in Kubernetes."""

from __future__ import annotations

import asyncio
import logging

from fairway.apiserver.metadata import DeleteOptions, Preconditions
from fairway.apiserver.registry import Registry
from fairway.apiserver.storage.contract import StorageError
from fairway.apiserver.stored import Stored
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.status import ApiError
from fairway.runtime.clock import Clock, parse_rfc3339

EVENT_SECONDS = 3600.0
_INTERVAL_SECONDS = 60.0
_BATCH = 200

log = logging.getLogger(__name__)


async def expire_events(registry: Registry, clock: Clock, seconds: float = EVENT_SECONDS) -> None:
    """Delete old Events until cancelled; a storage that cannot be written now is tried again later."""
    while True:
        await clock.sleep(min(_INTERVAL_SECONDS, seconds))
        try:
            await expire_once(registry, clock.now() - seconds)
        except (StorageError, ApiError) as error:
            log.warning("old Events could not be deleted: %s", error)


async def expire_once(registry: Registry, before: float) -> int:
    """Delete the Events of before that moment (seconds since 1970); returns how many."""
    kind = registry.kinds[resources.EVENTS]
    listing = await registry.storage.list(kind.prefix)
    deleted = 0
    for count, entry in enumerate(listing.entries):
        if count % _BATCH == 0:
            await asyncio.sleep(0)  # requests in between
        stored = Stored.of(kind, entry)
        document = stored.document()
        if last_told(document) >= before:
            continue
        metadata = document["metadata"]
        # The version: one that is counted up right now has another hour.
        unchanged = Preconditions(uid=metadata["uid"], resourceVersion=str(stored.revision))
        try:
            await registry.delete(kind, metadata["namespace"], metadata["name"], DeleteOptions(preconditions=unchanged))
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise
        else:
            deleted += 1
    return deleted


def last_told(event: Document) -> float:
    """When something was last added to an Event, in seconds since 1970."""
    times = (
        event["metadata"].get("creationTimestamp"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        (event.get("series") or {}).get("lastObservedTime"),
    )
    return max(_moment(time) for time in times)


def _moment(time: str | None) -> float:
    try:
        return parse_rfc3339(time) if time else 0.0
    except ValueError:
        return 0.0
