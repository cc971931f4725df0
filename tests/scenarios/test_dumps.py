"""What the model foresees is what happened to real packets under the real kube-proxy."""

from __future__ import annotations

import pytest

from tests.scenarios.dumps import CLUSTERS, DIFFERENCES, DUMPS, difference, foreseen, probes

pytestmark = pytest.mark.skipif(not DUMPS.is_dir(), reason=f"no folder of dumps at {DUMPS}")


@pytest.mark.parametrize("name", CLUSTERS)
def test_what_is_foreseen_is_what_happened(name: str) -> None:
    wrong = []
    for probe in probes(name):
        if difference(probe) is None and not probe.outcomes <= foreseen(probe):
            wrong.append(f"{probe}: {sorted(probe.outcomes)}, foreseen {sorted(foreseen(probe))}")
    assert wrong == []


@pytest.mark.parametrize("name", CLUSTERS)
def test_only_foreseen_backends_answered(name: str) -> None:
    wrong = []
    for probe in probes(name):
        targets = {choice.backend.target for choice in probe.journey.outcome.choices}
        pods = {target.rpartition("/")[2] for target in targets if target}
        if difference(probe) is None and pods and not probe.pods <= pods:
            wrong.append(f"{probe}: {sorted(probe.pods)}, foreseen {sorted(pods)}")
    assert wrong == []


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_backends_saw_the_foreseen_addresses(name: str) -> None:
    wrong = []
    for probe in probes(name):
        masquerades = {choice.masquerade for choice in probe.journey.outcome.choices}
        if difference(probe) or probe.start.local or len(masquerades) != 1 or not probe.sources:
            continue
        kept = probe.sources == {probe.start.address}
        hidden = probe.start.address not in probe.sources
        if not (hidden if masquerades == {True} else kept):
            wrong.append(f"{probe}: the backends saw {sorted(probe.sources)}, foreseen masquerade: {masquerades}")
    assert wrong == []


def test_every_difference_is_needed() -> None:
    """A difference that no probe shows any more is a reason to take it off the list."""
    seen = {
        one.why
        for name in CLUSTERS
        for probe in probes(name)
        if (one := difference(probe)) and not probe.outcomes <= foreseen(probe)
    }
    assert seen == {one.why for one in DIFFERENCES}
