"""The relay with real connections: turns, limits, TLS, the PROXY protocol, and peers that end in every way."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from queue import Queue

import pytest

from fairway.kernel.namespaces import created
from fairway.model.view import LEAST_CONNECTIONS, Key, Relaying
from tests.kernel.relay_world import (
    GREETING,
    NAMES,
    NOBODY,
    ONE,
    PATIENCE,
    SERVICE,
    TWO,
    VIP,
    RelayWorld,
    backend,
    built,
    frontend,
    greets,
    says,
    secret,
)
from tests.unit.certificate import pair

pytestmark = pytest.mark.kernel

LOGGED = Relaying(access_log=True)
SECRET = Key("shop", "shop-tls")
_AT_ONCE = struct.pack("ii", 1, 0)


@pytest.fixture
def world() -> Iterator[RelayWorld]:
    with created(f"fwt-relay-{os.getpid()}") as place, built(place) as made:
        yield made


@pytest.fixture
def both(world: RelayWorld) -> Iterator[RelayWorld]:
    with backend(world.place, ONE, says(b"one")), backend(world.place, TWO, says(b"two")):
        yield world


@pytest.fixture
def greeting(world: RelayWorld) -> Iterator[RelayWorld]:
    with backend(world.place, ONE, greets(b"one")), backend(world.place, TWO, greets(b"two")):
        yield world


def test_backends_take_turns_and_the_log_tells(both: RelayWorld) -> None:
    both.load(frontend(ONE, TWO, relaying=LOGGED))
    answers = Counter(both.ask() for _ in range(6))
    assert answers == {b"one got hello": 3, b"two got hello": 3}
    for line in both.until_logged(6):
        assert (line.service, line.frontend) == ("shop/web", f"{VIP}:80/TCP")
        assert line.backend in (f"{ONE}:8080", f"{TWO}:8080")
        assert (line.received, line.sent, line.attempts) == (5, 13, 1)
        assert line.end in ("client closed", "backend closed")
        assert 0 < line.connect_seconds <= line.seconds


def test_a_backend_that_does_not_answer_is_passed_over(both: RelayWorld) -> None:
    both.load(frontend(ONE, NOBODY, relaying=LOGGED))
    assert {both.ask() for _ in range(4)} == {b"one got hello"}
    assert sorted(line.attempts for line in both.until_logged(4)) == [1, 1, 2, 2]


def test_a_client_is_refused_when_nobody_answers(world: RelayWorld) -> None:
    world.load(frontend(ONE, relaying=LOGGED))
    with pytest.raises(ConnectionError):  # a reset, or a broken pipe for who writes after it
        world.ask()
    (line,) = world.until_logged(1)
    assert (line.backend, line.end) == ("", "refused: no backend answered")


def test_affinity_leads_a_client_to_the_same_backend(both: RelayWorld) -> None:
    both.load(frontend(ONE, TWO, affinity_seconds=60))
    assert len({both.ask() for _ in range(6)}) == 1


def test_the_backend_is_told_who_the_client_is(both: RelayWorld) -> None:
    both.load(frontend(ONE, relaying=Relaying(proxy_protocol=1)))
    with closing(both.connect()) as sock:
        address, port = sock.getsockname()
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1000) == b"one got " + f"PROXY TCP4 {address} {VIP} {port} 80\r\n".encode()


def test_the_other_half_of_a_connection_stays_open(world: RelayWorld) -> None:
    def last_word(sock: socket.socket) -> None:
        sock.sendall(b"I have said all.")
        sock.shutdown(socket.SHUT_WR)
        heard.put(b"".join(iter(lambda: sock.recv(100), b"")))

    heard: Queue[bytes] = Queue()
    with backend(world.place, ONE, last_word):
        world.load(frontend(ONE, relaying=LOGGED))
        with closing(world.connect()) as sock:
            assert b"".join(iter(lambda: sock.recv(100), b"")) == b"I have said all."
            sock.sendall(b"I have not.")
        (line,) = world.until_logged(1)
        assert heard.get(timeout=PATIENCE) == b"I have not."
    assert line.end == "backend closed"


def test_a_reset_is_passed_on_as_a_reset(world: RelayWorld) -> None:
    def abort(sock: socket.socket) -> None:
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)

    with backend(world.place, ONE, abort):
        world.load(frontend(ONE, relaying=LOGGED))
        with closing(world.connect()) as sock:
            sock.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                sock.recv(100)
        (line,) = world.until_logged(1)
    assert line.end == "backend reset"


def test_a_client_that_aborts_frees_its_backend(world: RelayWorld) -> None:
    ends: Queue[str] = Queue()

    def wait(sock: socket.socket) -> None:
        sock.sendall(b"there")
        try:
            ends.put(sock.recv(100).decode())
        except ConnectionResetError:
            ends.put("reset")

    with backend(world.place, ONE, wait):
        world.load(frontend(ONE, relaying=LOGGED))
        sock = world.connect()
        assert sock.recv(100) == b"there"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        sock.close()
        (line,) = world.until_logged(1)
        assert ends.get(timeout=PATIENCE) == "reset"
    assert line.end == "client reset"
    assert sum(world.relay.left) == 0


def test_a_slow_reader_slows_the_writer_and_loses_nothing(world: RelayWorld) -> None:
    amount = 4_000_000

    with backend(world.place, ONE, lambda sock: sock.sendall(b"x" * amount)):
        world.load(frontend(ONE))
        with closing(world.connect()) as sock:
            received = 0
            while data := sock.recv(1000):
                received += len(data)
    assert received == amount


def test_who_is_over_a_limit_is_refused_and_others_are_not(both: RelayWorld) -> None:
    both.load(frontend(ONE, relaying=Relaying(access_log=True, most=2)))
    with closing(both.connect()) as first, closing(both.connect()) as second:
        for sock in (first, second):
            sock.sendall(b"held")
        with pytest.raises(ConnectionError):
            both.ask()
        (line,) = both.until_logged(1)
        assert line.end == "refused: max-connections"
    both.until_logged(3)
    assert both.ask() == b"one got hello"


def test_changes_take_effect_without_ending_connections(greeting: RelayWorld) -> None:
    world = greeting
    world.load(frontend(ONE, relaying=LOGGED))
    with closing(world.greeted()) as old:
        old.sendall(b"from ")
        world.load(frontend(TWO, relaying=Relaying(access_log=True, proxy_protocol=1)))
        assert world.ask().startswith(GREETING + b"two got PROXY TCP4 ")
        world.load()
        assert world.relay.held() == {}
        old.sendall(b"before")
        old.shutdown(socket.SHUT_WR)
        assert old.recv(100) == b"one got from before"


def test_a_relay_that_drains_takes_nobody_new_and_tells_how_many_are_left(greeting: RelayWorld) -> None:
    world = greeting
    world.load(frontend(ONE, relaying=LOGGED))
    with closing(world.greeted()) as old:
        old.sendall(b"from ")
        assert world.relay.drain() == (1, 0)
        assert world.relay.held() == {}
        old.sendall(b"before")
        old.shutdown(socket.SHUT_WR)
        assert old.recv(100) == b"one got from before"
    world.until_logged(1)
    assert world.relay.left == (0, 0)


def test_least_connections_go_where_there_are_fewest(greeting: RelayWorld) -> None:
    greeting.load(frontend(ONE, TWO, balancing=LEAST_CONNECTIONS))
    with ExitStack() as stack:
        held = [stack.enter_context(closing(greeting.greeted())) for _ in range(6)]
        for sock in held:
            sock.sendall(b"x")
            sock.shutdown(socket.SHUT_WR)
        assert Counter(sock.recv(100)[:3] for sock in held) == {b"one": 3, b"two": 3}


def test_nobody_comes_to_a_listener_past_the_rules(both: RelayWorld) -> None:
    one = frontend(ONE)
    both.load(one)
    with pytest.raises(ConnectionResetError), closing(both.connect("169.254.77.77", both.listener(one.key))) as sock:
        sock.recv(100)
    assert both.relay.counts() == {"refused: not by way of the Service": 1}


def _over_tls(world: RelayWorld, name: str, certificate: bytes) -> bytes:
    context = ssl.create_default_context(cadata=certificate.decode())
    context.check_hostname = False
    with closing(world.connect()) as plain, context.wrap_socket(plain, server_hostname=name) as sock:
        sock.sendall(b"secret words")
        return sock.recv(100)


def test_tls_ends_here_and_a_new_certificate_counts_for_new_connections(world: RelayWorld) -> None:
    first, second = pair("first"), pair("second")

    with backend(world.place, ONE, lambda sock: sock.sendall(b"got " + sock.recv(100))):
        world.load(frontend(ONE, relaying=Relaying(access_log=True, tls=SECRET)))
        with pytest.raises(ConnectionError):
            world.ask()
        world.certificates.put(SECRET, secret(*first))
        assert _over_tls(world, "first", first[0]) == b"got secret words"
        world.certificates.put(SECRET, secret(*second))
        assert _over_tls(world, "second", second[0]) == b"got secret words"
        with closing(world.connect()) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b"got" not in b"".join(iter(lambda: sock.recv(100), b""))
        lines = world.until_logged(4)
    assert lines[0].end == "refused: no usable Secret shop/shop-tls"
    # In the order of their ends: the last one with a backend may still be waiting for that.
    assert sorted(line.tls for line in lines[1:]) == ["", "TLSv1.3", "TLSv1.3"]
    assert [line.end.startswith("failed: TLS: ") for line in lines[1:]] == [not line.tls for line in lines[1:]]
    assert sum(world.relay.left) == 0


def test_udp_clients_keep_their_backend_until_it_leaves(world: RelayWorld) -> None:
    with ExitStack() as stack:
        servers = {}
        for address in (ONE, TWO):
            servers[address] = stack.enter_context(closing(world.place.socket(kind=socket.SOCK_DGRAM)))
            servers[address].bind((address, 8080))
            servers[address].settimeout(PATIENCE)
        client = stack.enter_context(closing(world.place.socket(kind=socket.SOCK_DGRAM)))
        client.settimeout(PATIENCE)
        client.connect((VIP, 80))

        def served_by(address: str) -> None:
            for number in range(3):
                client.send(b"%d" % number)
                data, sender = servers[address].recvfrom(100)
                servers[address].sendto(NAMES[address] + data, sender)
                assert client.recv(100) == NAMES[address] + data

        world.load(frontend(ONE, protocol="UDP", relaying=LOGGED))
        served_by(ONE)
        world.load(frontend(TWO, protocol="UDP", relaying=LOGGED))
        served_by(TWO)
        (line,) = world.until_logged(1)
    assert (line.protocol, line.backend, line.received, line.sent) == ("UDP", f"{ONE}:8080", 3, 12)
    assert (line.end, line.service) == ("backend left", str(SERVICE))


def test_who_forges_senders_of_datagrams_does_not_take_all_descriptors() -> None:
    with created(f"fwt-relay-{os.getpid()}") as place, built(place, most_flows=2) as world, ExitStack() as stack:
        server = stack.enter_context(closing(place.socket(kind=socket.SOCK_DGRAM)))
        server.bind((ONE, 8080))
        server.settimeout(PATIENCE)
        world.load(frontend(ONE, protocol="UDP", relaying=LOGGED))
        for _ in range(3):
            client = stack.enter_context(closing(place.socket(kind=socket.SOCK_DGRAM)))
            client.connect((VIP, 80))
            client.send(b"hello")
        (line,) = world.until_logged(1)
        assert line.end == "refused: too many flows"
        assert world.relay.left == (0, 2)
        assert [server.recv(100) for _ in range(2)] == [b"hello"] * 2


def test_a_thousand_connections_at_one_time_are_all_served(world: RelayWorld) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with backend(world.place, ONE, says(b"one")), ExitStack() as stack:
        world.load(frontend(ONE))
        held = [stack.enter_context(closing(world.connect())) for _ in range(1000)]
        for sock in held:
            sock.sendall(b"hello")
        for sock in held:
            sock.shutdown(socket.SHUT_WR)
        assert {sock.recv(100) for sock in held} == {b"one got hello"}
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
