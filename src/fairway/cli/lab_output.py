"""What ``fairway lab`` shows: progress while it works, tables of what it found, and what to try next."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from types import TracebackType

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.status import Status as Spinner
from rich.table import Table

from fairway.lab.check import PortReport, Report
from fairway.lab.manifest import Applied
from fairway.lab.state import State
from fairway.lab.status import Status, mode_of

_HELD = {
    "nftables": "nft list ruleset",
    "userspace": "nft list ruleset",
    "iptables": "iptables-save -t nat",
    "ipvs": "ipvsadm --list --numeric",
}
"""What shows a node's rules, by the mode."""
_MOST_PODS = 4
_MOST_PROBLEMS = 20


class Progress:
    """Says each step as it begins: a spinner on a terminal, a line each elsewhere; on stderr, away from results."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._spinner: Spinner | None = None
        self.steps: list[tuple[str, float]] = []

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._spinner = self._console.status("…")
            self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish()
        if self._spinner:
            self._spinner.stop()

    def say(self, words: str) -> None:
        """A step begins, and the one before is done."""
        self._finish()
        self.steps.append((words, time.monotonic()))
        if self._spinner:
            self._spinner.update(f"{escape(words)} …")
        else:
            self._console.print(f"{words} …", markup=False)

    def _finish(self) -> None:
        if not self.steps:
            return
        words, started = self.steps[-1]
        seconds = time.monotonic() - started
        self.steps[-1] = (words, seconds)
        if self._spinner:
            self._console.print(f"[green]✓[/] {escape(words)} [dim]{seconds:.1f} s[/]")


def print_skipped(applied: Iterable[Applied]) -> None:
    """One line for each kind that is not served."""
    by_kind: dict[str, list[str]] = {}
    for one in applied:
        if one.result == "skipped":
            by_kind.setdefault(one.entry.kind, []).append(one.entry.name)
    for kind, names in by_kind.items():
        print(f"Skipped {kind} (not served here): {', '.join(names)}")


def print_report(report: Report, state: State, steps: Iterable[tuple[str, float]] = ()) -> None:
    console = _console()
    table = Table(box=box.SIMPLE_HEAD, title=f"Services of the lab {state.name!r}", title_justify="left")
    for column in ("Service", "Cluster-IP", "Port", "Backends", "Checks", "Spread"):
        table.add_column(column, no_wrap=column not in ("Backends", "Spread"), overflow="fold")
    previous = None
    for port in report.ports:
        again = port.service == previous
        previous = port.service
        table.add_row("" if again else escape(str(port.service)), "" if again else port.cluster_ip, *_port_cells(port))
    console.print(table)
    wrong = [words for port in report.ports for words in port.problems]
    for words in wrong[:_MOST_PROBLEMS]:
        console.print(f"[red]✗[/] {escape(words)}")
    if len(wrong) > _MOST_PROBLEMS:
        console.print(f"… and {len(wrong) - _MOST_PROBLEMS} more (--output json shows all)")
    asked, right = sum(port.asked for port in report.ports), sum(port.right for port in report.ports)
    verdict = "[green]All checks passed[/]" if report.passed else "[red]Some checks failed[/]"
    console.print(f"{verdict}: {right} of {asked}, with {report.connections} connections in {report.seconds:.1f} s.")
    if total := sum(seconds for _, seconds in steps):
        console.print(f"Up and checked in {total:.1f} s.")
    _print_next(console, report, state)


def print_status(status: Status) -> None:
    console = _console()
    state = "complete" if status.complete else "half made"
    if status.building:
        state = f"being brought up by process {status.building}"
    console.print(f"Lab {status.name!r}: {state}")
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("Node", "Address", "Pod network", "Zone", "Namespace"):
        table.add_column(column)
    for one in status.nodes:
        gone = "" if one.exists else "[red]gone[/]"
        table.add_row(one.node.name, one.node.address, one.node.pod_cidr, one.node.zone, gone or "there")
    console.print(table)
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("Program", "Process", "Log"):
        table.add_column(column)
    for program in status.programs:
        table.add_row(program.role, str(program.pid) if program.pid else "[red]not running[/]", program.log)
    console.print(table)
    console.print(f"{len(status.pods)} pods have a place. kubectl --kubeconfig {status.kubeconfig} get pods -A")
    flag = _name_flag(status.name)
    if any(not program.pid for program in status.programs):
        console.print(f"[yellow]fairway lab restart{flag}[/] starts again what does not run.")
    if not status.complete and not status.building:
        console.print(f"[yellow]fairway lab down{flag}[/] removes what is left of it.")


def _port_cells(port: PortReport) -> tuple[str, str, str, str]:
    where = port.port + (f" ⇠ node port {port.node_port}" if port.node_port else "")
    backends = " ".join(f"{count}" if count else "[dim]0[/]" for count in port.backends.values())
    color = "green" if port.passed else "red"
    checks = f"[{color}]{'✓' if port.passed else '✗'} {port.right}/{port.asked}[/]"
    return escape(where), backends, checks, _spread(port)


def _spread(port: PortReport) -> str:
    """The share of each pod, the busiest first; a pod's name without what all its siblings share."""
    total = sum(port.spread.values())
    if not total:
        return "[dim]refused, as it should be[/]" if port.passed else "[dim]no answer[/]"
    ordered = sorted(port.spread.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{escape(_short(pod))} {count * 100 / total:.0f}%" for pod, count in ordered[:_MOST_PODS]]
    more = f" + {len(ordered) - _MOST_PODS} more" if len(ordered) > _MOST_PODS else ""
    return ", ".join(shown) + more


def _short(pod: str) -> str:
    """``…x2x9k`` of ``frontend-7d9f8b6c5-x2x9k``."""
    head, _, tail = pod.rpartition("-")
    return f"…{tail}" if head else pod


def _print_next(console: Console, report: Report, state: State) -> None:
    """Commands to try, with this lab's own names in them."""
    flag, mode = _name_flag(state.name), mode_of(state)
    node = state.topology().nodes[0]
    client = node.client
    reachable = [port for port in report.ports if port.cluster_ip not in ("", "None") and port.backends]
    spoken = [port for port in reachable if "/TCP" in port.port]  # curl speaks nothing else
    console.print("\n[bold]What to try next[/]")
    lines = [
        (f"export KUBECONFIG={state.kubeconfig}", "then kubectl speaks to the lab"),
        ("kubectl get services,pods -A -o wide", "what there is"),
    ]
    if reachable:
        best = max(spoken or reachable, key=lambda port: (sum(port.backends.values()), port.node_port))
        url = f"http://{best.cluster_ip}:{best.port.partition('/')[0]}"
        if spoken:
            lines.append((f"fairway lab exec{flag} {client.name} -- curl -s {url}", f"ask {best.service} from a pod"))
        lines.append((f"fairway trace {client.address} {best.service}", "follow that packet"))
    lines += [
        (f"fairway lab exec{flag} {node.name} -- {_HELD[mode]}", "what the kernel of a node holds"),
        (f"fairway program {node.name}", "the same, with the reason of each line"),
        (f"fairway lab down{flag}", "gone without a trace"),
    ]
    width = max(len(command) for command, _ in lines)
    for command, why in lines:
        console.print(f"  {escape(command):<{width}}  [dim]{escape(why)}[/]", soft_wrap=True)


def _name_flag(name: str) -> str:
    return "" if name == "lab" else f" --name {name}"


def _console() -> Console:
    """As wide as the terminal, or as wide as it takes when the output goes into a file or a pipe."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=160)
