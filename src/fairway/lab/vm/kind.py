"""What a guest is started for, and what a kind of guest is: a kernel, and the way to start it.

    Job ──Kind.command──▶ the process that is the guest ── its init ── the job's program

`fairway.lab.vm.kinds` has one for each kernel; `fairway.lab.vm.guest` starts them all alike.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fairway.lab.errors import LabError
from fairway.modes.ipvs.parts import SCHEDULERS

IPVS_MODULES = (
    *("ipv6", "bridge", "br_netfilter", "veth", "dummy", "sctp", "nf_conntrack_netlink", "ip_vs"),
    *(f"ip_vs_{name}" for name in SCHEDULERS),
    *(f"ip_set_{name}" for name in ("hash_ip", "hash_ipport", "hash_ipportip", "hash_ipportnet", "bitmap_port")),
    *("ipt_REJECT", "ip6t_REJECT"),
    *(f"xt_{name}" for name in ("set", "comment", "mark", "addrtype", "conntrack", "physdev", "MASQUERADE", "ipvs")),
)
"""What the ipvs mode and a lab ask the kernel for, whichever variant of iptables is there."""


class GuestError(LabError):
    """A guest that cannot be started, or ended otherwise than by its program's end; with what its console showed."""


class GuestUnavailable(GuestError):
    """This machine has not what a guest needs; the text says what to install."""


INSIDE = "FAIRWAY_IN_GUEST"
"""The variable that is set for every program in a guest."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a guest is started for: one program, in a directory of this machine, with these variables.

    ``modules`` are loaded first, all at once, which is much quicker than one by one when they are asked for; a kind's
    own list is `Kind.modules`. ``memory`` is in MiB. The program finds ``files``, texts by name, in
    `fairway.lab.vm.guest.SHARED`.
    """

    argv: Sequence[str]
    directory: Path = field(default_factory=Path.cwd)
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    memory: int = 1024


class Kind(Protocol):
    """A kernel for guests, and what runs it."""

    @property
    def modules(self) -> Sequence[str]:
        """What the proxy's modes and a lab ask this kernel for."""

    def missing(self) -> str:
        """What to install before such a guest can be started, as a sentence; empty when nothing is missing."""

    def command(self, job: Job, directory: Path) -> list[str]:
        """The process that is the guest: its output is the guest's console, and it shares the job's directory.

        May put files there that it needs itself.
        """


def program(name: str) -> str:
    """Where a program is, also for somebody whose PATH has no place for administrators; empty when it is nowhere."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or ""


def needed(programs: Mapping[str, str]) -> list[str]:
    """The packages that bring those of the programs that are not here."""
    return sorted({package for name, package in programs.items() if not program(name)})


def to_install(packages: Sequence[str]) -> str:
    """The sentence that asks for packages."""
    return f"a guest needs Debian's {' and '.join(packages)}: apt-get install {' '.join(packages)}"
