"""What a ConfigMap and a Secret may say."""

from __future__ import annotations

import base64
import json

from fairway.apiserver.validation import formats
from fairway.apiserver.validation.metadata import IMMUTABLE, Errors, each_invalid, metadata, metadata_update
from fairway.objects.codec import Document
from fairway.objects.status import forbidden_field, invalid, required, too_long

SIZE_LIMIT = 1024 * 1024
SERVICE_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_FIXED = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"
# type of Secret → keys it must have
_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def validate_config_map(document: Document) -> Errors:
    errors = metadata(document, namespaced=True, name_format=formats.dns_subdomain)
    data, binary = document.get("data", {}), document.get("binaryData", {})
    for key in sorted(data):
        errors += each_invalid(f"data[{key}]", key, formats.data_key(key))
        if key in binary:
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in sorted(binary):
        errors += each_invalid(f"binaryData[{key}]", key, formats.data_key(key))
    size = sum(len(text.encode()) for text in data.values()) + sum(map(_decoded_size, binary.values()))
    return [*errors, too_long("", SIZE_LIMIT)] if size > SIZE_LIMIT else errors


def validate_config_map_update(new: Document, old: Document) -> Errors:
    return metadata_update(new, old) + _frozen(new, old, "data", "binaryData")


def validate_secret(document: Document) -> Errors:
    errors = metadata(document, namespaced=True, name_format=formats.dns_subdomain)
    data = document.get("data", {})
    for key in sorted(data):
        errors += each_invalid(f"data[{key}]", key, formats.data_key(key))
    if sum(map(_decoded_size, data.values())) > SIZE_LIMIT:
        errors.append(too_long("data", SIZE_LIMIT))
    return errors + _typed(document, data)


def validate_secret_update(new: Document, old: Document) -> Errors:
    errors = metadata_update(new, old)
    if new.get("type") != old.get("type"):
        errors.append(invalid("type", new.get("type"), IMMUTABLE))
    return errors + _frozen(new, old, "data")


def _typed(secret: Document, data: Document) -> Errors:
    """What the type of a Secret promises to its readers."""
    type_ = secret.get("type", "")
    if type_ == SERVICE_ACCOUNT_TOKEN:
        annotations = secret["metadata"].get("annotations", {})
        path = f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]"
        return [] if annotations.get(SERVICE_ACCOUNT_NAME) else [required(path)]
    if type_ == "kubernetes.io/basic-auth":
        known = {"username", "password"} & set(data)
        return [] if known else [required("data[username]"), required("data[password]")]
    errors = [required(f"data[{key}]") for key in _KEYS.get(type_, ()) if key not in data]
    if type_ == "kubernetes.io/ssh-auth" and data.get("ssh-privatekey") == "":
        errors.append(required("data[ssh-privatekey]"))
    if type_.startswith("kubernetes.io/dockerc"):
        errors += [error for key in _KEYS.get(type_, ()) for error in _json_object(f"data[{key}]", data.get(key, ""))]
    return errors


def _json_object(path: str, encoded: str) -> Errors:
    if not encoded:
        return []
    try:
        found = json.loads(base64.b64decode(encoded))
    except ValueError as error:
        return [invalid(path, _REDACTED, str(error))]
    return [] if isinstance(found, dict) else [invalid(path, _REDACTED, "must be a JSON object")]


def _frozen(new: Document, old: Document, *fields: str) -> Errors:
    if not old.get("immutable"):
        return []
    errors = [] if new.get("immutable") else [forbidden_field("immutable", _FIXED)]
    return errors + [forbidden_field(field, _FIXED) for field in fields if new.get(field, {}) != old.get(field, {})]


def _decoded_size(encoded: str) -> int:
    return len(encoded) // 4 * 3 - encoded[-2:].count("=")
