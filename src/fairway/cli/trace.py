"""``fairway trace``: what happens to a packet, told from objects and rules, without root."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, Output, print_json
from fairway.cli.source import DEFAULT_SOURCE, Source


def trace(
    from_: Annotated[str, Parameter(name="FROM")],
    to: Annotated[str, Parameter(name="TO")],
    /,
    *,
    protocol: Annotated[str | None, Parameter(name="--protocol")] = None,
    mode: Annotated[str, Parameter(name="--mode")] = "nftables",
    via: Annotated[str | None, Parameter(name="--via")] = None,
    source: Source = DEFAULT_SOURCE,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Tell for a packet which Service it is for, which rules it meets, which backends may answer, and why.

    Example: fairway trace frontend shop/cart:http

    Exit code 0 when the packet gets to somebody, 1 when it is refused or dropped.

    Parameters
    ----------
    from_
        A pod (name, namespace/name, or the name its pods begin with), a node, or an IP address.
    to
        A Service (name or namespace/name, with :port or :port-name), or an IP address or node with :port.
        A protocol may follow: 10.96.0.10:53/udp.
    protocol
        TCP, UDP or SCTP; by default that of the Service's port, else TCP.
    mode
        The proxy mode whose rules are walked.
    via
        The node by which a packet from outside comes in, when its destination does not say.
    source
        Which cluster.
    """
    from fairway.diagnose.explain import document, explain
    from fairway.diagnose.journey import travel
    from fairway.diagnose.places import UnknownPlace, find_start, find_target
    from fairway.modes.registry import MODES

    if mode not in MODES:
        raise CommandError(f"no mode {mode!r}; there is: {', '.join(MODES)}", EXIT_USAGE)
    cluster = source.read()
    try:
        target = find_target(cluster, to, protocol)
        start = find_start(cluster, from_, target, via)
    except UnknownPlace as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    journey = travel(cluster, start, target, mode)
    if output == "json":
        print_json(document(journey, cluster))
    else:
        print(explain(journey, cluster))
    return 0 if journey.reaches else EXIT_FAILED
