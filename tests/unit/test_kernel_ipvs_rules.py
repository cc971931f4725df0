"""What iptables-save prints is read back as the rules that were written, and nobody else's."""

from __future__ import annotations

from fairway.kernel.ipvs_rules import read_rules
from fairway.model.view import NodeSettings
from fairway.modes.ipvs.program import restored
from fairway.modes.ipvs.rules import Options, rules
from fairway.modes.xtables import FAMILIES, TABLES, Place

SETTINGS = NodeSettings(name="node-1", pod_networks=("10.244.0.0/16",), service_networks=("10.96.0.0/16",))


def test_rules_are_read_as_they_were_written() -> None:
    for family in FAMILIES:
        written = rules(family, SETTINGS, Options())
        text = "".join("\n".join([f"*{table}", *restored(written, table), "COMMIT", ""]) for table in TABLES)
        assert read_rules(text) == written


def test_other_peoples_chains_and_rules_are_not_ours() -> None:
    text = (
        "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n:KUBE-SVC-X - [0:0]\n:KUBE-SERVICES - [0:0]\n"
        "-A PREROUTING -j DOCKER\n-A PREROUTING -j KUBE-SERVICES\n-A DOCKER -j RETURN\n"
        "-A KUBE-SVC-X -j ACCEPT\nCOMMIT\n"
    )
    assert read_rules(text) == {
        Place("nat", "PREROUTING"): ("-j KUBE-SERVICES",),
        Place("nat", "KUBE-SERVICES"): (),
    }
