"""A relay between a client and an etcd that loses, holds back and releases what passes, as bad networks do."""

from __future__ import annotations

import asyncio
import contextlib


class Relay:
    """Listens on ``url`` and passes everything on to ``port``. ``async with`` it."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._own_port = 0
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._members: set[asyncio.StreamWriter] = set()
        self._held: list[tuple[asyncio.StreamWriter, bytes]] = []
        self._hold_requests = False
        self._hold_replies = False
        self._held_more = asyncio.Condition()
        # What the member has said since the last release.
        self.said = b""
        self.said_more = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._own_port}"

    async def __aenter__(self) -> Relay:
        await self.join()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        for writer in self._members:
            writer.transport.abort()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def join(self) -> None:
        """Accept connections (again)."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection to clients and accept none; what is held for the member stays."""
        if self._server:
            self._server.close()
            self._server = None
        self.hang_up()

    def hang_up(self) -> None:
        for writer in self._clients:
            writer.transport.abort()
        self._clients.clear()

    def hold_requests(self) -> None:
        self._hold_requests = True

    def hold_replies(self) -> None:
        self._hold_replies = True

    async def holding(self, words: bytes) -> None:
        """Until it holds a request with these words in it, and not only what the connection needs for itself."""
        async with self._held_more, asyncio.timeout(30):
            await self._held_more.wait_for(lambda: words in b"".join(data for _, data in self._held))

    def release(self) -> None:
        """Let the member have what was held back, late."""
        self.said = b""
        for writer, data in self._held:
            writer.write(data)
        self._held.clear()
        self._hold_requests = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            member_reader, member_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except ConnectionError:
            writer.transport.abort()
            return
        self._clients.add(writer)
        self._members.add(member_writer)
        for pump in (self._requests(reader, member_writer), self._replies(member_reader, writer)):
            self._pumps.add(asyncio.create_task(pump))

    async def _requests(self, reader: asyncio.StreamReader, member: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self._hold_requests:
                    async with self._held_more:
                        self._held.append((member, data))
                        self._held_more.notify_all()
                else:
                    member.write(data)

    async def _replies(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                async with self.said_more:
                    self.said += data
                    self.said_more.notify_all()
                if not self._hold_replies and not client.is_closing():
                    client.write(data)
