"""Unit tests of `fairway.proxy.document`: files as kubeadm and people write them."""

from __future__ import annotations

import pytest

from fairway.objects.codec import DecodeError
from fairway.proxy.configuration import configure
from fairway.proxy.document import DEFAULTS, changed_fields, document_at, duration, read_document, write_document
from fairway.proxy.flags import Flags

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpTimeout: 0s}
kind: KubeProxyConfiguration
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
winkernel: {enableDSR: false, networkName: ""}
"""


@pytest.mark.reference("7.4 TestLoadConfig, TestLoadConfigFailures")
def test_a_file_of_kubeadm_means_the_defaults_and_what_it_says() -> None:
    document = read_document(KUBEADM.encode())
    assert dict(changed_fields(document)) == {
        "clientConnection.kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf",
        "clusterCIDR": "10.244.0.0/16",
    }
    found = configure(Flags(hostname_override="node-1"), "machine", document)
    assert (found.node_name, found.pod_networks, found.notes) == ("node-1", ("10.244.0.0/16",), ())


def test_what_is_written_reads_back_as_the_same() -> None:
    document = document_at({"conntrack.min": 7, "nodePortAddresses": ["10.0.0.0/8"], "featureGates": {"A": True}})
    assert read_document(write_document(document).encode()) == document
    assert read_document(write_document(DEFAULTS).encode()) == DEFAULTS


@pytest.mark.reference("7.4 TestLoadConfig, TestLoadConfigFailures")
@pytest.mark.parametrize(
    "text, words",
    [
        ("kind: KubeProxyConfiguration", "apiVersion: must be kubeproxy.config.k8s.io/v1alpha1, not None"),
        ("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Service", "kind: must be KubeProxyConfiguration"),
        (HEAD + "conntrack: {maxPerCpu: 1}", "conntrack.maxPerCpu: there is no such field"),
        (HEAD + "clusterCidr: 10.0.0.0/8", "clusterCidr: there is no such field"),
        (HEAD + "conntrack: {min: many}", "conntrack.min: expected int, got str"),
        (HEAD + "mode: [nftables]", "mode: expected str"),
        ("", "expected one document, found 0"),
        (HEAD + "---\n" + HEAD, "expected one document, found 2"),
        (HEAD + "logging: {vmodule: [5]}", "expected object, got int"),
        (HEAD + "logging: {vmodule: [{filePattern: sync}]}", "missing required field verbosity"),
        (HEAD + "mode: {", "line "),
        (HEAD + "mode: nftables\nmode: ipvs", "line 4: mode is there twice"),
        (HEAD + "conntrack:\n  min: 1\n  min: 2", "line 5: min is there twice"),
        ('{"kind": "KubeProxyConfiguration", "kind": "KubeProxyConfiguration"}', "line 1: kind is there twice"),
    ],
)
def test_a_file_that_makes_no_sense_is_told_where(text: str, words: str) -> None:
    with pytest.raises(DecodeError) as raised:
        read_document(text.encode())
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "text, seconds",
    [("0", 0), ("0s", 0), ("1m30s", 90), ("1.5h", 5400), ("300ms", 0.3), ("-1s", -1), (".5s", 0.5), ("2us", 2e-6)],
)
def test_durations_are_in_gos_form(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1 s", "1d", "s", "1s2", "--1s", "1e3s", "١s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration, such as 1m30s"):
        duration(text)
