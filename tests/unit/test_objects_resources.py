"""Unit tests of `fairway.objects.resources`."""

from __future__ import annotations

import pytest

from fairway.objects.cluster import Pod
from fairway.objects.resources import BY_KIND, DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, RESOURCES, SERVICES, Resource
from fairway.objects.service import Service


@pytest.mark.parametrize(
    "resource, namespace, name, path",
    [
        (SERVICES, "", "", "/api/v1/services"),
        (SERVICES, "shop", "", "/api/v1/namespaces/shop/services"),
        (SERVICES, "shop", "web", "/api/v1/namespaces/shop/services/web"),
        (NODES, "", "node-1", "/api/v1/nodes/node-1"),
        (NODES, "shop", "node-1", "/api/v1/nodes/node-1"),
        (ENDPOINT_SLICES, "shop", "", "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"),
        (DEPLOYMENTS, "shop", "web", "/apis/apps/v1/namespaces/shop/deployments/web"),
    ],
)
def test_paths_are_those_of_the_api(resource: Resource, namespace: str, name: str, path: str) -> None:
    assert resource.path(namespace, name) == path


def test_names_are_those_that_errors_and_kubectl_use() -> None:
    assert (SERVICES.api_version, SERVICES.qualified, SERVICES.singular) == ("v1", "services", "service")
    assert (DEPLOYMENTS.api_version, DEPLOYMENTS.qualified) == ("apps/v1", "deployments.apps")
    assert PODS.short_names == ("po",)


def test_every_resource_is_found_by_its_kind_and_no_two_share_a_word() -> None:
    assert [BY_KIND[one.api_version, one.kind] for one in RESOURCES] == list(RESOURCES)
    words = [word for one in RESOURCES for word in {one.plural, one.singular, *one.short_names}]
    assert len(words) == len(set(words))


def test_a_kind_can_be_read_as_another_class() -> None:
    slim = PODS.read_as(Service)
    assert slim.type is Service
    assert slim.path("a", "b") == PODS.path("a", "b")
    assert PODS.type is Pod
