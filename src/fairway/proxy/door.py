"""Where this machine's root gives a proxy orders: at the socket of its `Claim`, which belongs to the network namespace.

    one line of JSON, an `Order` ──▶ who is it? ──▶ Switching ──▶ a line of JSON for each thing that happens

Who may change the rules of this namespace by hand may order it: user 0 with CAP_NET_ADMIN, as the kernel names the
other end of the socket. Nobody reaches it over a network.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from fairway.objects.codec import DecodeError, decode
from fairway.proxy.switching import Order, Refused, Switching

log = logging.getLogger(__name__)

BACKLOG = 4096
_CREDENTIALS = struct.Struct("=iII")
_CAP_NET_ADMIN = 12
_LONGEST = 64 * 1024
_SLOWEST_SECONDS = 10.0


class Door:
    """Open from `start` to `close`."""

    def __init__(self, listening: socket.socket, switching: Switching) -> None:
        self._listening, self._switching = listening, switching
        self._server: asyncio.Server | None = None
        self._orders: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        # Another descriptor of the same socket: the claim outlasts the loop that serves it.
        shared = self._listening.dup()
        self._server = await asyncio.start_unix_server(self._serve, sock=shared, backlog=BACKLOG, limit=_LONGEST)

    async def close(self) -> None:
        """An order that is being carried out is carried out."""
        if self._server is not None:
            self._server.close()
            await asyncio.gather(*self._orders, return_exceptions=True)
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SLOWEST_SECONDS):
                line = await reader.readline()
            if line:  # whoever only asks whose claim it is says nothing
                await self._answer(line, writer)
        except (TimeoutError, ConnectionError, ValueError) as error:
            log.debug("somebody left the door: %r", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        if refusal := _refusal(writer.get_extra_info("socket")):
            log.warning("an order was refused: %s", refusal)
            await _say(writer, {"error": refusal})
            return
        try:
            order = decode(line, Order)
        except DecodeError as error:
            await _say(writer, {"error": f"this is no order: {error}"})
            return
        log.info("ordered: %s", order)
        heard = self._switching.listen()
        task = asyncio.create_task(self._carry_out(order, heard))
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)
        try:
            while (document := await heard.get()) is not None:
                await _say(writer, document)
        finally:
            self._switching.deafen(heard)

    async def _carry_out(self, order: Order, heard: asyncio.Queue[dict[str, Any] | None]) -> None:
        """Whoever gave it may leave: it is carried out all the same."""
        try:
            await self._switching.order(order)
        except Refused as refused:
            heard.put_nowait({"error": str(refused)})
            heard.put_nowait(None)


async def _say(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode(document) + b"\n")
    await writer.drain()


def _refusal(peer: socket.socket) -> str:
    """Why the process at the other end may give no orders; usually nothing."""
    found: bytes = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(found)
    if user != 0:
        return f"process {process} is of user {user}: only root may order a switch"
    if not process:
        return "whoever asks is in another container, and cannot be seen: run it where the proxy runs"
    capabilities = 0
    with suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{process}/status").read_text()
        capabilities = int(status.partition("CapEff:")[2].split()[0], 16)
    if not capabilities >> _CAP_NET_ADMIN & 1:
        return f"process {process} has no CAP_NET_ADMIN: it could not change the rules by itself either"
    return ""
