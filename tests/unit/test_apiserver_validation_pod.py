"""Pods and pod templates: what they may say, and the little that may change."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fairway.apiserver import defaults
from fairway.apiserver.validation import pod as rules
from fairway.objects.codec import Document

APP: Document = {"name": "app", "image": "app:1"}


def pod(container: Document | None = None, **spec: Any) -> Document:
    whole = {"containers": [APP | (container or {})]} | spec
    return defaults.pod({"metadata": {"name": "web", "namespace": "shop"}, "spec": copy.deepcopy(whole)})


def ports(*found: Document) -> Document:
    return pod({"ports": list(found)})


def probe(**handler: Any) -> Document:
    return pod({"readinessProbe": handler})


def raw(path: str, value: Any) -> Document:
    """A valid Pod in which one field of the spec was overwritten after the defaults were filled in."""
    found = pod()
    found["spec"][path] = value
    return found


def mounts(*found: Document) -> Document:
    return pod({"volumeMounts": list(found)}, volumes=[{"name": "data", "emptyDir": {}}])


def container_without(*path: str, **container: Any) -> Document:
    """A valid Pod whose container lost a field after the defaults were filled in."""
    found = pod({"ports": [{"containerPort": 1}], **container})
    here = found["spec"]["containers"][0]
    for step in path[:-1]:
        here = here[step][0] if isinstance(here[step], list) else here[step]
    del here[path[-1]]
    return found


FIELD = {"fieldPath": "status.podIP"}
C = "spec.containers[0]"
WRONG: list[tuple[str, Document, str, str]] = [
    ("no containers", pod(containers=[]), "spec.containers", "Required value"),
    ("no name", pod({"name": ""}), f"{C}.name", "Required value"),
    ("name", pod({"name": "A"}), f"{C}.name", 'Invalid value: "A": a lowercase RFC 1123 label'),
    ("same name", pod(containers=[APP, APP]), "spec.containers[1].name", 'Duplicate value: "app"'),
    ("same name as init", pod(initContainers=[APP]), f"{C}.name", 'Duplicate value: "app"'),
    ("no image", pod({"image": ""}), f"{C}.image", "Required value"),
    ("image", pod({"image": " a"}), f"{C}.image", 'Invalid value: " a": must not have leading or trailing whitespace'),
    (
        "pull policy",
        pod({"imagePullPolicy": "Once"}),
        f"{C}.imagePullPolicy",
        'Unsupported value: "Once": supported values: "Always", "IfNotPresent", "Never"',
    ),
    ("no port", ports({}), f"{C}.ports[0].containerPort", "Required value"),
    ("port", ports({"containerPort": 70000}), f"{C}.ports[0].containerPort", "Invalid value: 70000: must be between 1"),
    (
        "port name",
        ports({"containerPort": 1, "name": "80"}),
        f"{C}.ports[0].name",
        'Invalid value: "80": must contain at',
    ),
    (
        "port name twice",
        ports({"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}),
        f"{C}.ports[1].name",
        'Duplicate value: "a"',
    ),
    ("protocol", ports({"containerPort": 1, "protocol": "X"}), f"{C}.ports[0].protocol", 'Unsupported value: "X": sup'),
    ("no protocol", container_without("ports", "protocol"), f"{C}.ports[0].protocol", "Required value"),
    ("no pull policy", container_without("imagePullPolicy"), f"{C}.imagePullPolicy", "Required value"),
    (
        "two sources",
        pod({"env": [{"name": "A", "valueFrom": {"fieldRef": FIELD, "secretKeyRef": {"name": "s", "key": "k"}}}]}),
        f"{C}.env[0].valueFrom",
        'Invalid value: "": may not have more than one field specified at a time',
    ),
    ("mount of nothing", mounts({"mountPath": "/a"}), f"{C}.volumeMounts[0].name", "Required value"),
    ("mount nowhere", mounts({"name": "data"}), f"{C}.volumeMounts[0].mountPath", "Required value"),
    (
        "probe without path",
        container_without("readinessProbe", "httpGet", "path", readinessProbe={"httpGet": {"port": 80}}),
        f"{C}.readinessProbe.httpGet.path",
        "Required value",
    ),
    (
        "alias",
        pod(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["db", "A"]}]),
        "spec.hostAliases[0].hostnames[1]",
        'Invalid value: "A": a lowercase RFC 1123 subdomain',
    ),
    (
        "toleration's operator",
        pod(tolerations=[{"key": "a", "operator": "Is"}]),
        "spec.tolerations[0].operator",
        'Unsupported value: "Is": supported values: "Equal", "Exists"',
    ),
    (
        "toleration of any value with one",
        pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "spec.tolerations[0].operator",
        'Invalid value: {"key":"a","operator":"Exists","value":"b"}: value must be empty when `operator` is',
    ),
    ("host port", ports({"containerPort": 1, "hostPort": 70000}), f"{C}.ports[0].hostPort", "Invalid value: 70000"),
    ("host address", ports({"containerPort": 1, "hostIP": "x"}), f"{C}.ports[0].hostIP", 'Invalid value: "x": must be'),
    (
        "host port twice",
        ports({"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}),
        f"{C}.ports[1].hostPort",
        'Duplicate value: "TCP//9"',
    ),
    (
        "other host port in the host's network",
        pod({"ports": [{"containerPort": 1, "hostPort": 2}]}, hostNetwork=True),
        f"{C}.ports[0].hostPort",
        "Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
    ),
    ("variable", pod({"env": [{"name": ""}]}), f"{C}.env[0].name", "Required value"),
    ("variable name", pod({"env": [{"name": "a=b"}]}), f"{C}.env[0].name", 'Invalid value: "a=b": a valid environment'),
    (
        "variable with two values",
        pod({"env": [{"name": "a", "value": "b", "valueFrom": {"fieldRef": {}}}]}),
        f"{C}.env[0].valueFrom",
        'Invalid value: "": may not be specified when `value` is not empty',
    ),
    (
        "variable from nowhere",
        pod({"env": [{"name": "a", "valueFrom": {}}]}),
        f"{C}.env[0].valueFrom",
        'Invalid value: "": must specify one of: `configMapKeyRef`, `fieldRef`',
    ),
    ("mount", pod({"volumeMounts": [{"name": "a", "mountPath": "/a"}]}), f"{C}.volumeMounts[0].name", 'Not found: "a"'),
    (
        "mounted twice",
        pod(
            {"volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a"}]},
            volumes=[{"name": "a"}],
        ),
        f"{C}.volumeMounts[1].mountPath",
        'Invalid value: "/a": must be unique',
    ),
    ("volume twice", pod(volumes=[{"name": "a"}, {"name": "a"}]), "spec.volumes[1].name", 'Duplicate value: "a"'),
    ("volume without name", pod(volumes=[{}]), "spec.volumes[0].name", "Required value"),
    ("probe of nothing", probe(), f"{C}.readinessProbe", "Required value: must specify a handler type"),
    (
        "probe of two things",
        probe(httpGet={"port": 80}, tcpSocket={"port": 80}),
        f"{C}.readinessProbe.tcpSocket",
        "Forbidden: may not specify more than 1 handler type",
    ),
    ("probe port", probe(tcpSocket={"port": 0}), f"{C}.readinessProbe.tcpSocket.port", "Invalid value: 0: must be bet"),
    ("probe command", probe(exec={}), f"{C}.readinessProbe.exec.command", "Required value"),
    (
        "probe scheme",
        probe(httpGet={"port": 80, "scheme": "ftp"}),
        f"{C}.readinessProbe.httpGet.scheme",
        'Unsupported value: "ftp": supported values: "HTTP", "HTTPS"',
    ),
    (
        "probe period",
        probe(tcpSocket={"port": 80}, periodSeconds=-1),
        f"{C}.readinessProbe.periodSeconds",
        "Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "liveness needs one success",
        pod({"livenessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2}}),
        f"{C}.livenessProbe.successThreshold",
        "Invalid value: 2: must be 1",
    ),
    (
        "request above limit",
        pod({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "500m"}}}),
        f"{C}.resources.requests",
        'Invalid value: "2": must be less than or equal to cpu limit of 500m',
    ),
    (
        "quantity",
        pod({"resources": {"limits": {"memory": "lots"}}}),
        f"{C}.resources.limits[memory]",
        'Invalid value: "lots": quantities must match the regular expression',
    ),
    (
        "restart policy",
        pod(restartPolicy="Sometimes"),
        "spec.restartPolicy",
        'Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
    ),
    ("DNS policy", pod(dnsPolicy="Mine"), "spec.dnsPolicy", 'Unsupported value: "Mine"'),
    ("no DNS policy", raw("dnsPolicy", ""), "spec.dnsPolicy", "Required value"),
    (
        "grace",
        pod(terminationGracePeriodSeconds=-1),
        "spec.terminationGracePeriodSeconds",
        "Invalid value: -1: must be",
    ),
    ("node selector", pod(nodeSelector={"a": "b c"}), "spec.nodeSelector[a]", 'Invalid value: "b c": a valid label'),
    ("node", pod(nodeName="a b"), "spec.nodeName", 'Invalid value: "a b": a lowercase RFC 1123 subdomain'),
    ("hostname", pod(hostname="a.b"), "spec.hostname", 'Invalid value: "a.b": a lowercase RFC 1123 label'),
    ("deadline", pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds", "Invalid value: 0: must be between 1 and"),
    ("host alias", pod(hostAliases=[{"ip": "x"}]), "spec.hostAliases[0].ip", 'Invalid value: "x": must be a valid IP'),
    (
        "toleration of everything",
        pod(tolerations=[{"effect": "NoExecute"}]),
        "spec.tolerations[0].operator",
        'Invalid value: "": operator must be Exists when `key` is empty',
    ),
    (
        "toleration effect",
        pod(tolerations=[{"key": "a", "effect": "Never"}]),
        "spec.tolerations[0].effect",
        'Unsupported value: "Never"',
    ),
]


@pytest.mark.parametrize("document, path, words", [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_pod_is_told_what_is_wrong_with_which_field(document: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in rules.validate(document)}
    assert errors.get(path, "").startswith(words), errors


def test_a_pod_with_everything_in_its_place_is_valid() -> None:
    everything = pod(
        {
            "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP", "hostPort": 53}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "readinessProbe": {"httpGet": {"port": "http"}},
            "livenessProbe": {"grpc": {"port": 80}},
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        },
        volumes=[{"name": "data"}],
        tolerations=[{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}],
    )
    assert [str(error) for error in rules.validate(everything)] == []


ALLOWED: list[tuple[str, Document, Document]] = [
    ("image", pod(), pod({"image": "app:2", "imagePullPolicy": "IfNotPresent"})),
    ("a node, once", pod(), pod(nodeName="node-1")),
    ("shorter deadline", pod(activeDeadlineSeconds=10), pod(activeDeadlineSeconds=5)),
    ("another toleration", pod(), pod(tolerations=[{"operator": "Exists"}])),
]


@pytest.mark.parametrize("old, new", [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_a_few_fields_may_change(old: Document, new: Document) -> None:
    assert rules.validate_update(new, old) == []


REFUSED: list[tuple[str, Document, Document, str]] = [
    (
        "no deadline any more",
        pod(activeDeadlineSeconds=5),
        pod(),
        "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
    ),
    ("restart policy", pod(), pod(restartPolicy="Never"), "changed: spec.restartPolicy"),
    ("ports", pod(), ports({"containerPort": 80}), "changed: spec.containers[0].ports"),
    ("another node", pod(nodeName="a"), pod(nodeName="b"), "changed: spec.nodeName"),
    ("containers", pod(), pod(containers=[APP, APP | {"name": "b"}]), "pod updates may not add or remove containers"),
    (
        "longer deadline",
        pod(activeDeadlineSeconds=5),
        pod(activeDeadlineSeconds=9),
        "must be less than or equal to prev",
    ),
    (
        "toleration gone",
        pod(tolerations=[{"key": "a", "operator": "Exists"}]),
        pod(),
        "existing toleration can not be modified",
    ),
]


@pytest.mark.parametrize("old, new, words", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_everything_else_stays(old: Document, new: Document, words: str) -> None:
    errors = rules.validate_update(new, old)
    assert any(words in str(error) for error in errors), errors


def test_the_refusal_of_a_change_has_the_references_words() -> None:
    [error] = rules.validate_update(pod(hostname="a"), pod())
    assert str(error).startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    )
