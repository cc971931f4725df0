"""A very small HTTP server: a table of GET paths, each answered at once. Probes and scrapes need no more."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from fairway.proxy.values import Bind
from fairway.runtime.clock import Clock

log = logging.getLogger(__name__)

_LONGEST_HEAD = 16 * 1024
_SLOWEST_SECONDS = 10.0
REBIND_SECONDS = 5.0


class CannotListen(Exception):
    """A port is taken, and --bind-address-hard-fail says that this is the end."""


class Answer(NamedTuple):
    code: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Routes = Mapping[str, Callable[[], Answer]]


def text(body: str, code: int = 200) -> Answer:
    return Answer(code, "text/plain; charset=utf-8", body.encode())


def json_answer(value: Any, code: int = 200) -> Answer:
    return Answer(code, "application/json", msgspec.json.encode(value))


class WebServer:
    """Answers ``routes``, and ``otherwise`` elsewhere, at ``bind`` from `start` until `close`.

    Connections are closed after each answer.
    """

    def __init__(self, bind: Bind, routes: Routes, otherwise: Callable[[], Answer] | None = None) -> None:
        self._bind, self._routes, self._otherwise = bind, routes, otherwise
        self._server: asyncio.Server | None = None

    async def start(self) -> Bind:
        """Returns where it listens; raises `OSError` when it cannot."""
        try:
            server = await asyncio.start_server(self._serve, self._bind.host, self._bind.port, limit=_LONGEST_HEAD)
        except OSError as error:
            # asyncio has words of its own for the kernel's.
            raise OSError(error.errno, os.strerror(error.errno or 0)) from None
        self._server = server
        return Bind(*server.sockets[0].getsockname()[:2])

    async def start_when_free(self, flag: str, clock: Clock, *, at_once: bool) -> None:
        """`start`; a port that is taken is asked for again, as in the reference.

        Raises `CannotListen` instead if it must be ``at_once``; ``flag`` is the one that says where to listen.
        """
        complained = False
        while True:
            try:
                at = await self.start()
            except OSError as error:
                sentence = f"{flag}: cannot listen at {self._bind}: {error.strerror}"
                if at_once:
                    raise CannotListen(sentence) from None
                if not complained:
                    log.warning("%s; trying again every %g s", sentence, REBIND_SECONDS)
                complained = True
                await clock.sleep(REBIND_SECONDS)
            else:
                log.debug("%s: listening at %s", flag, at)
                return

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SLOWEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._respond(head))
                await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_response(text("the request is too long\n", 431)))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            log.debug("a client of %s left: %r", self._bind, error)
        finally:
            writer.close()

    def _respond(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return _response(text("only GET is served here\n", 405))
        route = self._routes.get(path, self._otherwise)
        if route is None:
            known = " ".join(sorted(self._routes))
            return _response(text(f"no such page; there are: {known}\n", 404))
        try:
            return _response(route(), with_body=method == "GET")
        except Exception as error:  # whoever asks gets an answer, and the others theirs
            log.error("%s %s cannot be answered: %s: %s", self._bind, path, type(error).__name__, error)
            return _response(text(f"this page cannot be made now: {error}\n", 500))


def _response(answer: Answer, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {answer.code} {HTTPStatus(answer.code).phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        + "Connection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if with_body else b"")
