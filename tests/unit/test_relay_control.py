"""Unit tests of `fairway.relay.control`: what a proxy and its relay say to each other, whole or in pieces."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from fairway.model.parts import Parts
from fairway.model.view import Backend, FrontendKey, Key, Pool, Relaying
from fairway.modes.userspace.program import ListenerKey, Listening
from fairway.relay.control import (
    Ask,
    Certificate,
    Channel,
    Close,
    Done,
    Drain,
    Failed,
    Figures,
    Frames,
    Hello,
    Hold,
    Holding,
    Put,
    Request,
    Settle,
    Stop,
    Strange,
    Welcome,
    framed,
    request_of,
)

KEY = ListenerKey(FrontendKey("10.96.0.7", "TCP", 80), Pool.LOCAL)
BACKENDS = (Backend(address="10.244.1.2", port=8080, weight=3), Backend(address="10.244.1.3", port=8080, slice="web-1"))
LISTENING = Listening(
    key=KEY,
    port=40000,
    service=Key("shop", "web"),
    service_port="shop/web:http",
    backends=BACKENDS,
    balancing="round-robin",
    affinity_seconds=10,
    relaying=Relaying(access_log=True, tls=Key("shop", "tls"), rate=0.5, idle=60),
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with closing(one), closing(other):
        yield one, other


@pytest.mark.parametrize(
    "request_",
    [
        Hello("1.0"),
        Settle("/var/log/access.log"),
        Close((KEY,)),
        Hold(),
        Certificate(Key("shop", "tls"), {"tls.crt": "aGVsbG8="}),
        Certificate(Key("shop", "tls"), None),
        Ask(),
        Drain(),
        Stop(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_requests_arrive_as_they_were_sent(request_: Request) -> None:
    assert request_of(framed(request_)[4:]) == request_


def test_a_pool_that_is_made_of_parts_arrives_whole() -> None:
    sent = msgspec.structs.replace(LISTENING, backends=Parts((BACKENDS[:1], BACKENDS[1:])))
    found = request_of(framed(Put((sent,), (KEY,)))[4:])
    assert isinstance(found, Put)
    (one,) = found.listeners
    assert msgspec.structs.replace(one, backends=tuple(one.backends)) == LISTENING
    assert found.new == (KEY,)


def test_messages_come_in_whatever_pieces_and_descriptors_with_them(ends: tuple[socket.socket, socket.socket]) -> None:
    one, other = ends
    data = framed(Hello("1.0")) + framed(Ask())
    frames = Frames()
    read, write = os.pipe()
    with open(write, "wb") as pipe:
        socket.send_fds(one, [data[:3]], [read])
        os.close(read)
        assert list(frames.receive(other)) == []
        one.sendall(data[3:])
        assert [request_of(each) for each in frames.receive(other)] == [Hello("1.0"), Ask()]
        pipe.write(b"through the descriptor")
    with open(frames.take(1)[0], "rb") as arrived:
        assert arrived.read() == b"through the descriptor"
    assert frames.take(1) == []
    one.close()
    with pytest.raises(ConnectionResetError):
        list(frames.receive(other))


@pytest.mark.parametrize(
    "answer, words",
    [
        (framed(Failed("no such listener")), "the relay refuses: no such listener"),
        (framed(Done()), "the relay answers Done instead of Figures"),
        (b"\x00\x00\x00\x01\xc0", "the relay answers what nobody understands"),
    ],
)
def test_an_answer_that_does_not_fit_is_an_error_in_words(
    ends: tuple[socket.socket, socket.socket], answer: bytes, words: str
) -> None:
    channel, other = Channel(ends[0], 5.0), ends[1]
    other.sendall(answer)
    with pytest.raises(Strange, match=words):
        channel.ask(Ask(), Figures)


def test_an_answer_of_a_later_version_may_say_more(ends: tuple[socket.socket, socket.socket]) -> None:
    later = msgspec.msgpack.encode({"type": "Figures", "listeners": 3, "moods": ["good"]})
    ends[1].sendall(len(later).to_bytes(4, "big") + later)
    assert Channel(ends[0], 5.0).ask(Ask(), Figures) == Figures(listeners=3)


def test_answers_arrive_as_they_were_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    channel, other = Channel(ends[0], 5.0), ends[1]
    other.sendall(framed(Welcome("1.0", 7, draining=True)))
    assert channel.ask(Hello("1.0"), Welcome) == Welcome("1.0", 7, draining=True)
    other.sendall(framed(Holding((LISTENING,))))
    (held,) = channel.ask(Hold(), Holding).listeners
    assert held.key == KEY
    assert held.relaying == LISTENING.relaying
