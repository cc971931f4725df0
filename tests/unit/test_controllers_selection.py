"""Unit tests of `fairway.controllers.selection`."""

from __future__ import annotations

import pytest

from fairway.controllers.selection import Selection
from fairway.objects.meta import Key

WEB, CART = Key("shop", "web"), Key("shop", "cart")
POD = Key("shop", "pod")


@pytest.mark.reference("6.1 selection")
@pytest.mark.parametrize("service_first", [True, False])
def test_a_pod_is_a_member_when_it_has_every_label(service_first: bool) -> None:
    selection = Selection()
    if service_first:
        selection.set_service(WEB, {"app": "web", "tier": "front"})
    selection.set_pod(POD, {"app": "web", "tier": "front", "more": "x"})
    selection.set_pod(Key("shop", "other"), {"app": "web"})
    selection.set_pod(Key("elsewhere", "pod"), {"app": "web", "tier": "front"})
    if not service_first:
        selection.set_service(WEB, {"app": "web", "tier": "front"})
    assert selection.members(WEB) == {POD}
    assert selection.selected_by(POD) == {WEB}


@pytest.mark.reference("6.1 selection")
def test_a_pod_moves_with_its_labels_and_leaves_with_itself() -> None:
    selection = Selection()
    selection.set_service(WEB, {"app": "web"})
    selection.set_service(CART, {"app": "cart"})
    selection.set_pod(POD, {"app": "web"})
    selection.set_pod(POD, {"app": "cart"})
    assert not selection.members(WEB)
    assert selection.members(CART) == {POD}
    selection.set_pod(POD, None)
    assert selection.members(CART) == set()
    assert selection.selected_by(POD) == set()


@pytest.mark.reference("6.1 selection")
@pytest.mark.parametrize("selector", [None, {}])
def test_a_service_without_a_selector_selects_nothing(selector: dict[str, str] | None) -> None:
    selection = Selection()
    selection.set_pod(POD, {"app": "web"})
    selection.set_service(WEB, {"app": "web"})
    selection.set_service(WEB, selector)
    assert selection.members(WEB) == set()
    assert selection.selected_by(POD) == set()


def test_a_selector_can_change() -> None:
    selection = Selection()
    selection.set_pod(POD, {"app": "web", "version": "2"})
    selection.set_service(WEB, {"app": "web", "version": "1"})
    selection.set_service(WEB, {"app": "web", "version": "2"})
    assert selection.members(WEB) == {POD}


def test_a_label_that_all_services_share_does_not_bring_them_all_to_every_pod() -> None:
    class Counting(dict[str, str]):
        asked = 0

        def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
            self.asked += 1
            return super().get(key, default)

    selection = Selection()
    for number in range(100):
        selection.set_service(Key("shop", f"s{number}"), {"part-of": "shop", "app": f"s{number}"})
    labels = Counting({"part-of": "shop", "app": "s42"})
    selection.set_pod(POD, labels)
    assert selection.selected_by(POD) == {Key("shop", "s42")}
    # One Service is filed under the shared label, and one under this pod's own: two labels each.
    assert 0 < labels.asked <= 4
