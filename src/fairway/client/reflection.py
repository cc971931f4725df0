"""The state machine of an informer, without a server: a copy of its objects, and the revision that it stands for.

LIST ──────▶ replace ──┐
WATCH ─────▶ apply ────┼──▶ changes
own write ─▶ observe ──┘
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from fairway.client.http import Event
from fairway.objects.meta import Key, KubernetesObject

T = TypeVar("T", bound=KubernetesObject)


class Change(NamedTuple, Generic[T]):
    """``old`` is None for a new object, ``new`` for one that is gone."""

    key: Key
    old: T | None
    new: T | None


class Reflection(Generic[T]):
    """The objects as they were at ``resource_version``; empty means that they have to be listed.

    Some objects may be ahead of that revision: those that we wrote ourselves and `observe`d. Comparing revisions as
    numbers is sound within one resource (KEP-5504).
    """

    def __init__(self) -> None:
        self._objects: dict[Key, T] = {}
        self._ahead: dict[Key, int] = {}
        self.objects: Mapping[Key, T] = MappingProxyType(self._objects)
        self.resource_version = ""

    def replace(self, items: Iterable[T], resource_version: str) -> list[Change[T]]:
        """A list was taken: the changes that lead to it from what we had, departures first."""
        listed = {item.metadata.key: item for item in items}
        for key, version in list(self._ahead.items()):
            if version > _number(resource_version):
                listed[key] = self._objects[key]
            else:
                del self._ahead[key]
        changes: list[Change[T]] = [
            Change(key, old, None)
            for key, old in self._objects.items()
            # Another uid under the same name: the old one is gone, even though nobody told us.
            if key not in listed or listed[key].metadata.uid != old.metadata.uid
        ]
        gone = {change.key for change in changes}
        for key, item in listed.items():
            old = None if key in gone else self._objects.get(key)
            if old is None or old.metadata.resource_version != item.metadata.resource_version:
                changes.append(Change(key, old, item))
        self._objects.clear()
        self._objects.update(listed)
        self.resource_version = resource_version
        return changes

    def apply(self, event: Event[T]) -> Change[T] | None:
        """One line of a watch; returns None when it changes nothing."""
        version = event.metadata.resource_version
        self.resource_version = version or self.resource_version
        key = event.metadata.key
        if event.type == "BOOKMARK" or self._is_behind(key, _number(version)):
            return None
        old = self._objects.get(key)
        if event.type == "DELETED":
            if old is None:
                return None
            del self._objects[key]
            return Change(key, event.object or old, None)
        if event.object is None or old == event.object:
            return None
        self._objects[key] = event.object
        return Change(key, old, event.object)

    def observe(self, written: T) -> Change[T] | None:
        """What the server answered to our own write, which the watch may not have told yet."""
        key, version = written.metadata.key, _number(written.metadata.resource_version)
        old = self._objects.get(key)
        known = max(_number(self.resource_version), _number(old.metadata.resource_version) if old else 0)
        if not self.resource_version or version <= known:
            return None
        self._ahead[key] = version
        self._objects[key] = written
        return Change(key, old, written)

    def _is_behind(self, key: Key, version: int) -> bool:
        """Whether an event is from before our own write; the first one that is not ends being ahead."""
        ahead = self._ahead.get(key)
        if ahead is None:
            return False
        if version < ahead:
            return True
        del self._ahead[key]
        return False

    def remember(self, items: Iterable[T]) -> list[Change[T]]:
        """Objects from before this process, until the first list says what became of them."""
        changes: list[Change[T]] = []
        for item in items:
            key = item.metadata.key
            if key not in self._objects:
                self._objects[key] = item
                changes.append(Change(key, None, item))
        return changes

    def expire(self) -> None:
        """The revision is too old for the server: the next step is a list."""
        self.resource_version = ""


def _number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isdecimal() else 0
