"""What a look must see after a change of ours, worked out from the change alone."""

from __future__ import annotations

from fairway.kernel.ipvs import shown_place, shown_server
from fairway.kernel.ipvs_footprint import Footprint
from fairway.modes.ipvs.parts import Bound, Entry, IpSet, Marked, Real, Scheduling, Virtual
from fairway.modes.ipvs.plan import Add, AddSet, Change, Command, Remove, RemoveSet

WEB, POOL = Virtual("TCP", "10.96.0.1", 80), Marked("ip", 0x7A000001)
ONE, OTHER = Real(WEB, "10.244.1.2", 8080), Real(WEB, "10.244.2.2", 8080)
SET = IpSet("KUBE-CLUSTER-IP", "hash:ip,port", "ip")
ENTRY = Entry(SET.name, "10.96.0.1,tcp:80")


W, P = "TCP 0A600001:0050", "FWM 7A000001"
FIRST, SECOND = "0AF40102:1F90", "0AF40202:1F90"


def after(*commands: Command) -> Footprint:
    found = Footprint({W: {FIRST: 1}}, {SET.name: 3}, {})
    for command in commands:
        found.follow(command)
    return found


def test_real_servers_come_change_and_go() -> None:
    assert after(Add(OTHER, 2)).weights == {W: {FIRST: 1, SECOND: 2}}
    assert after(Change(ONE, 5)).weights == {W: {FIRST: 5}}
    assert after(Add(OTHER, 1), Remove(ONE)).weights == {W: {SECOND: 1}}
    assert after(Remove(ONE)).weights == {}


def test_a_virtual_server_is_seen_by_its_real_ones() -> None:
    assert after(Add(POOL, Scheduling("rr"))).weights == {W: {FIRST: 1}}
    real = Real(POOL, "10.244.1.2", 8080)
    assert after(Add(real, 1)).weights == {W: {FIRST: 1}, P: {FIRST: 1}}
    assert after(Remove(WEB)).weights == {}


def test_entries_are_counted_by_their_set() -> None:
    assert after(Add(ENTRY, None)).sizes == {SET.name: 4}
    assert after(Change(ENTRY, 7)).sizes == {SET.name: 3}
    assert after(Remove(ENTRY), Remove(Bound("10.96.0.1"))).sizes == {SET.name: 2}
    assert after(RemoveSet(SET)).sizes == {}
    assert after(RemoveSet(SET), AddSet(SET), Add(ENTRY, None)).sizes == {SET.name: 1}


def test_addresses_are_written_as_the_kernel_shows_them() -> None:
    assert shown_place("fd00:10:96::1", 80) == "[fd00:0010:0096:0000:0000:0000:0000:0001]:0050"
    assert shown_server(Virtual("UDP", "10.96.0.10", 53)) == "UDP 0A60000A:0035"
