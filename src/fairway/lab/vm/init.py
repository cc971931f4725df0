"""The first process of a guest: gives it the machine's files to write over, runs one program, and turns it off.

    hostfs /  (the machine's files, read-only) ─┐
    tmpfs     (what the guest writes, gone)    ─┴─ overlay ──▶ /          hostfs JOB ──▶ /run/job (read and write)

Runs as a plain file, before anything is mounted: it imports the standard library only. Its arguments are the directory
of the job, which holds ``job.json`` (``argv``, ``directory``, ``environment``, ``modules``), and the kernel's modules.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path

JOB = Path("/run/job")
_STAGE = Path("/mnt")  # every Debian has it, and nothing in it is needed in here
_MS_BIND = 4096
_POWER_OFF = 0x4321FEDC
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_libc = ctypes.CDLL(None, use_errno=True)


def main(job: str, modules: str) -> None:
    """Never returns: the guest is off when the program has ended, whatever happened."""
    code = 255
    try:
        _prepare(job, modules)
        told = json.loads((JOB / "job.json").read_text())
        if told["modules"]:
            subprocess.run(["modprobe", "--all", *told["modules"]], check=True)
        environment = {**told["environment"], **os.environ, "TERM": "dumb"}
        code = subprocess.run(told["argv"], cwd=told["directory"], env=environment).returncode
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        exit_file = (JOB if JOB.is_dir() else Path(job)) / "exit"
        exit_file.write_text(f"{code if code >= 0 else 128 - code}")
        os.sync()
        _libc.reboot(_POWER_OFF)


def _prepare(job: str, modules: str) -> None:
    os.environ["PATH"] = _PATH
    socket.sethostname("guest")
    release = os.uname().release
    _mount("proc", "proc", "/proc")
    _mount("tmpfs", "tmpfs", str(_STAGE))
    overlay = Path(modules, release, "kernel/fs/overlayfs/overlay.ko")
    if overlay.exists():  # a kernel with the filesystem built in has no such file
        subprocess.run(["insmod", overlay], check=True)
    for name in ("upper", "work", "root"):
        (_STAGE / name).mkdir()
    root = _STAGE / "root"
    _mount("overlay", "overlay", str(root), f"lowerdir=/,upperdir={_STAGE}/upper,workdir={_STAGE}/work")
    for kind, place in (("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"), ("tmpfs", "run")):
        _mount(kind, kind, str(root / place))
    for place in ("dev/pts", "dev/shm", "run/job", "lib/modules"):
        (root / place).mkdir(parents=True, exist_ok=True)
    _mount("devpts", "devpts", str(root / "dev/pts"))
    _mount("tmpfs", "tmpfs", str(root / "dev/shm"))
    _mount("hostfs", "hostfs", str(root / "run/job"), job)
    _mount(modules, "", str(root / "lib/modules"), flags=_MS_BIND)
    # Not chroot: the kernel looks for modprobe, and modprobe for modules, from the root of all.
    _check(_libc.pivot_root(os.fsencode(root), os.fsencode(root / "mnt")), f"making {root} the root")
    os.chdir("/")


def _mount(source: str, kind: str, target: str, options: str = "", *, flags: int = 0) -> None:
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _check(result, f"mounting {kind or source} at {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main(*sys.argv[1:3])  # User-Mode Linux puts words of its own behind them
