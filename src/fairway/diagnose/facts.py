"""The facts that advice rests on: from the objects of a cluster, from its proxy, and from this machine.

Cluster ──────────────▶ Services, backends, what they use ─┐
/status of the proxy ─▶ mode, churn                        ├─▶ Facts ─▶ fairway.diagnose.advice
this machine ─────────▶ modes it can do, tracking          ┘
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

import msgspec

from fairway.client.http import Client
from fairway.diagnose.advice import Candidate, Facts, Tracking, Use
from fairway.diagnose.cluster import Cluster
from fairway.kernel import namespaces
from fairway.kernel.contract import Unsuitable
from fairway.kernel.links import sysctl
from fairway.kernel.namespaces import NetworkNamespace
from fairway.model.relaying import relaying
from fairway.model.resolve import resolve
from fairway.model.view import HASH, Frontend, Key, NodeSettings
from fairway.modes.ipvs.parts import SCHEDULERS
from fairway.modes.registry import MODES, RELAYING_MODES
from fairway.objects.endpointslice import WEIGHT_ANNOTATION, EndpointSlice
from fairway.objects.resources import ENDPOINT_SLICES, SERVICES, Resource
from fairway.objects.service import (
    BALANCING_ANNOTATION,
    SCHEDULER_ANNOTATION,
    WEIGHTS_ANNOTATION,
    Service,
)
from fairway.proxy.configuration import configure
from fairway.proxy.flags import Flags
from fairway.proxy.kernels import open_mode
from fairway.proxy.receipts import RoundKind
from fairway.proxy.tuning import most_connections

_TABLE_BITS = Path("/sys/module/ip_vs/parameters/conn_tab_bits")


@dataclass(frozen=True)
class Machine:
    """This machine: ``cannot`` as in `Candidate`, by mode, None when nobody may ask."""

    kernel: str
    cannot: Mapping[str, str] | None
    tracking: Tracking | None
    ipvs_table_bits: int | None


def of_cluster(cluster: Cluster, node: str | None) -> Facts:
    """What the objects say, as that node would serve them; without a node, as one would that has no address."""
    settings = cluster.settings(node) if node else NodeSettings(name="")
    frontends = resolve(cluster.services.values(), cluster.slices, settings).frontends.values()
    pools: Counter[Key] = Counter()
    for one in frontends:
        pools[one.service] = max(pools[one.service], len(one.cluster), len(one.local))
    served = [cluster.services[name] for name in pools]
    schedulers = Counter(name for one in served if (name := _annotation(one, SCHEDULER_ANNOTATION)) in SCHEDULERS)
    return Facts(
        services=len(served),
        waiting=sum(
            1 for one in cluster.services.values() if one.spec.type != "ExternalName" and not one.spec.cluster_ip
        ),
        frontends=len(frontends),
        backends=pools.total(),
        most_backends=max(pools.values(), default=0),
        uses=Counter(use for one in served for use in uses(one, cluster.slices.get(one.key, ()))),
        schedulers=schedulers,
        candidates={name: _candidate(name, frontends, cluster, settings) for name in MODES},
        localhost_node_ports=settings.localhost_node_ports,
    )


def uses(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[Use]:
    """What one Service, with its EndpointSlices, asks for beyond an address and backends."""
    spec, ports = service.spec, service.spec.ports or ()
    asked = {
        Use.NODE_PORTS: any(one.node_port for one in ports),
        Use.SOURCE_RANGES: bool(spec.load_balancer_source_ranges),
        Use.EXTERNAL_IPS: bool(spec.external_ips),
        Use.AFFINITY: spec.session_affinity == "ClientIP",
        Use.LOCAL: "Local" in (spec.external_traffic_policy, spec.internal_traffic_policy),
        Use.SCHEDULERS: _annotation(service, SCHEDULER_ANNOTATION) in SCHEDULERS,
        Use.RELAYS: any(relaying(service, one) is not None for one in ports),
        Use.HASHING: _annotation(service, BALANCING_ANNOTATION) == HASH,
        Use.WEIGHTS: bool(_annotation(service, WEIGHTS_ANNOTATION))
        or any(WEIGHT_ANNOTATION in (one.metadata.annotations or ()) for one in slices),
        Use.SCTP: any(one.protocol == "SCTP" for one in ports),
        Use.UDP: any(one.protocol == "UDP" for one in ports),
        Use.DUAL_STACK: len(service.addresses) > 1,
    }
    return (use for use, yes in asked.items() if yes)


def _annotation(service: Service, name: str) -> str:
    return (service.metadata.annotations or {}).get(name, "")


def _candidate(name: str, frontends: Iterable[Frontend], cluster: Cluster, settings: NodeSettings) -> Candidate:
    """What Services ask for that the mode does not do as they ask."""
    if name in RELAYING_MODES:
        relayed = msgspec.structs.replace(settings, relays=True)
        frontends = resolve(cluster.services.values(), cluster.slices, relayed).frontends.values()
    told = [(one.service, sentence) for one in frontends for sentence in MODES[name].unsupported(one)]
    sentences = tuple(dict.fromkeys(sentence for _, sentence in told))
    return Candidate(differently=sentences, services=len({service for service, _ in told}))


def with_proxy(facts: Facts, status: Mapping[str, Any], now: datetime) -> Facts:
    """What the node's proxy says in its /status: its mode, and how many changes it has seen since it started."""
    return replace(
        facts,
        mode=str(status.get("mode", "")),
        changes_per_second=_pace(status, now),
        localhost_node_ports=bool(status["node"].get("localhostNodePorts", facts.localhost_node_ports)),
    )


