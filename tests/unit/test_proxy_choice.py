"""Unit tests of `fairway.proxy.choice`."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fairway.proxy.choice import Choice, ChoiceFile, beside, this_kernel
from fairway.proxy.document import KubeProxyConfiguration, document_at
from fairway.proxy.site import Target, target_of

NFTABLES, LEGACY, ANY = Target("nftables"), Target("iptables", "legacy"), Target("iptables")


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = ChoiceFile(tmp_path / "not" / "yet" / "node.mode.json")
    assert file.load() is None
    choice = Choice(said=NFTABLES, here=LEGACY, leaving=(NFTABLES,), kernel=this_kernel())
    file.save(choice)
    assert file.load() == choice
    assert [one.name for one in file.path.parent.iterdir()] == ["node.mode.json"] if file.path else False


def test_what_cannot_be_read_is_told_and_counts_for_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "node.mode.json"
    path.write_text('{"said": 7}')
    with caplog.at_level(logging.WARNING):
        assert ChoiceFile(path).load() is None
    assert "node.mode.json cannot be used" in caplog.text


@pytest.mark.parametrize("where", ["here", "leaving"])
def test_a_mode_of_a_later_version_is_told_and_counts_for_nothing(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, later = ChoiceFile(tmp_path / "node.mode.json"), Target("wormhole")
    choices = {"here": Choice(said=NFTABLES, here=later), "leaving": Choice(said=ANY, here=ANY, leaving=(later,))}
    file.save(choices[where])
    assert file.load() is None
    assert "node.mode.json cannot be used: this version has no mode wormhole" in caplog.text


def test_what_cannot_be_kept_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    file = ChoiceFile(tmp_path / "file" / "node.mode.json")
    choice = Choice(said=NFTABLES, here=NFTABLES)
    file.save(choice)
    file.save(choice)
    assert caplog.text.count("cannot be kept") == 1


def test_without_a_path_nothing_is_kept() -> None:
    file = ChoiceFile(None)
    file.save(Choice(said=NFTABLES, here=LEGACY))
    assert file.load() is None


@pytest.mark.parametrize(
    ("said", "here", "ordered"), [(NFTABLES, NFTABLES, False), (ANY, LEGACY, False), (NFTABLES, LEGACY, True)]
)
def test_a_choice_is_ordered_when_the_configuration_says_something_else(
    said: Target, here: Target, ordered: bool
) -> None:
    assert Choice(said=said, here=here).is_ordered is ordered


def test_it_lies_beside_the_last_known_state() -> None:
    assert beside(Path("/var/lib/fairway/proxy/worker-1.json")).name == "worker-1.mode.json"


def test_a_target_is_what_the_configuration_says() -> None:
    told = document_at({"iptables.variant": "legacy"})
    assert target_of(told, "iptables") == LEGACY
    assert target_of(told, "nftables") == NFTABLES
    assert target_of(KubeProxyConfiguration(), "iptables") == ANY
    assert (str(LEGACY), str(NFTABLES)) == ("iptables (legacy)", "nftables")


def test_userspace_is_carried_by_nftables_and_only_it_relays_everything() -> None:
    assert Target("userspace").carrier == NFTABLES
    assert (Target("userspace").relays, NFTABLES.relays) == (True, False)
