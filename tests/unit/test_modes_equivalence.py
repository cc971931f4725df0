"""Unit tests of `fairway.modes.equivalence`."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairway.conform.scenario import Step, scenarios
from fairway.model.view import HASH, NodeView, Relaying
from fairway.modes.equivalence import Equivalence, Side, compare
from fairway.modes.registry import MODES

BY_NAME = {one.name: one for one in scenarios()}
LOCAL = "external-local"


def step(name: str) -> Step:
    return BY_NAME[name].steps[0]


def compared(view: NodeView, before: str, after: str) -> Equivalence:
    return compare(Side.of(MODES[before], view), Side.of(MODES[after], view))


def changed(view: NodeView, **what: object) -> NodeView:
    """With something else in every frontend."""
    frontends = {key: replace(one, **what) for key, one in view.frontends.items()}
    return NodeView(settings=view.settings, frontends=frontends)


@pytest.mark.parametrize("scenario", ["dual-stack", "localhost-node-ports", "policies-combined", "pods-by-bridge"])
def test_nftables_and_iptables_do_the_same(scenario: str) -> None:
    for one in BY_NAME[scenario].steps:
        found = compared(one.view, "nftables", "iptables")
        assert (found.differences, found.lacking) == ((), ())
        assert found.packets >= len([key for key in one.view.frontends if key.port])


def test_a_mode_is_equal_to_itself() -> None:
    for mode in ("nftables", "iptables", "ipvs"):
        found = compared(step(LOCAL).view, mode, mode)
        assert found.same
        assert found.packets > found.frontends


def test_what_clients_get_otherwise_is_told_of_each_kind_of_client() -> None:
    found = compared(step("localhost-node-ports").view, "nftables", "ipvs")
    assert not found.same
    told = {str(one).partition(", from ")[2] for one in found.differences}
    assert "this node: delivered to 10.244.2.3:8080; then not touched" in told
    assert {one.client for one in found.differences} == {"this node"}


def test_what_a_mode_does_otherwise_by_nature_is_told_whichever_way_one_goes() -> None:
    view = step("dual-stack-families").view
    lacking = compared(view, "nftables", "ipvs").lacking
    assert any("kept to a backend by the scheduler mh" in one for one in lacking)
    assert compared(view, "ipvs", "nftables").gained == lacking


def test_what_the_other_mode_cannot_do_is_told_though_any_single_client_could_get_the_same() -> None:
    found = compared(changed(step(LOCAL).view, balancing=HASH), "nftables", "iptables")
    assert any("iptables cannot look up a backend by a hash" in one for one in found.lacking)


def test_a_relay_is_noticed_by_the_backends_who_see_the_node() -> None:
    view = step(LOCAL).view
    relayed = changed(view, relaying=Relaying())
    found = compare(Side.of(MODES["nftables"], view), Side.of(MODES["userspace"], relayed))
    assert ("backends see the client's address", "backends see this node's address") in {
        (one.was, one.becomes) for one in found.differences
    }


def test_a_client_with_affinity_is_asked_about_as_a_newcomer_and_as_one_that_comes_back() -> None:
    view = changed(step(LOCAL).view, affinity_seconds=600)
    once, again = compared(step(LOCAL).view, "nftables", "iptables"), compared(view, "nftables", "iptables")
    assert again.same
    assert again.packets > once.packets


def test_whom_source_ranges_let_in_is_asked_about_too() -> None:
    view = step("load-balancer-source-ranges").view
    wider = changed(view, source_ranges=())
    found = compare(Side.of(MODES["nftables"], view), Side.of(MODES["nftables"], wider))
    assert {one.was for one in found.differences} == {"dropped"}
    assert not any("outside, in" in one.client for one in found.differences)


def test_a_frontend_that_only_one_side_has_is_a_difference() -> None:
    view = step(LOCAL).view
    fewer = NodeView(settings=view.settings, frontends=dict(list(view.frontends.items())[1:]))
    found = compare(Side.of(MODES["nftables"], view), Side.of(MODES["nftables"], fewer))
    assert {one.frontend for one in found.differences} == {next(iter(view.frontends))}
