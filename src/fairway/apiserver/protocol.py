"""HTTP as the server speaks it: uvicorn's protocol, with the client's certificate, and with no patience for dawdlers.

A client has some seconds for the head of a request, from its first byte on (from the connection on for the first one),
and some kilobytes. The body's time and size are the application's business, and so are answers that nobody reads:
writing waits, and a watch that waits too long is ended.

The head and the body of an answer go out together: one TLS record and one system call instead of two.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS = 15.0
# The URL and all headers: tokens are 2 KiB, selectors some hundred bytes.
HEAD_BYTES = 64 * 1024
# What waits here for a client that reads slowly, beside what the kernel holds. A thousand watchers have that a thousand
# times; what they have not been told yet waits in the storage's feed, once for all of them.
_UNSENT = 32 * 1024
_HEAD, _HEAD_END = b"HTTP/", b"\r\n\r\n"
# More than this is not copied to go with the head.
_MUCH = 64 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"connection: close\r\n\r\nthe URL and headers of the request are larger than %d bytes\n" % HEAD_BYTES
)


class _Gathering:
    """A transport that keeps the head of an answer until its body comes, or until the end of the loop's turn.

    Everything else is the transport's.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            if len(data) > _MUCH:
                self._transport.writelines((head, data))
            else:
                self._transport.write(head + data)
        elif data.startswith(_HEAD) and data.endswith(_HEAD_END):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)

    def close(self) -> None:
        self._flush()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the application whose certificate the client showed."""

    patience = HEAD_SECONDS
    _peer: dict[str, Any] | None = None
    _deadline: asyncio.TimerHandle | None = None
    _head: int | None = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.set_write_buffer_limits(_UNSENT)
        super().connection_made(_Gathering(transport, self.loop))  # type: ignore[arg-type]
        tls = transport.get_extra_info("ssl_object")
        self._peer = tls.getpeercert() if tls else None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
        super().data_received(data)
        # Still not at its end after this much: what came behind the head was counted only if the head is not over.
        if self._head is not None and self._head > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["fairway.peer"] = self._peer  # type: ignore[typeddict-unknown-key]
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Asked for when the application runs: by then most bodies have come with their heads.
        cycle.scope["fairway.body_is_here"] = lambda: not cycle.more_body  # type: ignore[typeddict-unknown-key]
        cycle.scope["fairway.answer"] = partial(self._answer, cycle)  # type: ignore[typeddict-unknown-key]
        super()._start_asgi_task(cycle, app)

    def _answer(self, cycle: RequestResponseCycle, status: int, headers: bytes, body: bytes) -> bool:
        """Send a whole answer at once, without the application waiting; False where that is not possible.

        ``headers`` are lines that need no check, each with its end; those about the connection are added.
        """
        if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        head = [STATUS_LINE[status], *(b"%b: %b\r\n" % one for one in self.server_state.default_headers), headers]
        if not cycle.keep_alive:
            head.append(b"connection: close\r\n")
        cycle.transport.write(b"".join((*head, b"\r\n", b"" if cycle.scope["method"] == "HEAD" else body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.patience, self.transport.close)

    def _head_is_there(self) -> None:
        self._head = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
