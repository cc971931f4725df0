"""``fairway cleanup``: what proxies have left on this machine, whose it is, and away with what nobody uses any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fairway.cli.output import EXIT_FAILED, CommandError, Output, complain, print_json, tell
from fairway.cli.status import metrics_place
from fairway.objects.printing import one_line

if TYPE_CHECKING:
    from fairway.diagnose.leftovers import Leftover, Plan

_SHOWN = 3


def cleanup(
    *,
    plan: bool = False,
    force: bool = False,
    metrics_address: str = "127.0.0.1:10249",
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Remove rules, chains, sets, virtual servers, addresses and flows that a proxy has left, Fairway or kube-proxy.

    What belongs to others stays: the kubelet's chains, Docker's, a network plugin's, users' own. What a proxy that runs
    here uses stays, too.

    Example: fairway cleanup --plan

    Exit code 0 when nothing stale is left, 1 when something is (with --plan: would be removed).

    Parameters
    ----------
    plan
        Only tell what is there, whose it is, why it counts as stale, and how it would be removed.
    force
        Remove what is in use, too: Services do not answer until the proxy has written everything again.
    metrics_address
        Where a running proxy tells its mode: its --metrics-bind-address.
    output
        text, or json with every name.
    """
    from fairway.diagnose.leftovers import REFUSALS, look, remove
    from fairway.kernel.writing import wait_for_writers

    try:
        wait_for_writers(tell)
        found = look(metrics_place(metrics_address), force=force)
    except REFUSALS as error:
        raise CommandError(f"cannot look at everything: {error}\nRun it as root, in the node's namespace.") from None
    failed = [] if plan else [(one, reason) for one, reason in remove(found, force=force) if reason]
    going = found.going(force=force)
    if output == "json":
        print_json(_document(found, going, failed, planned=plan))
    else:
        print("\n".join(one_line(line) for line in _lines(found, going, [one for one, _ in failed], planned=plan)))
    for one, reason in failed:
        complain(one_line(f"{one.place}: {reason}"))
    return EXIT_FAILED if failed or (plan and going) else 0


def _lines(found: Plan, going: list[Leftover], failed: list[Leftover], *, planned: bool) -> Iterator[str]:
    for running in found.running:
        yield f"running here: {running}"
    verb = "would remove" if planned else "removed"
    for one in found.leftovers:
        if one not in going:
            way = f"only {one.holder} can change it: stop that first" if one.holder else "--force removes it"
            yield f"in use: {_what(one)}. Whose: {one.owner}. {one.why}; {way}."
        elif one in failed:
            yield f"not removed: {_what(one)}. Whose: {one.owner}."
        else:
            yield f"{verb}: {_what(one)}. Whose: {one.owner}. Stale: {one.why}. By: {one.how}."
    for place, name, why in found.kept:
        yield f"stays: {place}: {name}: {why}."
    for what in found.unseen:
        yield f"not looked at: {what}."
    if not found.leftovers:
        yield "nothing stale is here"


def _what(one: Leftover) -> str:
    more = f" and {len(one.names) - _SHOWN} more" if len(one.names) > _SHOWN else ""
    return f"{one.place}: {', '.join(one.names[:_SHOWN])}{more}"


def _document(
    found: Plan, going: list[Leftover], failed: list[tuple[Leftover, str]], *, planned: bool
) -> dict[str, Any]:
    errors = {id(one): error for one, error in failed}
    return {
        "planned": planned,
        "running": [{"program": one.program, "mode": one.mode, "seenBy": one.seen} for one in found.running],
        "leftovers": [
            {
                "kind": one.kind,
                "place": one.place,
                "names": one.names,
                "owner": one.owner,
                "why": one.why,
                "how": one.how,
                "inUse": bool(one.in_use),
                "holder": one.holder,
                "removed": not planned and one in going and id(one) not in errors,
                "error": errors.get(id(one), ""),
            }
            for one in found.leftovers
        ],
        "unseen": found.unseen,
        "stays": [{"place": place, "name": name, "why": why} for place, name, why in found.kept],
    }
