"""The kernel's own vocabulary: what a rule is made of, as typed values, and how it reads in nft's words.

A rule is a list of expressions that load into, compare and look up registers. Registers are numbered in words of
four bytes, 0 to 15; `VERDICT` stands for the verdict of the rule. The same values are compiled, encoded, read back,
compared, evaluated and printed, so none of these can disagree about what a rule says.

    ip daddr . meta l4proto . th dport map @frontends
    Payload(→0)  Meta(→1)  Payload(→2)  Lookup(0→0)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

VERDICT = -1
DROP, ACCEPT, JUMP, GOTO, RETURN = 0, 1, -3, -4, -5
_VERDICTS = {DROP: "drop", ACCEPT: "accept", RETURN: "return", JUMP: "jump", GOTO: "goto"}

NETWORK, TRANSPORT = 1, 2
TCP = 6
ICMP = {"ip": 1, "ip6": 58}
ECHO_REQUEST = {"ip": 8, "ip6": 128}
META_PRIORITY, META_IIF, META_IIFNAME, META_L4PROTO = 2, 4, 6, 16
INTERFACE_BYTES = 16
"""How long the kernel's names of interfaces are, with zeros behind them."""
CT_STATUS, CT_PROTO_DST, CT_DST_IP, CT_DST_IP6 = 2, 12, 20, 22
STATUS_DNAT = 1 << 5
"""IPS_DST_NAT: the connection's destination was rewritten."""
FULLY_RANDOM = 1 << 4
PORT_UNREACHABLE = {"ip": 3, "ip6": 4}
"""The code of ICMP's and of ICMPv6's "port unreachable"."""


class Payload(NamedTuple):
    base: int
    offset: int
    length: int
    into: int


class Meta(NamedTuple):
    key: int
    into: int


class Constant(NamedTuple):
    value: bytes
    into: int


class SetMeta(NamedTuple):
    key: int
    source: int


class Conntrack(NamedTuple):
    key: int
    into: int
    original: bool = False


class Bitwise(NamedTuple):
    source: int
    into: int
    mask: bytes
    xor: bytes


class Compare(NamedTuple):
    source: int
    value: bytes
    equal: bool = True


class Lookup(NamedTuple):
    """``into`` None: whether the key is in the set (``invert``: is not). Otherwise: load what the map has for it."""

    set: str
    source: int
    into: int | None = None
    invert: bool = False


class Jump(NamedTuple):
    """A verdict, in a rule or as the data of a map's element."""

    code: int
    chain: str = ""

    def __str__(self) -> str:
        return f"{_VERDICTS.get(self.code, self.code)} {self.chain}".rstrip()


class Verdict(NamedTuple):
    jump: Jump


class Random(NamedTuple):
    """A new random number for each packet: ``offset`` ≤ number < ``offset + modulus``."""

    modulus: int
    offset: int
    into: int


class Hash(NamedTuple):
    """jhash of ``length`` bytes, scaled to: ``offset`` ≤ number < ``offset + modulus``."""

    source: int
    length: int
    modulus: int
    seed: int
    offset: int
    into: int


class Rewrite(NamedTuple):
    """Destination NAT to the address and port in two registers, or with ``port`` None to the address alone."""

    address: int
    port: int | None


class Remember(NamedTuple):
    """A packet changes an element of a map itself: refreshes it (made if it is missing), or deletes it.

    The key begins in register ``key``, its data in register ``data``; ``seconds`` is how long an element lasts unused.
    """

    set: str
    key: int
    data: int
    seconds: int = 0
    delete: bool = False


class Masquerade(NamedTuple):
    flags: int = 0


class Reject(NamedTuple):
    """Answer that nobody is there: with a TCP reset when ``code`` is None, else with that code of ICMP."""

    code: int | None


class Unknown(NamedTuple):
    """Something in a rule that somebody else wrote: kept, so that it differs from all we want."""

    name: str
    data: bytes


