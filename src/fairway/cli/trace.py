"""``fairway trace``: what happens to a packet, told from objects and rules, without root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, Output, print_json
from fairway.cli.source import DEFAULT_SOURCE, Source

if TYPE_CHECKING:
    from fairway.diagnose.cluster import Cluster
    from fairway.diagnose.journey import Journey
    from fairway.lab.follow import Followed
    from fairway.lab.network import Network


def trace(
    from_: Annotated[str, Parameter(name="FROM")],
    to: Annotated[str, Parameter(name="TO")],
    /,
    *,
    protocol: Annotated[str | None, Parameter(name="--protocol")] = None,
    mode: Annotated[str, Parameter(name="--mode")] = "",
    via: Annotated[str | None, Parameter(name="--via")] = None,
    send: Annotated[int, Parameter(name="--send")] = 0,
    source: Source = DEFAULT_SOURCE,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Tell for a packet which Service it is for, which rules it meets, which backends may answer, and why.

    Example: fairway trace frontend shop/cart:http

    Exit code 0 when the packet gets to somebody, 1 when it is refused or dropped, or when real packets (--send)
    did something else than was predicted.

    Parameters
    ----------
    from_
        A pod (name, namespace/name, or the name its pods begin with), a node, or an IP address.
    to
        A Service (name or namespace/name, with :port or :port-name), or an IP address or node with :port.
        A protocol may follow: 10.96.0.10:53/udp.
    protocol
        TCP, UDP, SCTP, or ICMP for a ping; by default that of the Service's port, else TCP.
    mode
        The proxy mode whose rules are walked; by default the one that each node's proxy says it is in, where it can be
        asked, else nftables.
    via
        The node by which a packet from outside comes in, when its destination does not say.
    send
        In a lab: also make that many real connections from there, and hold what happens against the prediction.
    source
        Which cluster.
    output
        text, or json with every step.
    """
    from fairway.diagnose.explain import document, explain
    from fairway.diagnose.journey import travel
    from fairway.diagnose.places import UnknownPlace, find_start, find_target
    from fairway.lab.follow import place_names
    from fairway.modes.registry import MODES, RELAYING_MODES

    if mode and mode not in MODES:
        raise CommandError(f"no mode {mode!r}; there is: {', '.join(MODES)}", EXIT_USAGE)
    lab = source.lab()
    if send and lab is None:
        raise CommandError("--send needs a lab on this machine (fairway lab up)", EXIT_USAGE)
    aliases = place_names(lab.topology) if lab else {}
    cluster = source.read()
    if mode in RELAYING_MODES:
        cluster.relays = frozenset(cluster.nodes)
    try:
        target = find_target(cluster, to, protocol)
        start = find_start(cluster, aliases.get(from_, from_), target, via)
    except UnknownPlace as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    journey = travel(cluster, start, target, mode)
    followed = _follow(journey, cluster, lab, send) if lab and send else None
    if output == "json":
        print_json({**document(journey, cluster), **({"sent": followed} if followed else {})})
    else:
        print(explain(journey, cluster))
        if followed:
            print("\n" + _words(followed))
    return 0 if journey.reaches and not (followed and followed.surprises) else EXIT_FAILED


def _follow(journey: Journey, cluster: Cluster, lab: Network, times: int) -> Followed:
    from fairway.lab.errors import LabError
    from fairway.lab.follow import follow

    try:
        return follow(journey, cluster, lab, times)
    except LabError as error:
        raise CommandError(str(error)) from None


def _words(followed: Followed) -> str:
    counts = ", ".join(f"{who} {count}" for who, count in followed.counts.items())
    saw = ", ".join(sorted(filter(None, followed.seen)))  # a ping says nothing of its sender
    seen = f"; the backends saw {saw}" if saw else ""
    lines = [f"{sum(followed.counts.values())} real connections: {counts}{seen}"]
    verdict = (
        "  as predicted"
        if followed.judged
        else "  nothing to hold it against: no pod of the lab is known to listen there"
    )
    lines += [f"  not as predicted: {words}" for words in followed.surprises] or [verdict]
    return "\n".join(lines)
