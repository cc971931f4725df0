"""Netfilter's netlink: messages, batches, dumps and notifications, with errors that say what was asked.

    nlmsghdr (16) │ nfgenmsg (4) │ attribute │ attribute …        one message
    BATCH_BEGIN · message · message · … · BATCH_END               one transaction: everything happens, or nothing

A socket belongs to the network namespace of the thread that opens it and stays there for life.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from fairway.kernel.attributes import attributes, be32, string

NETLINK_NETFILTER, NETLINK_GENERIC = 12, 16
SUBSYSTEM_CONNTRACK = 1
SUBSYSTEM_NFTABLES = 10

F_REQUEST, F_ACK, F_ECHO, F_DUMP = 0x1, 0x4, 0x8, 0x300
F_EXCL, F_CREATE, F_APPEND = 0x200, 0x400, 0x800

_MSG_ERROR, _MSG_DONE = 2, 3
ERROR, DONE = -_MSG_ERROR, -_MSG_DONE
"""Kinds of netlink's own replies, told apart from a subsystem's kinds 2 and 3."""
_F_DUMP_INTR, _F_CAPPED, _F_ACK_TLVS = 0x10, 0x100, 0x200
_BATCH_BEGIN, _BATCH_END, _BATCH_GENID = 0x10, 0x11, 1
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _CAP_ACK, _EXT_ACK = 270, 1, 2, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 32, 33, 26
_BPF_LOAD_WORD, _BPF_JUMP_IF_EQUAL, _BPF_RETURN = 0x20, 0x15, 0x06
_PORT_OFFSET = 12
_EXT_ACK_TEXT, _EXT_ACK_OFFSET = 1, 2
_RECEIVE_BYTES = 1 << 17
_MINIMUM_BUFFER, _NEWS_BUFFER = 1 << 20, 1 << 22
_AT_ONCE = 400
"""Requests in one send: their refusals must fit into the kernel's ordinary receive buffer."""

HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=IHHIIBBH")
"""The header, and netfilter's own behind it."""
BODY = _MESSAGE.size
"""Where the attributes of a message start."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One message to send, and the words for it in an error."""

    subsystem: int
    kind: int
    body: bytes
    says: str
    flags: int = 0
    family: int = 0
    resource: int = 0
    """nfgenmsg.res_id, network order."""
    pointer: Callable[[bytes, int | None], str] | None = None
    """Words for the part of the body at a byte offset, for requests that ask for many things at once."""

    def pack(self, sequence: int, extra_flags: int = 0) -> bytes:
        head = _MESSAGE.pack(
            BODY + len(self.body),
            self.subsystem << 8 | self.kind,
            F_REQUEST | self.flags | extra_flags,
            sequence,
            0,
            self.family,
            0,
            socket.htons(self.resource) if self.resource else 0,
        )
        return head + self.body


@lru_cache(maxsize=8)
def _batch_mark(kind: int, subsystem: int) -> Request:
    """What a batch begins or ends with."""
    return Request(0, kind, b"", "", 0, 0, subsystem)


class Reply(NamedTuple):
    """One message from the kernel: kind without the subsystem, family, and the attributes' bytes."""

    kind: int
    family: int
    body: bytes
    flags: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the kernel said no to."""

    request: str
    code: int
    detail: str = ""
    offset: int | None = None
    """Byte within the request's attributes that the kernel pointed at."""

    @property
    def name(self) -> str:
        return errno.errorcode.get(self.code, str(self.code))

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.request}: the kernel answered {self.name}: {os.strerror(self.code)}{detail}"


class KernelRefused(Exception):
    """The kernel refused a request; nothing of the batch it was in has happened."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        super().__init__(f"{refusals[0]}{more}")

    @property
    def code(self) -> int:
        """The errno of the first refusal."""
        return self.refusals[0].code


class Interrupted(Exception):
    """What was being dumped changed meanwhile: the answer is not one moment's state; ask again."""


_NO_ERROR = bytes(4)
_COMMIT = Request(0, 0, b"", "commit of the batch")


