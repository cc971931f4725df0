"""The law of the informer: whatever happens on the way, in the end the cache is the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairway.client.http import Event
from fairway.client.reflection import Change, Reflection
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServiceSpec

NAMES = st.sampled_from(["a", "b", "c"])


class FollowedStore(RuleBasedStateMachine):
    """A store with a log of events, a follower that reads it late, and a listener that applies changes."""

    def __init__(self) -> None:
        super().__init__()
        self.revision = 10
        self.store: dict[Key, Service] = {}
        self.log: list[Event[Service]] = []
        self.read = 0
        self.answers: list[Service] = []
        self.reflection: Reflection[Service] = Reflection()
        self.told: dict[Key, Service] = {}
        self.relist()

    def _tell(self, change: Change[Service] | None) -> None:
        if change is None:
            return
        known = self.told.get(change.key)
        if change.new is None:
            assert known is not None
            del self.told[change.key]
        else:
            assert known == change.old
            self.told[change.key] = change.new

    @rule(name=NAMES, address=st.sampled_from(["10.0.0.1", "10.0.0.2"]), ours=st.booleans())
    def write(self, name: str, address: str, ours: bool) -> None:
        self.revision += 1
        key = Key("shop", name)
        uid = self.store[key].metadata.uid if key in self.store else f"u{self.revision}"
        meta = ObjectMeta(namespace="shop", name=name, uid=uid, resource_version=str(self.revision))
        written = Service(metadata=meta, spec=ServiceSpec(cluster_ip=address))
        self.log.append(Event("MODIFIED" if key in self.store else "ADDED", meta, written))
        self.store[key] = written
        if ours:
            self.answers.append(written)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        key = Key("shop", name)
        if key in self.store:
            self.revision += 1
            gone = self.store.pop(key)
            meta = ObjectMeta(namespace="shop", name=name, uid=gone.metadata.uid, resource_version=str(self.revision))
            self.log.append(Event("DELETED", meta, Service(metadata=meta, spec=gone.spec)))

    @precondition(lambda self: self.answers)
    @rule()
    def answer_arrives(self) -> None:
        """The answer to one of our own writes, before or after the watch tells of it."""
        self._tell(self.reflection.observe(self.answers.pop(0)))

    @precondition(lambda self: self.read < len(self.log))
    @rule()
    def event_arrives(self) -> None:
        self._tell(self.reflection.apply(self.log[self.read]))
        self.read += 1

    @rule()
    def bookmark_arrives(self) -> None:
        if self.read == len(self.log):
            meta = ObjectMeta(resource_version=str(self.revision))
            self._tell(self.reflection.apply(Event("BOOKMARK", meta, None)))

    @rule()
    def relist(self) -> None:
        """The revision was too old: everything that happened meanwhile comes as differences."""
        self.reflection.expire()
        for change in self.reflection.replace(list(self.store.values()), str(self.revision)):
            self._tell(change)
        self.read = len(self.log)

    @invariant()
    def the_listener_knows_what_the_cache_holds(self) -> None:
        assert self.told == dict(self.reflection.objects)

    @invariant()
    def a_follower_that_has_read_everything_holds_the_store(self) -> None:
        if self.read == len(self.log) and not self.answers:
            assert dict(self.reflection.objects) == self.store

    @invariant()
    def nothing_is_older_than_the_revision_reached(self) -> None:
        for key, found in self.reflection.objects.items():
            newest = self.store.get(key)
            if newest is not None and newest.metadata.uid == found.metadata.uid:
                assert int(found.metadata.resource_version) <= int(newest.metadata.resource_version)


TestFollowedStore = FollowedStore.TestCase


@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True), st.lists(st.sampled_from("abcd"), unique=True))
def test_a_relist_tells_exactly_the_way_from_the_old_set_to_the_new(before: list[str], after: list[str]) -> None:
    def service(name: str) -> Service:
        return Service(metadata=ObjectMeta(namespace="shop", name=name, uid=name, resource_version="1"))

    reflection: Reflection[Service] = Reflection()
    reflection.replace([service(name) for name in before], "5")
    changes = reflection.replace([service(name) for name in after], "6")
    assert {change.key.name for change in changes if change.new is None} == set(before) - set(after)
    assert {change.key.name for change in changes if change.new is not None} == set(after) - set(before)
