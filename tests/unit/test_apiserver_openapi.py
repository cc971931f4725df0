"""The OpenAPI documents: complete in themselves, with what kubectl looks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from fairway.apiserver.allocation import Ranges, ServiceAllocator
from fairway.apiserver.kinds import standard_kinds
from fairway.apiserver.openapi import PATCHES, OpenApi

OPENAPI = OpenApi(standard_kinds(ServiceAllocator(Ranges.parse(), lambda below: 0)).groups)
ROOTS = (
    "api/v1",
    "apis/apps/v1",
    "apis/coordination.k8s.io/v1",
    "apis/discovery.k8s.io/v1",
    "apis/events.k8s.io/v1",
    "apis/networking.k8s.io/v1",
    "apis/rbac.authorization.k8s.io/v1",
)


def references(document: Any) -> set[str]:
    return set(re.findall(r'"\$ref":\s*"([^"]+)"', json.dumps(document)))


def operations(document: Any) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def test_the_index_names_every_group() -> None:
    paths = OPENAPI.v3_index()["paths"]
    assert set(paths) == set(ROOTS)
    for root in ROOTS:
        assert re.fullmatch(rf"/openapi/v3/{re.escape(root)}\?hash=[0-9a-f]{{32}}", paths[root]["serverRelativeURL"])


def test_a_group_that_is_not_served_has_no_document() -> None:
    with pytest.raises(KeyError):
        OPENAPI.v3("apis/batch/v1")


@pytest.mark.parametrize("root", ROOTS)
def test_every_reference_of_a_document_leads_somewhere_in_it(root: str) -> None:
    document = json.loads(OPENAPI.v3(root))
    schemas = document["components"]["schemas"]
    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}


@pytest.mark.parametrize("root", ROOTS)
def test_a_reference_stands_alone(root: str) -> None:
    """What stands beside a ``$ref`` is ignored in OpenAPI 3.0, descriptions too."""

    def alone(value: Any) -> bool:
        if isinstance(value, dict):
            return ("$ref" not in value or len(value) == 1) and all(map(alone, value.values()))
        return all(map(alone, value)) if isinstance(value, list) else True

    assert alone(json.loads(OPENAPI.v3(root)))


def test_a_patch_of_a_service_can_be_validated_and_rehearsed() -> None:
    """kubectl asks: does PATCH of this kind know fieldValidation and dryRun, and the strategic merge patch?"""
    document = json.loads(OPENAPI.v3("api/v1"))
    patch = document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Service"}
    assert {"fieldValidation", "dryRun", "namespace", "name"} <= {one["name"] for one in patch["parameters"]}
    assert set(patch["requestBody"]["content"]) == set(PATCHES)


def test_the_ports_of_a_service_have_their_merge_key() -> None:
    document = json.loads(OPENAPI.v3("api/v1"))
    ports = document["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert ports["x-kubernetes-patch-merge-key"] == "port"
    assert ports["type"] == "array"


def test_the_scale_of_a_deployment_is_a_kind_of_another_group() -> None:
    document = json.loads(OPENAPI.v3("apis/apps/v1"))
    scale = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"]["kind"] == "Scale"
    assert "io.k8s.api.autoscaling.v1.Scale" in document["components"]["schemas"]


def test_cluster_kinds_have_no_namespace_in_their_paths() -> None:
    paths = json.loads(OPENAPI.v3("api/v1"))["paths"]
    assert "/api/v1/nodes/{name}/status" in paths
    assert not any("{namespace}/nodes" in path for path in paths)


def test_every_operation_has_its_own_name() -> None:
    names = [one["operationId"] for root in ROOTS for one in operations(json.loads(OPENAPI.v3(root)))]
    assert len(names) == len(set(names))


def test_version_2_has_everything_in_one_document() -> None:
    document = json.loads(OPENAPI.v2())
    assert references(document) <= {f"#/definitions/{name}" for name in document["definitions"]}
    target = document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert (target["type"], target["format"]) == ("string", "int-or-string")
    assert "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices" in document["paths"]


def test_no_schema_of_version_2_has_a_word_it_does_not_know() -> None:
    assert '"oneOf"' not in OPENAPI.v2().decode()
