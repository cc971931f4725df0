"""ipsets over netlink: made, filled, listed and destroyed, without the ipset program.

IPSET_CMD_ADD │ protocol │ set's name │ DATA { IP { IPv4 }, PROTO, PORT, IP2 { IPv4 }, CIDR2 }
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType

from fairway.kernel.attributes import attribute, attributes, each_attribute, nested, string, text
from fairway.kernel.nfnetlink import KernelRefused, Netfilter, Refusal, Request
from fairway.modes.ipvs.parts import Entry, IpSet, entry_words

_SUBSYSTEM = 6
_CREATE, _DESTROY, _LIST, _ADD, _DEL = 2, 3, 7, 9, 10
_PROTOCOL, _NAME, _TYPE, _REVISION, _FAMILY, _FLAGS, _DATA, _ENTRIES = 1, 2, 3, 4, 5, 6, 7, 8
_IP, _CIDR, _PORT, _PORT_TO, _PROTO, _CREATE_FLAGS, _MOST, _IP2, _CIDR2, _MARK = 1, 3, 4, 5, 7, 8, 19, 20, 21, 27
_WITH_MARKS = 1 << 6
_NET_ORDER = 0x4000
_ONLY_NAMES, _ONLY_HEADERS, _ELEMENTS = 2, 4, 24
_VERSION = 6
_REVISIONS = {"hash:ip": 4, "hash:ip,port": 5, "hash:ip,port,ip": 5, "hash:ip,port,net": 7, "bitmap:port": 3}
"""Those that brought marks, in Linux 3.18: the program ipset cannot show sets of older ones, and stops at the first."""
_MOST_ENTRIES = 1 << 20
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
# IPSET_ERR_… of linux/netfilter/ipset/ip_set.h
_ERRORS = {
    4097: "the kernel speaks another version of ipset's protocol",
    4098: "the kernel knows no set of that type: it needs the modules ip_set_hash_ip, ip_set_hash_ipport, "
    "ip_set_hash_ipportip, ip_set_hash_ipportnet and ip_set_bitmap_port",
    4099: "there are as many sets as there can be",
    4100: "a rule still asks the set",
    4101: "a set of that name is there, and of another type",
    4103: "it is there, or is not there, already",
    4112: "the set is full",
}


class Ipset:
    """ipsets in the caller's network namespace. Raises `KernelRefused`, and `OSError` without netlink."""

    def __init__(self) -> None:
        self._netlink = Netfilter()

    def __enter__(self) -> Ipset:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    def create(self, declared: IpSet) -> None:
        details = b""
        if declared.kind == "bitmap:port":
            details = _net(_PORT, 0, 2) + _net(_PORT_TO, 0xFFFF, 2)
        else:
            details = _net(_MOST, _MOST_ENTRIES, 4)
        if declared.marks:
            details += _net(_CREATE_FLAGS, _WITH_MARKS, 4)
        family = socket.AF_INET6 if declared.family == "ip6" else socket.AF_INET
        family = socket.AF_UNSPEC if declared.kind == "bitmap:port" else family
        body = b"".join(
            (
                _head(declared.name),
                text(_TYPE, declared.kind),
                attribute(_REVISION, bytes((_REVISIONS[declared.kind],))),
                attribute(_FAMILY, bytes((family,))),
                nested(_DATA, details),
            )
        )
        self.each([Request(_SUBSYSTEM, _CREATE, body, f"ipset {declared.words}", family=family)])

    def destroy(self, name: str) -> None:
        self.each([Request(_SUBSYSTEM, _DESTROY, _head(name), f"ipset destroy {name}")])

    def each(self, requests: Sequence[Request]) -> None:
        """Send what `add` and `remove` made."""
        if refused := self._netlink.each(requests):
            raise KernelRefused([_explained(one) for one in refused])

    def sets(self, known: Iterable[IpSet]) -> dict[IpSet, dict[Entry, int | None]]:
        """Those of the known sets that are there, and are of their type, with their entries and the entries' marks."""
        there = set(self._names())
        found = ((one, self._listed(one)) for one in known if one.name in there)
        return {one: entries for one, entries in found if entries is not None}

    def sizes(self) -> dict[str, int]:
        """How many entries each set has, whosever it is, without a look at them."""
        body = attribute(_PROTOCOL, bytes((_VERSION,))) + _net(_FLAGS, _ONLY_HEADERS, 4)
        replies = self._netlink.dump(Request(_SUBSYSTEM, _LIST, body, "ipset list -terse"))
        found = (attributes(one.body) for one in replies)
        return {string(one[_NAME]): int.from_bytes(attributes(one[_DATA])[_ELEMENTS], "big") for one in found}

    def _names(self) -> Iterator[str]:
        body = attribute(_PROTOCOL, bytes((_VERSION,))) + _net(_FLAGS, _ONLY_NAMES, 4)
        for reply in self._netlink.dump(Request(_SUBSYSTEM, _LIST, body, "ipset list -name")):
            yield string(attributes(reply.body)[_NAME])

    def _listed(self, declared: IpSet) -> dict[Entry, int | None] | None:
        """The entries; None when the set is of another type."""
        entries: dict[Entry, int | None] = {}
        for reply in self._netlink.dump(
            Request(_SUBSYSTEM, _LIST, _head(declared.name), f"ipset list {declared.name}")
        ):
            found = attributes(reply.body)
            if _TYPE in found and string(found[_TYPE]) != declared.kind:
                return None
            for _, data in each_attribute(found.get(_ENTRIES, b"")):
                there = attributes(data)
                mark = int.from_bytes(there[_MARK][:4], "big") if _MARK in there else None
                entries[Entry(declared.name, _printed(there))] = mark
        return entries


