"""The ipsets that count as a proxy's are those that a real kube-proxy makes."""

from __future__ import annotations

import pytest

from fairway.kernel.leftovers import known_sets
from tests.scenarios.dumps import DUMPS


@pytest.mark.skipif(not DUMPS.is_dir(), reason=f"no folder of dumps at {DUMPS}")
def test_every_ipset_of_a_real_kube_proxy_is_known_with_its_type() -> None:
    files = list(DUMPS.glob("*/n*/ipvs/ipset-save.txt"))
    made = {tuple(line.split()[1:3]) for file in files for line in file.read_text().splitlines() if line[0] == "c"}
    assert made
    assert made <= {(one.name, one.kind) for one in known_sets()}
