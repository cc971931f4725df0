"""Objects that a client sends as Kubernetes' protobuf, as documents. Pure.

kubectl writes this way when it makes an object itself (``kubectl create``), and so do the controllers of Kubernetes;
they all read JSON. A body is four bytes of magic and an envelope that says what is inside::

    "k8s\\0"  Unknown { 1: TypeMeta { 1: apiVersion, 2: kind }, 2: raw }

What the numbers inside mean is in ``protobuf.json`` (``tools/protobuf.py``). The format writes fields that are not
pointers even when they are empty, so an empty text and a zero mean nothing, but for the fields in `_POINTERS`.
"""

from __future__ import annotations

import base64
import json
import struct
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from fairway.apiserver.wire import as_bytes, as_number, fields_of
from fairway.objects.codec import DecodeError, Document, decode

PROTOBUF = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."
_MAXIMUM_DEPTH = 64
# Fields whose zero, false or empty text is a value, because its absence means something else.
_POINTER_NAMES = """
    DeploymentSpec.replicas DeploymentSpec.revisionHistoryLimit DeploymentSpec.progressDeadlineSeconds
    ReplicaSetSpec.replicas DeleteOptions.gracePeriodSeconds DeleteOptions.orphanDependents
    ObjectMeta.deletionGracePeriodSeconds OwnerReference.controller OwnerReference.blockOwnerDeletion
    ServiceSpec.allocateLoadBalancerNodePorts ServiceAccount.automountServiceAccountToken Endpoint.hostname
    EndpointPort.name EndpointPort.port EndpointConditions.ready EndpointConditions.serving
    EndpointConditions.terminating PodSpec.terminationGracePeriodSeconds PodSpec.activeDeadlineSeconds
    PodSpec.automountServiceAccountToken PodSpec.enableServiceLinks PodSpec.shareProcessNamespace
    PodSpec.priority PodSpec.hostUsers PodSpec.runtimeClassName PodSpec.setHostnameAsFQDN
    Probe.terminationGracePeriodSeconds PodSecurityContext.runAsUser PodSecurityContext.runAsGroup
    PodSecurityContext.fsGroup PodSecurityContext.runAsNonRoot SecurityContext.runAsUser
    SecurityContext.runAsGroup SecurityContext.runAsNonRoot SecurityContext.privileged
    SecurityContext.readOnlyRootFilesystem SecurityContext.allowPrivilegeEscalation
    Toleration.tolerationSeconds GRPCAction.service ConfigMapKeySelector.optional SecretKeySelector.optional
    ConfigMapVolumeSource.optional SecretVolumeSource.optional ConfigMapEnvSource.optional
    SecretEnvSource.optional ConfigMap.immutable Secret.immutable TokenRequestSpec.expirationSeconds
    ContainerStateTerminated.exitCode ContainerStatus.started
"""
_POINTERS = frozenset(_POINTER_NAMES.split())


@cache
def _messages() -> dict[str, dict[str, tuple[str, str]]]:
    file = resources.files("fairway.apiserver") / "protobuf.json"
    found: dict[str, dict[str, tuple[str, str]]] = json.loads(file.read_text())
    return found


def decode_protobuf(data: bytes) -> Document:
    """The object in a body; raises `DecodeError`."""
    if not data.startswith(_MAGIC):
        raise DecodeError("the body does not begin as Kubernetes' protobuf does")
    envelope = dict(fields_of(data[len(_MAGIC) :]))
    type_meta = dict(fields_of(as_bytes(envelope.get(1, b""))))
    api_version, kind = (as_bytes(type_meta.get(number, b"")).decode("utf-8", "replace") for number in (1, 2))
    message = _message_of(api_version, kind)
    if message is None:
        raise DecodeError(f"no kind {kind!r} of {api_version!r} can be read as protobuf; send JSON")
    document = _object(message, as_bytes(envelope.get(2, b"")), 0)
    return {"apiVersion": api_version, "kind": kind, **document}


