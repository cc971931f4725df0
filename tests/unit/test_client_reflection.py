"""Unit tests of `fairway.client.reflection`."""

from __future__ import annotations

from typing import Any

from fairway.client.http import Event
from fairway.client.reflection import Change, Reflection
from fairway.objects.codec import view
from fairway.objects.meta import Key
from fairway.objects.service import Service
from tests.unit.scripted_server import service

A, B = Key("shop", "a"), Key("shop", "b")


def value(name: str, version: int, uid: str = "") -> Service:
    return view(service(name, version, uid=uid), Service)


def event(kind: Any, name: str, version: int) -> Event[Service]:
    found = value(name, version)
    return Event(kind, found.metadata, found)


def test_the_first_list_is_all_new() -> None:
    reflection: Reflection[Service] = Reflection()
    assert reflection.replace([value("a", 1)], "5") == [Change(A, None, value("a", 1))]
    assert reflection.resource_version == "5"
    assert dict(reflection.objects) == {A: value("a", 1)}


def test_a_relist_tells_only_the_differences() -> None:
    reflection: Reflection[Service] = Reflection()
    reflection.replace([value("a", 1), value("b", 2), value("c", 3), value("d", 4, "d1")], "5")
    changes = reflection.replace([value("a", 1), value("b", 7), value("d", 8, "d2"), value("e", 9)], "9")
    assert changes == [
        Change(Key("shop", "c"), value("c", 3), None),
        Change(Key("shop", "d"), value("d", 4, "d1"), None),
        Change(B, value("b", 2), value("b", 7)),
        Change(Key("shop", "d"), None, value("d", 8, "d2")),
        Change(Key("shop", "e"), None, value("e", 9)),
    ]


def test_events_move_the_revision_and_a_replayed_one_changes_nothing() -> None:
    reflection: Reflection[Service] = Reflection()
    reflection.replace([], "5")
    assert reflection.apply(event("ADDED", "a", 6)) == Change(A, None, value("a", 6))
    assert reflection.apply(event("ADDED", "a", 6)) is None
    assert reflection.apply(event("MODIFIED", "a", 7)) == Change(A, value("a", 6), value("a", 7))
    assert reflection.apply(event("DELETED", "a", 8)) == Change(A, value("a", 8), None)
    assert reflection.apply(event("DELETED", "a", 8)) is None
    assert reflection.resource_version == "8"
    bookmark: Event[Service] = Event("BOOKMARK", view({"resourceVersion": "20"}, type(value("a", 1).metadata)), None)
    assert reflection.apply(bookmark) is None
    assert reflection.resource_version == "20"
