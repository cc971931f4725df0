"""Watches: the changes of a collection as a stream of lines, for as long as the client listens.

A change is encoded once, however many clients watch: the lines are shared.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairway.apiserver.filters import Filter
from fairway.apiserver.kinds import Kind
from fairway.apiserver.requests import JSON, Receive, Send
from fairway.apiserver.storage.contract import Event, WatchClosed
from fairway.apiserver.storage.contract import Watch as StorageWatch
from fairway.apiserver.stored import Stored
from fairway.objects.codec import encode
from fairway.objects.status import ApiError

Type = Literal["ADDED", "MODIFIED", "DELETED"]
Change = tuple[Type, Stored]

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
BOOKMARK_SECONDS = 60.0
# Without a timeoutSeconds a watch ends by itself after half an hour to an hour, as kube-apiserver's does, so that
# clients spread over the servers again.
_SHORTEST, _LONGEST = 1800, 3600
_REMEMBERED_LINES = 4096
_ALL = Filter()


@dataclass(frozen=True)
class Start:
    """Where a stream begins: objects to be told as ADDED first, and the storage's watch from there on.

    ``initial_end`` asks for the bookmark that says that the first part is over.
    """

    initial: Sequence[Stored]
    changes: StorageWatch
    initial_end: bool
    bookmarks: bool
    timeout: float


class Lines:
    """The encoded lines of recent changes, shared by every stream of whole objects.

    One transaction may write several objects, so a line is known by its revision and its content.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, Type, bytes], bytes] = {}
        # What was told last to those without a selector, by how the objects begin: by kind and version.
        self._told: dict[bytes, tuple[tuple[Event, ...], bytes]] = {}

    def line(self, type_: Type, stored: Stored) -> bytes:
        known = (stored.revision, type_, stored.value)
        line = self._lines.get(known)
        if line is None:
            line = encode_line(type_, stored.body)
            if len(self._lines) >= _REMEMBERED_LINES:
                self._lines.clear()
            self._lines[known] = line
        return line

    def events(self, kind: Kind, events: tuple[Event, ...]) -> bytes:
        """The lines for a client that watches everything: who comes with the same events gets the same bytes."""
        told = self._told.get(kind.head)
        if told is not None and told[0] is events:
            return told[1]
        changes = (change_of(kind, event, _ALL) for event in events)
        lines = b"".join([self.line(*change) for change in changes if change])
        self._told[kind.head] = events, lines
        return lines


def encode_line(type_: Type, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), body)


def change_of(kind: Kind, event: Event, chosen: Filter) -> Change | None:
    """What a change in the storage means to a client with these selectors; None when it means nothing."""
    was = Stored.of(kind, event.previous, event.revision) if event.previous else None
    now = Stored.of(kind, event.entry) if event.entry else None
    if chosen.everything:
        matched, matches = was is not None, now is not None
    else:
        matched = was is not None and chosen.matches(was)
        matches = now is not None and chosen.matches(now)
    if now is not None and matches:
        return ("MODIFIED" if matched else "ADDED"), now
    if was is not None and matched:
        # An object that left the selection is told with its new content, a deleted one with its last.
        return "DELETED", now or was
    return None


class Stream:
    """One client's watch over HTTP.

    ``line`` encodes a change the way this client wants it; ``shared`` has the lines of those who want whole objects.
    """

    def __init__(
        self, kind: Kind, chosen: Filter, line: Callable[[Type, Stored], bytes], shared: Lines | None = None
    ) -> None:
        self._kind = kind
        self._filter = chosen
        self._line = line
        self._shared = shared if chosen.everything else None
        self._bookmark_due = False

    async def serve(self, start: Start, receive: Receive, send: Send) -> None:
        """Send lines until the client goes, the time is over, the server stops, or the client is too slow."""
        watch = start.changes
        loop = asyncio.get_running_loop()
        gone = loop.create_task(_until_disconnect(receive, watch))
        end = loop.call_later(start.timeout, watch.close)
        timer = _Bookmarks(self, watch) if start.bookmarks else None
        try:
            await send(_head())
            await self._send_initial(start, send)
            while True:
                await self._send_changes(await watch.next(), watch, send)
        except WatchClosed:
            await send({"type": "http.response.body", "body": b""})
        finally:
            if timer:
                timer.stop()
            end.cancel()
            gone.cancel()
            watch.close()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    async def _send_initial(self, start: Start, send: Send) -> None:
        body = b"".join(self._line("ADDED", stored) for stored in start.initial)
        if start.initial_end:
            body += self._bookmark(start.changes.progress, {INITIAL_EVENTS_END: "true"})
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})

    async def _send_changes(self, events: tuple[Event, ...], watch: StorageWatch, send: Send) -> None:
        body = self._lines_of(events)
        if self._bookmark_due:
            self._bookmark_due = False
            body += self._bookmark(watch.progress, None)
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})

    def _lines_of(self, events: tuple[Event, ...]) -> bytes:
        if self._shared is not None:
            return self._shared.events(self._kind, events)
        changes = (change_of(self._kind, event, self._filter) for event in events)
        return b"".join([self._line(*change) for change in changes if change])

    def bookmark_soon(self) -> None:
        self._bookmark_due = True

    def _bookmark(self, revision: int, annotations: dict[str, str] | None) -> bytes:
        resource = self._kind.resource
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        found = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return encode({"type": "BOOKMARK", "object": found}) + b"\n"


class _Bookmarks:
    """Asks a stream for a bookmark every minute."""

    def __init__(self, stream: Stream, watch: StorageWatch) -> None:
        self._stream = stream
        self._watch = watch
        self._again()

    def _again(self) -> None:
        self._handle = asyncio.get_running_loop().call_later(BOOKMARK_SECONDS, self._due)

    def _due(self) -> None:
        self._stream.bookmark_soon()
        self._watch.poke()
        self._again()

    def stop(self) -> None:
        self._handle.cancel()


async def send_error(error: ApiError, send: Send) -> None:
    """A watch that cannot start where it was asked to: one ERROR line, as clients expect it."""
    line = encode({"type": "ERROR", "object": error.status()}) + b"\n"
    await send(_head())
    await send({"type": "http.response.body", "body": line})


def timeout_seconds(asked: int | None) -> float:
    return float(asked) if asked else random.uniform(_SHORTEST, _LONGEST)


def _head() -> dict[str, Any]:
    headers = [(b"content-type", JSON.encode()), (b"cache-control", b"no-cache, private")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _until_disconnect(receive: Receive, watch: StorageWatch) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.close()
