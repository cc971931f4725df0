"""Make ``src/fairway/apiserver/protobuf.json``: the field numbers of the objects that clients may send as protobuf.

A kubectl binary carries the descriptors of the wire format it speaks; this reads them out of one (1.33 or before)::

    .venv/bin/python tools/protobuf.py /usr/bin/kubectl
"""

from __future__ import annotations

import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any

from fairway.apiserver.schema import definitions
from fairway.apiserver.wire import Field, fields_of

TARGET = Path(__file__).parents[1] / "src/fairway/apiserver/protobuf.json"
CORE, META = "k8s.io.api.core.v1", "k8s.io.apimachinery.pkg.apis.meta.v1"
ROOTS = (
    *(f"{CORE}.{kind}" for kind in ("Event", "Namespace", "Node", "Pod", "Service", "ServiceAccount")),
    *(f"{CORE}.{kind}" for kind in ("ConfigMap", "Secret")),
    "k8s.io.api.apps.v1.Deployment",
    "k8s.io.api.apps.v1.ReplicaSet",
    "k8s.io.api.discovery.v1.EndpointSlice",
    "k8s.io.api.autoscaling.v1.Scale",
    *(f"k8s.io.api.authentication.v1.{kind}" for kind in ("SelfSubjectReview", "TokenRequest", "TokenReview")),
    *(f"k8s.io.api.authorization.v1.{kind}Review" for kind in ("SelfSubjectAccess", "SelfSubjectRules")),
    *(f"k8s.io.api.authorization.v1.{kind}Review" for kind in ("SubjectAccess", "LocalSubjectAccess")),
    *(f"k8s.io.api.rbac.v1.{kind}" for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")),
    f"{META}.DeleteOptions",
)
# FieldDescriptorProto: the numbers of its fields, and of the types we meet.
NAME, NUMBER, LABEL, TYPE, TYPE_NAME = 1, 3, 4, 5, 6
REPEATED = 3
SCALARS = {1: "double", 3: "int", 5: "int", 8: "bool", 9: "string", 12: "bytes"}
# Called otherwise in JSON.
JSON_NAMES = {"uID": "uid"}
# Decoded by hand, or of no use to a server that does not track field owners.
SPECIAL = ("ExtraValue", "Time", "MicroTime", "Quantity", "IntOrString", "FieldsV1", "RawExtension")


def main(binary: str) -> None:
    messages = read_descriptors(Path(binary).read_bytes())
    wanted, found = list(ROOTS), {}
    while wanted:
        name = wanted.pop()
        if name in found or name.rpartition(".")[2] in SPECIAL:
            continue
        found[name] = messages[name]
        wanted += [type_.lstrip("[]{}") for _, type_ in messages[name].values() if "." in type_]
    lines = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(found.items())]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_descriptors(data: bytes) -> dict[str, dict[str, list[str]]]:
    messages: dict[str, dict[str, list[str]]] = {}
    for match in re.finditer(rb"\x1f\x8b\x08", data):
        try:
            text = zlib.decompressobj(31).decompress(data[match.start() : match.start() + 400_000])
        except zlib.error:
            continue
        if b"generated.proto" in text[:100]:
            file = grouped(text)
            package = file[2][0].decode()
            for message in file.get(4, ()):
                read_message(package, message, messages)
    return messages


def read_message(package: str, data: bytes, messages: dict[str, Any]) -> None:
    message = grouped(data)
    name = f"{package}.{message[NAME][0].decode()}"
    maps = {}
    for nested in message.get(3, ()):
        entry = grouped(nested)
        maps[f"{name}.{entry[NAME][0].decode()}"] = entry
    properties = definitions().get(name.replace("k8s.io.", "io.k8s.", 1), {}).get("properties")
    fields: dict[str, list[str]] = {}
    for one in message.get(2, ()):
        field = grouped(one)
        label, type_ = describe(field, maps)
        label = JSON_NAMES.get(label, label)
        known = properties is None or label in properties
        fields[str(field[NUMBER][0])] = [label if known or "." not in type_ or type_[0] in "[{" else "", type_]
    messages[name] = fields


def describe(field: dict[int, list[Any]], maps: dict[str, Any]) -> tuple[str, str]:
    """The name of a field and its type: ``string``, ``[]string``, ``{}string`` or the name of a message."""
    type_ = SCALARS.get(field[TYPE][0]) or field[TYPE_NAME][0].decode().removeprefix(".")
    if type_ in maps:
        value = grouped(maps[type_][2][1])
        return field[NAME][0].decode(), "{}" + describe(value, maps)[1]
    return field[NAME][0].decode(), ("[]" if field[LABEL][0] == REPEATED else "") + type_


def grouped(data: bytes) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    field: Field
    for field in fields_of(data):
        found.setdefault(field.number, []).append(field.value)
    return found


if __name__ == "__main__":
    main(sys.argv[1])
