"""The ipvs mode's iptables rules in this thread's network namespace, by iptables' own tools.

They are constant: a process is started when a proxy starts and when somebody else has changed them, not for Services.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from fairway.kernel.command import CommandFailed, run
from fairway.modes.ipvs.parts import FAMILIES, Family
from fairway.modes.ipvs.rules import CHAINS, HOOKS, TABLES, Place, Rules

_TOOLS: dict[Family, str] = {"ip": "iptables", "ip6": "ip6tables"}
_VARIANTS = ("nft", "legacy")
_LEGACY_TABLES = Path("/proc/thread-self/net/ip_tables_names")
_GET_INFO = 64
_INFO = struct.Struct("=32sI5I5III")
"""The kernel's `struct ipt_getinfo`: name, hooks, entry points, underflows, number of rules, bytes."""
_libc = ctypes.CDLL(None)
_IPV6 = Path("/proc/thread-self/net/if_inet6")


Sizes: TypeAlias = tuple[tuple[int, int], ...]
"""Rules and bytes of each table."""


@dataclass(frozen=True)
class IpvsRules:
    """One variant's tools, for the families that this machine has."""

    variant: str
    families: tuple[Family, ...]
    _seen: dict[Family, tuple[Sizes, Rules]] = field(default_factory=dict)

    def read(self) -> dict[Family, Rules]:
        """Our chains, and the rules in hooks' chains that lead to them. Raises `CommandFailed`.

        Of the legacy variant, a table that has as many rules and bytes as when it was read is not read again.
        """
        return {family: self._read(family) for family in self.families}

    def sizes(self) -> dict[Family, Sizes]:
        """Of the legacy variant: how much each table holds. It costs two system calls for each of them."""
        return {family: _sizes(family) if self.variant == "legacy" else () for family in self.families}

    def _read(self, family: Family) -> Rules:
        sizes = self.sizes()[family]
        if not sizes or family not in self._seen or self._seen[family][0] != sizes:
            self._seen[family] = (sizes, read_saved(run([self._tool(family, "save")])))
        return dict(self._seen[family][1])

    def restore(self, family: Family, text: str) -> None:
        """Raises `CommandFailed`."""
        self._seen.pop(family, None)
        run([self._tool(family, "restore"), "--noflush", "--wait=5"], input=text)

    def check(self, family: Family, text: str) -> None:
        """Whether it would be done. Raises `CommandFailed`."""
        run([self._tool(family, "restore"), "--noflush", "--wait=5", "--test"], input=text)

    def _tool(self, family: Family, verb: str) -> str:
        return f"{_TOOLS[family]}-{self.variant}-{verb}"


def read_saved(text: str) -> Rules:
    """What `iptables-save` prints, as far as it is ours; a chain that is there and empty is there."""
    found: dict[Place, list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and (place := Place(table, line[1:].partition(" ")[0])) in CHAINS:
            found[place] = []
        elif line.startswith("-A ") and table in TABLES:
            chain, _, rule = line[3:].partition(" ")
            if Place(table, chain) in CHAINS or (chain in HOOKS and Place(table, rule.rpartition("-j ")[2]) in CHAINS):
                found.setdefault(Place(table, chain), []).append(rule)
    return {place: tuple(rules) for place, rules in found.items()}


def open_rules() -> IpvsRules:
    """The variant in use. Raises `LookupError` with a sentence when there is none, or none works."""
    there = [one for one in _VARIANTS if shutil.which(f"iptables-{one}-restore")]
    if not there:
        raise LookupError("there is no iptables-restore; the package iptables brings it")
    works = [one for one in there if _works(one)]
    if not works:
        raise LookupError(
            "neither nf_tables' nor the legacy iptables works: the kernel needs one of nf_tables and ip_tables"
        )
    legacy = _LEGACY_TABLES.exists() and "nat" in _LEGACY_TABLES.read_text().split()
    variant = "legacy" if legacy and "legacy" in works else works[0]
    six = _IPV6.exists() and shutil.which(f"ip6tables-{variant}-restore")
    return IpvsRules(variant, FAMILIES if six else FAMILIES[:1])


def _works(variant: str) -> bool:
    try:
        run([f"iptables-{variant}-restore", "--noflush", "--test"], input="*nat\n-A POSTROUTING\nCOMMIT\n")
    except CommandFailed:
        return False
    return True


def _sizes(family: Family) -> Sizes:
    kind, level = (socket.AF_INET, socket.IPPROTO_IP) if family == "ip" else (socket.AF_INET6, socket.IPPROTO_IPV6)
    found = []
    with socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as asked:
        for table in TABLES:
            # The name of the table goes in where the answer comes out, which `socket.getsockopt` has no way to say.
            buffer = ctypes.create_string_buffer(_INFO.pack(table.encode(), *(0,) * 13), _INFO.size)
            length = ctypes.c_uint32(_INFO.size)
            there = _libc.getsockopt(asked.fileno(), level, _GET_INFO, buffer, ctypes.byref(length)) == 0
            *_, entries, size = _INFO.unpack(buffer.raw)
            found.append((entries, size) if there else (0, 0))
    return tuple(found)
