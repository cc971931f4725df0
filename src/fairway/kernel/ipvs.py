"""IPVS over generic netlink: virtual and real servers, timeouts, statistics; and what /proc tells at once.

    command │ IPVS_CMD_ATTR_SERVICE { family, protocol, address, port, … } │ IPVS_CMD_ATTR_DEST { address, port, … }

Everything belongs to the network namespace of the thread that opens the socket, or reads.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeAlias

from fairway.kernel.attributes import attribute, attributes, nested, string, text
from fairway.kernel.nfnetlink import NETLINK_GENERIC, KernelRefused, Netfilter, Request
from fairway.modes.ipvs.parts import HASHED, Marked, Real, Scheduling, Server, Virtual, family_word

_CONTROLLER, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 0x10, 3, 1, 2
_NEW_SERVICE, _SET_SERVICE, _DEL_SERVICE, _GET_SERVICE, _NEW_DEST, _SET_DEST, _DEL_DEST, _GET_DEST = range(1, 9)
_SET_CONFIG = 12
_SERVICE, _DEST, _TIMEOUT_TCP, _TIMEOUT_TCP_FIN, _TIMEOUT_UDP = 1, 2, 4, 5, 6
_S_FAMILY, _S_PROTOCOL, _S_ADDRESS, _S_PORT, _S_MARK, _S_SCHEDULER, _S_FLAGS, _S_TIMEOUT, _S_NETMASK = range(1, 10)
_S_STATISTICS = 12
_D_ADDRESS, _D_PORT, _D_METHOD, _D_WEIGHT, _D_UPPER, _D_LOWER, _D_ACTIVE, _D_INACTIVE, _D_FAMILY = *range(1, 9), 11
_MASQUERADE = 0
_PROTOCOLS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_ALL_FLAGS = 0xFFFFFFFF
_TABLE = Path("/proc/thread-self/net/ip_vs")
MODULES = "ip_vs, ip_vs_rr (and the module of each scheduler in use), nf_conntrack, dummy, ip_set, xt_set"


class NoIpvs(OSError):
    """This kernel has no IPVS, or may not load it."""


class Traffic(NamedTuple):
    """What a virtual server has seen: connections, packets and bytes to it, packets and bytes from it."""

    connections: int
    packets_in: int
    packets_out: int
    bytes_in: int
    bytes_out: int


Weights: TypeAlias = dict[str, dict[str, int]]
"""By virtual server and real server, as `shown_server` and `shown_place` write them."""


@dataclass(frozen=True, slots=True)
class Connections:
    """A real server's live connections, and its weight."""

    weight: int
    active: int
    inactive: int


