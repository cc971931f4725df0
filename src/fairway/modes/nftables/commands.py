"""What is asked of nf_tables: commands, each with its line in nft's words, and the Plan that puts them in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fairway.modes.commands import Commands
from fairway.modes.nftables.expressions import listing
from fairway.modes.nftables.tables import Chain, Element, Family, Rule, Set, Table, printed_element


class AddTable(NamedTuple):
    family: Family
    table: str
    persistent: bool = False
    """Owned by whoever sends this, and by the next one when that has ended; it fails where there is another table."""

    def __str__(self) -> str:
        flags = " { flags owner, persist; }" if self.persistent else ""
        return f"add table {self.family} {self.table}{flags}"


class DeleteTable(NamedTuple):
    family: Family
    table: str

    def __str__(self) -> str:
        return f"delete table {self.family} {self.table}"


class AddSet(NamedTuple):
    family: Family
    table: str
    set: Set

    def __str__(self) -> str:
        kind = "set" if self.set.data is None else "map"
        return f"add {kind} {self.family} {self.table} {self.set.name} {{ {'; '.join(self.set.declaration())}; }}"


class DeleteSet(NamedTuple):
    family: Family
    table: str
    set: Set

    def __str__(self) -> str:
        kind = "set" if self.set.data is None else "map"
        return f"delete {kind} {self.family} {self.table} {self.set.name}"


class AddChain(NamedTuple):
    family: Family
    table: str
    chain: Chain

    def __str__(self) -> str:
        what = "".join(f" {{ {line} }}" for line in self.chain.declaration())
        return f"add chain {self.family} {self.table} {self.chain.name}{what}"


class DeleteChain(NamedTuple):
    family: Family
    table: str
    chain: str

    def __str__(self) -> str:
        return f"delete chain {self.family} {self.table} {self.chain}"


class FlushChain(NamedTuple):
    family: Family
    table: str
    chain: str

    def __str__(self) -> str:
        return f"flush chain {self.family} {self.table} {self.chain}"


class AddRule(NamedTuple):
    family: Family
    table: str
    chain: str
    rule: Rule
    words: str

    def __str__(self) -> str:
        return f"add rule {self.family} {self.table} {self.chain} {self.words}"


class AddElements(NamedTuple):
    family: Family
    table: str
    set: Set
    elements: Sequence[Element]

    def __str__(self) -> str:
        return "\n".join(self.lines("add"))

    def lines(self, verb: str) -> Iterator[str]:
        for one in self.elements:
            shown = printed_element(self.set, one)
            yield f"{verb} element {self.family} {self.table} {self.set.name} {{ {shown} }}"


class DeleteElements(NamedTuple):
    family: Family
    table: str
    set: Set
    elements: Sequence[Element]

    def __str__(self) -> str:
        return "\n".join(AddElements(*self).lines("delete"))


Command: TypeAlias = (
    AddTable
    | DeleteTable
    | AddSet
    | DeleteSet
    | AddChain
    | DeleteChain
    | FlushChain
    | AddRule
    | AddElements
    | DeleteElements
)


@dataclass(frozen=True, slots=True)
class Plan(Commands[Command]):
    """Commands in order; all of them happen, or none."""

    def __len__(self) -> int:
        """Elements count one by one: this is the size of the change, not of the text."""
        sized = (AddElements, DeleteElements)
        return sum(len(one.elements) if isinstance(one, sized) else 1 for one in self.commands)


def add_rules(table: Table, chain: Chain) -> Iterator[AddRule]:
    for rule in chain.rules:
        words = listing(rule.expressions, table.key_words)
        yield AddRule(table.family, table.name, chain.name, rule, words)
