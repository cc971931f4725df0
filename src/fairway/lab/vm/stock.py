"""Debian's stock kernel, unpacked beside the system instead of installed into it: nothing here boots from it.

    apt-get download linux-image-… busybox-static ──▶ CACHE/RELEASE/{vmlinux, busybox, lib/modules/RELEASE}

An installed kernel would make an initramfs and a boot entry of its own. Of the package's 400 MB of modules only those
are kept that networks need. ``python -m fairway.lab.vm.stock`` does it, once; with ``--renew`` again.
"""

from __future__ import annotations

import lzma
import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fairway.lab.vm.kind import GuestUnavailable, program

FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What the kernel needs before it sees the machine's files."""
HOW_TO_FETCH = shlex.join([sys.executable, "-m", "fairway.lab.vm.stock"])

_SYSTEM = Path("/var/cache/fairway/guest")
_KERNEL, _SHELL = "linux-image-amd64", "busybox-static"
_KEPT = (
    "*/boot/vmlinuz-*",
    *("*/modules.builtin", "*/modules.builtin.modinfo", "*/modules.order"),
    *(f"*/kernel/{part}/*" for part in ("net", "lib", "crypto", "arch", "drivers/virtio")),
    *(f"*/kernel/fs/{part}/*" for part in ("9p", "netfs", "fscache", "overlayfs")),
    *(f"*/kernel/drivers/net/{part}.ko*" for part in ("dummy", "veth", "vxlan")),
)
_XZ = b"\xfd7zXZ\0"


@dataclass(frozen=True)
class Stock:
    """An unpacked kernel."""

    directory: Path

    @property
    def release(self) -> str:
        return self.directory.name

    @property
    def kernel(self) -> Path:
        """As an ELF file, which starts at once: the emulated processor takes three seconds to unpack the other form."""
        return self.directory / "vmlinux"

    @property
    def busybox(self) -> Path:
        return self.directory / "busybox"

    @property
    def modules(self) -> Path:
        """Where modprobe looks for the directory of this release."""
        return self.directory / "lib/modules"

    def in_order(self, names: Iterable[str]) -> list[Path]:
        """The files of these modules and of those they need, each after what it needs itself."""
        directory = self.modules / self.release
        lines = (line.split(":") for line in (directory / "modules.dep").read_text().splitlines())
        needs = {_name(file): [*reversed(more.split()), file] for file, more in lines}
        wanted = dict.fromkeys(file for name in names for file in needs.get(name, ()))  # not there: built in
        return [directory / file for file in wanted]


def found(places: Sequence[Path] = ()) -> Stock | None:
    """The newest one that is here; ``places`` are where to look, by default the user's cache and the system's."""
    there = [
        one for place in places or _places() if place.is_dir() for one in place.iterdir() if (one / "vmlinux").exists()
    ]
    return Stock(max(there, key=lambda one: one.stat().st_mtime)) if there else None


def fetch() -> Stock:
    """Download and unpack the kernel. Raises `GuestUnavailable` with a sentence when that is not possible."""
    place = _SYSTEM if os.geteuid() == 0 else _places()[0]
    if platform.machine() != "x86_64":
        raise GuestUnavailable(
            f"guests under QEMU run this machine's programs, and need x86_64, not {platform.machine()}"
        )
    if absent := [one for one in ("apt-get", "dpkg-deb", "depmod") if not program(one)]:
        raise GuestUnavailable(f"the kernel is taken from a Debian package, and there is no {absent[0]} here")
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unpacking-", dir=place) as text:
        directory = Path(text)
        _download(directory)
        release = _unpack(directory)
        shutil.rmtree(place / release, ignore_errors=True)
        (directory / "unpacked").rename(place / release)
    return Stock(place / release)


def _places() -> Sequence[Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(cache, "fairway", "guest"), _SYSTEM)


def _download(directory: Path) -> None:
    """The package that the name of the stock kernel stands for, and busybox."""
    if not (names := _depends()):
        _call(["apt-get", "update", "-qq"], directory)
        names = _depends()
    if not names:
        raise GuestUnavailable(f"apt knows no package {_KERNEL}; it is Debian's")
    _call(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=", names[0], _SHELL], directory)


def _depends() -> list[str]:
    told = subprocess.run(["apt-cache", "depends", _KERNEL], capture_output=True, text=True, check=False).stdout
    words = (line.split() for line in told.splitlines())
    return [one[1] for one in words if one[0] == "Depends:" and one[1].startswith("linux-image-")]


def _unpack(directory: Path) -> str:
    """Fill ``unpacked`` from the packages; the kernel's release."""
    raw, unpacked = directory / "raw", directory / "unpacked"
    _extract(next(directory.glob("linux-image-*.deb")), raw, _KEPT)
    _extract(next(directory.glob(f"{_SHELL}_*.deb")), raw, ["*/bin/busybox"])
    modules = next(_found(raw, "modules.builtin")).parent
    (unpacked / "lib/modules").mkdir(parents=True)
    modules.rename(unpacked / "lib/modules" / modules.name)
    for file in _found(unpacked, "*.ko.xz"):
        file.with_suffix("").write_bytes(lzma.decompress(file.read_bytes()))
        file.unlink()
    next(_found(raw, "busybox")).rename(unpacked / "busybox")
    (unpacked / "vmlinux").write_bytes(plain_kernel(next(_found(raw, "vmlinuz-*")).read_bytes()))
    _call([program("depmod"), "-b", str(unpacked), modules.name], directory)
    unpacked.chmod(0o755)
    return modules.name


def _extract(package: Path, target: Path, patterns: Sequence[str]) -> None:
    target.mkdir(exist_ok=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as source:
        told = ["tar", "-x", "--no-same-owner", "-C", str(target), "--wildcards", *patterns]
        # Which patterns a kernel's package has nothing for depends on its version; what must be there is looked for.
        subprocess.run(told, stdin=source.stdout, stderr=subprocess.DEVNULL, check=False)


def _found(directory: Path, pattern: str) -> Iterator[Path]:
    there = sorted(directory.rglob(pattern))
    if not there and not pattern.startswith("*"):
        raise GuestUnavailable(f"Debian's package has no {pattern}")
    yield from there


def plain_kernel(image: bytes) -> bytes:
    """The ELF file in a kernel's boot image; the image itself where it is packed in another way than by xz."""
    if image[0x1FE:0x200] != b"\x55\xaa":
        return image
    sectors = image[0x1F1] or 4
    start, length = struct.unpack_from("<II", image, 0x248)  # the boot protocol's payload_offset and payload_length
    payload = image[(sectors + 1) * 512 + start :][:length]
    return lzma.LZMADecompressor().decompress(payload) if payload.startswith(_XZ) else image


def _name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


def _call(command: Sequence[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip()
        raise GuestUnavailable(f"{shlex.join(command)}: {told or f'exit code {done.returncode}'}")


if __name__ == "__main__":
    try:
        there = None if "--renew" in sys.argv else found()
        print(f"Debian's kernel {(there or fetch()).release} is ready for guests under QEMU")
    except (GuestUnavailable, OSError) as error:
        sys.exit(f"{error}")
