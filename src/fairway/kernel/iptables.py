"""The iptables of this thread's network namespace, by its own tools: which variant, what it holds, changes to it.

Both variants are on many machines, and only one of them is the one in use: the one whose rules are there. Every change
is one `iptables-restore --noflush` for each family.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from fairway.kernel.command import CommandFailed, run
from fairway.kernel.links import sysctl
from fairway.modes.iptables.names import FIREWALL, OTHER_PORTS, Family, is_ours
from fairway.modes.iptables.rules import canonical, parse
from fairway.modes.iptables.ruleset import HOOKS, TABLES, Place, State

Variant: TypeAlias = Literal["nft", "legacy"]
VARIANTS: tuple[Variant, ...] = ("nft", "legacy")
_NAMES: dict[Family, str] = {"ip": "iptables", "ip6": "ip6tables"}
_LEGACY_TABLES = Path("/proc/thread-self/net/ip_tables_names")
_IPV6 = Path("/proc/thread-self/net/if_inet6")
_LOCK_SECONDS = 5
_RESTORE_SECONDS = 600.0
_FAILED_LINE = re.compile(r"line (\d+)")
_GET_INFO = 64
_INFO = struct.Struct("=32sI5I5III")
"""The kernel's `struct ipt_getinfo`: name, hooks, entry points, underflows, number of rules, bytes."""
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Iptables:
    """One variant's tools."""

    variant: Variant
    families: tuple[Family, ...]

    def read(self) -> dict[Family, State]:
        """The chains that are ours, and the rules in other chains that lead to them. Raises `CommandFailed`."""
        return {family: read_saved(self._saved(family)) for family in self.families}

    def restore(self, family: Family, text: str, *, test: bool = False) -> None:
        """Do it, table by table. Raises `CommandFailed` that names the line which was refused."""
        argv = [self._tool(family, "restore"), "--noflush", f"--wait={_LOCK_SECONDS}"]
        try:
            run([*argv, "--test"] if test else argv, input=text, timeout=_RESTORE_SECONDS)
        except CommandFailed as error:
            raise _with_line(error, text) from None

    def size(self) -> tuple[tuple[int, int], ...]:
        """Of the legacy variant: rules and bytes in the tables we use. It costs two system calls for each of them."""
        return tuple(_size(family, table) for family in self.families for table in ("nat", "filter"))

    def _saved(self, family: Family) -> str:
        return run([self._tool(family, "save")], timeout=_RESTORE_SECONDS)

    def _tool(self, family: Family, verb: str) -> str:
        return f"{_NAMES[family]}-{self.variant}-{verb}"


def read_saved(text: str) -> State:
    """What `iptables-save` prints, with counters or without, as far as it is ours."""
    found: dict[Place, list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            line = line.partition("] ")[2]
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and table in TABLES:
            chain = line[1:].partition(" ")[0]
            if chain in HOOKS or is_ours(chain):
                found[Place(table, chain)] = []
        elif line.startswith("-A ") and table in TABLES:
            chain, _, rule = line[3:].partition(" ")
            if (rules := found.get(Place(table, chain))) is not None:
                rule = canonical(rule)
                if chain not in HOOKS or is_ours(parse(rule).target):
                    rules.append(rule)
    return {place: tuple(rules) for place, rules in found.items()}


def open_iptables(variant: str = "") -> Iptables:
    """The variant in use, or the named one. Raises `LookupError` with a sentence when it is not there."""
    there = [one for one in VARIANTS if shutil.which(f"iptables-{one}-restore")]
    if variant and variant not in there:
        raise LookupError(f"there is no iptables-{variant}-restore; the package iptables brings it")
    if not there:
        raise LookupError("there is no iptables-restore of either variant; the package iptables brings both")
    chosen = next((one for one in VARIANTS if one == variant), None) or (_in_use(there) if there[1:] else there[0])
    return Iptables(chosen, _families(chosen))


def _in_use(there: list[Variant]) -> Variant:
    """The one that holds Kubernetes' chains, else the one that holds any rules, else what plain `iptables` is.

    The kernel makes a legacy table when somebody asks for it, so it is asked only when it has some already.
    """
    legacy = _legacy_rules()
    modern = run(["iptables-nft-save"])
    for mark in (":KUBE-", "-A "):
        if mark in modern:
            return "nft"
        if mark in legacy:
            return "legacy"
    said = run(["iptables", "--version"]) if shutil.which("iptables") else ""
    return "legacy" if "legacy" in said else there[0]


def _legacy_rules() -> str:
    try:
        tables = _LEGACY_TABLES.read_text().split()
    except OSError:
        return ""
    return run(["iptables-legacy-save"]) if tables else ""


def _families(variant: Variant) -> tuple[Family, ...]:
    six = _IPV6.exists() and sysctl("net.ipv6.conf.all.disable_ipv6") != "1"
    return ("ip", "ip6") if six and shutil.which(f"ip6tables-{variant}-restore") else ("ip",)


def holds(states: Iterable[State], *, flat: bool) -> bool:
    """Whether rules of ours are there; in the flat form, those of any kube-proxy, but not what the kubelet has too."""
    chains = {place.chain for state in states for place in state}
    return bool(chains - {FIREWALL, *HOOKS}) if flat else OTHER_PORTS in chains


def _with_line(error: CommandFailed, text: str) -> CommandFailed:
    found = _FAILED_LINE.search(error.stderr)
    lines = text.splitlines()
    number = int(found[1]) if found else 0
    if not 1 <= number <= len(lines):
        return error
    said = error.stderr.strip().splitlines()[0] if error.stderr.strip() else error.reason
    return CommandFailed(error.argv, error.exit_code, "", "", f"{said}: {lines[number - 1]}")


def _size(family: Family, table: str) -> tuple[int, int]:
    """Number and bytes of a legacy table's rules; zeros where there is none."""
    kind, level = (socket.AF_INET, socket.IPPROTO_IP) if family == "ip" else (socket.AF_INET6, socket.IPPROTO_IPV6)
    with socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as asked:
        # The name of the table goes in where the answer comes out, which `socket.getsockopt` has no way to say.
        buffer = ctypes.create_string_buffer(_INFO.pack(table.encode(), *(0,) * 13), _INFO.size)
        length = ctypes.c_uint32(_INFO.size)
        if _libc.getsockopt(asked.fileno(), level, _GET_INFO, buffer, ctypes.byref(length)) != 0:
            return 0, 0
    *_, entries, size = _INFO.unpack(buffer.raw)
    return entries, size
