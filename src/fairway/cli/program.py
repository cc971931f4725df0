"""``fairway program``: what the kernel of a node should hold, each line with the object and field that caused it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError, Output, print_json, tell
from fairway.cli.source import DEFAULT_SOURCE, Source
from fairway.objects.printing import one_line


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
        text, with what cannot be served as it is written on stderr; or json with both.
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
        missing = f"no node {node!r}" if node else "say which node"
        raise CommandError(f"{missing}; nodes are: {', '.join(sorted(cluster.nodes))}", EXIT_USAGE)
    mode = mode or cluster.mode(node)
    chosen = MODES[mode]
    view = cluster.view(node)
    text = chosen.render(chosen.program(view))
    wrong = [str(one) for found in cluster.problems(node).values() for one in found]
    wrong += [one for frontend in view.frontends.values() for one in chosen.unsupported(frontend)]
    if output == "json":
        frontends = [str(key) for key in view.frontends]
        print_json({"node": node, "mode": mode, "frontends": frontends, "program": text, "problems": wrong})
    else:
        print(text)
        for one in wrong:
            tell(one_line(f"not served as it is written: {one}"))
    return 0
