"""The ipvs mode's kernel, for the thread's network namespace: virtual servers, ipsets, the dummy device, the rules.

Plan ──▶ runs of commands of one kind ──▶ ipvs │ ipset │ links │ iptables-restore, each in one go
a removed real server with connections ──weight 0──▶ draining ──no connections──▶ gone
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeVar

from fairway.kernel.command import CommandFailed
from fairway.kernel.contract import ApplyFailed, Chains, Drain, Live, Opened, Unsuitable
from fairway.kernel.ipset import Ipset, add, remove
from fairway.kernel.ipvs import MODULES, Connections, Ipvs, NoIpvs, Schedulers, read_weights, real_servers
from fairway.kernel.ipvs_counts import Counts
from fairway.kernel.ipvs_drain import begin, stand_in, stand_in_no_more
from fairway.kernel.ipvs_footprint import Footprint, look
from fairway.kernel.ipvs_rules import IpvsRules, open_rules
from fairway.kernel.leftovers import remove_rules
from fairway.kernel.links import LinkError, Links, set_sysctls
from fairway.kernel.nfnetlink import Interrupted, KernelRefused, Request
from fairway.kernel.rounds import Rounds
from fairway.model.address import contains
from fairway.model.view import NodeSettings
from fairway.modes.ipvs import IpvsMode, Options, Plan, Program
from fairway.modes.ipvs.marks import is_ours, of_nobody, protocol_of
from fairway.modes.ipvs.parts import (
    DEVICE,
    Bound,
    Entry,
    Marked,
    Part,
    Real,
    Scheduling,
    Server,
    Value,
    Virtual,
    sets,
)
from fairway.modes.ipvs.plan import (
    Add,
    AddDevice,
    AddSet,
    Change,
    Command,
    Remove,
    RemoveDevice,
    RemoveSet,
    Restore,
)
from fairway.modes.ipvs.program import Base

T = TypeVar("T")
_MOST_MISSED = 5
_SYSCTLS = {
    "net.ipv4.vs.conntrack": "1",
    "net.ipv4.vs.expire_nodest_conn": "1",
    "net.ipv4.vs.expire_quiescent_template": "1",
}
_REUSED_SLOWLY = range(40100, 50900)
"""Kernels that take a second to reuse a client's port while connections are tracked (kubernetes#93297)."""
_STRICT_ARP = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What is set once when a proxy starts. Timeouts are in seconds; 0 leaves what there is."""

    strict_arp: bool = False
    tcp: int = 0
    tcp_fin: int = 0
    udp: int = 0
    leave_alone: tuple[str, ...] = ()
    """Networks whose virtual servers are somebody else's."""


