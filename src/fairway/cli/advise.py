"""``fairway advise``: which mode and settings for this cluster on this machine, and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fairway.cli.ending import tidy
from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, Output, print_json, tell
from fairway.cli.source import DEFAULT_SOURCE, Source, find_kubeconfigs
from fairway.objects.printing import one_line

if TYPE_CHECKING:
    from fairway.diagnose.advice import Advice, Cost, Facts, Option, Setting
    from fairway.diagnose.cluster import Cluster
    from fairway.kernel.namespaces import NetworkNamespace

_CONNECTIONS, _CHANGES = 2000, 50
_FEWEST = 10
"""Services: fewer make a measurement of changes uneven."""


def advise(
    node: Annotated[str | None, Parameter(name="NODE")] = None,
    /,
    *,
    watch: float = 0,
    measure: bool = False,
    source: Source = DEFAULT_SOURCE,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Recommend a mode and settings for a cluster on this machine, with the reasons and what speaks against.

    It counts Services, backends and what they use, asks the node's proxy for its mode and how often things change, and
    tries in a network namespace of its own which modes this machine can do (as root). Nothing is changed.

    Example: sudo fairway advise --measure

    Exit code 0 when there is a mode to recommend, 1 when this machine can do none.

    Parameters
    ----------
    node
        The node whose view of the cluster counts; by default the first by name.
    watch
        Count for so many seconds how often Services and EndpointSlices change, instead of asking the proxy.
    measure
        Measure each possible mode at as many Services as the cluster has, in network namespaces made for it: what a
        connection and a change cost on this machine. Needs root; takes about a minute.
    source
        Which cluster.
    output
        text, or json with the facts and the advice.
    """
    from fairway.diagnose import advice, facts

    if not 0 <= watch < inf:
        raise CommandError("--watch: a number of seconds greater than 0", EXIT_USAGE)
    if watch and source.filename:
        raise CommandError("--watch: files do not change: it needs a cluster", EXIT_USAGE)
    cluster = source.read()
    name = _node(cluster, node)
    place = _place(source, name)
    found = facts.with_machine(facts.of_cluster(cluster, name), facts.this_machine(place))
    if not source.filename and name:
        found = _ask_proxy(found, place, name)
    if watch:
        found = replace(found, changes_per_second=asyncio.run(_watch(source, watch)))
    if measure:
        found = _measure(found)
    given = advice.advise(found)
    way = way_there(found, given, name if place else None)
    if output == "json":
        print_json({"node": name, "facts": found, "advice": given, "switch": way})
    else:
        print("\n".join(one_line(line) for line in _words(name, found, given, way)))
    return 0 if given.recommended else EXIT_FAILED


def _node(cluster: Cluster, wanted: str | None) -> str | None:
    if wanted is not None and wanted not in cluster.nodes:
        known = ", ".join(sorted(cluster.nodes)) or "none"
        raise CommandError(f"no node {wanted!r}; nodes are: {known}", EXIT_USAGE)
    return wanted or min(cluster.nodes, default=None)


def _place(source: Source, node: str | None) -> NetworkNamespace | None:
    """Where the node is, if it is one of a lab here."""
    lab = source.lab()
    return lab.place(node) if lab and node and any(one.name == node for one in lab.topology.nodes) else None


def _ask_proxy(found: Facts, place: NetworkNamespace | None, node: str) -> Facts:
    """With what the node's proxy says, if it is on this machine and answers."""
    from datetime import UTC, datetime

    from fairway.diagnose import facts, told

    status = told.status(place)
    if status is None or status["node"].get("name") != node:
        return found
    return facts.with_proxy(found, status, datetime.now(UTC))


async def _watch(source: Source, seconds: float) -> float:
    from fairway.client.http import Client
    from fairway.client.kubeconfig import load_kubeconfig
    from fairway.client.network import NetworkTransport
    from fairway.diagnose.facts import watched

    print(f"watching for {seconds:g} s …", file=sys.stderr)
    async with Client(NetworkTransport(load_kubeconfig(find_kubeconfigs(source.kubeconfig)))) as client:
        return await watched(client, seconds)


