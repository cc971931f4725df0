"""Unit tests of `fairway.proxy.configuration`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.proxy.configuration import ConfigurationError, configure
from fairway.proxy.document import document_at
from fairway.proxy.flags import Flags
from fairway.proxy.values import Bind


def test_defaults_are_those_of_the_reference() -> None:
    found = configure(Flags(), " Worker-1 ")
    assert found.node_name == "worker-1"
    assert found.mode == "nftables"
    assert found.pod_networks == ()
    assert found.node_ports is None
    assert found.healthz == Bind("0.0.0.0", 10256)
    assert found.metrics == Bind("127.0.0.1", 10249)


def test_networks_become_canonical() -> None:
    found = configure(Flags(cluster_cidr="10.244.1.9/16, fd00:0::/48", nodeport_addresses="192.168.0.7/24"), "a")
    assert found.pod_networks == ("10.244.0.0/16", "fd00::/48")
    assert found.node_ports == ("192.168.0.0/24",)


@pytest.mark.reference("7.4 Test_getLocalDetectors")
def test_node_cidr_leaves_the_pod_networks_to_the_node_object() -> None:
    assert configure(Flags(detect_local_mode="NodeCIDR", cluster_cidr="10.0.0.0/8"), "a").pod_networks is None


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", None),
        ("10.0.0.1", Bind("10.0.0.1", 10256)),
        ("10.0.0.1:0", Bind("10.0.0.1", 0)),
        ("[::]:8080", Bind("::", 8080)),
        ("::1", Bind("::1", 10256)),
    ],
)
def test_bind_addresses(text: str, expected: Bind | None) -> None:
    assert configure(Flags(healthz_bind_address=text), "a").healthz == expected


@pytest.mark.reference("7.4 Test_checkBadConfig, Test_checkBadIPConfig")
@pytest.mark.parametrize(
    "flags, words",
    [
        (Flags(ipvs_scheduler="best"), '--ipvs-scheduler: there is no scheduler "best"; there are rr, wrr, lc'),
        (Flags(proxy_mode="magic"), '--proxy-mode: unknown mode "magic"; it must be nftables'),
        (Flags(detect_local_mode="Magic"), '--detect-local-mode: unknown mode "Magic"; it must be ClusterCIDR or'),
        (
            Flags(detect_local_mode="BridgeInterface"),
            "--pod-bridge-interface: must be said for this way of telling pods",
        ),
        (
            Flags(detect_local_mode="InterfaceNamePrefix", pod_interface_name_prefix="a-name-that-is-too-long"),
            '--pod-interface-name-prefix: "a-name-that-is-too-long" is no name of an interface: 15 bytes at most',
        ),
        (
            Flags(detect_local_mode="InterfaceNamePrefix", pod_interface_name_prefix="veth*"),
            "--pod-interface-name-prefix: ",
        ),
        (Flags(feature_gates="NFTablesProxyMode=false"), "--feature-gates: NFTablesProxyMode cannot be false: it is"),
        (Flags(logging_format="xml"), '--logging-format: unknown format "xml"; it must be text or json'),
        (Flags(vmodule="sync"), '--vmodule: "sync" must be PATTERN=N, such as sync=4'),
        (Flags(ipvs_exclude_cidrs="here"), '--ipvs-exclude-cidrs: "here" is not a network in CIDR form'),
        (Flags(ipvs_udp_timeout="-1s"), '--ipvs-udp-timeout: "-1s" must not be negative'),
        (Flags(iptables_masquerade_bit=32), "--iptables-masquerade-bit: 32 must be from 0 to 31"),
        (Flags(healthz_port=70000), "--healthz-port: 70000 must be from 0 to 65535"),
        (Flags(metrics_port=-1), "--metrics-port: -1 must be from 0 to 65535"),
        (Flags(config_sync_period="0s"), '--config-sync-period: "0s" must be longer than nothing'),
        (Flags(kube_api_burst=-1), "--kube-api-burst: -1 must be from 0 to"),
        (Flags(log_flush_frequency="x"), '--log-flush-frequency: "x" is no duration'),
        (Flags(hostname_override="a b"), '--hostname-override: "a b" is no node name'),
        (Flags(hostname_override="-a"), "--hostname-override: "),
        (Flags(cluster_cidr="10.244.0.0"), '--cluster-cidr: "10.244.0.0" is not a network in CIDR form'),
        (Flags(cluster_cidr="10.0.0.0/8,11.0.0.0/8"), "at most one IPv4 and one IPv6 network"),
        (Flags(service_cluster_ip_range="10.96.0.0/33"), "--service-cluster-ip-range: "),
        (Flags(nodeport_addresses="primary,10.0.0.0/8"), '--nodeport-addresses: "primary" must stand alone'),
        (Flags(healthz_bind_address="everywhere"), "--healthz-bind-address: "),
        (Flags(metrics_bind_address="127.0.0.1:70000"), '--metrics-bind-address: "70000" is no port'),
        (Flags(metrics_bind_address="127.0.0.1:²"), "--metrics-bind-address: "),
        (Flags(bind_address="localhost"), '--bind-address: "localhost" is no IP address'),
        (Flags(conntrack_min=-1), "--conntrack-min: -1 must be from 0 to"),
        (Flags(conntrack_udp_timeout="5"), '--conntrack-udp-timeout: "5" is no duration'),
        (Flags(conntrack_udp_timeout="-5s"), '--conntrack-udp-timeout: "-5s" must not be negative'),
        (Flags(iptables_sync_period="0s"), '--iptables-sync-period: "0s" must be longer than nothing'),
        (
            Flags(iptables_sync_period="30s", iptables_min_sync_period="1m"),
            '--iptables-min-sync-period: "1m" must not be longer than --iptables-sync-period, which is "30s"',
        ),
        (Flags(ipvs_sync_period="0s"), '--ipvs-sync-period: "0s" must be longer than nothing'),
        (Flags(oom_score_adj=-1001), "--oom-score-adj: -1001 must be from -1000 to 1000"),
        (Flags(feature_gates="A=maybe"), '--feature-gates: "A=maybe" must be NAME=true or NAME=false'),
    ],
)
def test_each_wrong_flag_is_named_with_what_would_be_right(flags: Flags, words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configure(flags, "a")
    assert words in str(raised.value)
    assert len(raised.value.problems) == 1


def test_all_wrong_flags_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        configure(replace(Flags(), proxy_mode="x", cluster_cidr="y"), "")
    assert [one.partition(":")[0] for one in raised.value.problems] == [
        "--cluster-cidr",
        "--proxy-mode",
        "--hostname-override",
    ]


@pytest.mark.reference("7.4 Test_checkBadConfig, Test_checkBadIPConfig")
def test_a_file_is_told_its_problems_by_field() -> None:
    file = document_at({"conntrack.min": -1, "mode": "magic", "nftables.syncPeriod": "soon", "ipvs.syncPeriod": "0s"})
    with pytest.raises(ConfigurationError) as raised:
        configure(Flags(), "a", file)
    assert [one.partition(":")[0] for one in raised.value.problems] == [
        *("mode", "nftables.syncPeriod", "ipvs.syncPeriod", "conntrack.min"),
    ]


def test_what_has_no_effect_is_told_with_the_reason() -> None:
    assert configure(Flags(kube_api_qps=50.0, profiling=True), "a").notes == (
        "--kube-api-qps: 50.0 has no effect: a few lists and watches need no limit",
        "--profiling: True has no effect: nothing is served under /debug",
    )
    file = document_at({"ipvs.scheduler": "rr", "iptables.masqueradeAll": True})
    assert configure(Flags(conntrack_min=7), "a", file).notes == (
        "--conntrack-min: has no effect beside --config, whose file counts",
        "iptables.masqueradeAll: True has no effect: it belongs to the iptables mode",
        "ipvs.scheduler: 'rr' has no effect: it belongs to the ipvs mode",
    )


def test_the_ipvs_mode_has_its_own_fields() -> None:
    file = document_at({"mode": "ipvs", "ipvs.scheduler": "lc", "ipvs.strictARP": True, "iptables.masqueradeAll": True})
    found = configure(Flags(), "a", file)
    assert found.notes == ()
    assert found.masquerade_all


def test_pods_are_told_by_networks_or_by_interface() -> None:
    bridge = configure(Flags(detect_local_mode="BridgeInterface", pod_bridge_interface="cni0"), "a")
    assert (bridge.pod_interface, bridge.pod_networks) == ("cni0", ())
    prefix = configure(Flags(detect_local_mode="InterfaceNamePrefix", pod_interface_name_prefix="veth"), "a")
    assert (prefix.pod_interface, prefix.pod_networks) == ("veth*", ())


@pytest.mark.parametrize(
    "flags, expected",
    [
        (Flags(), False),
        (Flags(localhost_nodeports=True), True),
        (Flags(iptables_localhost_nodeports=True), True),
        (Flags(iptables_localhost_nodeports=False), False),
        (Flags(nodeport_addresses="0.0.0.0/0,::/0"), False),
    ],
)
def test_node_ports_of_localhost_are_there_on_request(flags: Flags, expected: bool) -> None:
    assert configure(flags, "a").localhost_node_ports is expected


def test_gates_that_mean_something_here_count_and_others_are_told() -> None:
    found = configure(Flags(feature_gates="AllowServiceExternalIPs=false,NativeHistograms=true,Older=true"), "a")
    assert found.external_ips is False
    assert found.notes == (
        "--feature-gates: NativeHistograms=true has no effect: Fairway has no such gate",
        "--feature-gates: Older=true has no effect: Fairway has no such gate",
    )
    assert configure(Flags(feature_gates="ContextualLogging=true,NFTablesProxyMode=true"), "a").notes == ()


@pytest.mark.reference("7.4 Test_detectNodeIPs")
def test_a_node_address_of_ones_own_counts_but_for_the_unspecified_one() -> None:
    assert configure(Flags(bind_address="10.0.0.7"), "a").own_address == "10.0.0.7"
    assert configure(Flags(bind_address="::"), "a").own_address == ""


def test_tables_are_owned_unless_flag_or_file_say_otherwise() -> None:
    assert configure(Flags(), "a").document.nftables.own_tables
    assert not configure(Flags(nftables_own_tables=False), "a").document.nftables.own_tables
    assert not configure(Flags(), "a", document_at({"nftables.ownTables": False})).document.nftables.own_tables


def test_fields_of_the_iptables_mode_count_in_it() -> None:
    written = {"mode": "iptables", "iptables.masqueradeAll": True, "iptables.flat": True, "iptables.syncPeriod": "1m"}
    found = configure(Flags(), "node-1", document_at(written))
    assert found.masquerade_all
    assert [note.partition(":")[0] for note in found.notes] == ["iptables.syncPeriod"]
    elsewhere = configure(Flags(), "node-1", document_at({**written, "mode": "nftables"}))
    assert not elsewhere.masquerade_all
    assert len(elsewhere.notes) == 3
