"""Tables of nf_tables as values: chains of rules, sets and maps of elements, and their text as nft lists them."""

from __future__ import annotations

import ipaddress
import sys
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fairway.model.packet import ICMP
from fairway.model.view import FrontendKey
from fairway.modes.nftables.expressions import Expression, Jump, words

TABLE = "fairway"
Family: TypeAlias = Literal["ip", "ip6"]
FAMILIES: tuple[Family, ...] = ("ip", "ip6")
ADDRESS_BYTES: dict[str, int] = {"ip": 4, "ip6": 16}
COMMENT_BYTES = 127
"""nft reads no longer comments, so none are written."""

_FIELD_BYTES = {
    "ip saddr": 4,
    "ip daddr": 4,
    "ip6 saddr": 16,
    "ip6 daddr": 16,
    "meta l4proto": 1,
    "th dport": 2,
    "numgen random mod 65536": 4,
    "meta priority": 4,
}
NUMBER = "numgen random mod 65536"
"""nft's name for a plain number: there is no other expression that prints one in decimal."""
IDENTITY = "meta priority"
"""A backend's identity, which a packet carries from rule to rule in its priority."""
VERDICT_DATA = ("verdict",)


def field_bytes(name: str) -> int:
    """Bytes of a field of a key. KeyError for a field this program does not use."""
    return _FIELD_BYTES[name]


class Set(NamedTuple):
    """A set, or a map when it has data. Field names are nft's; a concatenation pads each field to four bytes."""

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] | None = None
    interval: bool = False
    comment: str = ""
    capacity: int = 0
    """Not 0 for a map that packets themselves fill, with so many elements at most, each for a time."""
    counted: bool = False
    """Whether each element counts the packets that it was found for."""

    @property
    def key_words(self) -> int:
        return sum(words(_FIELD_BYTES.get(name, 4)) for name in self.key)

    def declaration(self) -> list[str]:
        types = " . ".join(self.key)
        if self.data is not None:
            types += f" : {' . '.join(self.data)}"
        found = [f"typeof {types}"]
        if self.capacity:
            found += [f"size {self.capacity}", "flags dynamic,timeout"]
        if self.interval:
            found.append("flags interval")
        if self.counted:
            found.append("counter")
        if self.comment:
            found.append(f'comment "{self.comment}"')
        return found


class Hook(NamedTuple):
    kind: str
    hook: str
    priority: int


_PRIORITIES = {("nat", -100): "dstnat", ("nat", 100): "srcnat", ("filter", 0): "filter"}


class Rule(NamedTuple):
    expressions: tuple[Expression, ...]
    comment: str = ""


class Chain(NamedTuple):
    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None
    drops: bool = False
    """Whether packets that no rule has decided about are dropped: only ever somebody else's doing."""

    def declaration(self) -> list[str]:
        if self.hook is None:
            return []
        kind, hook, number = self.hook
        priority = _PRIORITIES.get((kind, number), str(number))
        if hook == "output" and number == -100:
            priority = "-100"  # nft has no name for this priority in this hook
        return [f"type {kind} hook {hook} priority {priority}; policy {'drop' if self.drops else 'accept'};"]


Data: TypeAlias = "bytes | Jump | None"


class Element(msgspec.Struct, frozen=True, gc=False):
    """One element of a set or map, in the kernel's bytes.

    The key of an interval is its first address and the first one after it, one behind the other; when nothing comes
    after it, the second is missing.
    """

    set: str
    key: bytes
    data: Data = None
    comment: str = ""


class Table(NamedTuple):
    """One family's table as a whole; elements by set and key."""

    family: Family
    chains: dict[str, Chain]
    sets: dict[str, Set]
    elements: dict[str, dict[bytes, Element]]
    name: str = TABLE
    persistent: bool = False
    """Whether it can have an owner, whom it outlives; the kernel lets nobody change this later."""
    dormant: bool = False
    """Whether no packet comes by its chains: only ever somebody else's doing."""

    @property
    def key_words(self) -> dict[str, int]:
        return {one.name: one.key_words for one in self.sets.values()}


PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, ICMP: 1}
_PROTOCOL_NAMES = {6: "tcp", 17: "udp", 132: "sctp"}


_OCTETS = {str(number): bytes((number,)) for number in range(256)}


def address_bytes(text: str) -> bytes:
    """Of a canonical address. This runs once for each backend of a cluster, and most have neighbours."""
    if ":" in text:
        return ipaddress.IPv6Address(text).packed
    network, _, host = text.rpartition(".")
    return _network_bytes(network) + _OCTETS[host]


@lru_cache(maxsize=65536)
def _network_bytes(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def frontend_bytes(key: FrontendKey) -> bytes:
    """``address . protocol . port``, each field padded to four bytes."""
    protocol = PROTOCOL_NUMBERS[key.protocol]
    return address_bytes(key.address) + bytes((protocol, 0, 0, 0, key.port >> 8, key.port & 255, 0, 0))


def backend_bytes(address: str, port: int) -> bytes:
    """``address . port``, each field padded to four bytes."""
    return address_bytes(address) + _port_bytes(port)


@lru_cache(maxsize=4096)
def _port_bytes(port: int) -> bytes:
    return bytes((port >> 8, port & 255, 0, 0))


def read_frontend(data: bytes) -> FrontendKey | None:
    """The frontend that a key starts with, or None when it does not start with one."""
    size = len(data) - 8
    if size not in ADDRESS_BYTES.values():
        return None
    protocol = _PROTOCOL_NAMES.get(data[size], "").upper()
    return FrontendKey(read_address(data[:size]), protocol, int.from_bytes(data[size + 4 : size + 6], "big"))


def read_address(data: bytes) -> str:
    return str(ipaddress.ip_address(data))


def read_backend(data: bytes) -> tuple[str, int]:
    """Address and port."""
    return read_address(data[:-4]), int.from_bytes(data[-4:-2], "big")


def family_of_key(key: FrontendKey) -> Family:
    return "ip6" if ":" in key.address else "ip"


def printed(fields: tuple[str, ...], data: bytes) -> str:
    """The bytes of a key or of data in nft's words."""
    found, position = [], 0
    for name in fields:
        size = _FIELD_BYTES.get(name, 4)
        found.append(_printed_field(name, data[position : position + size]))
        position += words(size) * 4
    return " . ".join(found)


def _printed_field(name: str, data: bytes) -> str:
    if name == NUMBER:
        return str(int.from_bytes(data, sys.byteorder))
    if name == IDENTITY:
        number = int.from_bytes(data, sys.byteorder)
        return f"{number >> 16:x}:{number & 0xFFFF:x}"
    if name == "meta l4proto":
        return _PROTOCOL_NAMES.get(data[0], str(data[0]))
    if name == "th dport":
        return str(int.from_bytes(data, "big"))
    return str(ipaddress.ip_address(data)) if len(data) in (4, 16) else data.hex()


def printed_element(declared: Set, element: Element) -> str:
    """One element as nft lists it."""
    key = _printed_key(declared, element.key)
    comment = f' comment "{element.comment}"' if element.comment else ""
    if element.data is None:
        return f"{key}{comment}"
    data = element.data if isinstance(element.data, Jump) else printed(declared.data or (), element.data)
    return f"{key}{comment} : {data}"


def _printed_key(declared: Set, key: bytes) -> str:
    if declared.interval:
        size = field_bytes(declared.key[0])
        after = int.from_bytes(key[size:], "big") if len(key) > size else 1 << size * 8
        return _interval(int.from_bytes(key[:size], "big"), after, size)
    return printed(declared.key, key)


def _interval(first: int, after: int, size: int) -> str:
    make = ipaddress.IPv6Address if size == 16 else ipaddress.IPv4Address
    networks = list(ipaddress.summarize_address_range(make(first), make(after - 1)))
    return str(networks[0]) if len(networks) == 1 else f"{make(first)}-{make(after - 1)}"
