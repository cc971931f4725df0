"""The iptables mode's kernel, for the thread's network namespace: our chains, and word of who else changes them.

nft variant       nf_tables tells of every commit, and numbers them: those of others that touch our chains are word
legacy variant    the kernel tells nothing: rules and bytes of the tables are asked for every few seconds
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Protocol, TypeVar

from fairway.kernel import nfacct
from fairway.kernel.command import CommandFailed
from fairway.kernel.contract import ApplyFailed, Chains, Figure, Opened, Unsuitable
from fairway.kernel.iptables import holds, read_rules
from fairway.kernel.leftovers import remove_rules
from fairway.kernel.links import sysctl
from fairway.kernel.nfnetlink import Reply, attributes, string
from fairway.kernel.nftables import Generation, Nftables, Watcher
from fairway.kernel.nftables_codec import DELETE_CHAIN, DELETE_RULE, DELETE_TABLE, NEW_CHAIN, NEW_RULE
from fairway.kernel.xtables import Tools, open_tools
from fairway.model.view import FrontendKey, NodeSettings
from fairway.modes.iptables import IptablesMode, Options, Plan, Program
from fairway.modes.iptables.counted import counted
from fairway.modes.iptables.names import is_ours
from fairway.modes.iptables.program import read_back
from fairway.modes.iptables.ruleset import DROPPED_COUNTER, LOCALHOST_COUNTER
from fairway.modes.iptables.tally import Tally
from fairway.modes.xtables import HOOKS, NAME_OF, TABLES, Family, State

T = TypeVar("T")
_POLL_SECONDS = 5.0
_COUNTED = {
    DROPPED_COUNTER: ("ct_state_invalid_dropped", "Packets dropped because connection tracking calls them invalid"),
    LOCALHOST_COUNTER: ("localhost_nodeports_accepted", "Packets to node ports at the loopback address"),
}
"""The counters that rules count in, as the reference calls them."""


class Sentry(Protocol):
    """Notices what others change."""

    def fileno(self) -> int: ...

    def at_work(self, commits: int = 0) -> AbstractContextManager[None]:
        """For as long as we read the whole, or make so many commits."""

    def others(self) -> list[str]: ...

    def close(self) -> None: ...


@dataclass
class IptablesKernel:
    """`kernel.contract.ModeKernel`."""

    tools: Tools
    mode: IptablesMode
    sentry: Sentry
    tally: Tally = field(default_factory=Tally)
    is_slow = True

    def read_back(self) -> Program:
        with self.sentry.at_work():
            found = _or_fail(self._read)
        self.tally.read(found)
        return read_back(NodeSettings(name=""), self.mode.options, found)

    def apply(self, plan: Plan) -> None:
        told = self._told(plan)
        with self.sentry.at_work(sum(text.count("\nCOMMIT\n") for text in told.values())):
            self._restore(told)
        self.tally.applied(plan)

    def figures(self) -> Iterator[Figure]:
        """What kube-proxy tells of this mode (reference, 3.1)."""
        for name, words, tallied in (
            ("total", "Rules of iptables that are there", self.tally.total),
            ("last", "Rules of iptables that the last round wrote", self.tally.last),
        ):
            for family, table in product(self.tools.families, ("filter", "nat")):
                labels = {"table": table, "ip_family": NAME_OF[family]}
                full = f"kubeproxy_sync_proxy_rules_iptables_{name}"
                yield Figure(full, words, labels, tallied[family, table], "gauge")
        if self.mode.options.count:
            for counter, (full, words) in _COUNTED.items():
                yield Figure(f"kubeproxy_iptables_{full}_packets_total", words, {}, nfacct.packets(counter))

    def connections(self) -> dict[FrontendKey, int]:
        """How many connections each frontend has had since its rule was made; it reads all rules."""
        found: dict[FrontendKey, int] = {}
        for family in self.tools.families:
            found.update(counted(_or_fail(partial(self.tools.save, family, counters=True)), family))
        return found

    def check(self, plan: Plan) -> None:
        self._restore(self._told(plan), test=True)

    def fileno(self) -> int:
        return self.sentry.fileno()

    def others(self) -> list[str]:
        return self.sentry.others()

    def clean(self) -> str:
        held = self.read_back()
        # In the flat form nothing tells our chains from kube-proxy's: they count as ours when the user says that form.
        if not holds(held.state().values(), flat=self.mode.options.flat):
            return ""
        chains = sum(1 for state in held.state().values() for place in state if place.chain not in HOOKS)
        self.apply(self.mode.plan(held, self.mode.empty()))
        return f"{chains} chains of iptables ({self.tools.variant})"

    def _read(self) -> dict[Family, State]:
        return {family: read_rules(self.tools.save(family)) for family in self.tools.families}

    def load(self, plan: Plan) -> None:
        """First what translates, then what refuses the rest; what leads packets into a table changes last in it, also
        where chains of the ipvs mode become ours."""
        for wanted in (True, False):
            if commands := tuple(one for one in plan.commands if (one.table == "nat") is wanted):
                self.apply(Plan(commands))

    def chains(self, program: Program) -> Chains:
        return {(self.tools.variant, family): state for family, state in program.state().items()}

    def stand_aside(self, needed: Chains) -> None:
        with self.sentry.at_work():
            _or_fail(partial(remove_rules, self.tools, needed, ("filter",)))

    def retire(self, needed: Chains) -> None:
        """Connection tracking goes on translating what has begun."""
        with self.sentry.at_work():
            _or_fail(partial(remove_rules, self.tools, needed))

    def settle(self) -> None:
        """There is nothing to do."""

    def _told(self, plan: Plan) -> dict[Family, str]:
        """What the tools are to read."""
        found = {family: plan.text(family, self.tools.chains_at_once) for family in self.tools.families}
        return {family: text for family, text in found.items() if text}

    def _restore(self, told: dict[Family, str], *, test: bool = False) -> None:
        for family, text in told.items():
            _or_fail(partial(self.tools.restore, family, text, test=test))


@dataclass
class Generations:
    """Hears every commit; ours are known by their numbers, because another process does them for us.

    We are `at_work` in one thread and asked for `others` in another.
    """

    nftables: Nftables
    watcher: Watcher
    _asking: threading.Lock = field(default_factory=threading.Lock)
    _ours: deque[range] = field(default_factory=lambda: deque(maxlen=64))
    _busy: bool = False
    _heard: list[Generation] = field(default_factory=list)
    _doubt: bool = False
    _told: int = 0
    """The last commit of which it is known whose it was, and of all before it."""

    def __post_init__(self) -> None:
        self._told = self._number()

    def fileno(self) -> int:
        return self.watcher.fileno()

    @contextmanager
    def at_work(self, commits: int = 0) -> Iterator[None]:
        self._busy = True
        began = self._number()
        try:
            yield
        finally:
            now = self._number()
            if now - began == commits:
                self._ours.append(range(began + 1, now + 1))
            elif commits:
                # Somebody committed while we did, before or after: only the whole tells what is there now.
                self._doubt = True
            self._busy = False

    def others(self) -> list[str]:
        self._heard += [one.generation for one in self.watcher.wait(0)]
        if self._busy:
            return []  # which of them are ours is known when the round is done; this is asked again then
        heard, self._heard = self._heard, []
        foreign = [one for one in heard if not self._is_ours(one.number)]
        found = [f"{one.program or 'a process'} (pid {one.process})" for one in foreign]
        before, self._told = self._told, max([self._told, *(one.number for one in heard)])
        if self.watcher.lost:
            # A load is more news than the kernel keeps for us. The numbers tell whether all of it was ours.
            self._told = self._number()
            self._doubt |= not all(self._is_ours(number) for number in range(before + 1, self._told + 1))
        if self._doubt:
            found.append("somebody, perhaps (at the same time as we)")
        self._doubt = self.watcher.lost = False
        return found

    def _number(self) -> int:
        with self._asking:
            return self.nftables.generation().number

    def _is_ours(self, number: int) -> bool:
        return any(number in ours for ours in self._ours)

    def close(self) -> None:
        self.watcher.close()
        self.nftables.close()


class Sizes:
    """Asks now and then how much the tables hold, in a thread of its own."""

    def __init__(self, measure: Callable[[], object]) -> None:
        self._measure = measure
        self._known = measure()
        self._work = threading.Lock()
        self._end = threading.Event()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # A thread is in the network namespace of the one that starts it.
        self._thread = threading.Thread(target=self._poll, name="iptables-sizes", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._event

    @contextmanager
    def at_work(self, commits: int = 0) -> Iterator[None]:
        with self._work:
            try:
                yield
            finally:
                self._known = self._measure()

    def others(self) -> list[str]:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return []
        return ["somebody (the legacy variant does not tell who)"]

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        os.close(self._event)

    def look(self) -> None:
        """Compare once."""
        with self._work:
            if (now := self._measure()) != self._known:
                self._known = now
                os.eventfd_write(self._event, 1)

    def _poll(self) -> None:
        while not self._end.wait(_POLL_SECONDS):
            self.look()


@contextmanager
def open_iptables_mode(options: Options, variant: str = "") -> Iterator[Opened]:
    """The variant in use, or the named one. Raises `Unsuitable`."""
    try:
        tools = open_tools(variant)
        mode = IptablesMode(_able(options, tools))
        sentry = _sentry(tools)
    except (LookupError, CommandFailed, OSError) as error:
        raise Unsuitable(f"this machine cannot do the iptables mode: {error}") from None
    with ExitStack() as stack:
        stack.callback(sentry.close)
        kernel = IptablesKernel(tools, mode, sentry)
        try:
            kernel.read_back()
        except ApplyFailed as error:
            raise Unsuitable(f"this machine cannot do the iptables mode: {error}") from None
        yield Opened(mode, kernel, connections=kernel.connections, figures=kernel.figures, variant=tools.variant)


def _able(options: Options, tools: Tools) -> Options:
    """The options as far as this kernel can do them."""
    liberal = _setting("net.netfilter.nf_conntrack_tcp_be_liberal")
    return replace(
        options,
        families=tools.families,
        random_fully=tools.random_fully,
        drop_invalid=options.drop_invalid and liberal in ("", "0"),
        count=options.count and nfacct.ensure((DROPPED_COUNTER, LOCALHOST_COUNTER)),
    )


def _setting(name: str) -> str:
    """Empty when this kernel has no such setting, or not yet."""
    try:
        return sysctl(name)
    except FileNotFoundError:
        return ""


def _sentry(tools: Tools) -> Sentry:
    if tools.variant == "legacy":
        return Sizes(lambda: [tools.sizes(family, ("nat", "filter")) for family in tools.families])
    nftables = Nftables()
    return Generations(nftables, Watcher(0, concerns=touches_ours))


def touches_ours(reply: Reply) -> bool:
    """Whether a notification is about a chain of ours; in a hook's chain only what goes, which may have been ours."""
    found = attributes(reply.body)
    if string(found.get(1, b"")) not in TABLES:
        return False
    match reply.kind:
        case x if x in (NEW_RULE, DELETE_RULE):
            chain = string(found.get(2, b""))
            return is_ours(chain) or (reply.kind == DELETE_RULE and chain in HOOKS)
        case x if x in (NEW_CHAIN, DELETE_CHAIN):
            return is_ours(string(found.get(3, b"")))
        case _:
            return reply.kind == DELETE_TABLE


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (CommandFailed, OSError) as error:
        raise ApplyFailed(str(error)) from error