Expression: TypeAlias = (
    Payload
    | Meta
    | Constant
    | SetMeta
    | Conntrack
    | Bitwise
    | Compare
    | Lookup
    | Verdict
    | Random
    | Hash
    | Rewrite
    | Remember
    | Masquerade
    | Reject
    | Unknown
)


def words(length: int) -> int:
    """Registers that a value of so many bytes takes."""
    return (length + 3) // 4


_PAYLOADS = {
    (NETWORK, 16, 4): "ip daddr",
    (NETWORK, 12, 4): "ip saddr",
    (NETWORK, 24, 16): "ip6 daddr",
    (NETWORK, 8, 16): "ip6 saddr",
    (TRANSPORT, 0, 1): "icmp type",
    (TRANSPORT, 2, 2): "th dport",
    (NETWORK, 16, 1): "ip daddr",  # nft's way to match a network of whole bytes
}
_META = {META_L4PROTO: "meta l4proto", META_IIF: "iif", META_IIFNAME: "iifname", META_PRIORITY: "meta priority"}
_CONNTRACK = {
    (CT_STATUS, False): "ct status",
    (CT_DST_IP, True): "ct original ip daddr",
    (CT_DST_IP6, True): "ct original ip6 daddr",
    (CT_PROTO_DST, True): "ct original proto-dst",
}
_PROTOCOLS = {1: "icmp", TCP: "tcp", 58: "ipv6-icmp"}
_CT_WORDS = {CT_DST_IP6: 4}


class _Listing:
    """Reads a rule back as nft does: by keeping track of the text of what each register holds."""

    def __init__(self, key_words: Mapping[str, int]) -> None:
        self.key_words = key_words
        self.registers: dict[int, tuple[str, int]] = {}
        self.constants: dict[int, bytes] = {}
        self.said: list[str] = []

    def load(self, into: int, text: str, size: int) -> None:
        self.registers[into] = (text, size)

    def at(self, source: int, size: int = 1) -> str:
        parts, end = [], source + size
        while source < end:
            text, taken = self.registers.get(source, ("?", 1))
            parts.append(text)
            source += taken
        return " . ".join(parts)

    def read(self, one: Expression) -> None:
        match one:
            case Payload(base, offset, length, into):
                name = _PAYLOADS.get((base, offset, length), f"@{base},{offset * 8},{length * 8}")
                self.load(into, name, words(length))
            case Meta(key, into):
                self.load(into, _META.get(key, f"meta {key}"), 1)
            case Conntrack(key, into, original):
                self.load(into, _CONNTRACK.get((key, original), f"ct {key}"), _CT_WORDS.get(key, 1))
            case Constant(value, into):
                self.load(into, "none" if not any(value) else _value(value), words(len(value)))
                self.constants[into] = value
            case Random(modulus, offset, into):
                start = f" offset {offset}" if offset else ""
                self.load(into, f"numgen random mod {modulus}{start}", 1)
            case Hash(source, length, modulus, seed, offset, into):
                start = f" offset {offset}" if offset else ""
                said = f"jhash {self.at(source, words(length))} mod {modulus} seed 0x{seed:x}{start}"
                self.load(into, said, 1)
            case Bitwise(source, into, mask, xor):
                self.load(into, _bits(self.at(source), mask, xor), words(len(mask)))
            case Lookup():
                self.look_up(one)
            case _:
                self.said.append(self.statement(one))

    def look_up(self, one: Lookup) -> None:
        key = self.at(one.source, self.key_words.get(one.set, 1))
        if one.into is None:
            self.said.append(f"{key} {'!= ' if one.invert else ''}@{one.set}")
        elif one.into == VERDICT:
            self.said.append(f"{key} vmap @{one.set}")
        else:
            self.load(one.into, f"{key} map @{one.set}", 1)

    def statement(self, one: Expression) -> str:
        match one:
            case SetMeta(key, source):
                return f"{_META.get(key, f'meta {key}')} set {self.at(source)}"
            case Compare(source, value, equal):
                return self.comparison(source, value, equal)
            case Verdict(jump):
                return str(jump)
            case Rewrite(address, None):
                return f"dnat to {ipaddress.ip_address(self.constants[address])}"
            case Rewrite(address, _):
                target = self.at(address)
                return f"dnat {'ip6' if target.startswith('ip6') else 'ip'} to {target}"
            case Remember():
                return self.remembering(one)
            case Masquerade(flags):
                return "masquerade fully-random" if flags & FULLY_RANDOM else "masquerade"
            case Reject(code):
                return self.refusal(code)
            case Unknown(name, data):
                return f"({name} {data.hex()})"
        raise AssertionError(f"not a statement: {one}")

    def refusal(self, code: int | None) -> str:
        if code is not None:
            return "reject"
        if self.said[-1:] == ["meta l4proto tcp"]:
            self.said.pop()  # a reset says it already
        return "reject with tcp reset"

    def remembering(self, one: Remember) -> str:
        key = self.at(one.key, self.key_words.get(one.set, 1))
        timeout = f" timeout {duration(one.seconds)}" if one.seconds else ""
        return f"{'delete' if one.delete else 'update'} @{one.set} {{ {key}{timeout} : {self.at(one.data)} }}"

    def comparison(self, source: int, value: bytes, equal: bool) -> str:
        text = self.at(source)
        if text == f"ct status & {_value(STATUS_DNAT.to_bytes(4, 'little'))}" and not any(value):
            return "ct status ! dnat" if equal else "ct status dnat"
        shown = f"{text} {'' if equal else '!= '}"
        if text == "meta l4proto" and value[0] in _PROTOCOLS:
            return f"{shown}{_PROTOCOLS[value[0]]}"
        if text == "icmp type":
            self.said.pop()  # the protocol: that it is said here, too
            return "icmpv6 type echo-request" if value[0] == ECHO_REQUEST["ip6"] else f"{shown}echo-request"
        if text == "iifname":
            return shown + interface_words(value)
        if text == "ip daddr" and len(value) == 1:
            return f"{shown}{value[0]}.0.0.0/8"
        return f"{shown}{int.from_bytes(value, 'little')}"


