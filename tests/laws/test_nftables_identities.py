"""Laws of what session affinity remembers backends by, also where two backends would have one number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView, Pool
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables.identities import identities_of, identity
from fairway.modes.nftables.slots import Slots
from fairway.modes.nftables.tables import backend_bytes

SAME = ("10.244.1.2", 80), ("10.244.86.189", 16019), ("10.244.167.29", 27622), ("10.244.240.162", 21797)
"""Four with one and the same number."""
NEXT = ("10.244.7.72", 24354), ("10.244.80.247", 25057)
"""Two with the next one, which the second of those four would get."""
OTHER = ("10.244.0.1", 80)
EVERYBODY = (*SAME, *NEXT, OTHER)
POOLS = st.lists(st.sets(st.sampled_from(EVERYBODY)), min_size=2, max_size=8)
STICKY = "slots", "sticky-slots", "sticky-backends", "sticky-counts"
MODE, NODE = NftablesMode(), NodeSettings(name="node-1")
FORWARD = Action(kind=ActionKind.FORWARD, pool=Pool.CLUSTER, because="")
SERVICE = Frontend(
    kind=FrontendKind.CLUSTER_IP,
    address="10.96.0.1",
    protocol="TCP",
    port=80,
    service=Key("shop", "cart"),
    field="spec.ports[0]",
    pod=FORWARD,
    node=FORWARD,
    outside=FORWARD,
    affinity_seconds=600,
)


def pool_of(some: set[tuple[str, int]]) -> tuple[Backend, ...]:
    return tuple(Backend(address=address, port=port) for address, port in sorted(some))


def test_the_backends_here_are_in_each_others_way() -> None:
    numbers = [identity(backend_bytes(*one)) for one in EVERYBODY]
    assert len(set(numbers)) == 3
    assert identity(backend_bytes(*SAME[1]), {numbers[0]}) == numbers[len(SAME)]


@given(POOLS)
def test_numbers_that_follow_a_pool_are_those_from_nothing(pools: list[set[tuple[str, int]]]) -> None:
    slots = Slots(pool_of(pools[0]))
    followed = identities_of((slots,))
    for some in pools[1:]:
        before, slots = slots, Slots(pool_of(some))
        followed = followed.followed((before,), (slots,))
        anew = identities_of((slots,))
        assert followed == anew
        assert {one: followed[one] for one in slots} == {one: anew[one] for one in slots}
        assert len({followed[one] for one in slots}) == len(slots)


@given(POOLS)
def test_numbers_can_be_followed_twice_from_the_same_pool(pools: list[set[tuple[str, int]]]) -> None:
    """As when the kernel refuses a change and gets another one in its place."""
    there = Slots(pool_of(pools[0]))
    known = identities_of((there,))
    for some in pools[1:]:
        slots = Slots(pool_of(some))
        assert known.followed((there,), (slots,)) == identities_of((slots,))


@given(POOLS)
def test_a_program_that_follows_is_the_one_from_nothing_and_a_restart_has_nothing_to_do(
    pools: list[set[tuple[str, int]]],
) -> None:
    program = MODE.program(NodeView(settings=NODE, frontends={}))
    for some in pools:
        frontend = replace(SERVICE, cluster=pool_of(some))
        changes = {frontend.key: MODE.compile(frontend, NODE, program)}
        MODE.plan_changes(program, changes)
        MODE.accept(program, changes)
        wanted = MODE.program(NodeView(settings=NODE, frontends={frontend.key: frontend}))
        held = Program(program.tables(), NODE)
        restarted, there = (one.tables()["ip"].elements for one in (MODE.adopt(held, wanted), program))
        assert [restarted[name] == there[name] for name in STICKY] == [True] * len(STICKY)