@dataclass
class IpvsKernel:
    """`kernel.contract.ModeKernel`. ``draining`` are real servers that go when their connections have ended."""

    ipvs: Ipvs
    ipset: Ipset
    rules: IpvsRules
    mode: IpvsMode
    tuning: Tuning
    draining: set[Real] = field(default_factory=set)
    _work: threading.RLock = field(default_factory=threading.RLock)
    _left: Footprint | None = None
    """What can be seen at a glance, as we left it; None when that is not known."""
    _changes: int = 0
    _missed: int = 0
    """Looks in a row during which something of ours changed."""
    at_once = 500

    def read_back(self) -> Program:
        with self._work:
            return _or_fail(self._read)

    def apply(self, plan: Plan) -> None:
        with self._work:
            _or_fail(lambda: self._do(plan.commands))

    def check(self, plan: Plan) -> None:
        """Only the rules can be asked about beforehand."""
        for command in plan.commands:
            if isinstance(command, Restore) and command.family in self.rules.families:
                _or_fail(lambda one=command: self.rules.check(one.family, one.text))  # type: ignore[misc]

    def look(self) -> bool:
        """Remove what has drained; whether somebody else has changed what is ours since the last time."""
        with self._work:
            self._finish()
            before = self._changes
        weights = read_weights()  # nobody who has a change waits for it
        with self._work:
            if self._changes != before:
                self._missed += 1
                if self._missed < _MOST_MISSED:
                    return False
                weights = read_weights()
            self._missed = 0
            now = look(self.ipset, self.rules, weights)
            known, self._left = self._left, now
            return known is not None and known != now

    def live(self) -> Live:
        """Of all virtual servers."""
        found = _or_fail(real_servers).values()
        return Live(sum(one.active for one in found), sum(one.inactive for one in found), len(self.draining))

    def clean(self) -> str:
        with self._work:
            held = self.read_back()
            plan = self.mode.plan(held, self.mode.empty())
            if not plan:
                return ""
            self.apply(plan)
            for real in tuple(self.draining):  # nobody will be there to remove it later
                _or_fail(lambda one=real: self.ipvs.each([self.ipvs.delete_server(one)]))  # type: ignore[misc]
            self.draining.clear()
            servers = sum(1 for part in held.parts() if isinstance(part, Virtual | Marked))
            return f"{servers} virtual servers, {len(held.base.sets)} ipsets and {DEVICE}"

    def load(self, plan: Plan) -> None:
        """All but nat's rules, which replace chains of the iptables mode and lead packets to what must be there."""
        with self._work:
            coming = [one.part.words for one in plan.commands if isinstance(one, Add) and isinstance(one.part, Bound)]
            _or_fail(lambda: stand_in([one.partition("/")[0] for one in coming]))
            rules = [one.without("nat") for one in plan.commands if isinstance(one, Restore)]
            others = [one for one in plan.commands if not isinstance(one, Restore)]
            _or_fail(lambda: self._do([*others, *(one for one in rules if one.text)]))

    def chains(self, program: Program) -> Chains:
        return {(self.rules.tools.variant, family): rules for family, rules in program.base.rules.items()}

    def stand_aside(self, needed: Chains) -> None:
        """What another mode has translated is not for the addresses of the device any more."""

    def retire(self, needed: Chains) -> Drain | None:
        """Nobody new comes here without the rules and the addresses; IPVS goes on with the connections it has."""
        with self._work:
            _or_fail(lambda: remove_rules(self.rules.tools, needed))
            drain = _or_fail(lambda: begin(self.ipvs, self._is_ours))
            self._left = None
        if drain.left():
            return drain
        drain.finish()
        return None

    def settle(self) -> None:
        """The node's own clients may use the addresses of the device again."""
        _or_fail(stand_in_no_more)

    def _read(self) -> Program:
        parts: dict[Part, Value] = {}
        for virtual, scheduling in self.ipvs.services().items():
            if self._is_ours(virtual):
                parts[virtual] = scheduling
        # One that waits for its connections to end is there no more, as far as Services are concerned.
        self.draining &= (servers := real_servers()).keys()
        for real, there in servers.items():
            if real.virtual in parts and real not in self.draining:
                parts[real] = there.weight
        known = [one for family in self.rules.families for one in sets(family).values()]
        found = self.ipset.sets(known)
        for entries in found.values():
            parts.update(entries.items())
        with Links() as links:
            device = DEVICE in links.names()
            if device:
                parts.update((Bound(one.partition("/")[0]), None) for one in links.addresses(DEVICE) if _ours(one))
        base = Base(device, {one.name: one for one in found}, self.rules.read())
        return Program(base, NodeSettings(name=""), self.mode.options, loose=parts)

    def _is_ours(self, virtual: Server) -> bool:
        if isinstance(virtual, Marked):
            return is_ours(virtual.mark, self.mode.options.masquerade_bit)
        return not contains(self.tuning.leave_alone, virtual.address)

    def _protocol(self, virtual: Server) -> str:
        if isinstance(virtual, Marked):
            return protocol_of(virtual.mark, self.mode.options.masquerade_bit)
        return virtual.protocol

    def _do(self, commands: Sequence[Command]) -> None:
        self._changes += 1
        left, self._left = self._left, None
        self._apply(commands)
        if left is None:
            self._left = look(self.ipset, self.rules)
            return
        for command in commands:
            left.follow(command)
        for real in self.draining & {one.part for one in commands if isinstance(one, Remove)}:
            left.put(real, 0)
        if any(isinstance(one, Restore) for one in commands):
            left.rules = self.rules.sizes()
        self._left = left

    def _apply(self, commands: Sequence[Command]) -> None:
        for kind, some in groupby(commands, key=_kind):
            group = list(some)
            if kind is Server:
                self._servers(group)
            elif kind is Entry:
                self.ipset.each([_entry(one) for one in group])
            elif kind is Bound:
                _bind(group)
            else:
                for one in group:
                    self._base(one)

    def _base(self, command: Command) -> None:
        match command:
            case AddSet(declared):
                self.ipset.create(declared)
            case RemoveSet(declared):
                self.ipset.destroy(declared.name)
            case Restore(family, text):
                if family in self.rules.families:
                    self.rules.restore(family, text)
            case AddDevice() | RemoveDevice():
                with Links() as links:
                    (links.add_dummy if isinstance(command, AddDevice) else links.delete)(DEVICE)

    def _servers(self, commands: Sequence[Command]) -> None:
        requests = []
        leaving = [one.part for one in commands if isinstance(one, Remove)]
        live = self._live(one for one in leaving if isinstance(one, Real))
        for command in commands:
            match command:
                case Add(Virtual() | Marked() as virtual, Scheduling() as scheduling):
                    requests.append(self.ipvs.add_service(virtual, scheduling))
                case Change(Virtual() | Marked() as virtual, Scheduling() as scheduling):
                    requests.append(self.ipvs.set_service(virtual, scheduling))
                case Remove(Virtual() | Marked() as virtual):
                    requests.append(self.ipvs.delete_service(virtual))
                    self.draining = {one for one in self.draining if one.virtual != virtual}
                case Add(Real() as real, int(weight)) if real in self.draining:
                    self.draining.discard(real)
                    requests.append(self.ipvs.set_server(real, weight))
                case Add(Real() as real, int(weight)):
                    requests.append(self.ipvs.add_server(real, weight))
                case Change(Real() as real, int(weight)):
                    requests.append(self.ipvs.set_server(real, weight))
                case Remove(Real() as real):
                    is_tcp = self._protocol(real.virtual) == "TCP"
                    busy = is_tcp and (there := live.get(real)) and there.active + there.inactive
                    if busy:
                        self.draining.add(real)
                    requests.append(self.ipvs.set_server(real, 0) if busy else self.ipvs.delete_server(real))
        self.ipvs.each(requests)

    def _finish(self) -> None:
        """Remove the real servers whose connections have ended."""
        if not self.draining:
            return
        there = self._live(self.draining)
        done = [one for one in self.draining if one not in there or not there[one].active + there[one].inactive]
        self.ipvs.each([self.ipvs.delete_server(one) for one in done if one in there])
        self.draining.difference_update(done)
        for real in done:
            if self._left is not None:
                self._left.put(real, None)

    def _live(self, reals: Iterable[Real]) -> dict[Real, Connections]:
        """The real servers of these ones' virtual servers with what they have to do now."""
        found: dict[Real, Connections] = {}
        for virtual in {one.virtual for one in reals}:
            found |= self.ipvs.servers(virtual)
        return found


