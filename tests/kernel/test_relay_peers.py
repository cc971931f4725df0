"""Peers that are slow, silent, half open or abort: each ends, or waits, and costs no more than its share."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from queue import Queue

import pytest

from fairway.kernel.namespaces import NetworkNamespace, created
from fairway.model.view import Key, Relaying
from fairway.relay.streams import CHUNK, Keepalive
from tests.kernel.proxy_world import nft
from tests.kernel.relay_world import ONE, PATIENCE, RelayWorld, backend, built, frontend, says, secret
from tests.unit.certificate import pair

pytestmark = pytest.mark.kernel

SECRET = Key("shop", "shop-tls")
_AT_ONCE = struct.pack("ii", 1, 0)


@pytest.fixture
def place() -> Iterator[NetworkNamespace]:
    with created(f"fwt-relay-peers-{os.getpid()}") as made:
        yield made


@pytest.fixture
def world(place: NetworkNamespace) -> Iterator[RelayWorld]:
    with built(place) as made:
        yield made


def _pours(stuck: Queue[int]) -> Callable[[socket.socket], None]:
    """Sends until nobody takes any more, tells how much that was, and sends on when somebody does."""

    def serve(sock: socket.socket) -> None:
        sent = 0
        sock.setblocking(False)
        # A peer that reads makes room at once; after half a second without any there is nobody who reads.
        while select.select([], [sock], [], 0.5)[1]:
            sent += sock.send(bytes(1 << 20))
        stuck.put(sent)
        sock.settimeout(PATIENCE)
        sock.sendall(b"the end")

    return serve


def test_clients_that_never_read_cost_a_chunk_each_and_lose_nothing(world: RelayWorld) -> None:
    clients, stuck = 20, Queue[int]()
    with backend(world.place, ONE, _pours(stuck)), ExitStack() as stack:
        world.load(frontend(ONE))
        socks = [stack.enter_context(closing(world.connect())) for _ in range(clients)]
        sent = sum(stuck.get(timeout=PATIENCE) for _ in range(clients))
        assert 0 < world.relay.waiting <= clients * CHUNK
        assert sent < clients * (8 << 20)
        received = 0
        for sock in socks:
            while data := sock.recv(1 << 20):
                received += len(data)
        assert received == sent + clients * len(b"the end")
    assert world.relay.waiting == 0


def test_a_client_that_is_silent_for_longer_than_its_service_allows_is_cut(world: RelayWorld) -> None:
    ends: Queue[bytes] = Queue()

    def listen(sock: socket.socket) -> None:
        ends.put(sock.recv(100))
        with pytest.raises(ConnectionResetError):
            sock.recv(100)
        ends.put(b"reset")

    with backend(world.place, ONE, listen):
        world.load(frontend(ONE, relaying=Relaying(access_log=True, idle=1)))
        with closing(world.connect()) as sock:
            sock.sendall(b"only this")
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        (line,) = world.until_logged(1)
        assert [ends.get(timeout=PATIENCE), ends.get(timeout=PATIENCE)] == [b"only this", b"reset"]
    assert line.end == "silent"
    assert line.seconds >= 1


def test_one_that_is_half_closed_and_silent_ends_but_not_while_anything_flows(world: RelayWorld) -> None:
    said: Queue[bytes] = Queue()

    def talk(sock: socket.socket) -> None:
        assert sock.recv(100) == b""
        for _ in words:
            sock.sendall(said.get(timeout=PATIENCE))
        said.get(timeout=PATIENCE)

    # Together they take longer than the limit; each alone stays below it by far, also on a machine that falters.
    words, pause, limit = (b"one", b"two", b"three", b"four", b"five"), 0.45, 2
    with backend(world.place, ONE, talk):
        world.load(frontend(ONE, relaying=Relaying(access_log=True, half_closed=limit)))
        with closing(world.connect()) as sock:
            sock.shutdown(socket.SHUT_WR)
            for word in words:
                assert not select.select([sock], [], [], pause)[0]
                said.put(word)
                assert sock.recv(100) == word
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        (line,) = world.until_logged(1)
        said.put(b"")
    assert line.end == "silent after half of it was closed"
    assert line.seconds >= len(words) * pause + limit


def test_clients_that_never_finish_a_tls_handshake_are_cut_and_others_served(place: NetworkNamespace) -> None:
    with built(place, handshake_seconds=1) as world, backend(place, ONE, says(b"one")), ExitStack() as stack:
        world.certificates.put(SECRET, secret(*pair("shop")))
        world.load(frontend(ONE, relaying=Relaying(access_log=True, tls=SECRET)))
        slow = []
        for _ in range(20):
            slow.append(sock := stack.enter_context(closing(world.connect())))
            sock.sendall(b"\x16\x03\x01\x02\x00")  # the first bytes of a ClientHello of 512, and no more
        for sock in slow:
            assert _ended(sock)
        assert {line.end for line in world.until_logged(20)} == {"failed: TLS handshake took too long"}
        assert world.relay.left == (0, 0)


def test_a_client_that_vanishes_without_a_word_is_found(place: NetworkNamespace) -> None:
    ends: Queue[str] = Queue()

    def wait(sock: socket.socket) -> None:
        sock.sendall(b"there")
        try:
            ends.put(sock.recv(100).decode())
        except ConnectionResetError:
            ends.put("reset")

    with built(place, keepalive=Keepalive(idle=1, interval=1, probes=1)) as world, backend(place, ONE, wait):
        world.load(frontend(ONE, relaying=Relaying(access_log=True)))
        with closing(world.connect()) as sock:
            assert sock.recv(100) == b"there"
            port = sock.getsockname()[1]
            # From now on nothing that is sent to the client arrives, nor anything that it sends.
            nft(place, "add table inet cut; add chain inet cut input { type filter hook input priority -300; }")
            nft(place, f"add rule inet cut input tcp dport {port} drop; add rule inet cut input tcp sport {port} drop")
            (line,) = world.until_logged(1)
            assert ends.get(timeout=PATIENCE) == "reset"
        assert line.end == "client vanished"
        assert world.relay.left == (0, 0)


def test_a_reset_in_the_middle_of_a_stream_ends_both_sides_and_frees_everything(world: RelayWorld) -> None:
    ends: Queue[str] = Queue()

    def pour(sock: socket.socket) -> None:
        try:
            while True:
                sock.sendall(bytes(1 << 16))
        except ConnectionError as error:
            ends.put(type(error).__name__)

    with backend(world.place, ONE, pour):
        world.load(frontend(ONE, relaying=Relaying(access_log=True)))
        with closing(world.connect()) as sock:
            assert sock.recv(1 << 16)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        (line,) = world.until_logged(1)
        assert ends.get(timeout=PATIENCE) in ("ConnectionResetError", "BrokenPipeError")
    assert line.end == "client reset"
    assert line.sent > 0
    assert (world.relay.left, world.relay.waiting) == ((0, 0), 0)


def test_without_descriptors_newcomers_wait_until_somebody_leaves(place: NetworkNamespace) -> None:
    said: Queue[str] = Queue()
    room = 64 + 1 + 2 * 5
    with built(place, descriptors=room, complain=said.put) as world, ExitStack() as stack:
        stack.enter_context(backend(place, ONE, says(b"one")))
        world.load(frontend(ONE))
        socks = [stack.enter_context(closing(world.connect())) for _ in range(12)]
        for sock in socks[:5]:
            sock.sendall(b"hello")
        assert said.get(timeout=PATIENCE) == (
            f"newcomers wait until somebody leaves: no more than {room} file descriptors, with 5 connections and flows"
        )
        assert world.relay.left == (5, 0)
        assert not select.select(socks, [], [], 0.2)[0]
        for sock in (*socks[5:], *socks[:5]):
            sock.sendall(b"!")
            sock.shutdown(socket.SHUT_WR)
        assert [sock.recv(100) for sock in socks] == [b"one got hello!"] * 5 + [b"one got !"] * 7
    assert said.empty()


def _ended(sock: socket.socket) -> bool:
    """Whether the other side ends the connection, in whatever way, before patience does."""
    try:
        return b"".join(iter(lambda: sock.recv(100), b"")) is not None
    except ConnectionResetError:
        return True
