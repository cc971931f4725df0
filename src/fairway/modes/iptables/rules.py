"""Rules in the words of `iptables-save`, and what they mean.

A rule is its canonical text, without ``-A CHAIN``: what is written is what is read back, and two rules are the same
rule when their texts are. `parse` gives it the form that `evaluate` asks.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from fairway.modes.xtables import BITS, Family, split

COMMENT_BYTES = 255
"""What the kernel keeps of a comment, without the byte that ends it."""
_KEPT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./:>[];=,")
_MASK = {"ip": "255.255.255.255", "ip6": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
_SCALE = 1 << 31

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def comment(text: str) -> str:
    """The match that only says something. What could end the text or the rule is left out."""
    return f'-m comment --comment "{"".join(one for one in text if one in _KEPT)[:COMMENT_BYTES]}"'


def host(address: str, family: Family) -> str:
    return f"{address}/{BITS[family]}"


def probability(weight: int, rest: int) -> str:
    """As the kernel keeps what kube-proxy writes with ten decimals: in steps of one 2³¹th."""
    return f"{round(float(f'{weight / rest:.10f}') * _SCALE) / _SCALE:.11f}"


def recent(family: Family, name: str) -> str:
    return f"--name {name} --mask {_MASK[family]} --rsource"


@dataclass(slots=True)
class Parsed:
    """What a rule asks of a packet, and what it does. None asks nothing; ``not_`` turns a question round."""

    source: Network | None = None
    not_source: bool = False
    destination: Network | None = None
    not_destination: bool = False
    interface: str = ""
    not_interface: bool = False
    protocol: str = ""
    ports: tuple[int, int] | None = None
    states: frozenset[str] = frozenset()
    not_states: bool = False
    source_is_local: bool = False
    destination_is_local: bool = False
    mark: int = 0
    not_mark: bool = False
    random: bool = False
    remembers: bool = False
    target: str = ""
    goes: bool = False
    to: str = ""
    mark_bits: tuple[int, int] | None = None
    unknown: str = ""


@lru_cache(maxsize=16384)
def parse(text: str) -> Parsed:
    """What a rule of ours means; what it holds that this program never writes is named in ``unknown``."""
    found, words, negated = Parsed(), iter(split(text)), False
    for word in words:
        if word == "!":
            negated = True
            continue
        if word in _NO_VALUE:
            continue
        if word == "--rcheck":
            found.remembers = True
            continue
        value = next(words, "")
        if word in _IGNORED:
            continue
        _set(found, word, value, negated)
        negated = False
    return found


_NO_VALUE = frozenset(("--reap", "--rsource", "--random-fully", "--set"))
_IGNORED = frozenset(
    (
        "-m",
        "--comment",
        "--mode",
        "--mask",
        "--seconds",
        "--reject-with",
        "--nfacct-name",
        "--name",
        "--icmp-type",
        "--icmpv6-type",
    )
)


def _set(found: Parsed, word: str, value: str, negated: bool) -> None:
    match word:
        case "-s":
            found.source, found.not_source = ipaddress.ip_network(value), negated
        case "-d":
            found.destination, found.not_destination = ipaddress.ip_network(value), negated
        case "-i":
            found.interface, found.not_interface = value, negated
        case "-p":
            found.protocol = value
        case "--dport":
            first, _, last = value.partition(":")
            found.ports = int(first), int(last or first)
        case "--ctstate":
            found.states, found.not_states = frozenset(value.split(",")), negated
        case "--src-type" | "--dst-type" if value == "LOCAL":
            found.source_is_local |= word == "--src-type"
            found.destination_is_local |= word == "--dst-type"
        case "--mark":
            found.mark, found.not_mark = int(value.partition("/")[0], 16), negated
        case _:
            _set_target(found, word, value)


def _set_target(found: Parsed, word: str, value: str) -> None:
    match word:
        case "-j" | "-g":
            found.target, found.goes = value, word == "-g"
        case "--to-destination":
            found.to = value
        case "--set-xmark":
            bits, _, mask = value.partition("/")
            found.mark_bits = int(bits, 16), int(mask, 16)
        case "--probability":
            found.random = True
        case _:
            found.unknown = f"{word} {value}"
