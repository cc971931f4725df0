"""What `iptables-save` prints, read as rules; the words that several modes write alike."""

from __future__ import annotations

import pytest

from fairway.model.view import NodeSettings
from fairway.modes.xtables import FAMILIES, Place, RuleOptions, canonical, pod_matches, postrouting, read_saved, target

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:OURS - [0:0]
:THEIRS - [0:0]
[7:420] -A PREROUTING -m comment --comment portals -j OURS
-A PREROUTING -j THEIRS
-A THEIRS -j OURS
COMMIT
"""


def test_both_variants_print_one_rule() -> None:
    saved = "-m conntrack --ctstate INVALID -m nfacct --nfacct-name  dropped -m comment --comment shop -j DROP"
    assert canonical(saved) == (
        '-m conntrack --ctstate INVALID -m nfacct --nfacct-name dropped -m comment --comment "shop" -j DROP'
    )


def test_what_is_saved_is_read_as_far_as_somebody_says_it_is_ours() -> None:
    assert read_saved(SAVED, lambda place: place.chain == "OURS") == {
        Place("nat", "OURS"): (),
        Place("nat", "PREROUTING"): ('-m comment --comment "portals" -j OURS',),
    }


@pytest.mark.parametrize(
    "rule, leads_to",
    [
        ('-m comment --comment "goes -j nowhere" -g KUBE-IP-10.96.0.0/20', "KUBE-IP-10.96.0.0/20"),
        ("-j MASQUERADE --random-fully", "MASQUERADE"),
        ('-m comment --comment "only counts"', ""),
    ],
)
def test_where_a_rule_leads(rule: str, leads_to: str) -> None:
    assert target(rule) == leads_to


@pytest.mark.reference("7.2 TestMasqueradeRule")
@pytest.mark.parametrize("knows", [True, False])
def test_source_ports_are_fully_random_where_the_tools_can_say_so(knows: bool) -> None:
    last = postrouting(RuleOptions(random_fully=knows))[-1]
    assert last.endswith("-j MASQUERADE --random-fully" if knows else "-j MASQUERADE")


def test_pods_are_told_by_their_interface_and_each_of_their_networks() -> None:
    settings = NodeSettings(name="", pod_networks=("10.244.0.0/16", "fd00::/64"), pod_interface="veth*")
    assert [pod_matches(settings, family) for family in FAMILIES] == [
        ("-i veth+", "-s 10.244.0.0/16"),
        ("-i veth+", "-s fd00::/64"),
    ]
