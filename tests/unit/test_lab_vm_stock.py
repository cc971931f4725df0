"""`fairway.lab.vm.stock`: what is made of Debian's package."""

from __future__ import annotations

import lzma
import os
import struct
from pathlib import Path

from fairway.lab.vm.stock import Stock, found, plain_kernel

ELF = b"\x7fELF and so on"


def boot_image(payload: bytes, *, sectors: int = 2, start: int = 100) -> bytes:
    """As Documentation/arch/x86/boot.rst describes it."""
    image = bytearray((sectors + 1) * 512 + start)
    image[0x1F1] = sectors
    image[0x1FE:0x200] = b"\x55\xaa"
    struct.pack_into("<II", image, 0x248, start, len(payload))
    return bytes(image) + payload + b"what follows"


def test_the_kernel_is_taken_out_of_its_boot_image() -> None:
    assert plain_kernel(boot_image(lzma.compress(ELF) + b"its size")) == ELF


def test_what_is_packed_otherwise_stays_as_it_is() -> None:
    image = boot_image(b"\x04\x22\x4d\x18")
    assert plain_kernel(image) == image
    assert plain_kernel(b"no boot image" * 100) == b"no boot image" * 100


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    directory = tmp_path / "6.1.0/lib/modules/6.1.0"
    directory.mkdir(parents=True)
    (directory / "modules.dep").write_text(
        "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n"
        "kernel/net/9p/9pnet.ko:\n"
        "kernel/net/9p/9pnet-virtio.ko: kernel/net/9p/9pnet.ko\n"
        "kernel/fs/netfs/netfs.ko:\n"
    )
    names = [one.name for one in Stock(tmp_path / "6.1.0").in_order(["9pnet_virtio", "9p", "overlay"])]
    assert names == ["9pnet.ko", "9pnet-virtio.ko", "netfs.ko", "9p.ko"]


def test_the_newest_kernel_counts_and_half_unpacked_ones_do_not(tmp_path: Path) -> None:
    assert found([tmp_path / "nowhere"]) is None
    for at, name in enumerate(("6.1.0-2", "6.1.0-10", ".unpacking-x")):
        (tmp_path / name).mkdir()
        if not name.startswith("."):
            (tmp_path / name / "vmlinux").touch()
            os.utime(tmp_path / name, (at, at))
    stock = found([tmp_path])
    assert stock is not None
    assert stock.release == "6.1.0-10"
