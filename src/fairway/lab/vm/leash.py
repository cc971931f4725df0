"""Becomes another program that ends when whoever asked for it does, and that leaves newer registers alone.

Run as a plain file: ``leash.py PARENT PROGRAM ARGUMENT …``. User-Mode Linux 6.1 sets its processes' registers with
``PTRACE_SETREGSET``, whose buffer must be as large as the processor's state. On processors with AMX (Xeons from the 4th
generation on) that is 11 KiB, more than it has room for, and its first process dies. When the call is refused it takes
the older ``PTRACE_SETFPREGS``; so a seccomp filter refuses it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
from pathlib import Path

_SET_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES, _FILTER = 1, 22, 38, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _REQUEST, _KIND = 0, 4, 16, 32  # offsets in struct seccomp_data
_X86_64, _PTRACE, _GET_REGISTERS, _SET_REGISTERS, _EXTENDED_STATE = 0xC000003E, 101, 0x4204, 0x4205, 0x202
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EIO
_PROGRAM = (
    (_LOAD, 0, 0, _ARCHITECTURE),
    (_EQUAL, 0, 7, _X86_64),
    (_LOAD, 0, 0, _NUMBER),
    (_EQUAL, 0, 5, _PTRACE),
    (_LOAD, 0, 0, _REQUEST),
    (_EQUAL, 1, 0, _GET_REGISTERS),
    (_EQUAL, 0, 2, _SET_REGISTERS),
    (_LOAD, 0, 0, _KIND),
    (_EQUAL, 1, 0, _EXTENDED_STATE),
    (_RETURN, 0, 0, _ALLOW),
    (_RETURN, 0, 0, _REFUSE),
)
_PLAIN_REGISTERS = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load",
    "OPENSSL_ia32cap": "~0x1000000000000000:0",
}
# What glibc 2.36 and OpenSSL would choose AVX for. The older call does not save what it uses: a page fault loses it.


def registers_are_too_large() -> bool:
    """Whether this machine's processor has a state that User-Mode Linux has no room for."""
    flags = Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    return "amx_tile" in flags or "apx_f" in flags


def environment() -> dict[str, str]:
    """Variables that every program in a guest on this machine needs."""
    return dict(_PLAIN_REGISTERS) if registers_are_too_large() else {}


def main(parent: int, argv: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:  # it has died before it could be watched
        sys.exit(1)
    if registers_are_too_large():
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in _PROGRAM))
        program = ctypes.create_string_buffer(struct.pack("@HP", len(_PROGRAM), ctypes.addressof(code)))
        _check(libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _check(libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0))
    os.execv(argv[0], argv)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