def _measure(found: Facts) -> Facts:
    """With what each mode costs here. Raises `CommandError` when nothing can be measured."""
    from fairway.bench.process import BenchFailed
    from fairway.diagnose.facts import possible
    from fairway.modes.registry import RELAYING_MODES

    services = max(_FEWEST, found.services)
    names = [name for name in possible(found) if name not in RELAYING_MODES]
    if not names:
        raise CommandError("--measure: only root can make a network namespace, and some mode must work here: try sudo")
    try:
        with tidy():
            costs = _costs(names, services, max(1, found.backends // services))
    except (BenchFailed, TimeoutError, ValueError) as error:
        raise CommandError(f"--measure: {error}") from None
    candidates = {name: replace(one, cost=costs.get(name)) for name, one in found.candidates.items()}
    return replace(found, candidates=candidates)


def _costs(names: list[str], services: int, backends: int) -> dict[str, Cost]:
    """Connections of all modes side by side in one run, then the changes of each."""
    from fairway.bench import datapath
    from fairway.bench.process import Program
    from fairway.diagnose.advice import Cost

    run = datapath.measure([Program(mode=name) for name in names], [services], datapath.Traffic(_CONNECTIONS, 0), tell)
    costs = {}
    for name, proxy in zip(names, run["proxies"], strict=True):
        connect = proxy["sizes"][0]["connect_seconds"]
        costs[name] = Cost(
            connect=connect["middle"]["p50"],
            directly=connect["direct"]["p50"],
            change=_change(name, services, backends),
        )
    return costs


def _change(name: str, services: int, backends: int) -> float | None:
    """What one change takes in that mode; None, and a sentence, when it cannot be told."""
    from fairway.bench.process import BenchFailed, Program
    from fairway.bench.programming import measure
    from fairway.bench.shape import Shape

    tell(f"{name}: {_CHANGES} changes …")
    try:
        return float(measure(Shape(services, backends), _CHANGES, Program(mode=name))["change_seconds"]["p50"])
    except (BenchFailed, TimeoutError) as error:
        tell(f"{name}: changes could not be measured: {error}")
        return None


def way_there(found: Facts, given: Advice, node_of_lab: str | None) -> str:
    """The command that takes the running proxy to what is recommended; empty when nothing runs, or it is there."""
    if not (found.mode and given.recommended) or found.mode == given.recommended:
        return ""
    return f"fairway switch {f'{node_of_lab} ' if node_of_lab else ''}--to {given.recommended}"


def _words(node: str | None, found: Facts, given: Advice, way: str) -> Iterator[str]:
    yield f"recommended: {given.recommended or 'none, this machine can do no mode'}"
    if way:
        yield f"  from {found.mode}, with open connections: {way} (with --plan it only tells what would differ)"
    yield ""
    yield from _facts(node, found)
    for number, option in enumerate(given.options, 1):
        yield ""
        yield from _option(number, option, found)
    if given.settings:
        yield ""
        yield "settings"
    for one in given.settings:
        yield from _setting(one)
    yield from _section("upstream", given.upstream)
    yield from _section("this rests on", given.rests_on)


def _facts(node: str | None, found: Facts) -> Iterator[str]:
    seen = f"as node {node} sees it" if node else "without a Node object"
    counts = f"Services {found.services:,}, frontends {found.frontends:,}, backends {found.backends:,}"
    if found.waiting:
        counts += f"; {found.waiting:,} Services have no cluster IP yet and do not count (an API server gives it)"
    yield f"the cluster, {seen}: {counts}"
    if found.most_backends:
        yield f"  most backends of one Service: {found.most_backends:,}"
    if found.changes_per_second is not None:
        yield f"  {found.changes_per_second:.2f} changes a second"
    if found.uses:
        yield "  in use: " + ", ".join(f"{use} ({count})" for use, count in sorted(found.uses.items()))
    now = f", in {found.mode} mode now" if found.mode else ""
    yield f"this machine: kernel {found.kernel}{now}"


def _option(number: int, option: Option, found: Facts) -> Iterator[str]:
    works = {True: "works here", False: "does not work here", None: "not tried here"}[option.possible]
    now = ", in use now" if option.mode == found.mode else ""
    yield f"{number}. {option.mode} ({works}{now})"
    yield from (f"   + {one}" for one in option.reasons)
    yield from (f"   - {one}" for one in option.against)


def _setting(one: Setting) -> Iterator[str]:
    between = "=" if one.name.startswith("--") else ": "
    yield f"  {one.name}{between}{one.value}" if one.value else f"  {one.name}: leave it"
    yield f"      {one.because}"


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield title
        yield from (f"  {line}" for line in lines)
