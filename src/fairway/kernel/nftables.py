"""nf_tables of this thread's network namespace: apply a Plan, and read our tables back.

No `nft` process is involved: a Plan becomes one batch of netlink messages, sent by one system call, and the kernel
commits all of it or nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Protocol

from fairway.kernel import nftables_codec as codec
from fairway.kernel.attributes import attributes, number, string, text
from fairway.kernel.nfnetlink import F_CREATE, Interrupted, KernelRefused, Netfilter, Refusal, Reply, Request
from fairway.kernel.nftables_elements import (
    delete_elements,
    join_intervals,
    new_elements,
    read_counters,
    read_elements,
    read_plain_elements,
)
from fairway.kernel.sockets import holder
from fairway.modes.nftables import commands as c
from fairway.modes.nftables.tables import FAMILIES, TABLE, Chain, Element, Family, Rule, Set, Table

_ATTEMPTS = 5
_DORMANT, _OWNER, _PERSIST = 0x1, 0x2, 0x4
_PROBE = "fairway-probe"
_TABLE_COMMENT = "Kubernetes Services, by Fairway. Services and backends are the elements; the rules never change."


class Standing(NamedTuple):
    """Whose a table of ours is. Only its owner's socket may write to it; ``nft flush ruleset`` passes over it.

    A table gets its owner when it is made ``persistent``, loses it when that socket closes, and stays: the next one
    takes it. One that is not persistent never has us for an owner.
    """

    persistent: bool
    owner: int
    """The port of a netlink socket; 0: nobody's."""
    dormant: bool = False
    """Whether it is switched off."""


class Owned(KernelRefused):
    """Nobody but its owner may write to this table."""

    def __init__(self, table: str, holder: str, refusals: Sequence[Refusal]) -> None:
        super().__init__(refusals)
        self._says = f"{table} belongs to {holder}: nobody else can change it until that process ends or lets go of it"

    def __str__(self) -> str:
        return self._says


class Generation(NamedTuple):
    """How many times anybody has committed a change of nf_tables in this namespace, and who did so last."""

    number: int
    process: int
    program: str


class Machine(Protocol):
    """What applies Plans: a kernel, or a machine in memory that behaves like one."""

    def apply(self, plan: c.Plan, generation: int | None = None) -> None: ...

    def read(self) -> dict[Family, Table]: ...

    def generation(self) -> Generation: ...