def duration(seconds: int) -> str:
    """As nft writes it: ``1d2h3m4s`` without the parts that are zero."""
    found = ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        found += f"{count}{unit}" if count else ""
    return found


def interface_bytes(name: str) -> bytes:
    """What an interface's name is compared with; one that ends in ``*`` is compared as far as that."""
    return name[:-1].encode() if name.endswith("*") else name.encode().ljust(INTERFACE_BYTES, b"\0")


def interface_words(value: bytes) -> str:
    name = value.rstrip(b"\0").decode(errors="replace")
    return f'"{name}"' if len(value) == INTERFACE_BYTES else f'"{name}*"'


def _bits(text: str, mask: bytes, xor: bytes) -> str:
    """What is left of a value by a mask, or with all bits set that are not in it."""
    shown = xor if any(xor) else mask
    value = _as_c_prints(shown) if text.endswith("addr") else _value(shown)
    return f"{text} {'|' if any(xor) else '&'} {value}"


def _as_c_prints(mask: bytes) -> str:
    """A mask as nft has it from the C library, which sees an IPv4 address in the end of some: ``::0.15.255.255``."""
    before, mapped, last = mask[:-6], mask[-6:-4], mask[-4:]
    if before and not any(before) and (mapped == b"\xff\xff" or (not any(mapped) and any(last[:2]))):
        return f"::{'ffff:' if any(mapped) else ''}{ipaddress.IPv4Address(last)}"
    return str(ipaddress.ip_address(mask))


def _value(data: bytes) -> str:
    if not any(data):
        return "::" if len(data) == 16 else "0.0.0.0"
    return f"0x{data.hex()}"


def listing(expressions: tuple[Expression, ...], key_words: Mapping[str, int]) -> str:
    """A rule in nft's words. ``key_words`` has the number of registers that the key of each set takes."""
    reader = _Listing(key_words)
    for one in expressions:
        reader.read(one)
    return " ".join(reader.said)
