"""Unit tests of `fairway.model.packet`."""

from __future__ import annotations

from fairway.model.packet import Choice, Outcome, Packet, Verdict
from fairway.model.view import Backend, FrontendKey


def test_a_packet_reads_as_people_write_it() -> None:
    packet = Packet(source="10.244.1.2", destination="10.96.0.1", protocol="TCP", port=80)
    assert str(packet) == "tcp 10.244.1.2 -> 10.96.0.1:80"
    assert (
        str(Packet(source="fd00::2", destination="fd00::1", protocol="UDP", port=53)) == "udp fd00::2 -> [fd00::1]:53"
    )


def test_a_packet_is_looked_up_by_where_it_goes() -> None:
    packet = Packet(source="::1", destination="fd00::1", protocol="UDP", port=53)
    assert packet.key == FrontendKey("fd00::1", "UDP", 53)
    assert packet.family == "IPv6"


def test_outcomes_agree_when_all_but_the_words_is_equal() -> None:
    one, two = Backend(address="10.0.0.1", port=80, slice="a"), Backend(address="10.0.0.2", port=80)
    bare = Backend(address="10.0.0.1", port=80)
    left = Outcome(verdict=Verdict.DELIVER, because="x", choices=(Choice(one, True), Choice(two, False)))
    right = Outcome(verdict=Verdict.DELIVER, because="y", choices=(Choice(two, False), Choice(bare, True)))
    other = Outcome(verdict=Verdict.DELIVER, because="x", choices=(Choice(one, False), Choice(two, False)))
    assert left.essence == right.essence
    assert left.essence != other.essence
    assert Outcome(verdict=Verdict.DROP, because="x").essence == (Verdict.DROP, frozenset())
