"""The first process of a guest: gives it the machine's files to write over, runs one program, and turns it off.

    /      (the machine's files, read-only) ─┐
    tmpfs  (what the guest writes, gone)    ─┴─ overlay ──▶ /          the job's directory ──▶ /run/job (read and write)

Runs as a plain file, before anything is mounted: it imports the standard library only. Its arguments are how the job's
directory is mounted, a filesystem and its source (``hostfs:/tmp/x`` or ``9p:job``), and the directory of the kernel's
modules. The job's directory holds ``job.json`` (``argv``, ``directory``, ``environment``, ``modules``).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path

JOB = Path("/run/job")
STAGE = Path("/mnt")
"""Where the machine's own files are, below what is written over them; every Debian has it, and needs nothing in it."""
_MS_BIND = 4096
_POWER_OFF = 0x4321FEDC
_SET_FLAGS, _UP = 0x8914, 1
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OPTIONS = {"hostfs": "", "9p": "trans=virtio,version=9p2000.L,msize=512000"}
_libc = ctypes.CDLL(None, use_errno=True)


def main(shared: str, modules: str) -> None:
    """Never returns: the guest is off when the program has ended, whatever happened."""
    code = 255
    try:
        _prepare(shared, modules)
        told = json.loads((JOB / "job.json").read_text())
        if told["modules"]:
            subprocess.run(["modprobe", "--all", *told["modules"]], check=True)
        _bring_up("lo")
        environment = {**told["environment"], **os.environ, "TERM": "dumb"}
        code = subprocess.run(told["argv"], cwd=told["directory"], env=environment).returncode
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if JOB.is_dir():
            (JOB / "exit").write_text(f"{code if code >= 0 else 128 - code}")
        os.sync()
        Path("/proc/sys/kernel/printk").write_text("0")  # the console's last words are the program's
        _libc.reboot(_POWER_OFF)


def _prepare(shared: str, modules: str) -> None:
    os.environ["PATH"] = _PATH
    socket.sethostname("guest")
    release = os.uname().release
    _mount("proc", "proc", "/proc")
    _mount("tmpfs", "tmpfs", str(STAGE))
    overlay = Path(modules, release, "kernel/fs/overlayfs/overlay.ko")
    if overlay.exists() and "\toverlay\n" not in Path("/proc/filesystems").read_text():
        subprocess.run(["insmod", overlay], check=True)
    for name in ("upper", "work", "root"):
        (STAGE / name).mkdir()
    root = STAGE / "root"
    _mount("overlay", "overlay", str(root), f"lowerdir=/,upperdir={STAGE}/upper,workdir={STAGE}/work")
    for kind, place in (("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"), ("tmpfs", "run")):
        _mount(kind, kind, str(root / place))
    for place in ("dev/pts", "dev/shm", "run/job", "lib/modules"):
        (root / place).mkdir(parents=True, exist_ok=True)
    _mount("devpts", "devpts", str(root / "dev/pts"))
    _mount("tmpfs", "tmpfs", str(root / "dev/shm"))
    kind, _, source = shared.partition(":")
    _mount(source, kind, str(root / "run/job"), _OPTIONS[kind] or source)
    _mount(modules, "", str(root / "lib/modules"), flags=_MS_BIND)
    # Not chroot: the kernel looks for modprobe, and modprobe for modules, from the root of all.
    _check(_libc.pivot_root(os.fsencode(root), os.fsencode(root / "mnt")), f"making {root} the root")
    os.chdir("/")


def _bring_up(name: str) -> None:
    """A network interface, as every machine has its loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sH14x", name.encode(), _UP))


def _mount(source: str, kind: str, target: str, options: str = "", *, flags: int = 0) -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _check(result, f"mounting {kind or source} at {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(*sys.argv[1:3])  # User-Mode Linux puts words of its own behind them
