"""How a proxy talks with the process of its relay: one request, one answer, over a UNIX socket.

    proxy ── length, request ──▶ relay process      new listeners' sockets ride along with a `Put`
          ◀── length, answer ───

A process of another version may be asked only what no version changes: `Hello`, `Ask`, `Drain` and `Stop`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from fairway.model.parts import Parts
from fairway.model.view import Key
from fairway.modes.userspace.program import ListenerKey, Listening

NAMES = "fairway-relay/"
"""How the names of relays begin among the abstract UNIX sockets, which belong to the network namespace."""
MOST_DOORS = 128
"""Sockets that ride along with one request; the kernel takes 253."""
_LENGTH = struct.Struct("!I")
_READ = 1 << 18
_CREDENTIALS = struct.Struct("=iII")


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Whoever asks is of this version."""

    version: str


class Welcome(msgspec.Struct, frozen=True, tag=True):
    version: str
    process: int
    draining: bool


class Settle(msgspec.Struct, frozen=True, tag=True):
    """The proxy's standard output and error ride along: from now on they are the relay's, too."""

    access_log: str


class Put(msgspec.Struct, frozen=True, tag=True):
    """Listeners that are new or do something else; the sockets of ``new`` ride along, in that order."""

    listeners: tuple[Listening, ...]
    new: tuple[ListenerKey, ...] = ()


class Close(msgspec.Struct, frozen=True, tag=True):
    keys: tuple[ListenerKey, ...]


class Hold(msgspec.Struct, frozen=True, tag=True):
    """What do the listeners do?"""


class Holding(msgspec.Struct, frozen=True, tag=True):
    listeners: tuple[Listening, ...]


class Certificate(msgspec.Struct, frozen=True, tag=True):
    """A Secret's ``data``; None when nobody may connect with it any more."""

    secret: Key
    data: dict[str, str] | None


class Ask(msgspec.Struct, frozen=True, tag=True):
    """How is it going?"""


class Figures(msgspec.Struct, frozen=True, tag=True):
    listeners: int = 0
    connections: int = 0
    flows: int = 0
    waiting_bytes: int = 0
    lost_lines: int = 0
    ended: dict[str, int] = {}
    """How connections have ended so far, by the word of the access log."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Take up nobody any more, and end when nobody is left; answered with `Figures`."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End now."""


class Done(msgspec.Struct, frozen=True, tag=True):
    pass


class Failed(msgspec.Struct, frozen=True, tag=True):
    message: str


Request = Hello | Settle | Put | Close | Hold | Certificate | Ask | Drain | Stop
Answer = Welcome | Holding | Figures | Done | Failed
AnswerT = TypeVar("AnswerT", Welcome, Holding, Figures, Done)


class Strange(OSError):
    """The other side answers something else than was asked."""


def _plain(value: object) -> object:
    if isinstance(value, Parts):
        return tuple(value)
    raise NotImplementedError(type(value))


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def framed(message: Request | Answer) -> bytes:
    data = _encoder.encode(message)
    return _LENGTH.pack(len(data)) + data


def request_of(data: bytes) -> Request:
    """Raises `msgspec.DecodeError` for what this version does not know."""
    return _requests.decode(data)


class Frames:
    """What has come in, as whole messages, and the descriptors that came with them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.descriptors: list[int] = []

    def receive(self, sock: socket.socket) -> Iterator[bytes]:
        """Read once, and give the messages that are whole; raises ConnectionError at the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(sock, _READ, MOST_DOORS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        self.descriptors += descriptors
        if not data:
            raise ConnectionResetError("the other side has ended")
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._data)
            if len(self._data) < _LENGTH.size + size:
                return
            whole = bytes(self._data[_LENGTH.size : _LENGTH.size + size])
            del self._data[: _LENGTH.size + size]
            yield whole

    def take(self, count: int) -> list[int]:
        """The first descriptors that nobody has taken; whoever takes them closes them."""
        taken, self.descriptors = self.descriptors[:count], self.descriptors[count:]
        return taken

    def close(self) -> None:
        for one in self.take(len(self.descriptors)):
            os.close(one)


class Channel:
    """The proxy's side. Blocks; ``patience`` is how many seconds an answer may take."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        sock.settimeout(patience)
        self._sock = sock
        self._frames = Frames()

    def ask(self, request: Request, kind: type[AnswerT], descriptors: Sequence[int] = ()) -> AnswerT:
        """Raises OSError when the other side is gone, silent or refuses."""
        data = framed(request)
        sent = socket.send_fds(self._sock, [data], list(descriptors)) if descriptors else 0
        self._sock.sendall(data[sent:])
        while True:
            for answer in self._frames.receive(self._sock):
                return _of_kind(answer, kind)

    def until_closed(self) -> None:
        """Wait until the other side has ended."""
        while self._sock.recv(_READ):
            pass

    @property
    def patience(self) -> float:
        """How many seconds an answer may take."""
        return self._sock.gettimeout() or 0.0

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._sock.settimeout(seconds)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._frames.close()
        self._sock.close()


def _of_kind(data: bytes, kind: type[AnswerT]) -> AnswerT:
    try:
        answer = _answers.decode(data)
    except msgspec.DecodeError as error:
        raise Strange(f"the relay answers what nobody understands: {error}") from None
    if isinstance(answer, Failed):
        raise Strange(f"the relay refuses: {answer.message}")
    if not isinstance(answer, kind):
        raise Strange(f"the relay answers {type(answer).__name__} instead of {kind.__name__}")
    return answer


def peer_of(sock: socket.socket) -> int:
    """The user at the other end of a UNIX socket."""
    found: bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(found)[1])
