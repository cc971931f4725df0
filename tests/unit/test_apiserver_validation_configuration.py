"""ConfigMaps and Secrets: what they may say, and what may not change."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fairway.apiserver.validation import configuration
from fairway.objects.codec import Document

META = {"name": "c", "namespace": "shop"}
BIG = "a" * (configuration.SIZE_LIMIT + 1)


def one(**content: Any) -> Document:
    return {"metadata": META, **content}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CONFIG_MAPS: list[tuple[Document, list[str]]] = [
    (one(data={"a.b_C-1": "x"}, binaryData={"b": "AAE="}), []),
    (one(data={"a/b": "x"}), ['data[a/b]: Invalid value: "a/b": a valid config key must consist of']),
    (one(data={".": "x"}), ["data[.]: Invalid value: \".\": must not be '.'"]),
    (one(data={"..": "x"}), ["data[..]: Invalid value: \"..\": must not be '..'"]),
    (one(data={"..a": "x"}), ["data[..a]: Invalid value: \"..a\": must not start with '..'"]),
    (one(binaryData={"a" * 254: "AA=="}), [f"binaryData[{'a' * 254}]: Invalid value: "]),
    (
        one(data={"a": ""}, binaryData={"a": ""}),
        ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
    ),
    (one(data={"a": BIG}), [": Too long: may not be more than 1048576 bytes"]),
]
DOCKER = "kubernetes.io/dockerconfigjson"
SECRETS: list[tuple[Document, list[str]]] = [
    (one(type="Opaque", data={"a": "MQ=="}), []),
    (one(type="example.com/any"), []),
    (one(type="Opaque", data={"a b": ""}), ['data[a b]: Invalid value: "a b": a valid config key']),
    (one(type="Opaque", data={"a": encoded(BIG)}), ["data: Too long: may not be more than 1048576 bytes"]),
    (one(type="kubernetes.io/tls"), ["data[tls.crt]: Required value", "data[tls.key]: Required value"]),
    (one(type="kubernetes.io/ssh-auth"), ["data[ssh-privatekey]: Required value"]),
    (one(type="kubernetes.io/ssh-auth", data={"ssh-privatekey": ""}), ["data[ssh-privatekey]: Required value"]),
    (one(type="kubernetes.io/basic-auth"), ["data[username]: Required value", "data[password]: Required value"]),
    (one(type="kubernetes.io/basic-auth", data={"password": ""}), []),
    (one(type=DOCKER), ["data[.dockerconfigjson]: Required value"]),
    (
        one(type=DOCKER, data={".dockerconfigjson": encoded("{")}),
        ['data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": '],
    ),
    (one(type=DOCKER, data={".dockerconfigjson": encoded("{}")}), []),
    (
        one(type="kubernetes.io/service-account-token"),
        ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
    ),
]


def check(errors: list[Any], words: list[str]) -> None:
    found = [str(error) for error in errors]
    assert len(found) == len(words), found
    assert all(text.startswith(start) for text, start in zip(found, words, strict=True)), found


@pytest.mark.parametrize("document, words", CONFIG_MAPS, ids=range(len(CONFIG_MAPS)))
def test_what_a_config_map_may_say(document: Document, words: list[str]) -> None:
    check(configuration.validate_config_map(document), words)


@pytest.mark.parametrize("document, words", SECRETS, ids=range(len(SECRETS)))
def test_what_a_secret_may_say(document: Document, words: list[str]) -> None:
    check(configuration.validate_secret(document), words)


def test_what_is_immutable_stays_as_it_is() -> None:
    old = one(immutable=True, data={"a": "1"})
    words = "Forbidden: field is immutable when `immutable` is set"
    assert configuration.validate_config_map_update({**old, "metadata": META}, old) == []
    check(configuration.validate_config_map_update(one(data={"a": "1"}), old), [f"immutable: {words}"])
    check(configuration.validate_config_map_update({**old, "data": {}}, old), [f"data: {words}"])
    check(configuration.validate_config_map_update({**old, "binaryData": {"b": ""}}, old), [f"binaryData: {words}"])
    check(configuration.validate_secret_update({**old, "data": {"a": "2"}}, old), [f"data: {words}"])


def test_the_type_of_a_secret_never_changes() -> None:
    changed = configuration.validate_secret_update(one(type="b"), one(type="a"))
    check(changed, ['type: Invalid value: "b": field is immutable'])