class Ipvs:
    """IPVS in the caller's network namespace. Raises `NoIpvs`, and `KernelRefused` for what the kernel says no to."""

    def __init__(self) -> None:
        self._netlink = Netfilter(protocol=NETLINK_GENERIC)
        try:
            self._family = self._find()
        except BaseException:
            self._netlink.close()
            raise

    def __enter__(self) -> Ipvs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    def _find(self) -> int:
        question = Request(0, _CONTROLLER, text(_FAMILY_NAME, "IPVS"), "find IPVS", family=_GET_FAMILY)
        try:
            reply = self._netlink.get(question)
        except KernelRefused as refused:
            if refused.code != errno.ENOENT:
                raise
            raise NoIpvs(errno.ENOENT, f"this kernel has no IPVS: it needs the modules {MODULES}") from None
        return int(struct.unpack("=H", attributes(reply.body)[_FAMILY_ID])[0])

    def each(self, requests: Sequence[Request]) -> None:
        """Send what the functions below made; the kernel does each that it can. KernelRefused names the others."""
        if refused := self._netlink.each(requests):
            raise KernelRefused(refused)

    def request(self, request: Request) -> None:
        self._netlink.request(request)

    def services(self) -> dict[Server, Scheduling]:
        """Every virtual server."""
        return {virtual: scheduling for virtual, scheduling, _ in self._listed()}

    def traffic(self) -> dict[Server, Traffic]:
        """What each virtual server has seen. The kernel counts it together every two seconds."""
        return {virtual: traffic for virtual, _, traffic in self._listed()}

    def servers(self, virtual: Server) -> dict[Real, Connections]:
        """The real servers of one virtual server; none when it is not there."""
        family = _family(virtual)
        question = self._request(_GET_DEST, nested(_SERVICE, _address(virtual)), f"list {virtual.words}")
        found: dict[Real, Connections] = {}
        try:
            replies = self._netlink.dump(question)
        except KernelRefused as refused:
            if refused.code != errno.ESRCH:
                raise
            replies = []
        for reply in replies:
            there = attributes(attributes(reply.body)[_DEST])
            address = str(ipaddress.ip_address(there[_D_ADDRESS][: 16 if family == socket.AF_INET6 else 4]))
            counts = (int(struct.unpack("=I", there[kind])[0]) for kind in (_D_WEIGHT, _D_ACTIVE, _D_INACTIVE))
            found[Real(virtual, address, int.from_bytes(there[_D_PORT], "big"))] = Connections(*counts)
        return found

    def set_timeouts(self, tcp: int, tcp_fin: int, udp: int) -> None:
        """Seconds after which a silent connection is forgotten; 0 leaves what there is."""
        kinds = (_TIMEOUT_TCP, tcp), (_TIMEOUT_TCP_FIN, tcp_fin), (_TIMEOUT_UDP, udp)
        body = b"".join(_u32(kind, seconds) for kind, seconds in kinds)
        self._netlink.request(self._request(_SET_CONFIG, body, f"ipvsadm --set {tcp} {tcp_fin} {udp}"))

    def add_service(self, virtual: Server, scheduling: Scheduling) -> Request:
        return self._service(_NEW_SERVICE, virtual, scheduling, "-A")

    def set_service(self, virtual: Server, scheduling: Scheduling) -> Request:
        return self._service(_SET_SERVICE, virtual, scheduling, "-E")

    def delete_service(self, virtual: Server) -> Request:
        return self._request(_DEL_SERVICE, nested(_SERVICE, _address(virtual)), f"ipvsadm -D {virtual.words}")

    def add_server(self, real: Real, weight: int) -> Request:
        return self._server(_NEW_DEST, real, weight, "-a")

    def set_server(self, real: Real, weight: int) -> Request:
        return self._server(_SET_DEST, real, weight, "-e")

    def delete_server(self, real: Real) -> Request:
        body = nested(_SERVICE, _address(real.virtual)) + nested(_DEST, _backend(real))
        return self._request(_DEL_DEST, body, f"ipvsadm -d {real.words}")

    def _service(self, command: int, virtual: Server, scheduling: Scheduling, option: str) -> Request:
        mask = 128 if _family(virtual) == socket.AF_INET6 else 0xFFFFFFFF
        body = nested(
            _SERVICE,
            _address(virtual),
            text(_S_SCHEDULER, scheduling.scheduler),
            attribute(_S_FLAGS, struct.pack("=II", scheduling.flags, _ALL_FLAGS)),
            _u32(_S_TIMEOUT, scheduling.timeout),
            _u32(_S_NETMASK, mask),
        )
        return self._request(command, body, f"ipvsadm {option} {virtual.words} {scheduling.words}")

    def _server(self, command: int, real: Real, weight: int, option: str) -> Request:
        details = ((_D_METHOD, _MASQUERADE), (_D_WEIGHT, weight), (_D_UPPER, 0), (_D_LOWER, 0))
        server = nested(_DEST, _backend(real), *(_u32(kind, value) for kind, value in details))
        body = nested(_SERVICE, _address(real.virtual)) + server
        return self._request(command, body, f"ipvsadm {option} {real.words} -m -w {weight}")

    def _request(self, command: int, body: bytes, says: str) -> Request:
        return Request(self._family >> 8, self._family & 0xFF, body, says, family=command)

    def _listed(self) -> Iterator[tuple[Server, Scheduling, Traffic]]:
        for reply in self._netlink.dump(self._request(_GET_SERVICE, b"", "list virtual servers")):
            found = attributes(attributes(reply.body)[_SERVICE])
            flags = int(struct.unpack("=II", found[_S_FLAGS])[0]) & ~HASHED
            timeout = int(struct.unpack("=I", found[_S_TIMEOUT])[0])
            scheduling = Scheduling(string(found[_S_SCHEDULER]), timeout, flags)
            yield _listed_server(found), scheduling, _traffic(found[_S_STATISTICS])


class Schedulers:
    """Which schedulers this kernel has. It says so when a virtual server asks for one: each is asked for once."""

    def __init__(self, ipvs: Ipvs, mark: int) -> None:
        """``mark`` is one that no packet gets."""
        self._ipvs, self._nobodys = ipvs, Marked("ip", mark)
        self._known: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        if name not in self._known:
            self._known[name] = self._ask(name)
        return self._known[name]

    def _ask(self, name: str) -> bool:
        try:
            self._ipvs.request(self._ipvs.add_service(self._nobodys, Scheduling(name)))
        except KernelRefused as refused:
            return refused.code != errno.ENOENT  # whatever else is wrong is not about the scheduler
        self._ipvs.request(self._ipvs.delete_service(self._nobodys))
        return True