@dataclass
class WatchedKernel(IpvsKernel):
    """The same, with somebody who looks after it."""

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.look, "somebody (IPVS does not tell who)")

    def fileno(self) -> int:
        return self.rounds.fileno()

    def others(self) -> list[str]:
        return self.rounds.others()


@contextmanager
def open_ipvs(options: Options, tuning: Tuning) -> Iterator[Opened]:
    """Raises `Unsuitable`."""
    with ExitStack() as stack:
        try:
            ipvs = stack.enter_context(Ipvs())
            ipset = stack.enter_context(Ipset())
            rules = open_rules()
            _set_up(ipvs, ipset, tuning)
        except (NoIpvs, LookupError, KernelRefused, OSError, CommandFailed) as error:
            raise Unsuitable(f"this machine cannot do the ipvs mode: {_words(error)}") from None
        schedulers = Schedulers(stack.enter_context(Ipvs()), of_nobody(options.masquerade_bit))
        if not schedulers(options.scheduler):
            module = f"ip_vs_{options.scheduler}"
            raise Unsuitable(f"--ipvs-scheduler: this kernel has no {options.scheduler}: it needs the module {module}")
        able = replace(
            options, random_fully=rules.tools.random_fully, families=rules.families, has_scheduler=schedulers
        )
        kernel = WatchedKernel(ipvs, ipset, rules, IpvsMode(able), tuning)
        stack.callback(kernel.rounds.close)
        counts = Counts(stack.enter_context(Ipvs()), stack.enter_context(Ipset()), rules.families)
        yield Opened(kernel.mode, kernel, counts.connections, counts.figures, live=kernel.live)


def _set_up(ipvs: Ipvs, ipset: Ipset, tuning: Tuning) -> None:
    ipset.sets(())
    reuse = {"net.ipv4.vs.conn_reuse_mode": "0"} if _version() in _REUSED_SLOWLY else {}
    set_sysctls({**_SYSCTLS, **reuse, **(_STRICT_ARP if tuning.strict_arp else {})})
    if tuning.tcp or tuning.tcp_fin or tuning.udp:
        ipvs.set_timeouts(tuning.tcp, tuning.tcp_fin, tuning.udp)


def _version() -> int:
    """Of the kernel: 60100 for 6.1."""
    major, minor = (int(one) for one in re.findall(r"\d+", os.uname().release)[:2])
    return major * 10000 + minor * 100


def _words(error: Exception) -> str:
    if isinstance(error, (LookupError, CommandFailed)):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"{error}; it needs the modules {MODULES}"


def _kind(command: Command) -> object:
    """What it is about: commands about the same go out together."""
    if not isinstance(command, Add | Change | Remove):
        return None
    return Server if isinstance(command.part, Virtual | Marked | Real) else type(command.part)


def _entry(command: Command) -> Request:
    assert isinstance(command, Add | Change | Remove)
    assert isinstance(command.part, Entry)
    if isinstance(command, Remove):
        return remove(command.part)
    return add(command.part, command.value if isinstance(command.value, int) else None)


def _bind(commands: Sequence[Command]) -> None:
    with Links() as links:
        for command in commands:
            assert isinstance(command, Add | Remove)
            assert isinstance(command.part, Bound)
            try:
                (links.add_address if isinstance(command, Add) else links.delete_address)(DEVICE, command.part.words)
            except LinkError as error:
                if error.errno not in (errno.EEXIST, errno.EADDRNOTAVAIL):
                    raise


def _ours(address: str) -> bool:
    """Not the one that the kernel itself gives every device."""
    return not address.startswith("fe80:")


def _or_fail(work: Callable[[], T]) -> T:
    try:
        return work()
    except (KernelRefused, Interrupted, OSError, CommandFailed) as error:
        raise ApplyFailed(str(error)) from error
