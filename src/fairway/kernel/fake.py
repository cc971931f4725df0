"""A machine in memory: nf_tables as far as Plans use it, refusing what the kernel refuses.

The contract tests hold it to the real kernel; tests and dry runs use it where there is no root.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fairway.kernel.nfnetlink import KernelRefused, Refusal
from fairway.kernel.nftables import Generation
from fairway.modes.nftables import commands as c
from fairway.modes.nftables.expressions import GOTO, JUMP, Jump, Lookup, Verdict
from fairway.modes.nftables.tables import TABLE, Chain, Element, Family, Rule, Set, Table


class _Refused(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


@dataclass
class FakeNftables:
    """Applies Plans in memory, all or nothing."""

    table: str = TABLE
    process: int = 1
    _tables: dict[tuple[Family, str], Table] = field(default_factory=dict)
    _generation: int = 1

    def apply(self, plan: c.Plan, generation: int | None = None) -> None:
        """As `Nftables.apply`."""
        if not plan:
            return
        if generation is not None and generation != self._generation:
            raise KernelRefused([Refusal("commit of the batch", errno.ERESTART)])
        tables = copy.deepcopy(self._tables)
        for command in plan.commands:
            try:
                _apply(tables, command)
            except _Refused as refused:
                raise KernelRefused([Refusal(str(command), refused.code)]) from None
        _refuse_loops(tables)
        self._tables = tables
        self._generation += 1

    def read(self) -> dict[Family, Table]:
        found = copy.deepcopy(self._tables)
        return {family: table for (family, name), table in found.items() if name == self.table}

    def generation(self) -> Generation:
        return Generation(self._generation, self.process, "fake")


def _apply(tables: dict[tuple[Family, str], Table], command: c.Command) -> None:
    key = (command.family, command.table)
    if isinstance(command, c.AddTable):
        there = tables.setdefault(key, Table(command.family, {}, {}, {}, command.table, command.persistent))
        if command.persistent and not there.persistent:
            raise _Refused(errno.EOPNOTSUPP)
        return
    if key not in tables:
        raise _Refused(errno.ENOENT)
    table = tables[key]
    match command:
        case c.DeleteTable():
            del tables[key]
        case c.AddElements(_, _, declared, elements):
            _add_elements(table, declared, elements)
        case c.DeleteElements(_, _, declared, elements):
            _delete_elements(table, declared, elements)
        case c.AddSet(_, _, declared) | c.DeleteSet(_, _, declared):
            _change_set(table, command, declared)
        case _:
            _change_chain(table, command)


def _add_elements(table: Table, declared: Set, elements: Sequence[Element]) -> None:
    if declared.name not in table.sets:
        raise _Refused(errno.ENOENT)
    there = table.elements[declared.name]
    for element in elements:
        if isinstance(element.data, Jump) and element.data.code in (JUMP, GOTO):
            _must_exist(element.data.chain, table.chains)
        present = there.get(element.key)
        if present is None:
            there[element.key] = element
        elif present.data != element.data:
            raise _Refused(errno.EEXIST)


def _delete_elements(table: Table, declared: Set, elements: Sequence[Element]) -> None:
    if declared.name not in table.sets:
        raise _Refused(errno.ENOENT)
    there = table.elements[declared.name]
    for element in elements:
        _must_exist(element.key, there)
        del there[element.key]


def _change_set(table: Table, command: c.AddSet | c.DeleteSet, declared: Set) -> None:
    if isinstance(command, c.AddSet):
        if declared.name in table.sets:
            raise _Refused(errno.EEXIST)
        table.sets[declared.name] = declared
        table.elements[declared.name] = {}
        return
    _must_exist(declared.name, table.sets)
    if any(_uses_set(chain, declared.name) for chain in table.chains.values()):
        raise _Refused(errno.EBUSY)
    del table.sets[declared.name]
    del table.elements[declared.name]


def _change_chain(table: Table, command: c.Command) -> None:
    match command:
        case c.AddChain(_, _, chain):
            if chain.name in table.chains:
                raise _Refused(errno.EEXIST)
            table.chains[chain.name] = Chain(chain.name, (), chain.hook)
        case c.FlushChain(_, _, name):
            _must_exist(name, table.chains)
            table.chains[name] = table.chains[name]._replace(rules=())
        case c.DeleteChain(_, _, name):
            _must_exist(name, table.chains)
            if table.chains[name].rules or name in set(_targets(table)):
                raise _Refused(errno.EBUSY)
            del table.chains[name]
        case c.AddRule(_, _, name, rule, _):
            _must_exist(name, table.chains)
            _check_rule(table, rule)
            chain = table.chains[name]
            table.chains[name] = chain._replace(rules=(*chain.rules, rule))


def _check_rule(table: Table, rule: Rule) -> None:
    for one in rule.expressions:
        if isinstance(one, Lookup):
            _must_exist(one.set, table.sets)
        if isinstance(one, Verdict) and one.jump.chain:
            _must_exist(one.jump.chain, table.chains)


def _must_exist(key: object, there: dict[str, Chain] | dict[str, Set] | dict[bytes, Element]) -> None:
    if key not in there:
        raise _Refused(errno.ENOENT)


def _uses_set(chain: Chain, name: str) -> bool:
    return any(isinstance(one, Lookup) and one.set == name for rule in chain.rules for one in rule.expressions)


def _targets(table: Table) -> Iterator[str]:
    """Every chain that a rule or an element leads to."""
    for chain in table.chains.values():
        yield from _leads_to(chain, table)
    for elements in table.elements.values():
        yield from (one.data.chain for one in elements.values() if isinstance(one.data, Jump))


def _leads_to(chain: Chain, table: Table) -> Iterator[str]:
    for rule in chain.rules:
        for one in rule.expressions:
            if isinstance(one, Verdict) and one.jump.chain:
                yield one.jump.chain
            if isinstance(one, Lookup):
                data = (element.data for element in table.elements[one.set].values())
                yield from (jump.chain for jump in data if isinstance(jump, Jump) and jump.chain)


def _refuse_loops(tables: dict[tuple[Family, str], Table]) -> None:
    """As the kernel at commit: a chain that can lead to itself is refused with EMLINK."""
    for table in tables.values():
        ways = {name: set(_leads_to(chain, table)) for name, chain in table.chains.items()}
        finished: set[str] = set()
        for name in ways:
            _walk(name, ways, finished, ())


def _walk(name: str, ways: dict[str, set[str]], finished: set[str], above: tuple[str, ...]) -> None:
    if name in above:
        raise KernelRefused([Refusal(f"chain {name} leads to itself", errno.EMLINK)])
    if name not in finished:
        for target in ways[name]:
            _walk(target, ways, finished, (*above, name))
        finished.add(name)
