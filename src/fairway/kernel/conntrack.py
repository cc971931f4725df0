"""The kernel's connection-tracking table: find flows, forget flows. Nothing here decides which.

CTA_TUPLE_ORIG   client ──▶ destination:port             as the client sent it
CTA_TUPLE_REPLY  backend:port ──▶ client                 as the answer comes, so its source is who answers
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from fairway.kernel.nfnetlink import (
    SUBSYSTEM_CONNTRACK,
    Interrupted,
    KernelRefused,
    Netfilter,
    Request,
    attribute,
    attributes,
    nested,
    number,
)

_GET, _DELETE = 1, 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_PROTOCOL_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_MATCH_DESTINATION, _MATCH_PROTOCOL, _MATCH_DESTINATION_PORT = 2, 8, 32

_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_SOURCE = {socket.AF_INET: 1, socket.AF_INET6: 3}
_DESTINATION = {socket.AF_INET: 2, socket.AF_INET6: 4}
_ATTEMPTS = 5


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

    _netlink: Netfilter = field(default_factory=Netfilter)

    def __enter__(self) -> Conntrack:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    def flows(self, protocol: str, destination: str = "", port: int = 0) -> list[Flow]:
        """The flows of a protocol, all of them or those to one destination and port.

        Raises `Interrupted` when the kernel could not give a whole list in several attempts.
        """
        families = [socket.AF_INET6 if ":" in destination else socket.AF_INET] if destination else list(_SOURCE)
        return [flow for family in families for flow in self._list(family, protocol, destination, port)]

    def delete(self, flows: Iterable[Flow]) -> int:
        """Forget these entries; returns how many were still there."""
        count = 0
        for flow in flows:
            family = socket.AF_INET6 if ":" in flow.destination else socket.AF_INET
            words = f"delete {flow.protocol} flow {flow.source} to {flow.destination} port {flow.port}"
            try:
                self._netlink.request(Request(SUBSYSTEM_CONNTRACK, _DELETE, flow.identity, words, family=family))
            except KernelRefused as refused:
                if refused.code != errno.ENOENT:
                    raise
            else:
                count += 1
        return count

    def _list(self, family: socket.AddressFamily, protocol: str, destination: str, port: int) -> Iterator[Flow]:
        asked = _question(family, protocol, destination, port)
        for attempt in range(_ATTEMPTS):
            try:
                replies = self._netlink.dump(asked)
                break
            except Interrupted:
                if attempt == _ATTEMPTS - 1:
                    raise
        for reply in replies:
            flow = _read(family, reply.body)
            # Kernels before 5.8 do not know the filter and say everything.
            if (
                flow is not None
                and flow.protocol == protocol
                and (not destination or (flow.destination, flow.port) == (destination, port))
            ):
                yield flow


def _question(family: socket.AddressFamily, protocol: str, destination: str, port: int) -> Request:
    match = _MATCH_PROTOCOL
    where = b""
    which = attribute(_PROTOCOL_NUMBER, bytes([_PROTOCOLS[protocol]]))
    if destination:
        match |= _MATCH_DESTINATION_PORT
        # The kernel reads both addresses and both ports, and then compares those that the filter names. Of IPv6
        # addresses it takes those that differ (still so in 6.18), so these are compared here.
        if family == socket.AF_INET:
            match |= _MATCH_DESTINATION
            packed = socket.inet_pton(family, destination)
            where = nested(_TUPLE_IP, attribute(_SOURCE[family], bytes(4)), attribute(_DESTINATION[family], packed))
        which += attribute(_SOURCE_PORT, bytes(2)) + attribute(_DESTINATION_PORT, struct.pack("!H", port))
    body = nested(_TUPLE_ORIGINAL, where, nested(_TUPLE_PROTOCOL, which)) + nested(
        _FILTER,
        attribute(_FILTER_ORIGINAL, struct.pack("=I", match)),
        attribute(_FILTER_REPLY, struct.pack("=I", 0)),
    )
    words = f"list {protocol} flows" + (f" to {destination} port {port}" if destination else "")
    return Request(SUBSYSTEM_CONNTRACK, _GET, body, words, family=family)


def _read(family: socket.AddressFamily, body: bytes) -> Flow | None:
    entry = attributes(body)
    original, reply = attributes(entry[_TUPLE_ORIGINAL]), attributes(entry[_TUPLE_REPLY])
    sent, answered = attributes(original[_TUPLE_PROTOCOL]), attributes(reply[_TUPLE_PROTOCOL])
    protocol = next((name for name, value in _PROTOCOLS.items() if value == number(sent[_PROTOCOL_NUMBER])), None)
    if protocol is None:
        return None
    addresses, answering = attributes(original[_TUPLE_IP]), attributes(reply[_TUPLE_IP])
    identity = nested(_TUPLE_ORIGINAL, entry[_TUPLE_ORIGINAL])
    for kind in (_ID, _ZONE):
        if kind in entry:
            identity += attribute(kind, entry[kind])
    return Flow(
        protocol=protocol,
        source=socket.inet_ntop(family, addresses[_SOURCE[family]]),
        source_port=number(sent[_SOURCE_PORT]),
        destination=socket.inet_ntop(family, addresses[_DESTINATION[family]]),
        port=number(sent[_DESTINATION_PORT]),
        reply_source=socket.inet_ntop(family, answering[_SOURCE[family]]),
        reply_port=number(answered[_SOURCE_PORT]),
        identity=identity,
    )