def _message_of(api_version: str, kind: str) -> str | None:
    group, _, version = api_version.rpartition("/")
    package = f"k8s.io.api.{group.partition('.')[0] or 'core'}.{version}"
    name = f"{_META}DeleteOptions" if kind == "DeleteOptions" else f"{package}.{kind}"
    return name if name in _messages() else None


def _object(message: str, data: bytes, depth: int) -> Document:
    if depth > _MAXIMUM_DEPTH:
        raise DecodeError("nested too deeply")
    short = message.rpartition(".")[2]
    if short in _SPECIAL:
        raise DecodeError(f"unexpected {short}")
    known = _messages().get(message, {})
    document: Document = {}
    for number, raw in fields_of(data):
        name, type_ = known.get(str(number), ("", ""))
        if not type_:
            continue
        if not name:
            document.update(_object(type_, as_bytes(raw), depth + 1))
        elif type_.startswith("[]"):
            document.setdefault(name, []).append(_value(type_[2:], raw, depth))
        elif type_.startswith("{}"):
            key, value = _entry(type_[2:], raw, depth)
            document.setdefault(name, {})[key] = value
        else:
            value = _value(type_, raw, depth)
            if value not in ("", 0) or f"{short}.{name}" in _POINTERS:
                document[name] = value
    return {name: value for name, value in document.items() if value is not None}


def _entry(type_: str, raw: int | bytes, depth: int) -> tuple[str, Any]:
    entry = dict(fields_of(as_bytes(raw)))
    return _text(entry.get(1, b"")), _value(type_, entry.get(2, b""), depth)


def _value(type_: str, raw: int | bytes, depth: int) -> Any:
    match type_:
        case "string":
            return _text(raw)
        case "int":
            return as_number(raw)
        case "bool":
            return bool(raw)
        case "double":
            return struct.unpack("<d", as_bytes(raw))[0]
        case "bytes":
            return base64.b64encode(as_bytes(raw)).decode()
    special = _SPECIAL.get(type_.rpartition(".")[2])
    return special(as_bytes(raw)) if special else _object(type_, as_bytes(raw), depth + 1)


def _text(raw: int | bytes) -> str:
    try:
        return as_bytes(raw).decode()
    except UnicodeDecodeError:
        raise DecodeError("the protobuf has text that is not UTF-8") from None


def _time(data: bytes) -> str | None:
    return _moment(data, "seconds")


def _micro_time(data: bytes) -> str | None:
    return _moment(data, "microseconds")


def _moment(data: bytes, precision: str) -> str | None:
    """An empty message is the zero time: none."""
    parts = dict(fields_of(data))
    if not parts:
        return None
    try:
        moment = datetime.fromtimestamp(as_number(parts.get(1, 0)), UTC)
    except (OverflowError, ValueError, OSError):
        raise DecodeError("the protobuf has a time out of range") from None
    moment = moment.replace(microsecond=as_number(parts.get(2, 0)) // 1000 % 1_000_000)
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _quantity(data: bytes) -> str:
    return _text(dict(fields_of(data)).get(1, b""))


def _int_or_string(data: bytes) -> int | str:
    parts = dict(fields_of(data))
    return _text(parts.get(3, b"")) if parts.get(1, 0) else as_number(parts.get(2, 0))


def _texts(data: bytes) -> list[str]:
    return [_text(raw) for number, raw in fields_of(data) if number == 1]


def _raw_extension(data: bytes) -> Any:
    return decode(as_bytes(dict(fields_of(data)).get(1, b"null")), object)


_SPECIAL: dict[str, Any] = {
    "Time": _time,
    "MicroTime": _micro_time,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "RawExtension": _raw_extension,
    "ExtraValue": _texts,
    # Who owns which field is not tracked, so what a client says about it is not kept.
    "FieldsV1": lambda data: None,
}
