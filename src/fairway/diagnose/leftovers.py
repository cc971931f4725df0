"""What proxies have left on this machine, who still uses some of it, and what can go.

kernel's parts, relays ──────────┐
who runs here: claim, processes ─┴─▶ judge ──▶ Leftovers: stale, or in use by somebody ──▶ remove
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fairway.diagnose import told
from fairway.kernel import leftovers as kernel
from fairway.kernel.command import CommandFailed
from fairway.kernel.leftover_parts import Part
from fairway.kernel.leftovers import Flows
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.modes.iptables.leftovers import FAIRWAY, IPTABLES, IPVS, KUBE_PROXY, USERSPACE, Address
from fairway.modes.ipvs.parts import socket_address
from fairway.proxy.claim import Claim, Taken
from fairway.relay.leftovers import relays

REFUSALS = (CommandFailed, KernelRefused, Interrupted, OSError)
_NAMES = {FAIRWAY: "Fairway", KUBE_PROXY: "kube-proxy"}
_RULES = "iptables"
_FLOWS = "conntrack"
_PROCESSES = Path("/proc")
_OURS = Path("/proc/thread-self/ns/net")
_SOCKETS = (Path("/proc/thread-self/net/tcp"), Path("/proc/thread-self/net/tcp6"))
_LISTENS = "0A"
_PORTS = {10249: "metrics", 10256: "health checks"}
_MODES = {USERSPACE: frozenset((USERSPACE, "nftables"))}
"""What a mode uses beside its own: Fairway's userspace mode is carried by nftables."""


@dataclass(frozen=True)
class Running:
    """A proxy in this network namespace; ``mode`` is empty when it does not tell."""

    program: str
    mode: str = ""
    seen: str = ""
    """What we know it by: a process, or a socket."""
    leaving: tuple[str, ...] = ()
    """Modes that it was in before: connections may still need what is left of them, and it removes that itself."""

    def __str__(self) -> str:
        mode = f" in {self.mode} mode" if self.mode else ", which does not tell its mode"
        return f"{_NAMES[self.program]}{mode} ({self.seen})"


@dataclass(frozen=True)
class Leftover:
    """One line of the plan. ``in_use`` names who uses it; without, it is stale."""

    kind: str
    place: str
    names: tuple[str, ...]
    owner: str
    why: str
    how: str
    in_use: str
    remove: Callable[[], None]
    holder: str = ""
    """The process that alone can remove it, as long as it runs."""


@dataclass(frozen=True)
class Plan:
    leftovers: tuple[Leftover, ...]
    running: tuple[Running, ...]
    kept: tuple[tuple[str, str, str], ...]
    """Where, what, and why it stays."""
    unseen: tuple[str, ...] = ()
    """What could not be looked at."""

    def going(self, *, force: bool) -> list[Leftover]:
        return [one for one in self.leftovers if force or not one.in_use]


def look(at: tuple[str, int] = told.STATUS, *, force: bool = False) -> Plan:
    """What is there now. With ``force`` the flows of what is in use are counted, too. Raises one of `REFUSALS`."""
    running = tuple(who_runs(at))
    parts = [*kernel.read(), *relays()]
    found = judge(parts, running)
    flows = _flows(flows_of(parts, running, force=force))
    kept = tuple((part.place, name, why) for part in parts for name, why in part.kept.items())
    return Plan((*found, *flows), running, kept, tuple(kernel.unseen()))


def judge(parts: Iterable[Part], running: Sequence[Running]) -> list[Leftover]:
    """Whose each part is, and whether somebody uses it."""
    return [_judged(part, running) for part in parts if part.names]


def _judged(part: Part, running: Sequence[Running]) -> Leftover:
    user = next((one for one in running if uses(one, part)), None)
    mode = f" in {part.mode} mode" if part.mode else ""
    owner = " or ".join(_NAMES[one] for one in part.owners) + mode
    if user is None:
        other = f"; {running[0]} uses other things" if running else ""
        why = f"no proxy runs here that would use it{other}"
    else:
        why = f"{user} runs here"
    in_use = str(user) if user else ""
    return Leftover(part.kind, part.place, part.names, owner, why, part.how, in_use, part.remove, part.holder)


