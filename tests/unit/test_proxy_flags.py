"""Unit tests of `fairway.proxy.flags`."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from fairway.proxy.configuration import configure
from fairway.proxy.document import DEFAULTS, Module, changed_fields, document_at
from fairway.proxy.flags import FLAG_OF, Flags, document_of, ignored


def test_flags_that_are_not_given_leave_the_defaults() -> None:
    assert document_of(Flags()) == DEFAULTS


@pytest.mark.reference("7.4 TestProcessV1Alpha1Flags, TestOptionsComplete")
def test_each_flag_sets_its_field() -> None:
    document = document_of(
        Flags(
            masquerade_all=True,
            conntrack_min=5,
            conntrack_tcp_timeout_established="2h",
            nodeport_addresses="10.0.0.0/8, 192.168.0.0/16",
            feature_gates="A=true,B=False",
            iptables_sync_period="10s",
        )
    )
    assert document.nftables.masquerade_all
    assert not document.iptables.masquerade_all
    assert (document.conntrack.min, document.conntrack.tcp_established_timeout) == (5, "2h")
    assert document.node_port_addresses == ("10.0.0.0/8", "192.168.0.0/16")
    assert document.feature_gates == {"A": True, "B": False}
    assert document.nftables.sync_period == "10s"


def test_a_feature_gate_is_true_or_false() -> None:
    with pytest.raises(ValueError, match='--feature-gates: "A" must be NAME=true or NAME=false'):
        document_of(Flags(feature_gates="A"))


@pytest.mark.reference("7.4 TestProcessV1Alpha1Flags, TestOptionsComplete")
def test_beside_a_file_the_others_are_named() -> None:
    assert ignored(Flags(hostname_override="a", conntrack_min=5, service_cluster_ip_range="10.0.0.0/8")) == [
        "--conntrack-min"
    ]


@pytest.mark.parametrize(
    "flags, field, expected",
    [
        (Flags(healthz_port=8080), "healthzBindAddress", "0.0.0.0:8080"),
        (Flags(healthz_bind_address="10.0.0.1", healthz_port=8080), "healthzBindAddress", "10.0.0.1:8080"),
        (Flags(metrics_bind_address="[::]:1", metrics_port=2), "metricsBindAddress", "[::]:2"),
        (Flags(metrics_bind_address="::1", metrics_port=2), "metricsBindAddress", "[::1]:2"),
        (Flags(ipvs_exclude_cidrs="10.0.0.0/8, 11.0.0.0/8"), "ipvs.excludeCIDRs", ("10.0.0.0/8", "11.0.0.0/8")),
        (Flags(vmodule="sync=4"), "logging.vmodule", ({"filePattern": "sync", "verbosity": 4},)),
        (Flags(log_json_split_stream=True), "logging.options.json.splitStream", True),
        (Flags(iptables_localhost_nodeports=False), "iptables.localhostNodePorts", False),
    ],
)
def test_flags_of_another_form_than_their_field(flags: Flags, field: str, expected: object) -> None:
    assert dict(changed_fields(document_of(flags))) == {field: expected}


@pytest.mark.reference("7.4 TestAddressFromDeprecatedFlags")
def test_port_zero_switches_a_server_off() -> None:
    found = configure(Flags(healthz_port=0, metrics_port=0), "a")
    assert (found.healthz, found.metrics) == (None, None)


def test_flags_about_the_log_count_beside_a_file() -> None:
    file = document_at({"logging.verbosity": 2})
    assert configure(Flags(), "a", file).logging == file.logging
    found = configure(Flags(logging_format="json", vmodule="sync=4"), "a", file).logging
    assert (found.format, found.verbosity, found.vmodule) == ("json", 2, (Module(file_pattern="sync", verbosity=4),))


def test_the_defaults_of_flags_are_those_of_their_fields() -> None:
    defaults = {one.name: one.default for one in fields(Flags)}
    spelled = {path: defaults[flag.removeprefix("--").replace("-", "_")] for path, flag in FLAG_OF.items()}
    spelled |= {"nodePortAddresses": ["primary"], "featureGates": {}, "ipvs.excludeCIDRs": [], "logging.vmodule": []}
    spelled["iptables.localhostNodePorts"] = True  # what the field says when the flag is not given
    assert document_at(spelled) == DEFAULTS


def test_every_flag_of_the_document_is_in_the_reference_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "configuration.md").read_text()
    named = set(re.findall(r"--[a-z][a-z0-9-]+", page))
    assert set(FLAG_OF.values()) <= named
