"""``fairway program``: what the kernel of a node should hold, each line with the object and field that caused it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError, Output, print_json
from fairway.cli.source import DEFAULT_SOURCE, Source


def program(
    node: Annotated[str | None, Parameter(name="NODE")] = None,
    /,
    *,
    mode: Annotated[str, Parameter(name="--mode")] = "",
    source: Source = DEFAULT_SOURCE,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Print what the kernel of a node should hold, each line with the object and field that caused it.

    Example: fairway program node-1

    Parameters
    ----------
    node
        The node's name; may be left out when the cluster has only one.
    mode
        The proxy mode to print; by default the one that the node's proxy says it is in, where it can be asked, else
        nftables.
    source
        Which cluster.
    output
        text, or json with the same text in it.
    """
    from fairway.modes.registry import MODES, RELAYING_MODES

    if mode and mode not in MODES:
        raise CommandError(f"no mode {mode!r}; there is: {', '.join(MODES)}", EXIT_USAGE)
    cluster = source.read()
    if mode in RELAYING_MODES:
        cluster.relays = frozenset(cluster.nodes)
    if node is None and len(cluster.nodes) == 1:
        node = next(iter(cluster.nodes))
    if not cluster.nodes:
        raise CommandError("there is no Node object, so there is no kernel to tell about", EXIT_USAGE)
    if node not in cluster.nodes:
        wrong = f"no node {node!r}" if node else "say which node"
        raise CommandError(f"{wrong}; nodes are: {', '.join(sorted(cluster.nodes))}", EXIT_USAGE)
    mode = mode or cluster.mode(node)
    chosen = MODES[mode]
    view = cluster.view(node)
    text = chosen.render(chosen.program(view))
    if output == "json":
        print_json({"node": node, "mode": mode, "frontends": [str(key) for key in view.frontends], "program": text})
    else:
        print(text)
    return 0