@dataclass(slots=True)
class Nftables:
    """The kernel. Close it, or use it in a `with`. KernelRefused says which command the kernel did not accept."""

    table: str = TABLE
    _netlink: Netfilter = field(default_factory=Netfilter)

    def __enter__(self) -> Nftables:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    @property
    def port(self) -> int:
        """The kernel's name for the socket that Plans go through, for a `Watcher` that need not hear of them."""
        return self._netlink.port

    def apply(self, plan: c.Plan, generation: int | None = None) -> None:
        """One transaction. With a generation number the kernel refuses (ERESTART) if anything changed since then.

        `Owned` says whose a table is when that is the reason. Tables that the Plan makes persistent are this socket's.
        What packets remember in sets that a Plan replaces by others of the same kind is kept.
        """
        messages = requests(plan)
        if replaced := [one.family for one in plan.commands if type(one) is c.DeleteTable]:
            messages += self._memories(plan, replaced)
        try:
            self._netlink.batch(messages, generation)
        except KernelRefused as refused:
            self._explain(refused)
            raise

    def check(self, plan: c.Plan) -> None:
        """Whether the kernel would accept the Plan (KernelRefused when not); nothing is changed."""
        self._netlink.batch(requests(plan), commit=False)

    def generation(self) -> Generation:
        reply = self._netlink.get(codec.request(codec.GET_GENERATION, "ip", b"", "read the generation id"))
        return read_generation(reply)

    def read(self) -> dict[Family, Table]:
        """Our tables as the kernel holds them, in one consistent state. Families without one are missing.

        Interrupted when the ruleset changes again and again while it is read.
        """
        for attempt in range(_ATTEMPTS):
            try:
                before = self.generation().number
                found = {family: table for family in FAMILIES if (table := self._read_table(family)) is not None}
                if self.generation().number == before:
                    return found
            except Interrupted:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise Interrupted(f"table {self.table} changed {_ATTEMPTS} times while it was read")

    def standings(self) -> dict[Family, Standing]:
        """Whose the tables of that name are, for those families that have one."""
        found = ((family, self._standing(family)) for family in FAMILIES)
        return {family: standing for family, standing in found if standing is not None}

    def take(self) -> None:
        """Be the owner of every table that has none and can have one; raises `Owned` when it is somebody else's."""
        orphans = [
            codec.new_table(family, self.table, "", _OWNER | _PERSIST)
            for family, standing in self.standings().items()
            if standing.persistent and standing.owner != self.port
        ]
        try:
            self._netlink.batch(orphans)
        except KernelRefused as refused:
            self._explain(refused)
            raise

    def can_own(self) -> bool:
        """Whether this kernel can do that: Linux 6.9 and later."""
        return self.accepts_flags(_OWNER | _PERSIST)

    def accepts_flags(self, flags: int) -> bool:
        """Whether the kernel knows all of these flags of a table; nothing is changed."""
        try:
            self._netlink.batch([codec.new_table("ip", _PROBE, "", flags)], commit=False)
        except KernelRefused as refused:
            if refused.code in (errno.EOPNOTSUPP, errno.EINVAL):
                return False
            raise
        return True

    def _explain(self, refused: KernelRefused) -> None:
        """Raises `Owned` when that is why."""
        if refused.code != errno.EPERM:
            return
        for family, standing in self.standings().items():
            if standing.owner not in (0, self.port):
                raise Owned(f"table {family} {self.table}", holder(standing.owner), refused.refusals) from refused

    def keys(self, family: Family, name: str) -> list[bytes]:
        """The keys of the elements of any set without intervals, ours or not; none when there is no such set."""
        which = text(1, self.table) + text(2, name)
        asked = codec.request(codec.GET_ELEMENTS, family, which, f"list set {family} {self.table} {name}")
        try:
            return [one.key for reply in self._netlink.dump(asked) for one in read_plain_elements(reply.body)]
        except KernelRefused as refused:
            if refused.code == errno.ENOENT:
                return []
            raise

    def _standing(self, family: Family) -> Standing | None:
        """None without such a table."""
        asked = codec.request(codec.GET_TABLE, family, text(1, self.table), f"get table {self.table}")
        try:
            flags, owner = codec.read_table(self._netlink.get(asked).body)
        except KernelRefused as refused:
            if refused.code in (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                return None
            raise
        return Standing(bool(flags & _PERSIST), owner, bool(flags & _DORMANT))

    def _read_table(self, family: Family) -> Table | None:
        standing = self._standing(family)
        if standing is None:
            return None
        chains = self._read_chains(family)
        sets = dict(self._read_sets(family))
        elements = {name: {one.key: one for one in self._read_elements(family, sets[name])} for name in sets}
        return Table(family, chains, sets, elements, self.table, standing.persistent, standing.dormant)

    def _read_chains(self, family: Family) -> dict[str, Chain]:
        rules: dict[str, list[Rule]] = {}
        for body in self._list(codec.GET_RULE, family, "rules"):
            table, chain, rule = codec.read_rule(body)
            if table == self.table:
                rules.setdefault(chain, []).append(rule)
        found: dict[str, Chain] = {}
        for body in self._list(codec.GET_CHAIN, family, "chains"):
            table, read = codec.read_chain(body)
            if table == self.table:
                found[read.name] = read._replace(rules=tuple(rules.get(read.name, ())))
        return found

    def _read_sets(self, family: Family) -> Iterator[tuple[str, Set]]:
        for body in self._list(codec.GET_SET, family, "sets"):
            read = codec.read_set(body)
            if read is not None and read[0] == self.table:
                yield read[1].name, read[1]

    def _read_elements(self, family: Family, declared: Set) -> Iterable[Element]:
        if declared.capacity:
            return ()  # what packets remember is theirs: nobody compares it with anything
        bodies = self._element_bodies(family, declared.name)
        if declared.interval:
            return join_intervals(one for body in bodies for one in read_elements(body)[2])
        return (one for body in bodies for one in read_plain_elements(body))

    def _element_bodies(self, family: Family, name: str) -> Iterator[bytes]:
        which = text(1, self.table) + text(2, name)
        asked = codec.request(codec.GET_ELEMENTS, family, which, f"list set {family} {self.table} {name}")
        return (reply.body for reply in self._netlink.dump(asked))

    def _memories(self, plan: c.Plan, replaced: Sequence[Family]) -> Iterator[Request]:
        """What packets remember in tables that are replaced, for sets of the same name and kind in the new ones."""
        there = {(family, one.name): one for family in replaced for _, one in self._read_sets(family)}
        for command in plan.commands:
            if not isinstance(command, c.AddSet) or not command.set.capacity:
                continue
            family, _, declared = command
            if there.get((family, declared.name)) == declared:
                says = f"keep elements of {family} {self.table} {declared.name}"
                for body in self._element_bodies(family, declared.name):  # the time that each has left stands in it
                    yield codec.request(codec.NEW_ELEMENTS, family, body, says, F_CREATE)

    def counters(self, name: str) -> Iterator[tuple[Family, bytes, int]]:
        """Family, key and packets of every element of a counted set of ours; nothing of a table that is not there."""
        for family in FAMILIES:
            which = text(1, self.table) + text(2, name)
            asked = codec.request(codec.GET_ELEMENTS, family, which, f"list set {family} {self.table} {name}")
            try:
                replies = self._netlink.dump(asked)
            except KernelRefused as refused:
                if refused.code == errno.ENOENT:
                    continue
                raise
            for reply in replies:
                yield from ((family, key, packets) for key, packets in read_counters(reply.body))

    def _list(self, kind: int, family: Family, what: str) -> Iterator[bytes]:
        asked = codec.request(kind, family, text(1, self.table), f"list {what} of table {family} {self.table}")
        return (reply.body for reply in self._netlink.dump(asked))


def read_generation(reply: Reply) -> Generation:
    at = attributes(reply.body)
    return Generation(number(at[1]), number(at.get(2, b"\0")), string(at.get(3, b"")))


def requests(plan: c.Plan) -> list[Request]:
    """The messages of a Plan, in order."""
    found: list[Request] = []
    identity = 0
    for command in plan.commands:
        if type(command) is c.DeleteElements:
            found += delete_elements(*command)
        elif type(command) is c.AddElements:
            found += new_elements(*command)
        elif type(command) is c.AddSet:
            identity += 1
            found.append(codec.new_set(*command, identity))
        else:
            found.append(_request(command))
    return found


def _request(command: c.Command) -> Request:
    match command:
        case c.AddTable(family, table, persistent):
            return codec.new_table(family, table, _TABLE_COMMENT, _OWNER | _PERSIST if persistent else 0)
        case c.DeleteTable(family, table):
            return codec.delete_table(family, table)
        case c.AddChain(family, table, chain):
            return codec.new_chain(family, table, chain)
        case c.DeleteChain(family, table, name):
            return codec.delete_chain(family, table, name)
        case c.FlushChain(family, table, name):
            return codec.flush_chain(family, table, name)
        case c.AddRule(family, table, name, rule, words):
            return codec.new_rule(family, table, name, rule, words)
        case c.DeleteSet(family, table, declared):
            return codec.delete_set(family, table, declared.name)
    raise AssertionError(f"not a command of one message: {command}")
