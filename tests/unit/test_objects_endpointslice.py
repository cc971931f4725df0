"""Unit tests of `fairway.objects.endpointslice`."""

from __future__ import annotations

import pytest

from fairway.objects.codec import decode
from fairway.objects.endpointslice import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointSlice
from fairway.objects.meta import ObjectMeta


@pytest.mark.parametrize("value, ready, serving, terminating", [(None, True, True, False), (True, True, True, True)])
def test_conditions_that_are_unknown_have_the_defaults_of_the_api(
    value: bool | None, ready: bool, serving: bool, terminating: bool
) -> None:
    endpoint = Endpoint(conditions=EndpointConditions(ready=value, serving=value, terminating=value))
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (ready, serving, terminating)


def test_conditions_that_are_false_are_false() -> None:
    endpoint = Endpoint(conditions=EndpointConditions(ready=False, serving=False, terminating=False))
    assert (endpoint.ready, endpoint.serving, endpoint.terminating) == (False, False, False)


def test_serving_does_not_follow_ready() -> None:
    """The reference reads each condition by itself (section 1.A), whatever the other one says."""
    assert Endpoint(conditions=EndpointConditions(ready=False)).serving


def test_the_service_is_named_by_a_label() -> None:
    named = EndpointSlice(metadata=ObjectMeta(labels={SERVICE_NAME_LABEL: "web"}))
    assert (named.service_name, EndpointSlice().service_name) == ("web", "")


def test_null_lists_are_read() -> None:
    """Go writes null for a list that nobody filled."""
    slice_ = decode(b'{"addressType":"IPv4","endpoints":null,"ports":null}', EndpointSlice)
    assert (slice_.endpoints, slice_.ports) == (None, None)
    port = decode(b'{"ports":[{"name":"","port":80}]}', EndpointSlice)
    assert [(one.name, one.port, one.protocol) for one in port.ports or ()] == [("", 80, "TCP")]