def real_servers() -> dict[Real, Connections]:
    """Every real server of this thread's namespace with its connections, in one look."""
    found: dict[Real, Connections] = {}
    virtual: Server | None = None
    for line in _TABLE.read_text().splitlines()[3:]:
        words = line.split()
        if words[0] == "->" and virtual is not None:
            address, port = _socket(words[1])
            if isinstance(virtual, Marked):  # the table does not tell its family
                virtual = virtual._replace(family=family_word(address))
            weight, active, inactive = (int(one) for one in words[3:6])
            found[Real(virtual, address, port)] = Connections(weight, active, inactive)
        elif words[0] == "FWM":
            virtual = Marked("ip", int(words[1], 16))
        elif words[0] != "->":
            virtual = Virtual(words[0], *_socket(words[1])) if words[0] in _PROTOCOLS else None
    return found


def read_weights() -> Weights:
    """The weights of all real servers of this thread's namespace. Raises OSError.

    Many are read often, so addresses stay as the kernel shows them.
    """
    found: Weights = {}
    there: dict[str, int] = {}
    for line in _TABLE.read_text().splitlines()[3:]:
        words = line.split(None, 4)
        if words[0] == "->":
            there[words[1]] = int(words[3])
        else:
            there = found[f"{words[0]} {words[1]}"] = {}
    return {virtual: there for virtual, there in found.items() if there}


def shown_server(virtual: Server) -> str:
    """As the kernel shows it."""
    if isinstance(virtual, Marked):
        return f"FWM {virtual.mark:08X}"
    return f"{virtual.protocol} {shown_place(virtual.address, virtual.port)}"


def shown_place(address: str, port: int) -> str:
    parsed = ipaddress.ip_address(address)
    return f"{f'{int(parsed):08X}' if parsed.version == 4 else f'[{parsed.exploded}]'}:{port:04X}"


def _listed_server(found: dict[int, bytes]) -> Server:
    family = int(struct.unpack("=H", found[_S_FAMILY])[0])
    if _S_MARK in found:
        return Marked("ip6" if family == socket.AF_INET6 else "ip", int(struct.unpack("=I", found[_S_MARK])[0]))
    protocol = int(struct.unpack("=H", found[_S_PROTOCOL])[0])
    address = str(ipaddress.ip_address(found[_S_ADDRESS][: 16 if family == socket.AF_INET6 else 4]))
    return Virtual(_NAMES.get(protocol, str(protocol)), address, int.from_bytes(found[_S_PORT], "big"))


def _socket(words: str) -> tuple[str, int]:
    """``0A600001:0050`` or ``[fd00:…]:0050``."""
    address, _, port = words.rpartition(":")
    if address.startswith("["):
        return str(ipaddress.ip_address(address.strip("[]"))), int(port, 16)
    return str(ipaddress.ip_address(int(address, 16))), int(port, 16)


def _traffic(data: bytes) -> Traffic:
    found = attributes(data)
    return Traffic(*(int(struct.unpack("=Q", found[kind])[0]) for kind in range(1, 6)))


def _address(virtual: Server) -> bytes:
    family = _u16(_S_FAMILY, _family(virtual))
    if isinstance(virtual, Marked):
        return family + _u32(_S_MARK, virtual.mark)
    return b"".join(
        (
            family,
            _u16(_S_PROTOCOL, _PROTOCOLS[virtual.protocol]),
            attribute(_S_ADDRESS, _packed(virtual.address)),
            attribute(_S_PORT, virtual.port.to_bytes(2, "big")),
        )
    )


def _backend(real: Real) -> bytes:
    family = socket.AF_INET6 if ":" in real.address else socket.AF_INET
    where = attribute(_D_ADDRESS, _packed(real.address)) + attribute(_D_PORT, real.port.to_bytes(2, "big"))
    return where + _u16(_D_FAMILY, family)


def _family(virtual: Server) -> int:
    family = virtual.family if isinstance(virtual, Marked) else family_word(virtual.address)
    return socket.AF_INET6 if family == "ip6" else socket.AF_INET


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed.ljust(16, b"\0")


def _u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))
