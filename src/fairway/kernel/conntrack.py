"""The kernel's connection-tracking table: find flows, forget flows. Nothing here decides which.

CTA_TUPLE_ORIG   client ──▶ destination:port             as the client sent it
CTA_TUPLE_REPLY  backend:port ──▶ client                 as the answer comes, so its source is who answers

Match ──CTA_FILTER──▶ the kernel walks its table once and tells only what matches
              few: deleted one by one        many: deleted by the kernel in one more walk, if it can
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from fairway.kernel.attributes import attribute, attributes, nested, number
from fairway.kernel.nfnetlink import SUBSYSTEM_CONNTRACK, Interrupted, KernelRefused, Netfilter, Reply, Request

_GET, _DELETE = 1, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_PROTOCOL_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_MATCH_SOURCE, _MATCH_DESTINATION, _MATCH_PROTOCOL, _MATCH_SOURCE_PORT, _MATCH_DESTINATION_PORT = 1, 2, 8, 16, 32

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_NAMES = {value: name for name, value in _PROTOCOLS.items()}
_SOURCE = {socket.AF_INET: 1, socket.AF_INET6: 3}
_DESTINATION = {socket.AF_INET: 2, socket.AF_INET6: 4}
_ATTEMPTS = 5
_MANY = 200
"""From so many flows on, a second walk through the table by the kernel is cheaper than naming each of them."""
# Gone by itself; or in a flowtable, which lets go of it when it is idle.
_NOT_THERE = (errno.ENOENT, errno.EBUSY)
_CANNOT_FILTER = (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP)


class Match(NamedTuple):
    """Which flows: those of a protocol; to one destination and port, if given; answered by one backend, if given."""

    protocol: str
    destination: str = ""
    port: int = 0
    backend: str = ""
    backend_port: int = 0

    def __str__(self) -> str:
        where = f" to {self.destination} port {self.port}" if self.destination else ""
        return f"{self.protocol} flows{where}" + (
            f" at {self.backend} port {self.backend_port}" if self.backend else ""
        )

    @property
    def families(self) -> Sequence[socket.AddressFamily]:
        if not self.destination:
            return list(_SOURCE)
        return [_family(self.destination)]


@dataclass(frozen=True, slots=True)
class Flow:
    """One entry. ``reply_source`` is who answers: the same as ``destination`` when nobody translated the flow."""

    protocol: str
    source: str
    source_port: int
    destination: str
    port: int
    reply_source: str
    reply_port: int
    identity: bytes = field(repr=False)
    """The attributes that name exactly this entry to the kernel."""


@dataclass(slots=True)
class Conntrack:
    """The table of this thread's network namespace. Close it, or use it in a `with`. Raises `KernelRefused`."""

    flushes: bool | None = None
    """Whether the kernel deletes by a filter; None until it was asked."""
    _netlink: Netfilter = field(default_factory=Netfilter)

    def __enter__(self) -> Conntrack:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    def flows(self, match: Match) -> list[Flow]:
        """The flows that match.

        Raises `Interrupted` when the kernel could not give a whole list in several attempts.
        """
        found = []
        for family in match.families:
            read = (_read(family, reply.body) for reply in self._list(family, match))
            # Kernels before 5.8 do not know the filter and say everything; of IPv6 none compares addresses rightly.
            found += [flow for flow in read if flow is not None and _matches(match, flow)]
        return found

    def forget(self, match: Match) -> int:
        """Forget all flows that match; returns how many there were."""
        families = match.families
        if families == [socket.AF_INET] and self._can_flush():
            found = self._list(socket.AF_INET, match)
            if len(found) >= _MANY:
                self._netlink.request(_request(_DELETE, socket.AF_INET, match))
                return len(found)
        return self.delete(self.flows(match))

    def delete(self, flows: Iterable[Flow]) -> int:
        """Forget these entries; returns how many were still there."""
        requests = [_deletion(flow) for flow in flows]
        refused = self._netlink.each(requests)
        if wrong := [one for one in refused if one.code not in _NOT_THERE]:
            raise KernelRefused(wrong)
        return len(requests) - len(refused)

    def _can_flush(self) -> bool:
        """Asked with a filter that nothing matches: 6.18 takes it, 6.1 does not. Its tuple is whole, so that a kernel
        which takes it for the name of a flow looks for one from 0.0.0.0, and does not find it."""
        if self.flushes is None:
            try:
                self._netlink.request(_request(_DELETE, socket.AF_INET, Match("UDP", "0.0.0.0", 0, "0.0.0.0", 0)))
                self.flushes = True
            except KernelRefused as refused:
                if refused.code not in _CANNOT_FILTER:
                    raise
                self.flushes = False
        return self.flushes

    def _list(self, family: socket.AddressFamily, match: Match) -> list[Reply]:
        asked = _request(_GET, family, match)
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._netlink.dump(asked)
            except Interrupted:
                continue
        return self._netlink.dump(asked)


