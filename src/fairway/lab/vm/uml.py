"""User-Mode Linux: a whole kernel that is a process of this machine, without hardware support and without privilege.

Its kernel has no nf_tables; Python is as fast in it as outside.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from fairway.lab.vm import init, leash
from fairway.lab.vm.kind import IPVS_MODULES, Job, needed, to_install

KERNEL = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")
_PACKAGE = "user-mode-linux"


class UserModeLinux:
    """Guests of Debian's user-mode-linux.

    The kernel loads most modules by itself when they are asked for, but not on processors that need
    `leash.environment`, which it does not hand on to modprobe.
    """

    modules = (
        *IPVS_MODULES,
        "hmac",
        *("iptable_nat", "iptable_filter", "iptable_mangle", "ip6table_nat", "ip6table_filter", "ip6table_mangle"),
        *("xt_tcpudp", "xt_nat", "xt_statistic", "xt_recent", "xt_nfacct"),
    )

    def missing(self) -> str:
        packages = [] if KERNEL.exists() and MODULES.is_dir() else [_PACKAGE]
        packages += needed({"insmod": "kmod", "unshare": "util-linux"})
        if _PACKAGE in packages and platform.machine() != "x86_64":
            return f"Debian has no User-Mode Linux for {platform.machine()}"
        return to_install(packages) if packages else ""

    def command(self, job: Job, directory: Path) -> list[str]:
        """Every file is the machine's; the console is our pipe; a panic ends the process."""
        return [
            str(KERNEL),
            f"mem={job.memory}M",
            *("rootfstype=hostfs", "rootflags=/", "ro"),
            *("con=null", "con0=null,fd:1", "quiet", "loglevel=3", "panic=-1", "random.trust_cpu=on"),
            f"uml_dir={directory}",
            *(f"{name}={value}" for name, value in leash.environment().items()),
            f"init={Path(sys.executable).resolve()}",
            *("--", "-I", "-S", init.__file__, f"hostfs:{directory}", str(MODULES)),
        ]
