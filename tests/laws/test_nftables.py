"""Laws of the nftables mode alone: hashing, slots that stay, messages that fit. Those of every mode: `test_modes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fairway.kernel.nftables import requests
from fairway.model.decide import decide
from fairway.model.packet import Packet
from fairway.model.parts import Part, Parts
from fairway.model.view import (
    HASH,
    RANDOM,
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    Pool,
)
from fairway.modes.nftables import Fragment, NftablesMode, Program
from fairway.modes.nftables.slots import Slots, near
from fairway.modes.nftables.tables import family_of_key
from tests.laws.strategies import Cluster, changes, clusters, packets
from tests.laws.strategies import settings as node_settings

MODE = NftablesMode()
_SETTINGS = NodeSettings(name="node-1", addresses=("192.168.0.2",), pod_networks=("10.244.0.0/16",))
_HIDE, _NEAR = (Action(kind=ActionKind.FORWARD, masquerade=one is Pool.CLUSTER, pool=one) for one in Pool)
_SERVICE: dict[str, Any] = {
    "kind": FrontendKind.CLUSTER_IP,
    "protocol": "TCP",
    "port": 80,
    "service": Key("shop", "cart"),
    "pod": Action(kind=ActionKind.FORWARD),
    "node": _HIDE,
}
_LASTING = {"actions", "client-actions", "draws"}
"""What leads to chains, which stay when nobody needs them any more."""


@st.composite
def _views_and_packets(draw: st.DrawFn) -> tuple[NodeView, Packet]:
    view = draw(clusters(node_settings(extras=True))).view()
    return view, draw(packets(view))


@settings(max_examples=10)
@given(_views_and_packets(), st.sampled_from([0, 600]))
def test_a_hashed_client_gets_the_backend_that_decide_names(case: tuple[NodeView, Packet], affinity: int) -> None:
    view, packet = case
    frontends = {key: replace(one, balancing="hash", affinity_seconds=affinity) for key, one in view.frontends.items()}
    hashed = NodeView(settings=view.settings, frontends=frontends)
    decided = decide(hashed, packet)
    assert len(decided.choices) <= 1
    assert {one.backend for one in decided.choices} <= {one.backend for one in decide(view, packet).choices}
    assert MODE.evaluate(MODE.program(hashed), packet).outcome.essence == decided.essence


@given(changes())
def test_a_restart_that_adopts_the_kernels_order_of_slots_has_nothing_to_do(change: tuple[Cluster, Cluster]) -> None:
    program = MODE.program(change[0].view())
    wanted = MODE.program(change[1].view())
    MODE.accept(program, _changed(program, wanted))
    restarted = MODE.adopt(Program(program.tables(), program.settings), wanted)
    plan = MODE.plan(Program(program.tables(), program.settings), restarted)
    assert not [line for line in plan.render().splitlines() if "slots " in line or " frontends " in line]


def _changed(program: Program, wanted: Program) -> dict[FrontendKey, Fragment | None]:
    gone: dict[FrontendKey, Fragment | None] = dict.fromkeys(program.fragments.keys() - wanted.fragments.keys())
    return {**gone, **wanted.fragments}


_BACKENDS = st.lists(st.integers(0, 255).map(lambda n: bytes((10, 244, 0, n, 31, 144, 0, 0))), max_size=12, unique=True)


@given(_BACKENDS, _BACKENDS)
def test_a_backend_that_stays_keeps_its_slot_unless_it_has_to_fill_a_hole(
    before: list[bytes], after: list[bytes]
) -> None:
    settled = near(after, before)
    assert sorted(settled) == sorted(after)
    _only_the_last_moved(before, settled)


def _only_the_last_moved(before: Sequence[bytes], after: Sequence[bytes]) -> None:
    moved = [one for index, one in enumerate(after) if one in before and before.index(one) != index]
    assert all(before.index(one) >= len(after) for one in moved)


@given(st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 9))), min_size=2, max_size=8))
def test_slots_of_a_pool_in_parts_follow_it_part_by_part(changed: list[tuple[int, set[int]]]) -> None:
    """Each step one part of five has other backends; the parts overlap nowhere."""
    parts = {which: _part(which, set(range(3))) for which in range(5)}
    slots = Slots(Parts(parts.values()))
    seen = [(slots, list(slots))]
    for which, hosts in changed:
        parts[which] = _part(which, hosts)
        pool = Parts(parts.values())
        wanted = Slots(pool)
        before, moves = list(slots), slots.moves(wanted)
        slots = slots.moved(wanted, moves)
        assert sorted(slots) == sorted(wanted)
        assert len(slots) == len(pool)
        _only_the_last_moved(before, list(slots))
        unlike = {number for number, one in enumerate(slots) if before[number : number + 1] != [one]}
        assert moves.keys() == unlike | set(range(len(slots), len(before)))
        seen.append((slots, list(slots)))
    assert all(list(one) == held for one, held in seen)


def _part(which: int, hosts: set[int]) -> Part[Backend]:
    return Part(Backend(address=f"10.244.{which}.{host}", port=80) for host in sorted(hosts))


@st.composite
def _backends(draw: st.DrawFn) -> Backend:
    """One of a few hosts, which may be this node's, nobody's, or heavier than others."""
    host, where = draw(st.integers(0, 9)), draw(st.sampled_from(["node-1", "node-2", "node-2", ""]))
    weight = draw(st.sampled_from([1, 1, 1, 2]))
    return Backend(address=f"10.244.0.{host}", port=80, node=where, local=where == "node-1", weight=weight)


_POOLS = st.lists(_backends(), max_size=8, unique_by=lambda one: one.address)
_HOW = st.fixed_dictionaries(
    {
        "balancing": st.sampled_from([RANDOM, RANDOM, HASH]),
        "affinity_seconds": st.sampled_from([0, 0, 600]),
        "source_ranges": st.sampled_from([(), ("192.0.2.0/24",)]),
        "outside": st.sampled_from([_HIDE, _NEAR]),
    }
)


@given(
    st.sampled_from(["10.96.0.1", "fd00:96::1"]),
    _HOW,
    st.lists(st.tuples(_POOLS, st.sets(st.sampled_from(["cluster", "local"])), _HOW | st.none())),
)
def test_a_plan_does_not_depend_on_what_else_is_the_same_object(
    address: str, how: dict[str, Any], steps: list[tuple[list[Backend], set[str], dict[str, Any] | None]]
) -> None:
    """One Program goes from change to change as a proxy's does; the other hears of each as if it were the first."""
    shared, told = (MODE.program(NodeView(settings=_SETTINGS, frontends={})) for _ in range(2))
    known: dict[Backend, Backend] = {}
    pools: dict[str, Any] = {"cluster": (), "local": ()}
    for backends, changed, other in steps:
        how = other or how
        pools |= dict.fromkeys(
            changed, _in_parts([known.setdefault(one, one) for one in _of_family(address, backends)])
        )
        one = Frontend(**_SERVICE, address=address, **how, **pools)
        following = {one.key: MODE.compile(one, _SETTINGS, shared)}
        copied: dict[str, Any] = {name: tuple(map(replace, pool)) for name, pool in pools.items()}
        anew = {one.key: MODE.compile(Frontend(**_SERVICE, address=address, **how, **copied), _SETTINGS)}
        assert MODE.plan_changes(shared, following).commands == MODE.plan_changes(told, anew).commands
        MODE.accept(shared, following)
        MODE.accept(told, anew)
        assert shared.tables() == told.tables()
        whole = MODE.program(NodeView(settings=_SETTINGS, frontends={one.key: one}))
        wanted, held = (each.tables()[family_of_key(one.key)].elements for each in (whole, shared))
        assert {name: some.keys() for name, some in wanted.items() if name not in _LASTING} == {
            name: some.keys() for name, some in held.items() if name not in _LASTING
        }


def _of_family(address: str, backends: list[Backend]) -> list[Backend]:
    if ":" not in address:
        return backends
    return [replace(one, address=f"fd00:244::{one.address[-1]}") for one in backends]


def _in_parts(backends: list[Backend]) -> Sequence[Backend]:
    """By EndpointSlice, as a proxy has them; weights are given to whole pools."""
    if any(one.weight > 1 for one in backends):
        return tuple(backends)
    slices = {which: Part(one for one in backends if int(one.address[-1]) % 2 == which) for which in range(2)}
    return Parts(slices.values())


@given(clusters())
def test_no_netlink_attribute_is_too_long_and_every_request_says_what_it_asks(cluster: Cluster) -> None:
    found = list(requests(MODE.plan(MODE.empty(), MODE.program(cluster.view()))))
    assert all(len(one.body) < 65536 and one.says for one in found)