def uses(running: Running, part: Part) -> bool:
    """Whether a proxy that runs may need it. One that does not tell its mode may need what any mode has."""
    if part.kind == _RULES:
        # Both programs and both modes have chains of the same names, and what is left may be mixed with what is used.
        return running.mode in ("", IPTABLES, IPVS) or (running.program, running.mode) == (KUBE_PROXY, USERSPACE)
    modes = _MODES.get(running.mode, frozenset((running.mode,))) | frozenset(running.leaving)
    return running.program in part.owners and (not running.mode or not part.mode or part.mode in modes)


def flows_of(parts: Sequence[Part], running: Sequence[Running], *, force: bool) -> Flows:
    """Whose flows are stale: those to addresses of parts that go, unless another part still serves them."""
    used = [part for part in parts if not force and any(uses(one, part) for one in running)]
    none = frozenset[Address]()
    gone = none.union(*(part.addresses for part in parts if part not in used))
    return Flows(gone, none.union(*(part.addresses for part in used)))


def _flows(flows: Flows) -> Iterator[Leftover]:
    names = tuple(
        f"{one.protocol} {socket_address(one.source, one.source_port)} → "
        f"{socket_address(one.destination, one.port)} at {socket_address(one.reply_source, one.reply_port)}"
        for one in flows.read()
    )
    if names:
        why = "they go to what the parts above have served, and nothing else serves that"
        yield Leftover(_FLOWS, "conntrack", names, "the owners of those parts", why, "conntrack -D", "", flows.forget)


def remove(plan: Plan, *, force: bool) -> Iterator[tuple[Leftover, str]]:
    """Remove what is stale, with ``force`` what is in use, too: each, and what went wrong with it, if something did.

    No proxy of ours can start meanwhile.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(Claim())
        except Taken as error:
            taken = str(error)
            if not any(one.program == FAIRWAY for one in plan.running):
                yield from ((one, taken) for one in plan.going(force=force))
                return
        for one in plan.going(force=force):
            try:
                one.remove()
            except REFUSALS as error:
                yield one, str(error)
            else:
                yield one, ""


def who_runs(at: tuple[str, int] = told.STATUS) -> Iterator[Running]:
    """The proxies of this thread's network namespace: by our claim, by processes, and at last by their sockets."""
    found = [*_ours(at), *_kube_proxies(at)]
    yield from found
    if not found:
        for port in sorted(_listening() & _PORTS.keys()):
            seen = f"somebody listens at port {port}, kube-proxy's for {_PORTS[port]}"
            yield Running(KUBE_PROXY, told.mode_of_kube_proxy(at), seen)
            return


def _ours(at: tuple[str, int]) -> Iterator[Running]:
    try:
        Claim().close()
    except Taken as taken:
        said = told.status(at=at)
        mode = str(said["mode"]) if said and isinstance(said.get("mode"), str) else ""
        left = said.get("leaving") if said else None
        leaving = tuple(str(one) for one in left) if isinstance(left, list) else ()
        yield Running(FAIRWAY, mode, _process(taken.process), leaving)


def _kube_proxies(at: tuple[str, int]) -> Iterator[Running]:
    here = os.stat(_OURS)
    for folder in sorted(_PROCESSES.glob("[0-9]*")):
        try:
            if (folder / "comm").read_text(errors="replace").strip() != KUBE_PROXY:
                continue
            there = os.stat(folder / "ns" / "net")
        except OSError:  # it has ended meanwhile
            continue
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            yield Running(KUBE_PROXY, told.mode_of_kube_proxy(at), _process(int(folder.name)))


def _process(number: int) -> str:
    return f"process {number}" if number else "a process of another container"


def _listening() -> set[int]:
    lines = [line.split() for path in _SOCKETS if path.exists() for line in path.read_text().splitlines()[1:]]
    return {int(words[1].rpartition(":")[2], 16) for words in lines if words[3] == _LISTENS}
