"""Laws of the nftables mode alone: hashing, slots that stay, messages that fit. Those of every mode: `test_modes`."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fairway.kernel.nftables import requests
from fairway.model.decide import decide
from fairway.model.packet import Packet
from fairway.model.parts import Part, joined
from fairway.model.view import Backend, FrontendKey, NodeView
from fairway.modes.nftables import Fragment, NftablesMode, Program
from fairway.modes.nftables.slots import Slots, near
from tests.laws.strategies import Cluster, changes, clusters, packets
from tests.laws.strategies import settings as node_settings

MODE = NftablesMode()


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
    assert not [line for line in plan.render().splitlines() if " slots " in line or " frontends " in line]


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
    slots = Slots(joined(parts.values()))
    for which, hosts in changed:
        parts[which] = _part(which, hosts)
        pool = joined(parts.values())
        before, moves = list(slots), slots.moves(pool)
        slots = slots.moved(pool, moves)
        assert sorted(slots) == sorted(Slots(pool))
        assert len(slots) == len(pool)
        _only_the_last_moved(before, list(slots))
        unlike = {number for number, one in enumerate(slots) if before[number : number + 1] != [one]}
        assert moves.keys() == unlike | set(range(len(slots), len(before)))


def _part(which: int, hosts: set[int]) -> Part[Backend]:
    return Part(Backend(address=f"10.244.{which}.{host}", port=80) for host in sorted(hosts))


@given(clusters())
def test_no_netlink_attribute_is_too_long_and_every_request_says_what_it_asks(cluster: Cluster) -> None:
    found = list(requests(MODE.plan(MODE.empty(), MODE.program(cluster.view()))))
    assert all(len(one.body) < 65536 and one.says for one in found)
