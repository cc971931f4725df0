"""What the tools of iptables say of themselves."""

from __future__ import annotations

import pytest

from fairway.kernel.xtables import knows_random_fully


@pytest.mark.reference("7.2 TestMasqueradeRule")
@pytest.mark.parametrize(
    "said, knows",
    [
        ("iptables-restore v1.8.9 (legacy)", True),
        ("iptables-nft-restore v1.8.9 (nf_tables)", True),
        ("iptables v1.6.2", True),
        ("iptables v1.6.1", False),
        ("iptables v1.4.21", False),
        ("iptables of somebody's own", True),
    ],
)
def test_tools_before_1_6_2_do_not_know_random_fully(said: str, knows: bool) -> None:
    assert knows_random_fully(said) is knows
