"""``fairway conform``: whether a mode does what Services promise, proved with real packets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fairway.cli.ending import tidy
from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, Output, print_json
from fairway.modes.registry import MODES

if TYPE_CHECKING:
    from fairway.conform.run import Report, Result

_HINT = "fairway conform --guest qemu plays the scenarios under a kernel that has it all"
_WORDS = {"passed": "passed", "failed": "FAILED", "not_applicable": "not applicable"}


def conform(
    *,
    mode: Annotated[str, Parameter(name="--mode")] = "nftables",
    scenario: Annotated[tuple[str, ...], Parameter(name="--scenario", consume_multiple=True)] = (),
    iptables_variant: Literal["", "nft", "legacy"] = "",
    guest: Literal["", "uml", "qemu"] = "",
    list_: Annotated[bool, Parameter(name="--list")] = False,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Prove with real packets that a mode does what Services promise.

    Three nodes, nine pods and a client outside are made of network namespaces. Every scenario is loaded into the
    kernels of the nodes in this mode, and its packets are sent: who answers, whom the backend sees, who is refused,
    who hears nothing. Needs root; leaves nothing behind. Exit code 1 when a scenario fails.

    With --guest all this happens under a kernel of its own, which needs no root, and no IPVS or SCTP in this machine's.

    Example: sudo fairway conform --mode nftables --scenario hairpin session-affinity

    Example: fairway conform --mode ipvs --guest uml

    Parameters
    ----------
    mode
        The proxy mode.
    scenario
        Only these scenarios, by name.
    iptables_variant
        In iptables mode: nft or legacy; by default the one that is in use here.
    guest
        The kernel: uml (User-Mode Linux: quick, without nf_tables) or qemu (Debian's on an emulated processor: every
        mode, and SCTP; about five minutes for all scenarios); by default this machine's.
    list_
        Name the scenarios and send nothing.
    output
        text, or json with the keys passed, failed and not_applicable; not_sent has the packets of a protocol for which
        this kernel has no sockets.
    """
    from fairway.conform.run import chosen
    from fairway.conform.run import conform as run
    from fairway.conform.scenario import ScenarioError
    from fairway.kernel.contract import Unsuitable
    from fairway.lab.errors import LabError
    from fairway.proxy.document import document_at

    if mode not in MODES:
        raise CommandError(f"no mode {mode!r}; there is: {', '.join(MODES)}", EXIT_USAGE)
    try:
        played = chosen(scenario)
        if list_:
            names = [one.name for one in played]
            print_json(names) if output == "json" else print("\n".join(names))
            return 0
        if guest:
            return _in_guest(guest, {"mode": mode, "iptables-variant": iptables_variant, "output": output}, scenario)
        document = document_at({"iptables.variant": iptables_variant})
        if os.geteuid() != 0:
            raise CommandError("network namespaces can only be made by root: sudo fairway conform")
        with tidy():
            report = run(MODES[mode], played, _say if output == "text" else _be_silent, document)
    except ScenarioError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    except PermissionError as error:
        raise CommandError(f"this process may not make network namespaces: {error}") from None
    except Unsuitable as error:
        raise CommandError(f"{error}\n{_HINT}") from None
    except LabError as error:
        raise CommandError(str(error)) from None
    if output == "json":
        print_json(report)
    else:
        _conclude(report)
    return EXIT_FAILED if report.failed else 0


def _in_guest(guest: str, options: Mapping[str, str], scenarios: Sequence[str]) -> int:
    from fairway.cli.inguest import in_guest

    told = [f"--{name}={value}" for name, value in options.items() if value]
    return in_guest(guest, ["conform", *told, *(("--scenario", *scenarios) if scenarios else ())])


def _say(kind: str, result: Result) -> None:
    """One line a scenario as it is done; what went wrong stands below it."""
    reason = f": {result.reason}" if kind == "not_applicable" else ""
    print(f"{_WORDS[kind]:<14} {result.name}{reason}", flush=True)
    if kind == "failed":
        print("".join(f"    {line}\n" for line in result.reason.splitlines()), end="")


def _be_silent(kind: str, result: Result) -> None:
    """In JSON everything is said at the end; on a terminal the wait is not silent."""
    if sys.stderr.isatty():
        print(f"{_WORDS[kind]:<14} {result.name}", file=sys.stderr)


def _conclude(report: Report) -> None:
    counts = {words: len(getattr(report, kind)) for kind, words in _WORDS.items()}
    told = ", ".join(f"{count} {words.lower()}" for words, count in counts.items() if count)
    for result in report.not_sent:
        print(f"not sent       {result.name}: {result.reason}")
    print(f"\nmode {report.mode}: {told or 'no scenarios'}; {report.packets} packets judged")
