"""QEMU: Debian's stock kernel on an emulated processor, for what needs nf_tables beside IPVS, or SCTP beside nf_tables.

    vmlinux ── initrd: busybox, insmod 9p and overlay ── / of this machine, by 9p ── init.py, as in every guest

The processor is emulated (TCG), so that it needs no /dev/kvm and no privilege, and the same happens on every machine;
Python is 20 to 30 times slower than outside. A guest has one processor, so that others' work beside it goes on.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.lab.vm import init
from fairway.lab.vm.kind import IPVS_MODULES, Job, needed, program, to_install
from fairway.lab.vm.stock import FIRST_MODULES, HOW_TO_FETCH, Stock, found

_EMULATOR = "qemu-system-x86_64"
_PROGRAMS = {_EMULATOR: "qemu-system-x86", "insmod": "kmod", "unshare": "util-linux"}
_SHARE = "trans=virtio,version=9p2000.L,msize=512000"
_KERNEL_ARGUMENTS = (
    *("console=ttyS0", "quiet", "loglevel=3", "panic=-1"),
    # The emulated processor has neither the flaws nor the time that these are for.
    *("nokaslr", "mitigations=off", "audit=0", "apparmor=0", "cgroup_no_v1=all", "rcupdate.rcu_expedited=1"),
    *("random.trust_cpu=on", "tsc=reliable", "no_timer_check"),
)


class Qemu:
    """Guests of Debian's stock kernel, see `fairway.lab.vm.stock`."""

    modules = (
        *IPVS_MODULES,
        *(
            "nf_tables",
            "nft_compat",
            "nft_chain_nat",
            "nft_ct",
            "nft_masq",
            "nft_numgen",
            "nft_hash",
            "nft_reject_inet",
        ),
        *("nft_fib_inet", "nfnetlink_acct", "xt_nfacct", "xt_nat", "xt_statistic", "xt_recent", "xt_tcpudp", "xt_sctp"),
        *("xt_multiport",),
    )

    def missing(self) -> str:
        if packages := needed(_PROGRAMS):
            return to_install(packages)
        return "" if found() else f"a guest under QEMU needs Debian's stock kernel, unpacked: {HOW_TO_FETCH}"

    def command(self, job: Job, directory: Path) -> list[str]:
        """Every file is the machine's, read-only; the console is our pipe; a panic ends the process."""
        stock = found()
        assert stock is not None, "missing() tells what is missing"
        initrd = directory / "initrd"
        initrd.write_bytes(archive(_first_files(stock)))
        return [
            program(_EMULATOR),
            # /dev/kvm is not used even where it is there: inside of a virtual machine it may be slower than this.
            *("-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", f"{job.memory}", "-M", "pc,usb=off"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *_shared("root", Path("/"), "readonly=on,multidevs=remap"),
            *_shared("job", directory, "multidevs=remap"),
            *("-kernel", str(stock.kernel), "-initrd", str(initrd), "-append", " ".join(_KERNEL_ARGUMENTS)),
        ]


def _shared(name: str, directory: Path, options: str) -> list[str]:
    path = str(directory).replace(",", ",,")  # as QEMU wants a comma in a value
    share = f"local,id={name},path={path},security_model=none,{options}"
    return ["-fsdev", share, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]


@dataclass(frozen=True)
class File:
    """A file of an initrd: kind and permissions as in ``st_mode``, what is in it; of a device its two numbers."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def _first_files(stock: Stock) -> Iterator[File]:
    """What it takes until the machine's files are there."""
    for name in ("bin", "dev", "modules", "root"):
        yield File(name, stat.S_IFDIR | 0o755)
    yield File("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield File("bin/busybox", stat.S_IFREG | 0o755, stock.busybox.read_bytes())
    modules = stock.in_order(FIRST_MODULES)
    for one in modules:
        yield File(f"modules/{one.name}", stat.S_IFREG | 0o644, one.read_bytes())
    yield File("init", stat.S_IFREG | 0o755, _first_script(stock, [one.name for one in modules]).encode())


def _first_script(stock: Stock, modules: Sequence[str]) -> str:
    python = Path(sys.executable).resolve()
    return "\n".join(
        [
            "#!/bin/busybox sh",
            "busybox=/bin/busybox",
            *(f"$busybox insmod /modules/{name}" for name in modules),
            f"$busybox mount -t 9p -o ro,cache=loose,{_SHARE} root /root",
            f"exec $busybox switch_root /root '{python}' -I -S '{init.__file__}' 9p:job '{stock.modules}'",
            "",
        ]
    )


def archive(files: Iterable[File]) -> bytes:
    """The files in the form in which the kernel takes an initrd: cpio's "newc"."""
    members = [*files, File("TRAILER!!!", 0)]
    return b"".join(_member(number, one) for number, one in enumerate(members, start=1))


def _member(number: int, file: File) -> bytes:
    name = file.name.encode() + b"\0"
    fields = (number, file.mode, 0, 0, 1, 0, len(file.content), 0, 0, *file.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % one for one in fields) + name
    return _padded(head) + _padded(file.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
