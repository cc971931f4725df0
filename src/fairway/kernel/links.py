"""Links, addresses and routes of one network namespace, over one rtnetlink socket.

Speaks rtnetlink itself: importing pyroute2 takes 0.4 s, more than building a whole lab with this. Only what Fairway
needs is here: veth pairs, bridges and their ports, addresses, routes, sysctls. Every request is acknowledged by the
kernel, and a refusal carries the kernel's own words.

    message = nlmsghdr | ifinfomsg, ifaddrmsg or rtmsg | attribute (length, type, value, padding) …
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path

from fairway.kernel.namespaces import NetworkNamespace

ROUTE_LOCALHOST = {"net.ipv4.conf.all.route_localnet": "1"}
"""What lets a packet from 127.0.0.1 leave the machine, as that of a node port on localhost must."""

_REQUEST, _ACK, _EXCL, _CREATE, _REPLACE, _DUMP = 0x001, 0x004, 0x200, 0x400, 0x100, 0x300
_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_PROTINFO, _IFLA_BRPORT_MODE = 12, 4
_IFLA_OPERSTATE, _OPERSTATE_UP = 16, b"\x06"
_LOOK_SECONDS = 0.001
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_F_NODAD = 1, 2, 8, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH = 1, 4, 5, 7, 9
_NESTED = 0x8000
_IFF_UP = 1
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE, _TYPE_UNICAST = 254, 3, 0, 253, 255, 1
_TABLE_LOCAL, _SCOPE_HOST, _TYPE_LOCAL = 255, 254, 2
_PROTOCOL_OURS = 0x66
"""Routing daemons have numbers of their own, by which each knows its routes again; nobody else has this one."""

_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_ACK_TLVS, _ACK_MESSAGE = 0x200, 1

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_BUFFER = 1 << 16


class LinkError(OSError):
    """The kernel refused a change of a link, an address or a route; ``errno`` says why in a number."""


class Links:
    """The links of one namespace (``None``: of the process), for as long as the ``with`` block."""

    def __init__(self, namespace: NetworkNamespace | None = None) -> None:
        def open_socket() -> socket.socket:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)

        self.namespace = namespace
        self._socket = namespace.run(open_socket) if namespace else open_socket()
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    # Links

    def index(self, name: str) -> int:
        """The number of a link; raises `LinkError` (ENODEV) if there is none of that name."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _named(name)
        for answer in self._request(_GETLINK, 0, body, f"find the link {name}"):
            return int(_LINK.unpack_from(answer)[2])
        raise LinkError(errno.ENODEV, f"cannot find the link {name}: the kernel did not answer")

    def names(self) -> list[str]:
        """The names of all links, in the kernel's order."""
        answers = self._request(_GETLINK, _DUMP, _LINK.pack(0, 0, 0, 0, 0), "list the links")
        return [_c_string(dict(_attributes(answer, _LINK.size))[_IFLA_IFNAME]) for answer in answers]

    def add_bridge(self, name: str, *, mac: str = "") -> None:
        """``mac``: its hardware address; without one it changes whenever a port with a lower one is plugged in."""
        info = _attribute(_IFLA_INFO_KIND, b"bridge")
        body = _LINK.pack(0, 0, 0, 0, 0) + _named(name, mac) + _nested(_IFLA_LINKINFO, info)
        self._change(_NEWLINK, _CREATE | _EXCL, body, f"add the bridge {name}")

    def add_dummy(self, name: str) -> None:
        """A link that leads nowhere, for addresses; it stays down, and what it holds is the machine's all the same."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _named(name) + _nested(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, b"dummy"))
        self._change(_NEWLINK, _CREATE | _EXCL, body, f"add the dummy link {name}")

    def add_veth(self, name: str, peer: str, peer_namespace: NetworkNamespace, *, peer_mac: str = "") -> None:
        """A cable: ``name`` here, ``peer`` in the other namespace, both still down."""
        handle = os.open(peer_namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            other = _named(peer, peer_mac) + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", handle))
            data = _nested(_VETH_INFO_PEER, _LINK.pack(0, 0, 0, 0, 0) + other)
            info = _attribute(_IFLA_INFO_KIND, b"veth") + _nested(_IFLA_INFO_DATA, data)
            body = _LINK.pack(0, 0, 0, 0, 0) + _named(name) + _nested(_IFLA_LINKINFO, info)
            self._change(_NEWLINK, _CREATE | _EXCL, body, f"add the veth pair {name} and {peer}")
        finally:
            os.close(handle)

    def set_up(self, name: str, *, mtu: int | None = None) -> None:
        body = _LINK.pack(0, 0, self.index(name), _IFF_UP, _IFF_UP)
        if mtu is not None:
            body += _attribute(_IFLA_MTU, struct.pack("=I", mtu))
        self._change(_SETLINK, 0, body, f"bring {name} up")

    def set_down(self, name: str) -> None:
        self._change(_SETLINK, 0, _LINK.pack(0, 0, self.index(name), 0, _IFF_UP), f"take {name} down")

    def wait_until_up(self, name: str, timeout: float = 5.0) -> None:
        """Until packets can pass a link whose both ends are up, which the kernel sees to when it finds the time.

        Before that a bridge loses what is sent by its port. Raises `LinkError` (ETIMEDOUT).
        """
        body = _LINK.pack(0, 0, 0, 0, 0) + _named(name)
        give_up = time.monotonic() + timeout
        pause = threading.Event()
        while not any(_is_up(answer) for answer in self._request(_GETLINK, 0, body, f"find the link {name}")):
            if time.monotonic() > give_up:
                raise LinkError(errno.ETIMEDOUT, f"the link {name} is still down after {timeout:g} s")
            pause.wait(_LOOK_SECONDS)

    def add_port(self, bridge: str, name: str, *, hairpin: bool = False) -> None:
        """Plug a link into a bridge. ``hairpin``: frames may leave by the port they came from.

        A pod that reaches itself through a Service needs that: its packet comes back to it by the same port.
        """
        index = self.index(name)
        body = _LINK.pack(0, 0, index, 0, 0) + _attribute(_IFLA_MASTER, struct.pack("=I", self.index(bridge)))
        self._change(_SETLINK, 0, body, f"plug {name} into {bridge}")
        if hairpin:
            mode = _nested(_IFLA_PROTINFO, _attribute(_IFLA_BRPORT_MODE, b"\x01"))
            body = _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0) + mode
            self._change(_SETLINK, 0, body, f"set hairpin mode on {name}")

    def delete(self, name: str) -> None:
        """Remove a link, and its peer with it."""
        self._change(_DELLINK, 0, _LINK.pack(0, 0, self.index(name), 0, 0), f"delete the link {name}")

    # Addresses and routes

    def add_address(self, name: str, address: str) -> None:
        """``address`` with its prefix length: ``10.244.1.7/24``."""
        self._address(_NEWADDR, _CREATE | _EXCL, name, ip_interface(address))

    def delete_address(self, name: str, address: str) -> None:
        self._address(_DELADDR, 0, name, ip_interface(address))

    def addresses(self, name: str) -> list[str]:
        """The addresses of a link with their prefix lengths, primary first."""
        index = self.index(name)
        found = []
        for answer in self._request(_GETADDR, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), "list the addresses"):
            family, prefix, _, _, owner = _ADDRESS.unpack_from(answer)
            if owner == index and family in (socket.AF_INET, socket.AF_INET6):
                values = dict(_attributes(answer, _ADDRESS.size))
                found.append(f"{ip_address(values.get(_IFA_LOCAL, values[_IFA_ADDRESS]))}/{prefix}")
        return found

    def _address(self, kind: int, flags: int, name: str, interface: IPv4Interface | IPv6Interface) -> None:
        body = _ADDRESS.pack(_family(interface), interface.network.prefixlen, 0, 0, self.index(name))
        body += _attribute(_IFA_LOCAL, interface.packed) + _attribute(_IFA_ADDRESS, interface.packed)
        if interface.version == 6:
            # In a lab every address is ours: duplicate detection would only keep it unusable for a second.
            body += _attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
        verb = "add" if kind == _NEWADDR else "delete"
        self._change(kind, flags, body, f"{verb} the address {interface} of {name}")

    def add_route(self, destination: str, via: str | Iterable[str] = (), link: str = "") -> None:
        """A route to ``destination`` (a network, or ``default``) by one or several gateways, or straight by a link."""
        gateways = [via] if isinstance(via, str) else list(via)
        network = ip_network(
            ("::/0" if ":" in "".join(gateways) else "0.0.0.0/0") if destination == "default" else destination
        )
        body = self._route(network, gateways, link)
        self._change(_NEWROUTE, _CREATE | _EXCL, body, f"add the route to {destination}")

    def delete_route(self, destination: str) -> None:
        network = ip_network(destination)
        # Scope NOWHERE and type 0 match whatever the route was added with.
        header = (_family(network), network.prefixlen, 0, 0, _TABLE_MAIN, 0, _SCOPE_NOWHERE, 0, 0)
        body = _ROUTE.pack(*header) + _attribute(_RTA_DST, network.network_address.packed)
        self._change(_DELROUTE, 0, body, f"delete the route to {destination}")

    def add_local_route(self, address: str, source: str = "") -> None:
        """Deliver what is for the address to this machine, which need not have it; who connects to it from here does so
        from ``source``, not from the address itself."""
        body = self._local_route(address, self.index("lo"))
        body += _attribute(_RTA_PREFSRC, ip_address(source).packed) if source else b""
        self._change(_NEWROUTE, _CREATE, body, f"add a local route to {address}")

    def local_routes(self) -> list[str]:
        """The addresses of those routes, ours only."""
        found = []
        for answer in self._request(_GETROUTE, _DUMP, _ROUTE.pack(*(0,) * 9), "list the routes"):
            _, _, _, _, table, protocol, *_ = _ROUTE.unpack_from(answer)
            if (table, protocol) == (_TABLE_LOCAL, _PROTOCOL_OURS):
                found.append(str(ip_address(dict(_attributes(answer, _ROUTE.size))[_RTA_DST])))
        return found

    def delete_local_route(self, address: str) -> None:
        self._change(_DELROUTE, 0, self._local_route(address, 0), f"delete the local route to {address}")

    def _local_route(self, address: str, link: int) -> bytes:
        network = ip_network(address)
        scope = _SCOPE_HOST if link else _SCOPE_NOWHERE
        header = (_family(network), network.prefixlen, 0, 0, _TABLE_LOCAL, _PROTOCOL_OURS, scope, _TYPE_LOCAL, 0)
        body = _ROUTE.pack(*header) + _attribute(_RTA_DST, network.network_address.packed)
        return body + (_attribute(_RTA_OIF, struct.pack("=I", link)) if link else b"")

    def _route(self, network: IPv4Network | IPv6Network, gateways: list[str], link: str) -> bytes:
        scope = _SCOPE_UNIVERSE if gateways else _SCOPE_LINK
        family = _family(network)
        header = (family, network.prefixlen, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, scope, _TYPE_UNICAST, 0)
        body = _ROUTE.pack(*header) + _attribute(_RTA_DST, network.network_address.packed)
        if link:
            body += _attribute(_RTA_OIF, struct.pack("=I", self.index(link)))
        hops = [_attribute(_RTA_GATEWAY, ip_address(gateway).packed) for gateway in gateways]
        if len(hops) > 1:
            # struct rtnexthop: its length, flags, weight - 1, link (0: by the gateway)
            return body + _attribute(
                _RTA_MULTIPATH, b"".join(struct.pack("=HBBi", 8 + len(h), 0, 0, 0) + h for h in hops)
            )
        return body + b"".join(hops)

    # The wire

    def _change(self, kind: int, flags: int, body: bytes, what: str) -> None:
        for _ in self._request(kind, flags | _ACK, body, what):
            pass

    def _request(self, kind: int, flags: int, body: bytes, what: str) -> Iterator[bytes]:
        """The bodies of the answers; an acknowledgement has none."""
        self._sequence += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0) + body)
        answers: list[bytes] = []
        while self._receive(answers, what, many=flags & _DUMP == _DUMP):
            pass
        return iter(answers)

    def _receive(self, answers: list[bytes], what: str, *, many: bool) -> bool:
        """Read one datagram; whether more are to come."""
        data = self._socket.recv(_BUFFER)
        position = 0
        while position + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, position)
            body = data[position + _HEADER.size : position + length]
            position += (length + 3) & ~3
            if sequence != self._sequence:
                continue  # the rest of an answer that an error cut short
            if kind == _ERROR:
                _raise_refusal(body, flags, what)
                return False
            if kind == _DONE:
                return False
            answers.append(body)
        return many or not answers


def set_sysctls(values: Mapping[str, str], namespace: NetworkNamespace | None = None) -> None:
    """Write kernel settings (``net.ipv4.ip_forward``); raises `FileNotFoundError` for one this kernel does not have."""

    def write() -> None:
        for name, value in values.items():
            _sysctl_path(name).write_text(value)

    namespace.run(write) if namespace else write()


def sysctl(name: str, namespace: NetworkNamespace | None = None) -> str:
    """A kernel setting, stripped; raises `FileNotFoundError` if this kernel does not have it."""
    text = namespace.run(_sysctl_path(name).read_text) if namespace else _sysctl_path(name).read_text()
    return text.strip()


def _sysctl_path(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def _raise_refusal(body: bytes, flags: int, what: str) -> None:
    (number,) = struct.unpack_from("=i", body)
    if number == 0:
        return
    words = os.strerror(-number)
    if flags & _ACK_TLVS:
        # With NETLINK_CAP_ACK only the header of our request is repeated between the number and the attributes.
        said = dict(_attributes(body, 4 + _HEADER.size)).get(_ACK_MESSAGE)
        words += f" ({_c_string(said)})" if said else ""
    raise LinkError(-number, f"cannot {what}: {words}")


def _is_up(answer: bytes) -> bool:
    return dict(_attributes(answer, _LINK.size)).get(_IFLA_OPERSTATE) == _OPERSTATE_UP


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _nested(kind: int, value: bytes) -> bytes:
    return _attribute(kind | _NESTED, value)


def _attributes(body: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & ~_NESTED, body[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3


def _named(name: str, mac: str = "") -> bytes:
    hardware = _attribute(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""
    return _attribute(_IFLA_IFNAME, _text(name)) + hardware


def _text(name: str) -> bytes:
    return name.encode() + b"\0"


def _c_string(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _family(address: IPv4Interface | IPv6Interface | IPv4Network | IPv6Network) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
