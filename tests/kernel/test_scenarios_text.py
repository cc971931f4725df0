"""What the nftables mode prints is what the kernel gets: nft itself loads the text, and the kernel is read back."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fairway.conform.scenario import Step, scenarios
from fairway.kernel import namespaces
from fairway.kernel.command import run
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nftables import Nftables
from fairway.modes.nftables import NftablesMode, Program

pytestmark = pytest.mark.kernel

MODE = NftablesMode()
STEPS = [pytest.param(step, id=step.name) for one in scenarios() for step in one.steps]


@pytest.fixture(scope="module")
def machine() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fairway-text-{os.getpid()}") as namespace:
        yield namespace


@pytest.mark.parametrize("step", STEPS)
def test_nft_reads_the_printed_sets_and_maps(machine: NetworkNamespace, step: Step) -> None:
    """Every declaration and element is right as text; of the chains only the names are loaded.

    nft lists rules that it cannot read back: `ct original proto-dst` in a concatenation has no type for it, and
    neither has a packet's priority as a number.
    """
    wanted = MODE.program(step.view)
    run(["nft", "-f", "-"], namespace=machine, input=f"flush ruleset\n{_without_rules(MODE.render(wanted))}")
    with machine.run(Nftables) as kernel:
        held = kernel.read()
    for family, table in wanted.tables().items():
        assert held[family].elements == table.elements
        assert {name: one.hook for name, one in held[family].chains.items()} == {
            name: one.hook for name, one in table.chains.items()
        }


@pytest.mark.parametrize("step", STEPS)
def test_nft_lists_the_chains_as_they_are_printed(machine: NetworkNamespace, step: Step) -> None:
    wanted = MODE.program(step.view)
    with machine.run(Nftables) as kernel:
        kernel.apply(MODE.plan(Program(kernel.read(), step.view.settings), wanted))
    listed = run(["nft", "list", "ruleset"], namespace=machine)
    assert _chains(listed) == _chains(MODE.render(wanted))


def _chains(text: str) -> list[str]:
    """The chains of a listing as text, sorted, each with the family of its table."""
    found: list[str] = []
    family = ""
    for line in text.splitlines():
        if line.startswith("table "):
            family = line
        elif line.startswith("\tchain "):
            found.append(f"{family}\n{line}")
        elif found and found[-1].splitlines()[-1] != "\t}" and line.startswith("\t"):
            found[-1] += f"\n{line}"
    return sorted(found)


def _without_rules(text: str) -> str:
    kept: list[str] = []
    in_chain = False
    for line in text.splitlines():
        if line.startswith("\tchain "):
            in_chain = True
        elif line == "\t}":
            in_chain = False
        elif in_chain and "hook" not in line:
            continue
        kept.append(line)
    return "\n".join([*kept, ""])
