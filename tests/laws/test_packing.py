"""Laws of the EndpointSlices: whatever happens to pods, every endpoint is in exactly one slice, and work ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.controllers.endpointslices import reconcile
from fairway.objects.cluster import Pod
from tests.unit.cluster_parts import SliceStore, nodes, pod, service

LIMIT = 4
PODS = st.dictionaries(st.integers(0, 20), st.booleans(), max_size=18)
PORTS = st.sampled_from([80, 8080])


def _pods(numbers: dict[int, bool]) -> list[Pod]:
    return [pod(f"p{number}", f"10.0.0.{number + 1}", ready=ready) for number, ready in numbers.items()]


@settings(max_examples=80)
@given(st.lists(st.tuples(PODS, PORTS), min_size=1, max_size=6))
@pytest.mark.reference("6.1 packing")
def test_every_pod_is_in_exactly_one_slice_and_a_second_look_changes_nothing(
    history: list[tuple[dict[int, bool], int]],
) -> None:
    store = SliceStore()
    for numbers, port in history:
        store.reconcile(service({"port": 80, "targetPort": port}), _pods(numbers), limit=LIMIT)
        assert store.addresses() == sorted(f"10.0.0.{number + 1}" for number in numbers)
        assert all(size <= LIMIT for size in store.sizes())
        assert {e.target_ref.name: e.conditions.ready for e in store.endpoints() if e.target_ref} == {
            f"p{number}": ready for number, ready in numbers.items()
        }
        assert all({p.port for p in one.ports or ()} == {port} for one in store.slices.values() if one.endpoints)
        # An empty slice only as the placeholder of a Service without endpoints.
        assert store.sizes() == [0] or 0 not in store.sizes()


@settings(max_examples=80)
@given(PODS, PODS)
@pytest.mark.reference("6.1 few writes")
def test_no_more_writes_than_slices_that_have_to_change(before: dict[int, bool], after: dict[int, bool]) -> None:
    store = SliceStore()
    store.reconcile(service(), _pods(before), limit=LIMIT)
    touched = sum(
        any(after.get(int((e.target_ref.name if e.target_ref else "p0")[1:])) != e.ready for e in one.endpoints or ())
        for one in store.slices.values()
    )
    fresh = len(after.keys() - before.keys())
    writes = store.writes
    store.reconcile(service(), _pods(after), limit=LIMIT)
    # Beside those, new endpoints cost one write for each slice they fill, or one for the placeholder.
    assert store.writes - writes <= touched + (fresh + LIMIT - 1) // LIMIT + 1


@pytest.mark.reference("6.1 packing")
@settings(max_examples=50)
@given(PODS, st.randoms())
def test_the_order_of_pods_does_not_matter(numbers: dict[int, bool], draw: object) -> None:
    given_pods = _pods(numbers)
    shuffled = list(given_pods)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reconcile(service(), given_pods, nodes(), []) == reconcile(service(), shuffled, nodes(), [])
