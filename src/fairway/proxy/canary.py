"""A Service of the proxy's own, through which it asks itself, so that /healthz speaks of packets and not of intentions.

this process ──connect 169.254.80.79:10256──▶ output hook, our table ──DNAT──▶ 127.0.0.1:10256, this process

The address is link-local, so nobody routes it; the connection leaves by way of loopback, so no route is needed and
nothing leaves the node. Only this node's own processes are let through.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from typing import Any

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key
from fairway.proxy.configuration import Configuration
from fairway.proxy.web import Answer, text
from fairway.runtime.clock import Clock

log = logging.getLogger(__name__)

PATH = "/canary"
SERVICE = Key("", "fairway-canary")
PERIOD_SECONDS = 10.0
TIMEOUT_SECONDS = 2.0
FAILURES_THAT_COUNT = 3
_LOOPBACK = "127.0.0.1"


def canary_frontend(configuration: Configuration) -> Frontend | None:
    """What the kernel is to hold for it; None when it is switched off, or nothing listens that could answer."""
    listening = configuration.healthz
    if not configuration.canary or listening is None or listening.port == 0 or ":" in listening.host:
        return None
    closed = Action(kind=ActionKind.REJECT, because="the canary is for this node's own processes")
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=configuration.canary,
        protocol="TCP",
        port=listening.port,
        service=SERVICE,
        field="--canary-address",
        cluster=(Backend(address=_LOOPBACK if listening.host == "0.0.0.0" else listening.host, port=listening.port),),
        pod=closed,
        node=Action(kind=ActionKind.FORWARD, because="the canary"),
        outside=closed,
    )


class Canary:
    """Asks every few seconds while it runs; `broken` when three questions in a row failed after one had succeeded.

    Where it never works (a firewall, no loopback) it says so and counts for nothing.
    """

    def __init__(self, frontend: Frontend, clock: Clock) -> None:
        self._to, self._clock = (frontend.address, frontend.port), clock
        self._host = frontend.cluster[0].address
        self._word = secrets.token_hex(8)
        self._failures = 0
        self._problem = "it has not been asked yet"
        self._at = clock.monotonic()
        self._ever = False

    @property
    def broken(self) -> bool:
        return self._ever and self._failures >= FAILURES_THAT_COUNT

    def notes(self) -> list[str]:
        """For `fairway status`, while it does not arrive."""
        lost = self._failures >= FAILURES_THAT_COUNT
        return ["the canary at {}:{} does not arrive: {}".format(*self._to, self._problem)] if lost else []

    def report(self) -> dict[str, Any]:
        """For the body of /healthz: whether the last question was answered, and how long ago that was."""
        age = round(self._clock.monotonic() - self._at, 1)
        found: dict[str, Any] = {"delivered": not self._problem, "ageSeconds": age}
        return {**found, "problem": self._problem} if self._problem else found

    def page(self) -> Answer:
        """Only this process knows the word, so that nobody else's answer counts."""
        return text(self._word)

    async def run(self) -> None:
        """Until cancelled. Call it when the kernel has everything."""
        while True:
            await self.ask()
            await self._clock.sleep(PERIOD_SECONDS)

    async def ask(self) -> None:
        """One connection through the kernel's rules."""
        failed = self._failures
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answered = await _get(self._to, self._host)
            self._problem = "" if answered == self._word else "somebody else answers there"
        except TimeoutError:
            self._problem = f"no answer within {TIMEOUT_SECONDS:g} s"
        except OSError as error:
            # asyncio has words of its own for the kernel's.
            self._problem = os.strerror(error.errno or 0).lower()
        self._at = self._clock.monotonic()
        self._failures = self._failures + 1 if self._problem else 0
        self._ever = self._ever or not self._problem
        if self._problem and self._failures == FAILURES_THAT_COUNT:
            log.warning("the canary at %s:%d does not arrive: %s", *self._to, self._problem)
        elif failed >= FAILURES_THAT_COUNT and not self._problem:
            log.info("the canary at %s:%d arrives", *self._to)


async def _get(to: tuple[str, int], source: str) -> str:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.setblocking(False)
        # With a device the kernel takes every address to be on it, whatever the routes say; loopback sends nothing.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        made.bind((source, 0))
        await loop.sock_connect(made, to)
        await loop.sock_sendall(made, f"GET {PATH} HTTP/1.1\r\n\r\n".encode())
        answer = b""
        while part := await loop.sock_recv(made, 4096):
            answer += part
    return answer.partition(b"\r\n\r\n")[2].decode("latin-1")
