"""What one flag or field may say: text to a value, or a `ValueError` whose words follow the field's name.

`fairway.proxy.configuration` asks for each; `within` and `bind` make what is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fairway.model.address import canonical, canonical_network, family_of
from fairway.modes.registry import MODES
from fairway.objects.service import STALE_CONNECTIONS
from fairway.proxy.document import duration
from fairway.proxy.flags import PRIMARY

DEFAULT_MODE = "nftables"
REFERENCE_MODES = ("iptables", "ipvs", "nftables")
DETECT_LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
_LONGEST_INTERFACE = 15


class Bind(NamedTuple):
    """Where a server listens; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def within(least: int, most: int) -> Callable[[int], int]:
    """A number from ``least`` to ``most``, both included."""

    def parse(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"{value} must be from {least} to {most}")
        return value

    return parse


def period(text: str | int) -> float:
    seconds = duration(text)
    if seconds < 0:
        raise ValueError(f'"{text}" must not be negative')
    return seconds


def positive_period(text: str) -> float:
    seconds = period(text)
    if seconds == 0:
        raise ValueError(f'"{text}" must be longer than nothing')
    return seconds


def proxy_mode(text: str) -> str:
    # kube-proxy's empty mode means iptables, which nobody should get by surprise here: empty is our default.
    return _one_of(text or DEFAULT_MODE, tuple(MODES), REFERENCE_MODES, "mode")


def iptables_variant(text: str) -> str:
    if text not in ("", "nft", "legacy"):
        raise ValueError(f'"{text}" is no variant of iptables: nft or legacy')
    return text


def local_mode(text: str) -> str:
    return _one_of(text or "ClusterCIDR", DETECT_LOCAL_MODES, DETECT_LOCAL_MODES, "mode")


def _one_of(text: str, known: tuple[str, ...], reference: tuple[str, ...], noun: str) -> str:
    if text in known:
        return text
    here = " and ".join(known)
    if text in reference:
        raise ValueError(f'{noun} "{text}" does not exist in this version of Fairway; it has {here}')
    raise ValueError(f'unknown {noun} "{text}"; it must be {" or ".join(known)}')


def ipvs_scheduler(text: str) -> str:
    if not text:
        return text
    from fairway.modes.ipvs.parts import SCHEDULERS  # with the whole of that mode, which others need not load

    if text not in SCHEDULERS:
        raise ValueError(f'there is no scheduler "{text}"; there are {", ".join(SCHEDULERS)}')
    return text


def cuts_connections(text: str) -> bool:
    if text not in STALE_CONNECTIONS:
        raise ValueError(f'"{text}" must be {" or ".join(STALE_CONNECTIONS)}')
    return text == "cut"


def node_name(text: str) -> str:
    name = text.strip().lower()
    if not name or len(name) > 253 or not all(_is_label(label) for label in name.split(".")):
        raise ValueError(f'"{text}" is no node name: letters, digits, "-" and ".", such as worker-1')
    return name


def _is_label(label: str) -> bool:
    allowed = label.replace("-", "a")
    return label != "" and label.strip("-") == label and allowed.isascii() and allowed.isalnum()


def interface(text: str) -> str:
    if not text:
        raise ValueError("must be said for this way of telling pods from others, such as cni0")
    if len(text.encode()) > _LONGEST_INTERFACE or any(
        one in "/:*" or not one.isprintable() or one == " " for one in text
    ):
        raise ValueError(f'"{text}" is no name of an interface: 15 bytes at most, without spaces, "/", ":" and "*"')
    return text


def canary_address(text: str) -> str:
    address = canonical(text.strip()) if text.strip() else ""
    if address is None or ":" in address:
        raise ValueError(f'"{text}" is no IPv4 address, such as 169.254.80.79')
    return address


def own_address(text: str) -> str:
    """Empty when the Node object's own is to be used."""
    address = canonical(text.strip())
    if address is None:
        raise ValueError(f'"{text}" is no IP address, such as 10.0.0.7')
    return "" if address in ("0.0.0.0", "::") else address


def networks(text: str) -> tuple[str, ...]:
    found = []
    for part in (one.strip() for one in text.split(",") if one.strip()):
        network = canonical_network(part) if "/" in part else None
        if network is None:
            raise ValueError(f'"{part}" is not a network in CIDR form, such as 10.244.0.0/16')
        found.append(network)
    return tuple(found)


def dual_networks(text: str) -> tuple[str, ...]:
    """At most one network of each family."""
    found = networks(text)
    if len({family_of(network) for network in found}) != len(found):
        raise ValueError(f'"{text}" must have at most one IPv4 and one IPv6 network')
    return found


def node_port_networks(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    if not parts or parts == (PRIMARY,):
        return None
    if PRIMARY in parts:
        raise ValueError(f'"{PRIMARY}" must stand alone: it means the Node\'s own addresses')
    return networks(",".join(parts))


def bind(default_port: int) -> Callable[[str], Bind | None]:
    """An address and a port; the port may be missing, nothing at all switches the server off."""

    def parse(text: str) -> Bind | None:
        text = text.strip()
        if not text:
            return None
        host, port = text, str(default_port)
        if (text.startswith("[") and "]:" in text) or text.count(":") == 1:
            host, _, port = text.rpartition(":")
        address = canonical(host.removeprefix("[").removesuffix("]"))
        if address is None:
            raise ValueError(f'"{text}" is no IP address and port, such as 127.0.0.1:{default_port}')
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError(f'"{port}" is no port: a number from 0 to 65535')
        return Bind(address, int(port))

    return parse
