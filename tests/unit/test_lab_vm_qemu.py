"""`fairway.lab.vm.qemu`: the initrd is an archive as the kernel reads it."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from fairway.lab.vm.qemu import File, archive


def members(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content, read as Documentation/driver-api/early-userspace/buffer-format.rst says."""
    at = 0
    while data[at : at + 6] == b"070701":
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        start = (at + 110 + fields[11] + 3) // 4 * 4
        yield name, fields[1], data[start : start + fields[6]]
        at = (start + fields[6] + 3) // 4 * 4
    assert at == len(data)


def test_files_of_any_length_are_found_again() -> None:
    files = [File("dev", stat.S_IFDIR | 0o755)]
    files += [File("f" * length, stat.S_IFREG | 0o644, b"x" * length) for length in range(1, 9)]
    found = list(members(archive(files)))
    assert found[:-1] == [(one.name, one.mode, one.content) for one in files]
    assert found[-1] == ("TRAILER!!!", 0, b"")


def test_a_device_has_its_numbers() -> None:
    data = archive([File("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))])
    assert data[6 + 8 * 9 : 6 + 8 * 11] == b"0000000500000001"
