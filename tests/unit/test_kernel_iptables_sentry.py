"""Whose a change is: notifications of nf_tables, sizes of legacy tables."""

from __future__ import annotations

import select

import pytest

from fairway.kernel.attributes import text
from fairway.kernel.iptables_sentry import Sizes, touches_ours
from fairway.kernel.nfnetlink import Reply
from fairway.kernel.nftables_codec import DELETE_CHAIN, DELETE_RULE, DELETE_TABLE, NEW_CHAIN, NEW_ELEMENTS, NEW_RULE


@pytest.mark.parametrize(
    "kind, attributes, ours",
    [
        (NEW_RULE, {1: "nat", 2: "KUBE-SERVICES"}, True),
        (DELETE_RULE, {1: "nat", 2: "KUBE-SEP-AAAAAAAAAAAAAAAA"}, True),
        (NEW_RULE, {1: "nat", 2: "DOCKER"}, False),
        (NEW_RULE, {1: "filter", 2: "FORWARD"}, False),
        (DELETE_RULE, {1: "filter", 2: "FORWARD"}, True),
        (NEW_CHAIN, {1: "nat", 3: "KUBE-SERVICES"}, True),
        (DELETE_CHAIN, {1: "nat", 3: "DOCKER"}, False),
        (DELETE_TABLE, {1: "nat"}, True),
        (DELETE_TABLE, {1: "fairway"}, False),
        (NEW_ELEMENTS, {1: "nat"}, False),
    ],
)
def test_which_notifications_are_about_our_chains(kind: int, attributes: dict[int, str], ours: bool) -> None:
    body = b"".join(text(number, value) for number, value in attributes.items())
    assert touches_ours(Reply(kind, 2, body)) is ours


def test_what_others_changed_before_our_own_work_is_not_taken_for_ours() -> None:
    size = [(7, 700)]
    sizes = Sizes(lambda: size[0])
    try:
        size[0] = (6, 600)
        with sizes.at_work():
            size[0] = (8, 800)
        sizes.rounds.look()
        assert select.select([sizes.fileno()], [], [], 0)[0]
        assert sizes.others() == ["somebody (the legacy variant does not tell who)"]
        with sizes.at_work():
            size[0] = (9, 900)
        assert sizes.others() == []
    finally:
        sizes.close()


def test_sizes_that_change_while_we_are_not_at_work_are_word_of_others() -> None:
    size = [(7, 700)]
    sizes = Sizes(lambda: size[0])
    try:
        with sizes.at_work():
            size[0] = (8, 800)
        sizes.rounds.look()
        assert sizes.others() == []
        size[0] = (1, 100)
        sizes.rounds.look()
        assert select.select([sizes.fileno()], [], [], 0)[0]
        assert sizes.others() == ["somebody (the legacy variant does not tell who)"]
        sizes.rounds.look()
        assert sizes.others() == []
    finally:
        sizes.close()
