"""``fairway switch``: a running proxy goes from one mode to another, and no connection notices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fairway.cli.durations import seconds
from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, Output, complain, print_json
from fairway.cli.status import place_of

if TYPE_CHECKING:
    from fairway.kernel.namespaces import NetworkNamespace
    from fairway.proxy.switching import Order

_SHOWN, _NAMED = 8, 3


def switch(
    node: Annotated[str | None, Parameter(name="NODE")] = None,
    /,
    *,
    to: str,
    iptables_variant: str = "",
    plan: bool = False,
    accept_differences: bool = False,
    drain_limit: str = "0",
    name: str = "lab",
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Take the running proxy of this machine, or of a lab's node, to another mode; open connections go on.

    The new mode is loaded beside the old one, both are asked what they do with every kind of client of every frontend,
    then new connections are the new one's, and the old one's rules go. What open connections still need of IPVS stays
    until they have ended (drain). The choice outlives the proxy, until its configuration names another mode.

    Example: fairway switch --to iptables --plan

    Exit code 0 when it is done (with --plan: when the modes do the same), 1 when it was refused or the modes differ.

    Parameters
    ----------
    node
        A node of a lab on this machine.
    to
        nftables, iptables, ipvs or userspace.
    iptables_variant
        nft or legacy, for --to iptables; without it, the one in use on the node.
    plan
        Only tell what would be different for whom, and how much would change.
    accept_differences
        Switch even if some clients get something else than before, or something is not done any more.
    drain_limit
        How long open connections may keep what they need of the old mode, such as 10m; 0: until they end.
    name
        The lab's name; the only one that has the node will do without.
    output
        text as it goes, or one JSON object at the end.
    """
    from fairway.modes.registry import MODES
    from fairway.proxy.switching import Order

    if to not in MODES:
        raise CommandError(f"--to: there is no mode {to!r}; there are {', '.join(MODES)}", EXIT_USAGE)
    if iptables_variant not in ("", "nft", "legacy") or (iptables_variant and to != "iptables"):
        raise CommandError("--iptables-variant is nft or legacy, and goes with --to iptables", EXIT_USAGE)
    limit = seconds(drain_limit, "--drain-limit", zero=True)
    order = Order(
        to=to, variant=iptables_variant, plan=plan, accept_differences=accept_differences, drain_seconds=limit
    )
    last = _followed(order, place_of(node, name) if node else None, quiet=output == "json")
    if output == "json":
        print_json(last)
    elif last.get("error"):
        complain(str(last["error"]))
    same = (last.get("equivalence") or {}).get("same", False)
    return EXIT_FAILED if last.get("error") or (plan and not same) else 0


def _followed(order: Order, place: NetworkNamespace | None, *, quiet: bool) -> Mapping[str, Any]:
    """The last word, while the ones before are printed."""
    from fairway.diagnose.orders import NobodyThere, give

    last: dict[str, Any] = {}
    try:
        for document in give(order, place):
            if not quiet:
                for line in lines(last, document):
                    print(line)
            last = {**last, **document}
    except NobodyThere as error:
        raise CommandError(
            f"no proxy takes orders here ({error}).\n"
            "Start one (fairway up, fairway proxy --proxy-mode MODE); or name a node of a lab."
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            "not waited for any longer: the proxy goes on; `fairway status` shows how far it is"
        ) from None
    if not last:
        raise CommandError("the proxy ended before it had answered; the next one goes on from where it was")
    if not last.get("error") and last["phase"] not in ("done", "failed"):
        raise CommandError(f"the proxy ended in phase {last['phase']!r}; the next one goes on from there")
    return last


def lines(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is new since the last document."""
    phase = now.get("phase")
    if phase is None or (phase == before.get("phase") and phase != "drain"):
        return
    match phase:
        case "compare":
            yield f"{now['from']} to {now['to']}"
            yield from _compared(now["equivalence"])
        case "load":
            yield f"load:     {now['to']} beside {now['from']}"
        case "cut over":
            yield f"cut over: new connections are {now['to']}'s"
        case "remove":
            yield f"remove:   the rules of {now['from']}"
        case "drain":
            needed = (
                "1 connection still needs"
                if now["connections"] == 1
                else f"{now['connections']} connections still need"
            )
            yield f"drain:    {needed} {now['from']}"
        case "done" if now["planned"]:
            yield f"would:    load {now['to']} by {now['commands']} commands, remove {now['from']} by {now['removes']}"
        case "done":
            yield f"done:     {now['to']}, by {now['commands']} commands"


def _compared(found: Mapping[str, Any]) -> Iterator[str]:
    asked = f"{found['packets']} kinds of clients of {found['frontends']} frontends"
    if found["same"]:
        yield f"compare:  the same for all {asked}"
    else:
        said = [f"different for {found['differing']} of {asked}"] if found["differing"] else []
        if lacking := len(found["lacking"]):
            said.append("1 thing is not done any more" if lacking == 1 else f"{lacking} things are not done any more")
        yield f"compare:  {'; '.join(said)}"
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in found["differences"]:
        alike.setdefault((one["client"], one["was"], one["becomes"]), []).append(
            f"{one['service']} ({one['frontend']})"
        )
    for (client, was, becomes), whose in islice(alike.items(), _SHOWN):
        more = f" and {len(whose) - _NAMED} more" if len(whose) > _NAMED else ""
        yield f"  from {client}: {was}; then {becomes}"
        yield f"    Services {', '.join(whose[:_NAMED])}{more}"
    if (kinds := len(alike) - _SHOWN) > 0:
        yield f"  and {kinds} kinds more: --output json"
    yield from (f"  not done any more: {one}" for one in found["lacking"][:_SHOWN])
    yield from (f"  done from then on: {one}" for one in found["gained"][:_SHOWN])
