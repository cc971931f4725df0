"""The iptables mode's kernel, for the thread's network namespace: our chains, read and changed by iptables' tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import TypeVar

from fairway.kernel import nfacct
from fairway.kernel.command import CommandFailed
from fairway.kernel.contract import ApplyFailed, Chains, Figure, Opened, Unsuitable
from fairway.kernel.iptables import holds, read_rules
from fairway.kernel.iptables_sentry import Sentry, open_sentry
from fairway.kernel.leftovers import remove_rules
from fairway.kernel.links import sysctl
from fairway.kernel.nfnetlink import Interrupted, KernelRefused
from fairway.kernel.xtables import Tools, open_tools
from fairway.model.view import FrontendKey, NodeSettings
from fairway.modes.iptables import IptablesMode, Options, Plan, Program
from fairway.modes.iptables.counted import counted
from fairway.modes.iptables.program import read_back
from fairway.modes.iptables.ruleset import DROPPED_COUNTER, LOCALHOST_COUNTER
from fairway.modes.iptables.tally import Tally
from fairway.modes.xtables import HOOKS, NAME_OF, Family, State

T = TypeVar("T")
_FAILURES = (CommandFailed, KernelRefused, Interrupted, OSError)
_MUCH = 1 << 15
"""Characters for the tools that are more than the kernel keeps notifications for."""
_COUNTED = {
    DROPPED_COUNTER: ("ct_state_invalid_dropped", "Packets dropped because connection tracking calls them invalid"),
    LOCALHOST_COUNTER: ("localhost_nodeports_accepted", "Packets to node ports at the loopback address"),
}
"""The counters that rules count in, as the reference calls them."""


@dataclass
class IptablesKernel:
    """`kernel.contract.ModeKernel`."""

    tools: Tools
    mode: IptablesMode
    sentry: Sentry
    tally: Tally = field(default_factory=Tally)
    at_once = 0

    def read_back(self) -> Program:
        with self._at_work():
            found = _or_fail(self._read)
        self.tally.read(found)
        return read_back(NodeSettings(name=""), self.mode.options, found)

    def apply(self, plan: Plan) -> None:
        told = self._told(plan)
        with self._at_work(much=sum(map(len, told.values())) > _MUCH):
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
        with self._at_work(much=True):
            _or_fail(partial(remove_rules, self.tools, needed, ("filter",)))

    def retire(self, needed: Chains) -> None:
        """Connection tracking goes on translating what has begun."""
        with self._at_work(much=True):
            _or_fail(partial(remove_rules, self.tools, needed))

    def settle(self) -> None:
        """There is nothing to do."""

    @contextmanager
    def _at_work(self, *, much: bool = False) -> Iterator[None]:
        try:
            with self.sentry.at_work(much=much):
                yield
        except _FAILURES as error:
            raise ApplyFailed(str(error)) from error

    def _told(self, plan: Plan) -> dict[Family, str]:
        """What the tools are to read."""
        found = {family: plan.text(family, self.tools.chains_at_once) for family in self.tools.families}
        return {family: text for family, text in found.items() if text}

    def _restore(self, told: dict[Family, str], *, test: bool = False) -> None:
        for family, text in told.items():
            _or_fail(partial(self.tools.restore, family, text, test=test))


@contextmanager
def open_iptables_mode(options: Options, variant: str = "") -> Iterator[Opened]:
    """The variant in use, or the named one. Raises `Unsuitable`."""
    try:
        tools = open_tools(variant)
        mode = IptablesMode(_able(options, tools))
        sentry = open_sentry(tools)
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


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except _FAILURES as error:
        raise ApplyFailed(str(error)) from error
