"""UDP through the relay: a flow is a client's address and port; it has a socket of its own to its backend.

client ──▶ listener ──▶ Flow of that client ──▶ backend
       ◀── listener ◀──        │
                               └─ ends when it was silent for a while, when its backend has left, or refused it
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from msgspec import structs

from fairway.model.view import Backend
from fairway.modes.userspace import Listening
from fairway.relay.balance import Address, Balancer
from fairway.relay.serving import Shared, begun

SILENT_SECONDS = 60.0
"""So long may a flow be silent, unless its Service says otherwise; half of what connection tracking gives a flow that
was answered."""
SWEEP_SECONDS = 5.0
LARGEST = 65_535
_TAKEN_AT_ONCE = 64


class Flow:
    """One client's datagrams."""

    def __init__(self, listener: DatagramListener, client: Address, backend: Backend, sock: socket.socket) -> None:
        self.client, self.backend = client, backend
        self._listener, self._sock = listener, sock
        self._began = self.last = listener.shared.clock.monotonic()
        self._at = listener.shared.clock.now()
        self._received = self._sent = 0
        self.listening = listener.listening
        asyncio.get_running_loop().add_reader(sock.fileno(), self._answered)

    def send(self, data: bytes) -> None:
        """To the backend; what the kernel cannot take now is lost, as datagrams are."""
        self.last = self._listener.shared.clock.monotonic()
        self._received += len(data)
        try:
            self._sock.send(data)
        except BlockingIOError:
            return
        except OSError as error:
            self._listener.end(self, f"backend refused: {error.strerror}")

    def close(self, end: str) -> None:
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()
        shared, now = self._listener.shared, self._listener.shared.clock.monotonic()
        shared.ended(end)
        if self.listening.relaying.access_log:
            ended = structs.replace(
                begun(self.listening, self.client, self._at),
                backend=str(self.backend),
                received=self._received,
                sent=self._sent,
                seconds=round(now - self._began, 6),
                attempts=1,
                end=end,
            )
            shared.log(ended)

    def _answered(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            try:
                data = self._sock.recv(LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._listener.end(self, f"backend refused: {error.strerror}")
                return
            self.last = self._listener.shared.clock.monotonic()
            self._sent += len(data)
            self._listener.answer(data, self.client)


class DatagramListener:
    """A UDP listener, from `put` to `close`; its flows go with it, as its socket is the one that answers them."""

    def __init__(self, sock: socket.socket, shared: Shared) -> None:
        self._sock = sock
        self.shared = shared
        self.balancer = Balancer(shared.draw)
        self.listening: Listening
        self.flows: dict[Address, Flow] = {}
        self._reading = self._leaving = False
        self._sweep: asyncio.TimerHandle | None = None

    def put(self, listening: Listening) -> None:
        """What counts from now on; flows to backends that have left are forgotten, so that their clients get others."""
        self.listening = listening
        self.balancer.put(listening.backends, listening.balancing, listening.affinity_seconds)
        there = {(one.address, one.port) for one in listening.backends}
        gone = [one for one in self.flows.values() if (one.backend.address, one.backend.port) not in there]
        self._end_all(gone, "backend left")
        if not self._reading:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._sock.fileno(), self._received)

    def leave(self) -> None:
        """Nobody new; flows go on to their end."""
        self._leaving = True

    @property
    def is_needed(self) -> bool:
        """Whether flows end when this is closed."""
        return bool(self.flows)

    def close(self) -> None:
        """Nobody any more."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._end_all(list(self.flows.values()), "the listener closed")
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()

    def answer(self, data: bytes, client: Address) -> None:
        try:
            self._sock.sendto(data, client)
        except BlockingIOError:
            return
        except OSError as error:
            if flow := self.flows.get(client):
                self.end(flow, f"client refused: {error.strerror}")

    def end(self, flow: Flow, why: str) -> None:
        """The client's next datagram begins another one."""
        if self.flows.get(flow.client) is not flow:
            return
        del self.flows[flow.client]
        self.shared.open -= 1
        self.shared.limits_of(flow.listening.service).leave(flow.client[0])
        self.balancer.left(flow.client[0], flow.backend, self.shared.clock.monotonic())
        flow.close(why)

    def sweep(self) -> None:
        """End the flows that have been silent for too long."""
        oldest = self.shared.clock.monotonic() - (self.listening.relaying.idle or SILENT_SECONDS)
        self._end_all([one for one in self.flows.values() if one.last < oldest], "silent")
        self._sweep = None
        self._schedule()

    def _end_all(self, flows: Iterable[Flow], why: str) -> None:
        for flow in flows:
            self.end(flow, why)

    def _schedule(self) -> None:
        if self.flows and self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.sweep)

    def _received(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            try:
                data, peer = self._sock.recvfrom(LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # An error of an earlier answer, such as a client that is gone; the flow ends by its silence.
                return
            client = (peer[0], peer[1])
            flow = self.flows.get(client) or (None if self._leaving else self._begin(client))
            if flow is not None:
                flow.send(data)

    def _begin(self, client: Address) -> Flow | None:
        shared, now = self.shared, self.shared.clock.monotonic()
        if shared.open - len(shared.connections) >= shared.most_flows:
            self._refused(client, "too many flows")
            return None
        limits = shared.limits_of(self.listening.service)
        end = limits.admit(client[0], self.listening.relaying, now)
        if end:
            self._refused(client, end)
            return None
        backend = self.balancer.pick(client[0], now)
        sock = _connected(backend) if backend else None
        if backend is None or sock is None:
            limits.leave(client[0])
            self._refused(client, "no backend answered")
            return None
        self.balancer.begin(backend)
        self.balancer.connected(client[0], backend, now)
        flow = self.flows[client] = Flow(self, client, backend, sock)
        shared.open += 1
        self._schedule()
        return flow

    def _refused(self, client: Address, reason: str) -> None:
        end = f"refused: {reason}"
        self.shared.ended(end)
        if self.listening.relaying.access_log:
            self.shared.log(structs.replace(begun(self.listening, client, self.shared.clock.now()), end=end))


def _connected(backend: Backend) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in backend.address else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError:
        return None
    try:
        sock.connect((backend.address, backend.port))
    except OSError:
        sock.close()
        return None
    return sock
