"""Marks: nobody else's bits, one frontend each, kept for as long as it lives."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairway.model.view import Frontend, FrontendKey, FrontendKind, NodeView
from fairway.modes.ipvs import IpvsMode, Options
from fairway.modes.ipvs.marks import choose, is_ours, protocol_of, tag
from fairway.modes.ipvs.parts import Entry, Marked, Real
from tests.unit.test_modes_ipvs_compile import HIDE, NEAR, SETTINGS, STAY, frontend

KEYS = [FrontendKey("203.0.113.1", protocol, port) for protocol in ("TCP", "UDP", "SCTP") for port in range(1, 400)]


@pytest.mark.parametrize("bit", range(32))
def test_a_mark_tells_its_protocol_and_leaves_the_bits_of_kubernetes_alone(bit: int) -> None:
    for key in KEYS:
        mark = choose(key, bit, lambda _: True)
        assert is_ours(mark, bit)
        assert protocol_of(mark, bit) == key.protocol
        assert mark & (1 << bit | 1 << 14 | 1 << 15) == 0
        assert mark < 1 << 31


def test_other_peoples_marks_are_not_ours() -> None:
    assert not any(is_ours(mark, 14) for mark in (0, 1, 0x4000, 0x10000, 0x0F00))
    assert tag(29) == (0x5A000000, 0xDF000000)


def test_one_that_is_taken_is_not_given_again() -> None:
    first = choose(KEYS[0], 14, lambda _: True)
    second = choose(KEYS[0], 14, lambda mark: mark != first)
    assert (second != first, is_ours(second, 14), protocol_of(second, 14)) == (True, True, "TCP")


MODE = IpvsMode()
A = frontend(STAY, HIDE, NEAR, kind=FrontendKind.EXTERNAL_IP, address="203.0.113.1")
B = replace(A, address="203.0.113.2")


def view(*frontends: Frontend) -> NodeView:
    return NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})


def test_two_frontends_with_one_hash_have_two_marks_and_keep_them() -> None:
    program = MODE.program(view(A))
    taken = MODE.compile(B, SETTINGS).mark
    # As if A's hash were B's.
    held = program.fragments[A.key].marked(taken)
    program.fragments[A.key], program.marks = held, {taken: A.key}
    come = {B.key: MODE.compile(B, SETTINGS)}
    MODE.accept(program, come)
    other = program.fragments[B.key].mark
    assert other != taken
    assert program.marks == {taken: A.key, other: B.key}
    parts = program.fragments[B.key].parts
    assert {part.mark for part in parts if isinstance(part, Marked)} == {other}
    assert {part.virtual for part in parts if isinstance(part, Real)} >= {Marked("ip", other)}
    assert parts[Entry("KUBE-POOL", "203.0.113.2,tcp:80")] == other
    MODE.accept(program, {A.key: None})
    assert not MODE.plan_changes(program, come)
    assert program.marks == {other: B.key}


def test_another_mark_of_an_entry_is_a_change_in_place() -> None:
    program = MODE.program(view(A))
    mark = program.fragments[A.key].mark
    elsewhere = MODE.program(view(A))
    elsewhere.fragments[A.key] = elsewhere.fragments[A.key].marked(mark + 4)
    lines = MODE.plan(elsewhere, program).render().splitlines()
    assert f"ipset add KUBE-POOL 203.0.113.1,tcp:80 skbmark {mark:#x}" in lines
    assert not any(line.startswith("ipset del") for line in lines)
    assert f"ipvsadm -D -f {mark + 4}" in lines


def test_a_bit_for_masquerade_elsewhere_moves_the_marks() -> None:
    usual, other = MODE.compile(A, SETTINGS).mark, IpvsMode(Options(masquerade_bit=3)).compile(A, SETTINGS).mark
    assert usual != other
    assert other & 1 << 3 == 0
