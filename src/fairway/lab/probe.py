"""Ask a port from somewhere in the lab, and tell exactly what happened.

answered    the name of the pod that answered, and the client address it saw; of a ping, who answered
refused     nobody listens there, or the proxy rejects: the kernel said so at once
timed out   nobody said anything: the packet was dropped, or there is no such host
unreachable the kernel or a router has no way there
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Literal

from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.ports import Language
from fairway.lab.servers import shown

Result = Literal["answered", "refused", "timed out", "unreachable"]

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH)
# What a reject on the way out looks like to a local UDP sender.
_REFUSED = (errno.ECONNREFUSED, errno.EPERM, errno.ECONNRESET)
_LONGEST_ANSWER = 65536
_KINDS = {
    "UDP": (socket.SOCK_DGRAM, 0),
    "SCTP": (socket.SOCK_STREAM, 132),
    "ICMP": (socket.SOCK_RAW, socket.IPPROTO_ICMP),
}


@dataclass(frozen=True)
class Answer:
    """What came of one question. ``client`` is the address and port that the pod saw, ``source`` our own."""

    result: Result
    pod: str = ""
    client: str = ""
    source: str = ""

    @property
    def ok(self) -> bool:
        return self.result == "answered"

    @property
    def client_address(self) -> str:
        """The address that the pod saw, without the port."""
        return self.client.rpartition(":")[0].strip("[]")


def has_sockets(protocol: str) -> bool:
    """Whether this kernel has sockets of the protocol: SCTP is a module that many machines do not have."""
    try:
        _socket(None, socket.AF_INET, protocol).close()
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return False
        raise
    return True


def _socket(namespace: NetworkNamespace | None, family: int, protocol: str) -> socket.socket:
    kind, number = _KINDS.get(protocol, (socket.SOCK_STREAM, 0))
    if protocol == "ICMP" and family == socket.AF_INET6:
        number = socket.IPPROTO_ICMPV6
    return namespace.socket(family, kind, number) if namespace else socket.socket(family, kind, number)


def ask(
    namespace: NetworkNamespace | None,
    address: str,
    port: int,
    *,
    protocol: str = "TCP",
    language: Language = "line",
    timeout: float = 5.0,
) -> Answer:
    """Ask once, from inside ``namespace`` (``None``: from this process), for at most ``timeout`` seconds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _socket(namespace, family, protocol) as made:
        made.settimeout(timeout)
        try:
            made.connect((address, port))
            source = shown(made.getsockname()[:2])
            pod, client = _converse(made, protocol, language, shown((address, port)))
        except TimeoutError:
            return Answer("timed out")
        except OSError as error:
            if error.errno in _REFUSED:
                return Answer("refused")
            if error.errno in _UNREACHABLE:
                return Answer("unreachable")
            raise
    return Answer("answered", pod, client, source) if pod else Answer("refused")


def _converse(made: socket.socket, protocol: str, language: Language, host: str) -> tuple[str, str]:
    """The pod that answered and the client it saw; empty when the connection ended without a word."""
    if protocol == "ICMP":
        _ping(made)
        return host.rpartition(":")[0], ""
    if protocol == "UDP":
        made.send(b"who are you?\n")
        return _who(made.recv(_LONGEST_ANSWER))
    if language == "http":
        made.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        _, _, body = _read(made, until=b"").partition(b"\r\n\r\n")
        page = dict(line.split(": ", 1) for line in body.decode(errors="replace").splitlines() if ": " in line)
        return page.get("pod", ""), page.get("client", "")
    return _who(_read(made, until=b"\n"))


def _ping(made: socket.socket) -> None:
    """Returns when it was answered. A raw socket hears every ICMP message from there: ours has our own number in it."""
    six = made.family == socket.AF_INET6
    request, reply = (128, 129) if six else (8, 0)
    body = os.urandom(8)
    # The kernel sums up ICMPv6, and leaves ICMP to us.
    made.send(bytes((request, 0)) + (b"\0\0" if six else checksum(bytes((request, 0, 0, 0)) + body)) + body)
    while True:
        message = made.recv(_LONGEST_ANSWER)
        heard = message if six else message[(message[0] & 15) * 4 :]
        if heard[:1] == bytes((reply,)) and heard[4:] == body:
            return


def checksum(data: bytes) -> bytes:
    """The internet's checksum (RFC 1071) of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def _who(line: bytes) -> tuple[str, str]:
    pod, _, client = line.decode(errors="replace").strip().partition(" ")
    return pod, client


def _read(made: socket.socket, until: bytes) -> bytes:
    """What arrives up to the mark, or up to the end of the connection when the mark is empty."""
    data = b""
    while len(data) < _LONGEST_ANSWER and not (until and until in data):
        more = made.recv(4096)
        if not more:
            break
        data += more
    return data
