"""The shapes of the kinds, and how lists are merged: from the shipped schemas."""

from __future__ import annotations

import json
import re

import pytest

from fairway.apiserver.schema import definitions, merge_strategy, name_of, shape
from fairway.objects.resources import RESOURCES, Resource


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_kind_has_a_schema_and_one_of_its_list(resource: Resource) -> None:
    assert name_of(resource.api_version, resource.kind) in definitions()
    assert name_of(resource.api_version, f"{resource.kind}List") in definitions()


def test_every_type_that_is_mentioned_is_shipped() -> None:
    mentioned = set(re.findall(r"#/components/schemas/([\w.-]+)", json.dumps(definitions())))
    assert "io.k8s.api.core.v1.ServicePort" in mentioned
    assert mentioned <= definitions().keys()


@pytest.mark.parametrize(
    "kind, path, key",
    [
        (("v1", "Service"), "spec.ports", "port"),
        (("v1", "Pod"), "spec.containers", "name"),
        (("v1", "Pod"), "spec.containers.ports", "containerPort"),
        (("v1", "Pod"), "spec.containers.env", "name"),
        (("apps/v1", "Deployment"), "spec.template.spec.volumes", "name"),
        (("v1", "Node"), "status.conditions", "type"),
        (("v1", "Service"), "metadata.ownerReferences", "uid"),
        (("discovery.k8s.io/v1", "EndpointSlice"), "endpoints", ""),
        (("v1", "Service"), "spec.clusterIPs", ""),
    ],
)
def test_the_merge_key_of_a_list(kind: tuple[str, str], path: str, key: str) -> None:
    found = merge_strategy(*kind, path)
    assert found is not None
    assert found.merge_key == key
    assert ("merge" in found.patch_strategy) is bool(key)


def test_a_field_that_is_not_there_has_no_merge_strategy() -> None:
    assert merge_strategy("v1", "Service", "spec.nothing") is None
    assert merge_strategy("v1", "Nothing", "spec") is None


def test_an_object_may_retain_only_the_keys_of_a_patch() -> None:
    strategy = merge_strategy("apps/v1", "Deployment", "spec.strategy")
    assert strategy is not None
    assert strategy.patch_strategy == {"retainKeys"}


def test_a_whole_kind_can_be_walked_field_by_field() -> None:
    found = shape("v1", "Service")
    assert found is not None
    port = found.fields["spec"].fields["ports"].item
    assert port.fields["port"].go_type == "int32"
    assert port.fields["targetPort"].holds == "int-or-string"
