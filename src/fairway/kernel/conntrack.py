"""The kernel's memory of connections, as far as Services need it: find and forget flows.

A frontend's rules see only the first packet of a flow; the rest is conntrack's. When a backend goes away, what
conntrack remembers must go too, or a UDP client keeps sending to an address that nobody has any more.

    client ──▶ 10.96.0.10:53   original destination: the frontend
    client ◀── 10.244.1.4:53   reply source: the backend (or the frontend itself, when nothing was rewritten)
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from fairway.kernel.nfnetlink import (
    SUBSYSTEM_CONNTRACK,
    KernelRefused,
    Netfilter,
    Request,
    attribute,
    attributes,
    nested,
    number,
)
from fairway.model.address import ANY, family_of
from fairway.model.view import FrontendKey
from fairway.modes.nftables.tables import PROTOCOL_NUMBERS, address_bytes, read_address

_GET, _DELETE = 1, 2
_ORIGINAL, _REPLY, _FILTER = 1, 2, 25
_IP, _PROTOCOL = 1, 2
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_NFPROTO = {"IPv4": 2, "IPv6": 10}
_SOURCE = {"IPv4": 1, "IPv6": 3}
_DESTINATION = {"IPv4": 2, "IPv6": 4}
# bits of CTA_FILTER: which fields of a tuple must match
_MATCH_SOURCE, _MATCH_DESTINATION, _MATCH_PROTOCOL, _MATCH_SOURCE_PORT, _MATCH_DESTINATION_PORT = 1, 2, 8, 16, 32
_PROTOCOL_NAMES = {value: name for name, value in PROTOCOL_NUMBERS.items()}


class End(NamedTuple):
    address: str
    port: int


class Flow(NamedTuple):
    """One remembered connection: who asked whom, and who answers."""

    protocol: str
    client: End
    frontend: End
    answers: End
    answered: End

    @property
    def rewritten(self) -> bool:
        return self.frontend != self.answers


@dataclass(slots=True)
class Conntrack:
    """Conntrack of this thread's network namespace. Close it, or use it in a `with`."""

    _netlink: Netfilter = field(default_factory=Netfilter)
    _can_flush: bool = True
    """Whether this kernel forgets by filter in one request (6.8 and later); learned when first refused."""

    def __enter__(self) -> Conntrack:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    def flows(self, frontend: FrontendKey, backend: End | None = None) -> list[Flow]:
        """Flows to a frontend, all or those that a backend answers. The kernel picks them; others are not copied.

        A node port's key (any address) finds flows to that port of every address.
        """
        request = _request(_GET, frontend, backend, "list flows")
        found = (_read(reply.body) for reply in self._netlink.dump(request))
        return [flow for flow in found if flow is not None]

    def forget(self, frontend: FrontendKey, backend: End) -> None:
        """Forget the flows to a frontend that a backend answers: the next packet of each is a first packet again.

        For flows that began before the frontend had rules and so were never rewritten, the backend is the frontend's
        own address and port.
        """
        if self._can_flush:
            try:
                self._netlink.request(_request(_DELETE, frontend, backend, "forget flows"))
                return
            except KernelRefused as refused:
                # before 6.8 a filter is not for deleting: the request is taken for one about a single flow
                if refused.code not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                self._can_flush = False
        self.delete(self.flows(frontend, backend))

    def delete(self, flows: Iterable[Flow]) -> int:
        """Forget these flows one by one; how many were still there."""
        forgotten = 0
        for flow in flows:
            try:
                self._netlink.request(_delete_one(flow))
                forgotten += 1
            except KernelRefused as refused:
                if refused.code != errno.ENOENT:  # it ended by itself meanwhile
                    raise
        return forgotten


def _request(kind: int, frontend: FrontendKey, backend: End | None, does: str) -> Request:
    family = family_of(frontend.address)
    protocol = attribute(_NUMBER, bytes((PROTOCOL_NUMBERS[frontend.protocol],)))
    port = attribute(_DESTINATION_PORT, frontend.port.to_bytes(2, "big"))
    original = [nested(_PROTOCOL, protocol, port)]
    original_match = _MATCH_PROTOCOL | _MATCH_DESTINATION_PORT
    if frontend.address != ANY[family]:
        original.insert(0, nested(_IP, attribute(_DESTINATION[family], address_bytes(frontend.address))))
        original_match |= _MATCH_DESTINATION
    parts = [nested(_ORIGINAL, *original)]
    reply_match = 0
    if backend is not None:
        address = nested(_IP, attribute(_SOURCE[family], address_bytes(backend.address)))
        source_port = attribute(_SOURCE_PORT, backend.port.to_bytes(2, "big"))
        parts.append(nested(_REPLY, address, nested(_PROTOCOL, protocol, source_port)))
        reply_match = _MATCH_SOURCE | _MATCH_PROTOCOL | _MATCH_SOURCE_PORT
    parts.append(nested(_FILTER, _host32(1, original_match), _host32(2, reply_match)))
    answered = f" answered by {backend.address}:{backend.port}" if backend else ""
    says = f"{does} to {frontend}{answered}"
    return Request(SUBSYSTEM_CONNTRACK, kind, b"".join(parts), says, 0, _NFPROTO[family])


def _delete_one(flow: Flow) -> Request:
    family = family_of(flow.client.address)
    addresses = nested(
        _IP,
        attribute(_SOURCE[family], address_bytes(flow.client.address)),
        attribute(_DESTINATION[family], address_bytes(flow.frontend.address)),
    )
    ports = nested(
        _PROTOCOL,
        attribute(_NUMBER, bytes((PROTOCOL_NUMBERS[flow.protocol],))),
        attribute(_SOURCE_PORT, flow.client.port.to_bytes(2, "big")),
        attribute(_DESTINATION_PORT, flow.frontend.port.to_bytes(2, "big")),
    )
    says = f"forget the flow from {flow.client.address}:{flow.client.port}"
    return Request(SUBSYSTEM_CONNTRACK, _DELETE, nested(_ORIGINAL, addresses, ports), says, 0, _NFPROTO[family])


def _read(body: bytes) -> Flow | None:
    """The flow in a message; None for a protocol without ports."""
    at = attributes(body)
    original, reply = _read_tuple(at[_ORIGINAL]), _read_tuple(at[_REPLY])
    if original is None or reply is None:
        return None
    protocol, client, frontend = original
    return Flow(protocol, client, frontend, reply[1], reply[2])


def _read_tuple(data: bytes) -> tuple[str, End, End] | None:
    at = attributes(data)
    addresses, ports = attributes(at[_IP]), attributes(at[_PROTOCOL])
    protocol = _PROTOCOL_NAMES.get(number(ports[_NUMBER]))
    if protocol is None:
        return None
    source = addresses.get(1) or addresses[3]
    destination = addresses.get(2) or addresses[4]
    return (
        protocol,
        End(read_address(source), number(ports[_SOURCE_PORT])),
        End(read_address(destination), number(ports[_DESTINATION_PORT])),
    )


def _host32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))
