"""The tools of iptables in this thread's network namespace: which variant, which families, what they print and take.

Both variants are on many machines, and only one of them is the one in use: the one whose rules are there.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from fairway.kernel.command import CommandFailed, run
from fairway.kernel.links import sysctl
from fairway.kernel.writing import SECONDS, writing
from fairway.modes.xtables import Family

Variant: TypeAlias = Literal["nft", "legacy"]
VARIANTS: tuple[Variant, ...] = ("nft", "legacy")
Sizes: TypeAlias = tuple[tuple[int, int], ...]
"""Rules and bytes of each table."""

_NAMES: dict[Family, str] = {"ip": "iptables", "ip6": "ip6tables"}
_LEGACY_TABLES: dict[Family, Path] = {
    "ip": Path("/proc/thread-self/net/ip_tables_names"),
    "ip6": Path("/proc/thread-self/net/ip6_tables_names"),
}
_IPV6 = Path("/proc/thread-self/net/if_inet6")
CHAINS_AT_ONCE = 200
"""In one commit of the nft variant: fewer make the commits themselves dear, more the walks in each."""
_LOCK_SECONDS = 5
_FAILED_LINE = re.compile(r"line (\d+)")
_VERSION = re.compile(r" v(\d+)\.(\d+)\.(\d+)")
_FULLY_RANDOM = (1, 6, 2)
_GET_INFO = 64
_INFO = struct.Struct("=32sI5I5III")
"""The kernel's `struct ipt_getinfo`: name, hooks, entry points, underflows, number of rules, bytes."""
_libc = ctypes.CDLL(None)


@dataclass
class Commits:
    """How many our tools were told to make."""

    made: int = 0


@dataclass(frozen=True)
class Tools:
    """One variant's tools, for the families that this machine has."""

    variant: Variant
    families: tuple[Family, ...]
    random_fully: bool = True
    """Whether they know ``--random-fully``."""
    commits: Commits = field(default_factory=Commits, compare=False)

    @property
    def chains_at_once(self) -> int:
        """How many chains may come or go in one commit (`fairway.modes.iptables.commands`); 0: any number."""
        return CHAINS_AT_ONCE if self.variant == "nft" else 0

    def save(self, family: Family, *, counters: bool = False) -> str:
        """All tables. Raises `CommandFailed`."""
        argv = [self.command(family, "save"), *(["--counters"] if counters else [])]
        return run(argv, timeout=SECONDS)

    def restore(self, family: Family, text: str, *, test: bool = False) -> None:
        """Do it, table by table. Raises `CommandFailed` that names the line which was refused.

        When this process is killed meanwhile the tool goes on, and whoever comes next waits for it.
        """
        argv = [self.command(family, "restore"), "--noflush", f"--wait={_LOCK_SECONDS}"]
        if not test:
            self.commits.made += text.count("\nCOMMIT\n")
        try:
            with writing() as inherited:
                run([*argv, "--test"] if test else argv, input=text, timeout=SECONDS, inherited=inherited)
        except CommandFailed as error:
            raise _with_line(error, text) from None

    def sizes(self, family: Family, tables: Iterable[str]) -> Sizes:
        """How much the legacy variant's tables hold, zeros where there is none: two system calls for each of them."""
        return tuple(_size(family, table) for table in tables)

    def command(self, family: Family, verb: str) -> str:
        return f"{_NAMES[family]}-{self.variant}-{verb}"


def legacy_tables(family: Family) -> list[str]:
    """The legacy variant's tables that the kernel has.

    It makes a table when somebody asks for it: whoever only wants to look asks here first.
    """
    try:
        return _LEGACY_TABLES[family].read_text().split()
    except OSError:
        return []


def open_tools(variant: str = "") -> Tools:
    """Those of the variant in use, or of the named one. Raises `LookupError` with a sentence when there are none."""
    there = [one for one in VARIANTS if shutil.which(f"iptables-{one}-restore")]
    if variant and variant not in there:
        raise LookupError(f"there is no iptables-{variant}-restore; the package iptables brings it")
    if not there:
        raise LookupError("there is no iptables-restore of either variant; the package iptables brings both")
    chosen = next((one for one in VARIANTS if one == variant), None) or _in_use(there)
    return Tools(chosen, _families(chosen), _knows_random_fully(chosen))


def _in_use(there: list[Variant]) -> Variant:
    """The one that holds Kubernetes' chains, else the one that holds any rules, else what plain `iptables` is.

    The legacy variant is only looked into when it has tables already, or when there is no other.
    """
    works = [one for one in there if one == "nft" and _works(one)]
    if not works and "legacy" in there and _works("legacy"):
        return "legacy"
    if not works:
        raise LookupError(f"iptables ({' and '.join(there)}) does not work: the kernel needs nf_tables or ip_tables")
    if "legacy" not in there:
        return "nft"
    legacy = run(["iptables-legacy-save"], timeout=SECONDS) if legacy_tables("ip") else ""
    modern = run(["iptables-nft-save"], timeout=SECONDS)
    for mark in (":KUBE-", "-A "):
        if mark in modern:
            return "nft"
        if mark in legacy:
            return "legacy"
    said = run(["iptables", "--version"]) if shutil.which("iptables") else ""
    return "legacy" if "legacy" in said else "nft"


def _works(variant: Variant) -> bool:
    try:
        run([f"iptables-{variant}-restore", "--noflush", "--test"], input="*nat\n-A POSTROUTING\nCOMMIT\n")
    except CommandFailed:
        return False
    return True


def _families(variant: Variant) -> tuple[Family, ...]:
    six = _IPV6.exists() and sysctl("net.ipv6.conf.all.disable_ipv6") != "1"
    return ("ip", "ip6") if six and shutil.which(f"ip6tables-{variant}-restore") else ("ip",)


def _knows_random_fully(variant: Variant) -> bool:
    return knows_random_fully(run([f"iptables-{variant}-restore", "--version"]))


def knows_random_fully(said: str) -> bool:
    """Whether a version, as the tools say it, is one that has ``--random-fully``; one that nobody understands has."""
    found = _VERSION.search(said)
    return found is None or tuple(map(int, found.groups())) >= _FULLY_RANDOM


def _with_line(error: CommandFailed, text: str) -> CommandFailed:
    found = _FAILED_LINE.search(error.stderr)
    lines = text.splitlines()
    number = int(found[1]) if found else 0
    if not 1 <= number <= len(lines):
        return error
    said = error.stderr.strip().splitlines()[0] if error.stderr.strip() else error.reason
    return CommandFailed(error.argv, error.exit_code, "", "", f"{said}: {lines[number - 1]}")


def _size(family: Family, table: str) -> tuple[int, int]:
    kind, level = (socket.AF_INET, socket.IPPROTO_IP) if family == "ip" else (socket.AF_INET6, socket.IPPROTO_IPV6)
    with socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as asked:
        # The name of the table goes in where the answer comes out, which `socket.getsockopt` has no way to say.
        buffer = ctypes.create_string_buffer(_INFO.pack(table.encode(), *(0,) * 13), _INFO.size)
        length = ctypes.c_uint32(_INFO.size)
        if _libc.getsockopt(asked.fileno(), level, _GET_INFO, buffer, ctypes.byref(length)) != 0:
            return 0, 0
    *_, entries, size = _INFO.unpack(buffer.raw)
    return entries, size