def _pace(status: Mapping[str, Any], now: datetime) -> float | None:
    """Changes a second by the receipts; those of the start are the whole cluster, and none."""
    begun = max((_time(one["at"]) for one in status.get("rounds", ()) if one["kind"] == RoundKind.START), default=None)
    times = [_time(one["at"]) for one in status.get("receipts", ())]
    later = [one for one in times if begun is None or one > begun]
    since = min(later, default=begun)
    if since is None or (passed := (now - since).total_seconds()) <= 0:
        return None
    return len(later) / passed


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def watched(client: Client, seconds: float) -> float:
    """How many Services and EndpointSlices change a second, by watching them for so long. Raises as the client does."""
    counts = await asyncio.gather(*(_events(client, one, seconds) for one in (SERVICES, ENDPOINT_SLICES)))
    return sum(counts) / seconds


async def _events(client: Client, resource: Resource[Any], seconds: float) -> int:
    revision = (await client.list(resource)).metadata.resource_version
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for events in client.watch(resource, revision, seconds=ceil(seconds)):
                seen += sum(one.type != "BOOKMARK" for one in events)
    return seen


def this_machine(place: NetworkNamespace | None = None) -> Machine:
    """What this machine can do and what it is set to; connections are those tracked in ``place``, or here."""
    try:
        bits: int | None = int(_TABLE_BITS.read_text())
    except (OSError, ValueError):
        bits = None
    return Machine(os.uname().release.partition("-")[0], _abilities(), _tracking(place), bits)


def with_machine(facts: Facts, machine: Machine) -> Facts:
    candidates = {
        name: replace(one, cannot=None if machine.cannot is None else machine.cannot.get(name))
        for name, one in facts.candidates.items()
    }
    return replace(
        facts,
        kernel=machine.kernel,
        candidates=candidates,
        tracking=machine.tracking,
        ipvs_table_bits=machine.ipvs_table_bits,
    )


def _abilities() -> dict[str, str] | None:
    """Each mode opened in a network namespace made for it, so that nothing of the machine's is touched."""
    try:
        with namespaces.created(f"fairway-advise-{os.getpid()}") as namespace:
            return {name: _ability(namespace, name) for name in MODES}
    except OSError:
        return None


def _ability(namespace: NetworkNamespace, name: str) -> str:
    def open_and_close() -> str:
        try:
            with open_mode(name):
                return ""
        except Unsuitable as error:
            return str(error)

    return namespace.run(open_and_close)


def _tracking(place: NetworkNamespace | None) -> Tracking | None:
    try:
        count, most = (int(sysctl(f"net.netfilter.nf_conntrack_{name}", place)) for name in ("count", "max"))
    except (OSError, ValueError):
        return None
    limits = configure(Flags(), "any").tracking
    return Tracking(count=count, most=most, raised=most_connections(limits, os.cpu_count() or 1) if limits else 0)


def possible(facts: Facts) -> Sequence[str]:
    """The modes that this machine can do, as far as it was asked."""
    return [name for name, one in facts.candidates.items() if one.cannot == ""]
