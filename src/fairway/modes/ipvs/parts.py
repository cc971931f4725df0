"""What the kernel holds for frontends, part by part: each has a key, and some have a value that can change in place.

Virtual tcp 10.96.0.7:80 = Scheduling rr          ipvsadm -A -t 10.96.0.7:80 -s rr
Marked 0x7a000007 = Scheduling rr                 ipvsadm -A -f 2046820359 -s rr
Real 10.96.0.7:80 ─▶ 10.244.1.4:8080 = weight 1   ipvsadm -a -t 10.96.0.7:80 -r 10.244.1.4:8080 -m -w 1
Entry KUBE-CLUSTER-IP 10.96.0.7,tcp:80            ipset add KUBE-CLUSTER-IP 10.96.0.7,tcp:80
Entry KUBE-POOL 10.96.0.7,tcp:80 = a mark         ipset add KUBE-POOL 10.96.0.7,tcp:80 skbmark 0x7a000007
Bound 10.96.0.7                                   ip address add 10.96.0.7/32 dev kube-ipvs0
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from fairway.model.address import IPv6, family_of
from fairway.modes.xtables import KUBE_DEVICE, Family

DEVICE = KUBE_DEVICE
SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf")
PERSISTENT, HASHED, HASH_PORT = 0x1, 0x2, 0x10
"""Flags of a virtual server. The kernel sets `HASHED` itself; `HASH_PORT` makes `mh` look at the client's port too."""

_OPTIONS = {"TCP": "-t", "UDP": "-u", "SCTP": "--sctp-service"}
_LONGEST_SET_NAME = 31


class Virtual(NamedTuple):
    """A virtual server's address."""

    protocol: str
    address: str
    port: int

    @property
    def words(self) -> str:
        return f"{_OPTIONS[self.protocol]} {socket_address(self.address, self.port)}"


class Marked(NamedTuple):
    """A virtual server for packets with a mark, whatever their destination."""

    family: Family
    mark: int

    @property
    def words(self) -> str:
        return f"-f {self.mark}{' -6' if self.family == 'ip6' else ''}"


Server: TypeAlias = Virtual | Marked
"""A virtual server."""


class Scheduling(NamedTuple):
    """What else a virtual server has. ``timeout`` is the seconds of its persistence, 0 without."""

    scheduler: str
    timeout: int = 0
    flags: int = 0

    @property
    def words(self) -> str:
        persistent = f" -p {self.timeout}" if self.timeout else ""
        return f"-s {self.scheduler}{persistent}{' -b mh-port' if self.flags & HASH_PORT else ''}"


class Real(NamedTuple):
    """A real server of a virtual one; its value is its weight."""

    virtual: Server
    address: str
    port: int

    @property
    def words(self) -> str:
        return f"{self.virtual.words} -r {socket_address(self.address, self.port)}"


class Entry(NamedTuple):
    """An entry of an ipset, in ipset's words; its value is the mark that it gives packets, in a set that has marks."""

    set: str
    text: str


class Bound(NamedTuple):
    """An address of the dummy device."""

    address: str

    @property
    def words(self) -> str:
        return f"{self.address}/{128 if family_of(self.address) == IPv6 else 32}"


Part: TypeAlias = Virtual | Marked | Real | Entry | Bound
Value: TypeAlias = Scheduling | int | None


class IpSet(NamedTuple):
    """An ipset's declaration."""

    name: str
    kind: str
    family: Family
    marks: bool = False
    """Whether its entries have marks."""

    @property
    def words(self) -> str:
        if self.kind == "bitmap:port":
            return f"create {self.name} {self.kind} range 0-65535"
        marks = " skbinfo" if self.marks else ""
        return f"create {self.name} {self.kind} family {'inet6' if self.family == 'ip6' else 'inet'}{marks}"


def entry_words(entry: Entry, value: Value) -> str:
    """As ``ipset save`` prints it."""
    return f"{entry.set} {entry.text} skbmark {value:#x}" if isinstance(value, int) else f"{entry.set} {entry.text}"


def socket_address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# The reference's sets (section 4.5), and ours: for what must be dropped, for who answers pings, and for the marks that
# lead pods and the node itself to other backends than others.
KINDS = {
    "LOOP-BACK": "hash:ip,port,ip",
    "CLUSTER-IP": "hash:ip,port",
    "EXTERNAL-IP": "hash:ip,port",
    "EXTERNAL-IP-LOCAL": "hash:ip,port",
    "LOAD-BALANCER": "hash:ip,port",
    "LOAD-BALANCER-LOCAL": "hash:ip,port",
    "LOAD-BALANCER-FW": "hash:ip,port",
    "LOAD-BALANCER-SOURCE-IP": "hash:ip,port,ip",
    "LOAD-BALANCER-SOURCE-CIDR": "hash:ip,port,net",
    "NODE-PORT-TCP": "bitmap:port",
    "NODE-PORT-LOCAL-TCP": "bitmap:port",
    "NODE-PORT-UDP": "bitmap:port",
    "NODE-PORT-LOCAL-UDP": "bitmap:port",
    "NODE-PORT-SCTP-HASH": "hash:ip,port",
    "NODE-PORT-LOCAL-SCTP-HASH": "hash:ip,port",
    "HEALTH-CHECK-NODE-PORT": "bitmap:port",
    "IPVS-IPS": "hash:ip",
    "DROP": "hash:ip,port",
    "DROP-OUTSIDE": "hash:ip,port",
    "PING": "hash:ip",
    "POOL": "hash:ip,port",
}
_WITH_MARKS = "POOL"


def set_name(name: str, family: Family) -> str:
    """As the reference spells it: IPv6 sets are ``KUBE-6-…``, cut to what a name can hold."""
    return f"KUBE-{name}" if family == "ip" else f"KUBE-6-{name}"[:_LONGEST_SET_NAME]


def sets(family: Family) -> dict[str, IpSet]:
    """Every set of one family, by its name."""
    found = (IpSet(set_name(name, family), kind, family, name == _WITH_MARKS) for name, kind in KINDS.items())
    return {one.name: one for one in found}


def family_word(address: str) -> Family:
    return "ip6" if family_of(address) == IPv6 else "ip"
