"""Six small clusters as the real kube-proxy had them, with what became of several hundred real packets each.

They lie in a folder beside the repository (``FAIRWAY_DUMPS`` names another). Every probe is predicted from the objects
alone; where a mode of the reference does something else, or the fault of a cluster is one that no object tells, the
difference is on the list below, with its reason. In our lab the machines have other addresses: a cluster can be read
as if it had been there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.diagnose.journey import Journey, travel
from fairway.diagnose.places import Start, Target
from fairway.lab.topology import OUTSIDE, OUTSIDE_CLIENT, ROUTER_ADDRESS
from fairway.model.packet import Verdict
from fairway.objects.codec import read_yaml

DUMPS = Path(os.environ.get("FAIRWAY_DUMPS") or Path(__file__).parents[3] / "shared" / "dumps")
CLUSTERS = ("p1", "p2", "p3", "p4", "p5", "p6")
# The dumps' README: all pods listen on these; the API server is what default/kubernetes leads to.
LISTENING = {("TCP", 8080), ("TCP", 9090), ("UDP", 8053), ("TCP", 6443)}
# ip-route.json of ext: these are routed to n2, other load-balancer addresses to n1, and cluster IPs nowhere.
ROUTES_OF_EXT = {"198.51.100.20": "n2", "198.51.100.31": "n2"}

NODES = {"n1": "172.30.0.1", "n2": "172.30.0.2"}
"""The nodes, and their addresses in the lab."""
MOVED = {
    "192.168.50.11": NODES["n1"],
    "192.168.50.12": NODES["n2"],
    # Here the router is where the API server listens, and one of the clients.
    "192.168.50.5": ROUTER_ADDRESS,
    "192.168.50.1": ROUTER_ADDRESS,
    "203.0.113.10": OUTSIDE_CLIENT,
    "203.0.113.0": str(OUTSIDE.network_address),
}
_ADDRESS = re.compile(r"\b\d+\.\d+\.\d+\.\d+\b")


@dataclass(frozen=True)
class Probe:
    """Ten connections from one place to one address; ``outcomes`` is what became of them."""

    cluster: str
    objects: Cluster
    mode: str
    start: Start
    target: Target
    outcomes: frozenset[str]
    pods: frozenset[str]
    sources: frozenset[str]
    journey: Journey

    def __str__(self) -> str:
        return f"{self.mode}: {self.start.name} to {self.target.address}:{self.target.port}/{self.target.protocol}"

    def may_be_forwarded_by(self, node: str) -> bool:
        """Whether the node passes the packet on, to whatever backend: not when its own process talks to its own pod."""
        met = [hop.node for hop in self.journey.hops]
        behind = {choice.backend.node for choice in self.journey.outcome.choices}
        if direct := self.objects.pod_at(self.target.address):
            behind.add(direct.spec.node_name)
        return (node in met and self.start.name != node) or (node in behind and met[-1] != node)


@dataclass(frozen=True)
class Difference:
    """Probes that the objects alone cannot foretell, and why."""

    why: str
    clusters: tuple[str, ...]
    modes: tuple[str, ...]
    covers: Callable[[Probe], bool]


IPTABLES = ("iptables-nft", "iptables-legacy")
EVERY = (*IPTABLES, "nftables", "ipvs")
DIFFERENCES = (
    Difference(
        "iptables mode lets a packet to an unknown port of a cluster IP go to the default route; we refuse it, as the "
        "reference's nftables mode does (reference, 1.C)",
        ("p1",),
        IPTABLES,
        lambda probe: probe.target.address == "10.96.10.1" and probe.target.port == 81,
    ),
    Difference(
        "iptables mode takes node ports on 127.0.0.1 (route_localnet); nftables mode does not (reference, 1.G)",
        ("p1",),
        IPTABLES,
        lambda probe: probe.target.address == "127.0.0.1",
    ),
    Difference(
        "iptables mode masquerades a pod that reaches itself on whatever node it runs; nftables mode only on its own, "
        "so the answer of the round trip over the other node is lost (reference, 1.E)",
        ("p1",),
        IPTABLES,
        lambda probe: probe.start.name == "web-a" and probe.target.port == 30084,
    ),
    Difference(
        "a health check node port is answered by the proxy itself, not by a Service",
        ("p1", "p6"),
        EVERY,
        lambda probe: probe.target.port == 32100,
    ),
    Difference(
        "ipvs mode has the load balancer's address on kube-ipvs0, so the node uses it as its own source and nothing "
        "masquerades it (the dump's README)",
        ("p6",),
        ("ipvs",),
        lambda probe: probe.start.name == "n2" and probe.target.address == "198.51.100.30",
    ),
    Difference(
        "the client outside has no route to cluster IPs (its ip-route.json)",
        ("p3",),
        EVERY,
        lambda probe: probe.start.outside and probe.target.address.startswith("10.96."),
    ),
    Difference(
        "the proxy of n2 was stopped before the objects changed: its rules are those of earlier objects",
        ("p3",),
        EVERY,
        lambda probe: "n2" in {hop.node for hop in probe.journey.hops},
    ),
    Difference(
        "a foreign firewall on n1 drops what is forwarded to tcp 8080, whoever rewrote it",
        ("p5",),
        EVERY,
        lambda probe: probe.may_be_forwarded_by("n1"),
    ),
)


def _read(name: str, file: str, *, moved: bool) -> str:
    text = (DUMPS / name / file).read_text()
    return _ADDRESS.sub(lambda match: MOVED.get(match[0], match[0]), text) if moved else text


@cache
def load(name: str, *, moved: bool = False) -> Cluster:
    documents = read_yaml(_read(name, "objects.yaml", moved=moved))
    return from_documents(documents, Networks(services=("10.96.0.0/12",)))


def start_of(cluster: Cluster, origin: dict[str, Any], target: Target) -> Start:
    outside = origin["kind"] == "ext"
    entry = cluster.node_at(target.address) or ROUTES_OF_EXT.get(target.address, "n1")
    node = entry if outside else origin.get("node") or origin["name"]
    return Start(origin["name"], origin["address"], node, local=origin["kind"] == "node", outside=outside)


@cache
def probes(name: str, *, moved: bool = False) -> list[Probe]:
    cluster = load(name, moved=moved)
    found = []
    for mode, recorded in json.loads(_read(name, "packets.json", moved=moved)).items():
        for one in recorded:
            to = one["to"]
            target = Target(to["address"], to["address"], to["port"], to["protocol"])
            start = start_of(cluster, one["from"], target)
            found.append(
                Probe(
                    cluster=name,
                    objects=cluster,
                    mode=mode,
                    start=start,
                    target=target,
                    outcomes=frozenset(one["outcome"]),
                    pods=frozenset(one.get("answered_by") or ()),
                    sources=frozenset(one.get("source_seen_by_backend") or ()),
                    journey=travel(cluster, start, target, "nftables"),
                )
            )
    return found


def foreseen(probe: Probe) -> set[str]:
    """What may become of the connections, from the objects alone."""
    journey, target = probe.journey, probe.target
    match journey.outcome.verdict:
        case Verdict.REJECT:
            return {"refused"}
        case Verdict.DROP:
            return {"timeout"}
        case Verdict.ANSWER:
            return {"answered"}
        case Verdict.DELIVER:
            return {
                ("answered" if (target.protocol, choice.backend.port) in LISTENING else "refused")
                if journey.returns(choice)
                else "timeout"
                for choice in journey.outcome.choices
            }
        case Verdict.PASS:
            return foreseen_without_a_service(probe)


def foreseen_without_a_service(probe: Probe) -> set[str]:
    cluster, target = probe.objects, probe.target
    if cluster.pod_at(target.address):
        return {"answered"} if (target.protocol, target.port) in LISTENING else {"refused"}
    if cluster.node_at(target.address) or target.address == "127.0.0.1":
        return {"refused"}
    return {"timeout", "unreachable"}


def difference(probe: Probe) -> Difference | None:
    for one in DIFFERENCES:
        if probe.cluster in one.clusters and probe.mode in one.modes and one.covers(probe):
            return one
    return None
