"""The law of the index from pods to Services: it says what looking at everything would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.controllers.selection import Selection
from fairway.objects.meta import Key

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
KEYS = st.builds(Key, st.sampled_from(["shop", "other"]), st.sampled_from(["one", "two", "three"]))
STEPS = st.lists(st.tuples(st.sampled_from(["service", "pod"]), KEYS, st.none() | LABELS), max_size=30)


@given(STEPS)
def test_members_are_those_that_match(steps: list[tuple[str, Key, dict[str, str] | None]]) -> None:
    selection = Selection()
    services: dict[Key, dict[str, str]] = {}
    pods: dict[Key, dict[str, str]] = {}
    for what, key, labels in steps:
        if what == "service":
            selection.set_service(key, labels)
            services[key] = labels or {}
        else:
            selection.set_pod(key, labels)
            pods.pop(key, None)
            if labels is not None:
                pods[key] = labels
    for service, selector in services.items():
        expected = {
            pod
            for pod, labels in pods.items()
            if selector and pod.namespace == service.namespace and selector.items() <= labels.items()
        }
        assert selection.members(service) == expected
        for pod in pods:
            assert (service in selection.selected_by(pod)) == (pod in expected)