def add(entry: Entry, mark: int | None = None) -> Request:
    """An entry that is there gets the mark; without one it stays as it is."""
    body = _head(entry.set) + _packed(entry.text, mark)
    return Request(_SUBSYSTEM, _ADD, body, f"ipset add {entry_words(entry, mark)}")


def remove(entry: Entry) -> Request:
    return Request(_SUBSYSTEM, _DEL, _head(entry.set) + _packed(entry.text), f"ipset del {entry.set} {entry.text}")


def _packed(entry: str, mark: int | None = None) -> bytes:
    """``8080``; ``10.0.0.1``; ``10.0.0.1,tcp:80``; ``…,10.0.0.2``; ``…,10.0.0.0/24``."""
    parts = entry.split(",")
    if parts[0].isdigit():
        return nested(_DATA, _net(_PORT, int(parts[0]), 2))
    found = [_ip(_IP, parts[0])]
    if len(parts) > 1:
        protocol, _, port = parts[1].partition(":")
        found += [_net(_PORT, int(port), 2), attribute(_PROTO, bytes((_PROTOCOLS[protocol],)))]
    if len(parts) > 2:
        address, _, length = parts[2].partition("/")
        found.append(_ip(_IP2, address))
        if length:
            found.append(attribute(_CIDR2, bytes((int(length),))))
    if mark is not None:
        found.append(_net(_MARK, mark << 32 | 0xFFFFFFFF, 8))
    return nested(_DATA, *found)


def _printed(found: dict[int, bytes]) -> str:
    if _IP not in found:
        return str(int.from_bytes(found[_PORT], "big"))
    parts = [_address(found[_IP])]
    if _PORT in found:
        number = found[_PROTO][0]
        parts.append(f"{_NAMES.get(number, str(number))}:{int.from_bytes(found[_PORT], 'big')}")
    if _IP2 in found:
        address = _address(found[_IP2])
        length = found[_CIDR2][0] if _CIDR2 in found else 0
        parts.append(address if length in (0, 128 if ":" in address else 32) else f"{address}/{length}")
    return ",".join(parts)


def _address(data: bytes) -> str:
    return str(ipaddress.ip_address(next(iter(attributes(data).values()))))


def _ip(kind: int, address: str) -> bytes:
    parsed = ipaddress.ip_address(address)
    return nested(kind, attribute((1 if parsed.version == 4 else 2) | _NET_ORDER, parsed.packed))


def _net(kind: int, value: int, size: int) -> bytes:
    return attribute(kind | _NET_ORDER, value.to_bytes(size, "big"))


def _head(name: str) -> bytes:
    return attribute(_PROTOCOL, bytes((_VERSION,))) + text(_NAME, name)


def _explained(refusal: Refusal) -> Refusal:
    known = _ERRORS.get(refusal.code, refusal.detail or os.strerror(refusal.code))
    return replace(refusal, detail=known) if refusal.code >= 4096 else refusal
