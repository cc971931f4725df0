"""The relay's process: taken over by the next proxy, drained by one of another version, replaced when it dies."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from fairway.kernel.contract import ApplyFailed
from fairway.kernel.namespaces import NetworkNamespace, created
from fairway.model.view import LEAST_CONNECTIONS, Relaying
from fairway.relay.control import NAMES
from fairway.relay.process import RelayProcess, running, stop_all
from tests.kernel.relay_world import (
    GREETING,
    ONE,
    PATIENCE,
    TWO,
    RelayWorld,
    backend,
    beside,
    frontend,
    greets,
    prepare,
)

pytestmark = pytest.mark.kernel


@pytest.fixture
def place() -> Iterator[NetworkNamespace]:
    with created(f"fwt-relay-process-{os.getpid()}") as made:
        prepare(made)
        with backend(made, ONE, greets(b"one")), backend(made, TWO, greets(b"two")):
            yield made
            made.run(stop_all)


def _relay(world: RelayWorld) -> RelayProcess:
    assert isinstance(world.relay, RelayProcess)
    return world.relay


def _relays(place: NetworkNamespace) -> int:
    found = place.run(lambda: list(running()))
    for one in found:
        one.close()
    return len(found)


def _until_ended(process: int) -> None:
    handle = os.pidfd_open(process)
    try:
        assert select.select([handle], [], [], PATIENCE)[0], "the relay has not ended"
    finally:
        os.close(handle)


def _finish(sock: socket.socket) -> bytes:
    sock.sendall(b"after")
    sock.shutdown(socket.SHUT_WR)
    return sock.recv(100)


def test_relays_are_found_among_names_that_are_no_text(place: NetworkNamespace) -> None:
    with place.socket(socket.AF_UNIX) as other, place.socket(socket.AF_UNIX) as relay:
        for made, name in ((other, b"\0somebody \xff\xfe"), (relay, f"\0{NAMES}here".encode())):
            made.bind(name)
            made.listen()
        assert _relays(place) == 1


def test_the_next_proxy_takes_over_listeners_connections_and_counts(place: NetworkNamespace) -> None:
    wanted = frontend(ONE, TWO, balancing=LEAST_CONNECTIONS, relaying=Relaying(most=2))
    with beside(place) as first:
        first.load(wanted)
        process, held = _relay(first).process, first.relay.held()
        sock = first.greeted()
        sock.sendall(b"before ")
    with closing(sock), beside(place) as second:
        assert place.run(second.relay.held) == held
        assert _relay(second).process == process
        second.load(wanted)
        assert second.relay.left == (1, 0)
        with closing(second.greeted()) as other:
            other.sendall(b"x")
            with pytest.raises(ConnectionError):
                second.ask()
        assert _finish(sock)[4:] == b"got before after"


def test_one_of_another_version_drains_when_the_rules_lead_to_the_new_one(place: NetworkNamespace) -> None:
    with beside(place, "0.0.1") as first:
        first.load(frontend(ONE))
        old, port = _relay(first).process, first.listener(frontend().key)
        sock = first.greeted()
        sock.sendall(b"before ")
    with closing(sock), beside(place) as second:
        second.load(frontend(TWO))
        assert second.listener(frontend().key) != port
        _relay(second).settled()
        assert second.ask() == GREETING + b"two got hello"
        assert _finish(sock) == b"one got before after"
        sock.close()
        _until_ended(old)
        assert _relay(second).process != old
        assert _relays(place) == 1


def test_one_that_dies_is_replaced_at_the_same_port(place: NetworkNamespace) -> None:
    with beside(place) as world:
        world.load(frontend(ONE))
        old, port = _relay(world).process, world.listener(frontend().key)
        os.kill(old, signal.SIGKILL)
        _until_ended(old)
        assert world.opened.kernel.others() == [f"the end of the relay (process {old})"]
        assert world.relay.held() == {}
        world.load(frontend(ONE))
        assert world.listener(frontend().key) == port
        assert world.ask() == GREETING + b"one got hello"


def test_one_that_does_not_answer_is_told_and_taken_up_again_when_it_does(place: NetworkNamespace) -> None:
    # So long must the test wait twice; everything else has to be answered within that time.
    with beside(place, patience=2.0) as world:
        world.load(frontend(ONE))
        process = _relay(world).process
        os.kill(process, signal.SIGSTOP)
        with pytest.raises(ApplyFailed, match="the relay does not answer"):
            world.load(frontend(TWO))
        assert world.opened.kernel.others() == [f"the silence of the relay (process {process})"]
        with pytest.raises(ApplyFailed, match="if that lasts, end its process"):
            world.load(frontend(TWO))
        os.kill(process, signal.SIGCONT)
        world.load(frontend(TWO))
        assert _relay(world).process == process
        assert world.ask() == GREETING + b"two got hello"


def test_the_end_of_one_is_told_even_if_it_is_found_by_a_look_at_its_figures(place: NetworkNamespace) -> None:
    with beside(place) as world:
        world.load(frontend(ONE))
        process = _relay(world).process
        os.kill(process, signal.SIGKILL)
        _until_ended(process)
        assert world.relay.left == (0, 0)
        assert select.select([world.opened.kernel.fileno()], [], [], PATIENCE)[0]
        assert world.opened.kernel.others() == [f"the end of the relay (process {process})"]


def test_one_that_nobody_can_come_to_ends_by_itself_when_its_proxy_has_gone(place: NetworkNamespace) -> None:
    with beside(place) as world:
        world.load(frontend(ONE))
        process = _relay(world).process
        world.load()
    _until_ended(process)


def test_somebody_elses_process_is_not_taken_for_a_relay(
    place: NetworkNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(place.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as liar:
        nobody = 65534
        os.seteuid(nobody)
        try:
            liar.bind("\0fairway-relay/liar")
            liar.listen()
        finally:
            os.seteuid(0)
        assert _relays(place) == 0
    assert "somebody else's process calls itself a relay: @fairway-relay/liar" in caplog.text