def _deletion(flow: Flow) -> Request:
    words = f"delete {flow.protocol} flow {flow.source} to {flow.destination} port {flow.port}"
    return Request(SUBSYSTEM_CONNTRACK, _DELETE, flow.identity, words, family=_family(flow.destination))


def _request(kind: int, family: socket.AddressFamily, match: Match) -> Request:
    """The kernel reads both addresses and both ports of a tuple, and then compares those that the filter names.

    Of IPv6 addresses it takes those that differ (still so in 6.18), so these are compared by `_matches`.
    """
    compares_addresses = family == socket.AF_INET
    original, reply = _MATCH_PROTOCOL, 0
    number_ = _PROTOCOLS[match.protocol]
    if match.destination:
        original |= _MATCH_DESTINATION_PORT | (_MATCH_DESTINATION if compares_addresses else 0)
    tuples = _tuple(_TUPLE_ORIGINAL, family, number_, ("", 0), (match.destination, match.port))
    if match.backend:
        reply = _MATCH_PROTOCOL | _MATCH_SOURCE_PORT | (_MATCH_SOURCE if compares_addresses else 0)
        tuples += _tuple(_TUPLE_REPLY, family, number_, (match.backend, match.backend_port), ("", 0))
    filter_ = nested(
        _FILTER,
        attribute(_FILTER_ORIGINAL, struct.pack("=I", original)),
        attribute(_FILTER_REPLY, struct.pack("=I", reply)),
    )
    words = f"{'list' if kind == _GET else 'forget'} {match}"
    return Request(SUBSYSTEM_CONNTRACK, kind, tuples + filter_, words, family=family)


def _tuple(
    kind: int, family: socket.AddressFamily, protocol: int, source: tuple[str, int], destination: tuple[str, int]
) -> bytes:
    addresses = nested(
        _TUPLE_IP,
        attribute(_SOURCE[family], _packed(family, source[0])),
        attribute(_DESTINATION[family], _packed(family, destination[0])),
    )
    ports = nested(
        _TUPLE_PROTOCOL,
        attribute(_PROTOCOL_NUMBER, bytes([protocol])),
        attribute(_SOURCE_PORT, struct.pack("!H", source[1])),
        attribute(_DESTINATION_PORT, struct.pack("!H", destination[1])),
    )
    return nested(kind, addresses, ports)


def _packed(family: socket.AddressFamily, address: str) -> bytes:
    return socket.inet_pton(family, address or ("0.0.0.0" if family == socket.AF_INET else "::"))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _matches(match: Match, flow: Flow) -> bool:
    return (
        flow.protocol == match.protocol
        and (not match.destination or (flow.destination, flow.port) == (match.destination, match.port))
        and (not match.backend or (flow.reply_source, flow.reply_port) == (match.backend, match.backend_port))
    )


def _read(family: socket.AddressFamily, body: bytes) -> Flow | None:
    entry = attributes(body)
    sent, answered = _ends(family, entry[_TUPLE_ORIGINAL]), _ends(family, entry[_TUPLE_REPLY])
    if sent is None or answered is None or (protocol := _NAMES.get(sent.protocol)) is None:
        return None
    identity = nested(_TUPLE_ORIGINAL, entry[_TUPLE_ORIGINAL])
    for kind in (_ID, _ZONE):
        if kind in entry:
            identity += attribute(kind, entry[kind])
    return Flow(
        protocol=protocol,
        source=socket.inet_ntop(family, sent.source),
        source_port=sent.source_port,
        destination=socket.inet_ntop(family, sent.destination),
        port=sent.port,
        reply_source=socket.inet_ntop(family, answered.source),
        reply_port=answered.source_port,
        identity=identity,
    )


class _Ends(NamedTuple):
    source: bytes
    destination: bytes
    protocol: int
    source_port: int
    port: int


# Addresses, protocol and ports as every kernel has written them; attribute headers are skipped.
_LAYOUTS = {
    socket.AF_INET: struct.Struct(">8x4s4x4s8xB7xH6xH2x"),
    socket.AF_INET6: struct.Struct(">8x16s4x16s8xB7xH6xH2x"),
}


def _ends(family: socket.AddressFamily, written: bytes) -> _Ends | None:
    """What a tuple says; None when it has no ports. A hundred thousand of them are read at a start."""
    layout = _LAYOUTS[family]
    if len(written) == layout.size:
        return _Ends(*layout.unpack(written))
    said = attributes(written)
    addresses, ports = attributes(said[_TUPLE_IP]), attributes(said[_TUPLE_PROTOCOL])
    if _DESTINATION_PORT not in ports:
        return None
    return _Ends(
        addresses[_SOURCE[family]],
        addresses[_DESTINATION[family]],
        number(ports[_PROTOCOL_NUMBER]),
        number(ports[_SOURCE_PORT]),
        number(ports[_DESTINATION_PORT]),
    )
