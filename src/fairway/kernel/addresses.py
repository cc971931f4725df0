"""The addresses of this network namespace's interfaces, and word when they change: three netlink messages, no more.

nlmsghdr (16) │ ifaddrmsg (8) │ attribute │ attribute …
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from fairway.modes.xtables import KUBE_DEVICE

_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")

_NETLINK_ROUTE = 0
_RTMGRP_IPV4_IFADDR, _RTMGRP_IPV6_IFADDR = 0x10, 0x100
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_F_REQUEST, _F_DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 16}
_RECEIVE_BYTES = 1 << 17
_TIMEOUT_SECONDS = 10.0


class Addresses:
    """Lists addresses, and is readable (``fileno``) when one came or went. Close it, or use it in a `with`.

    It belongs to the network namespace of the thread that makes it. Raises `OSError` when the kernel does not answer.
    """

    def __init__(self) -> None:
        self._notices = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._ask = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        try:
            self._notices.bind((0, _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
            self._notices.setblocking(False)
            self._ask.bind((0, 0))
            self._ask.settimeout(_TIMEOUT_SECONDS)
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Addresses:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._notices.close()
        self._ask.close()

    def fileno(self) -> int:
        """For an event loop: readable when an address came or went since the last `drain`."""
        return self._notices.fileno()

    def drain(self) -> bool:
        """Read away the notices; what they say is asked for anew, so that a lost one does not matter.

        Returns whether there is anything to ask for: Services' addresses come and go all day.
        """
        ours, others = _ours(), False
        while True:
            try:
                notices = _messages(self._notices.recv(_RECEIVE_BYTES))
                others = others or any(_link(body) != ours for _, body in notices)
            except BlockingIOError:
                return others
            except OSError as error:
                # ENOBUFS: notices were lost, and there is nothing left to read of them.
                if error.errno != errno.ENOBUFS:
                    raise
                others = True

    def list(self) -> tuple[str, ...]:
        """Every address of every interface, loopback included, in canonical form, in the kernel's order.

        Those of the device that holds Services' addresses in ipvs mode are not the node's.
        """
        ours = _ours()
        self._ask.send(_HEADER.pack(_HEADER.size + 1, _RTM_GETADDR, _F_REQUEST | _F_DUMP, 1, 0) + b"\0")
        found: list[str] = []
        while True:
            for kind, body in _messages(self._ask.recv(_RECEIVE_BYTES)):
                if kind == _NLMSG_DONE:
                    return tuple(dict.fromkeys(found))
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    raise OSError(code, f"listing this machine's addresses: {os.strerror(code)}")
                if kind == _RTM_NEWADDR and _link(body) != ours and (address := _address(body)):
                    found.append(address)


def _ours() -> int:
    """The number of the ipvs mode's device; 0 when there is none."""
    try:
        return socket.if_nametoindex(KUBE_DEVICE)
    except OSError:
        return 0


def _link(body: bytes) -> int:
    return int(_IFADDRMSG.unpack_from(body)[4])


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, position)
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + 3) & ~3


def _address(body: bytes) -> str | None:
    family = _IFADDRMSG.unpack_from(body)[0]
    size = _FAMILIES.get(family)
    if size is None:
        return None
    found: dict[int, bytes] = {}
    position = _IFADDRMSG.size
    while position + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = body[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
    # On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is ours; IPv6 has IFA_ADDRESS alone.
    raw = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
    return socket.inet_ntop(family, raw) if len(raw) == size else None