@dataclass(slots=True)
class Netfilter:
    """A netlink socket to netfilter in the caller's network namespace. Close it, or use it in a `with`."""

    groups: Sequence[int] = ()
    """Multicast groups to hear notifications from."""
    timeout: float = 30.0
    """Seconds to wait for an answer before saying so; the kernel answers at once unless it is very busy."""
    protocol: int = NETLINK_NETFILTER
    """`NETLINK_GENERIC` has the same headers: a request's family is its command, its subsystem and kind the family."""
    _socket: socket.socket = field(init=False, repr=False)
    _sequence: int = field(init=False, default=1)
    _sndbuf: int = field(init=False, default=0)
    _buffer: memoryview = field(init=False, repr=False, default_factory=lambda: memoryview(bytearray(_RECEIVE_BYTES)))

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self.protocol)
        try:
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
            # the kernel's own timeout: Python's would ask poll() before each call
            seconds, fraction = divmod(self.timeout, 1)
            limit = struct.pack("@ll", int(seconds), int(fraction * 1e6))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            if self.groups:
                self._room_for_news()
            self.join()
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Netfilter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For an event loop: readable when a notification waits."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The kernel's name for this socket; it stands in the notifications of what this socket did."""
        port: int = self._socket.getsockname()[0]
        return port

    def join(self) -> None:
        """Hear notifications of the groups."""
        for group in self.groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def leave(self) -> None:
        """Hear none until `join`. What nobody listens to the kernel does not write."""
        for group in self.groups:
            self._socket.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, group)

    def deafen(self, port: int) -> None:
        """Hear no more notifications of what the socket with this port does."""
        wanted = int.from_bytes(struct.pack("=I", port), "big")  # the filter reads nlmsg_pid in network order
        program = ctypes.create_string_buffer(
            b"".join(
                struct.pack("=HBBI", code, if_true, if_false, value)
                for code, if_true, if_false, value in (
                    (_BPF_LOAD_WORD, 0, 0, _PORT_OFFSET),
                    (_BPF_JUMP_IF_EQUAL, 0, 1, wanted),
                    (_BPF_RETURN, 0, 0, 0),
                    (_BPF_RETURN, 0, 0, 0xFFFFFFFF),
                )
            )
        )
        filter_ = struct.pack("@HP", 4, ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)

    def batch(self, requests: Sequence[Request], generation: int | None = None, commit: bool = True) -> None:
        """Send all requests as one transaction. KernelRefused names each one that was refused.

        `generation` makes the kernel refuse (ERESTART) when the ruleset has moved on since that generation id was read.
        Without `commit` the kernel checks everything and then forgets it.
        """
        if not requests:
            return
        first = self._next(len(requests) + 2)
        subsystem = requests[0].subsystem
        begin = _batch_mark(_BATCH_BEGIN, subsystem)
        if generation is not None:
            begin = replace(begin, body=be32(_BATCH_GENID, generation))
        parts = [begin.pack(first)]
        last = len(requests) - 1
        for index, request in enumerate(requests):
            # the acknowledgement of the last request comes after the commit, so it stands for the whole batch
            parts.append(request.pack(first + 1 + index, F_ACK if index == last else 0))
        if commit:  # a batch that does not end is undone
            parts.append(_batch_mark(_BATCH_END, subsystem).pack(first + 2 + last))
        data = b"".join(parts)
        self._room_for(len(data), len(requests))
        self._send(data)
        self._settle(first, requests)

    def request(self, request: Request) -> None:
        """Send one request outside of a batch and wait until the kernel acknowledges it."""
        sequence = self._next(1)
        self._send(request.pack(sequence, F_ACK))
        for reply in self._replies(sequence):
            if reply.kind == ERROR:
                self._raise_if_refused([_refusal(reply, request)])
                return

    def each(self, requests: Sequence[Request]) -> list[Refusal]:
        """Send requests that do not depend on each other, many at a time; returns the refusals, in order."""
        found: list[Refusal] = []
        for start in range(0, len(requests), _AT_ONCE):
            some = requests[start : start + _AT_ONCE]
            first, last = self._next(len(some)), len(some) - 1
            packed = (one.pack(first + index, F_ACK if index == last else 0) for index, one in enumerate(some))
            self._send(b"".join(packed))
            settled = False
            while not settled:
                for reply in self._receive():
                    index = reply.sequence - first
                    if reply.kind == ERROR and 0 <= index <= last:
                        found.append(_refusal(reply, some[index]))
                        settled = index == last
        return [one for one in found if one.code]

    def get(self, request: Request) -> Reply:
        """Send one request that is answered by one message."""
        sequence = self._next(1)
        self._send(request.pack(sequence))
        for reply in self._replies(sequence):
            if reply.kind == ERROR:
                self._raise_if_refused([_refusal(reply, request)])
            else:
                return reply
        raise AssertionError("unreachable: replies never end without an answer")

    def dump(self, request: Request) -> list[Reply]:
        """Every message of the kernel's answer. Interrupted when something changed in the middle."""
        sequence = self._next(1)
        self._send(request.pack(sequence, F_DUMP))
        found: list[Reply] = []
        broken = False
        for reply in self._replies(sequence):
            broken = broken or bool(reply.flags & _F_DUMP_INTR)
            if reply.kind == DONE:
                break
            if reply.kind == ERROR:
                self._raise_if_refused([_refusal(reply, request)])
                break
            found.append(reply)
        if broken:
            raise Interrupted(f"{request.says}: what was listed changed meanwhile")
        return found

    def notifications(self, seconds: float) -> list[Reply]:
        """Notifications that wait already or come within that time; an empty list when none came."""
        readable, _, _ = select.select([self._socket], [], [], seconds)
        return self._receive() if readable else []

    def _next(self, count: int) -> int:
        first = self._sequence
        self._sequence = (first + count) & 0x7FFFFFFF or 1
        return first

    def _room_for_news(self) -> None:
        """The kernel takes of it what waits, and no more: its ordinary buffer is full after a few hundred rules."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _NEWS_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NEWS_BUFFER)

    def _room_for(self, size: int, requests: int) -> None:
        # one sendmsg must fit in the send buffer, and a refusal for every request in the receive buffer
        wanted = max(_MINIMUM_BUFFER, size + 4096)
        if wanted > self._sndbuf:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, wanted)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, max(_MINIMUM_BUFFER, requests * 512))
            self._sndbuf = wanted

    def _send(self, data: bytes) -> None:
        self._socket.sendto(data, (0, 0))

    def _settle(self, first: int, requests: Sequence[Request]) -> None:
        """Wait for the answer to a batch.

        Refusals come first, in order, then the acknowledgement of the last request. An answer to the batch's beginning
        stands for the batch as a whole: a commit that failed, a generation that has passed, a missing privilege.
        """
        refusals: list[Refusal] = []
        last = first + len(requests)
        settled = False
        while not settled:
            for reply in self._receive():
                index = reply.sequence - first - 1
                if reply.kind != ERROR or not -1 <= index < len(requests):
                    continue
                if reply.body[:4] != _NO_ERROR:
                    refusals.append(_refusal(reply, requests[index] if index >= 0 else _COMMIT))
                settled = reply.sequence == last or (index == -1 and not self._waiting())
        self._raise_if_refused(refusals)

    def _waiting(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    @staticmethod
    def _raise_if_refused(refusals: list[Refusal]) -> None:
        refused = [refusal for refusal in refusals if refusal.code]
        if refused:
            raise KernelRefused(refused)

    def _replies(self, sequence: int) -> Iterator[Reply]:
        while True:
            for reply in self._receive():
                if reply.sequence == sequence:
                    yield reply

    def _receive(self) -> list[Reply]:
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, f"the kernel did not answer within {self.timeout:g} seconds") from None
        return split(bytes(self._buffer[:size]))


def split(data: bytes) -> list[Reply]:
    """The messages in what one recv() returned. An error's body: errno, the refused header, the extended ack."""
    found: list[Reply] = []
    position, size = 0, len(data)
    while position + HEADER.size <= size:
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, position)
        if kind in (_MSG_ERROR, _MSG_DONE):
            found.append(Reply(-kind, 0, data[position + HEADER.size : position + length], flags, sequence))
        else:
            family = data[position + HEADER.size]
            found.append(Reply(kind & 0xFF, family, data[position + BODY : position + length], flags, sequence))
        position += (length + 3) & ~3
    return found


def _refusal(reply: Reply, request: Request) -> Refusal:
    code = -struct.unpack_from("=i", reply.body)[0]
    detail, offset = "", None
    if reply.flags & _F_ACK_TLVS:
        # nlmsgerr: errno, then the refused message (its header only, as we ask for CAP_ACK), then the extended ack
        refused = HEADER.size if reply.flags & _F_CAPPED else HEADER.unpack_from(reply.body, 4)[0]
        extended = attributes(reply.body[4 + ((refused + 3) & ~3) :])
        detail = string(extended.get(_EXT_ACK_TEXT, b""))
        if _EXT_ACK_OFFSET in extended:
            offset = struct.unpack("=I", extended[_EXT_ACK_OFFSET])[0] - BODY
    if code == 0:
        return Refusal(request.says, 0)
    says = f"{request.says} {request.pointer(request.body, offset)}" if request.pointer else request.says
    return Refusal(says, code, detail, offset)
