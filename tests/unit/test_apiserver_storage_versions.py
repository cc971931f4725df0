"""Versions in memory, against a history that is simply replayed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.apiserver.storage.contract import Entry
from fairway.apiserver.storage.versions import Versions

STEPS = st.lists(st.tuples(st.sampled_from(["/a/1", "/a/2", "/b/1"]), st.booleans()), max_size=30)


def replay(steps: list[tuple[str, bool]]) -> tuple[Versions, list[dict[str, Entry]]]:
    """One revision for each step, from 2 on; and the states, the first of revision 1."""
    versions, states = Versions(1), [dict[str, Entry]()]
    for revision, (key, put) in enumerate(steps, start=2):
        state = dict(states[-1])
        if put:
            event = versions.put(key, b"%d" % revision, revision)
            assert event.entry is not None
            state[key] = event.entry
        elif key in versions:
            versions.delete(key, revision)
            del state[key]
        states.append(state)
    return versions, states


@given(STEPS)
def test_every_past_state_can_be_had_again(steps: list[tuple[str, bool]]) -> None:
    versions, states = replay(steps)
    for revision, state in enumerate(states, start=1):
        expected = tuple(state[key] for key in sorted(state) if key.startswith("/a/"))
        assert versions.then("/a/", "", revision) == (expected, 0)
    assert versions.now("/", "") == versions.then("/", "", len(states))


@given(STEPS, st.integers(0, 30))
def test_what_is_forgotten_does_not_change_what_is_kept(steps: list[tuple[str, bool]], kept: int) -> None:
    versions, states = replay(steps)
    versions.forget_all_but(kept)
    assert versions.changes <= kept
    for revision in range(versions.oldest, len(states) + 1):
        state = states[revision - 1]
        assert versions.then("/", "", revision) == (tuple(state[key] for key in sorted(state)), 0)
    assert all(event.revision > versions.oldest for event in versions.since("/", versions.oldest))
