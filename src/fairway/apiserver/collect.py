"""The collector: what goes when something else has gone.

    a Namespace is being deleted     ─▶ everything in it is deleted, then the Namespace itself goes
    an owner has gone                ─▶ its dependents go, unless another owner is left
    an owner goes in the foreground  ─▶ its dependents go first
    an owner is orphaned             ─▶ its dependents forget it, then it goes

It lives in the API server because it must be exact: it reads the storage's own changes in order, and every step is a
write with a precondition, so that a dependent that has been adopted in the meantime survives. It remembers nothing
that a restart could lose: at the start every object with an owner is looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import Any, Literal

from fairway.apiserver.apply.owners import SERVER
from fairway.apiserver.kinds import Kind
from fairway.apiserver.metadata import FOREGROUND, ORPHAN, DeleteOptions, Preconditions
from fairway.apiserver.registry import Registry
from fairway.apiserver.storage.contract import Event, StorageError, Watch, WatchClosed
from fairway.apiserver.stored import Stored
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.status import ApiError

_ROOT = "/objects/"
# Objects of a Namespace deleted in one go, before what that caused is looked at.
_BATCH = 200
_RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)

Step = tuple[Literal["dependent", "owner", "namespace"], str]


@dataclass(frozen=True)
class _Item:
    """What is remembered of an object: where it is, and the uids of its owners."""

    kind: Kind
    namespace: str
    name: str
    owners: tuple[str, ...]


class Collector:
    """Run it beside the server: ``await Collector(registry).run()``, until it is cancelled."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._items: dict[str, _Item] = {}
        self._dependents: dict[str, set[str]] = defaultdict(set)
        self._contents: dict[str, set[str]] = defaultdict(set)
        self._steps: OrderedDict[Step, None] = OrderedDict()
        self._failed: dict[Step, None] = {}
        self._terminating: set[str] = set()

    async def run(self) -> None:
        while True:
            try:
                with contextlib.closing(await self._start()) as watch:
                    await self._follow(watch)
            except WatchClosed as closed:
                if not closed.slow:
                    return
                log.warning("the collector fell behind the changes; it starts again from a list")
            except StorageError as error:
                log.warning("the collector cannot read the storage, it will try again: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _start(self) -> Watch:
        """Read everything there is, and open the watch that continues from there."""
        for remembered in (self._items, self._dependents, self._contents, self._steps, self._terminating):
            remembered.clear()
        listing = await self._registry.storage.list(_ROOT)
        for entry in listing.entries:
            kind = self._registry.kinds.by_key(entry.key)
            if kind is not None:
                self._note(kind, Stored.of(kind, entry).document())
        return await self._registry.storage.watch(_ROOT, after=listing.revision)

    async def _follow(self, watch: Watch) -> None:
        storage = self._registry.storage
        while True:
            if not self._steps or watch.progress < storage.revision:
                for event in await watch.next():
                    self._observe(event)
            if self._steps:
                step, _ = self._steps.popitem(last=False)
                await self._take(step, watch)
                # The storage may answer without ever waiting; let requests in between.
                await asyncio.sleep(0)

    def _observe(self, event: Event) -> None:
        kind = self._registry.kinds.by_key(event.key)
        if kind is None:
            return
        if event.entry is not None:
            self._note(kind, Stored.of(kind, event.entry).document())
        elif event.previous is not None:
            self._forget(Stored.of(kind, event.previous).document())

    def _note(self, kind: Kind, document: Document) -> None:
        metadata = document["metadata"]
        uid = metadata["uid"]
        references = metadata.get("ownerReferences", [])
        item = _Item(kind, metadata.get("namespace", ""), metadata["name"], tuple(one["uid"] for one in references))
        self._unlink(uid)
        self._items[uid] = item
        self._contents[item.namespace].add(uid)
        for owner in item.owners:
            self._dependents[owner].add(uid)
        if item.owners:
            self._steps["dependent", uid] = None
        if metadata.get("deletionTimestamp"):
            if {FOREGROUND, ORPHAN} & set(metadata.get("finalizers", ())):
                self._steps["owner", uid] = None
            if kind.resource is resources.NAMESPACES:
                self._terminating.add(item.name)
                self._steps["namespace", item.name] = None

    def _unlink(self, uid: str) -> _Item | None:
        item = self._items.pop(uid, None)
        if item is None:
            return None
        self._contents[item.namespace].discard(uid)
        for owner in item.owners:
            self._dependents[owner].discard(uid)
            if not self._dependents[owner]:
                del self._dependents[owner]
        return item

    def _forget(self, document: Document) -> None:
        """An object has gone: look at what depended on it, and at what waited for it."""
        uid = document["metadata"]["uid"]
        item = self._unlink(uid)
        if item is None:
            return
        for dependent in self._dependents.get(uid, ()):
            self._steps["dependent", dependent] = None
        for owner in item.owners:
            if owner in self._items:
                self._steps["owner", owner] = None
        if item.kind.resource is resources.NAMESPACES:
            self._terminating.discard(item.name)
        if item.namespace in self._terminating and not self._contents[item.namespace]:
            self._steps["namespace", item.namespace] = None

    async def _take(self, step: Step, watch: Watch) -> None:
        what, about = step
        try:
            if what == "namespace":
                await self._empty_namespace(about)
            elif (item := self._items.get(about)) is not None:
                await (self._judge(about, item) if what == "dependent" else self._release_owner(about, item))
        except (ApiError, StorageError) as error:
            log.warning("the collector could not handle %s %s, it will try again: %s", what, about, error)
            if not self._failed:
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._retry, watch)
            self._failed[step] = None

    def _retry(self, watch: Watch) -> None:
        self._steps.update(self._failed)
        self._failed.clear()
        watch.poke()

    async def _find(self, uid: str, item: _Item) -> Stored | None:
        """The object as it is now; None when it has gone, or another has its name."""
        found = await self._registry.find(item.kind, item.namespace, item.name)
        return found if found and found.document()["metadata"]["uid"] == uid else None

    async def _judge(self, uid: str, item: _Item) -> None:
        """Delete a dependent none of whose owners is left, or let it forget those that have gone."""
        found = await self._find(uid, item)
        if found is None:
            return
        metadata = found.document()["metadata"]
        references = metadata.get("ownerReferences", [])
        states = [await self._owner_state(item, reference) for reference in references]
        lost = [one["uid"] for one, state in zip(references, states, strict=True) if state != "there"]
        if not lost:
            return
        if "there" in states:
            await self._disown(item, lost)
        elif not metadata.get("deletionTimestamp"):
            foreground = "going" in states and bool(self._dependents.get(uid))
            await self._delete(item, found, "Foreground" if foreground else "Background")

    async def _owner_state(self, item: _Item, reference: dict[str, Any]) -> Literal["there", "gone", "going"]:
        kind = self._registry.kinds.by_kind(reference["apiVersion"], reference["kind"])
        if kind is None:
            return "there"  # Of a kind that is not served: nobody can tell that it has gone.
        found = await self._registry.find(kind, item.namespace, reference["name"])
        if found is None:
            return "gone"
        metadata = found.document()["metadata"]
        if metadata["uid"] != reference["uid"]:
            return "gone"
        in_foreground = metadata.get("deletionTimestamp") and FOREGROUND in metadata.get("finalizers", ())
        return "going" if in_foreground else "there"

    async def _delete(self, item: _Item, found: Stored, policy: Literal["Foreground", "Background"]) -> None:
        metadata = found.document()["metadata"]
        # The version, so that a dependent that somebody adopts right now is looked at again instead.
        unchanged = Preconditions(uid=metadata["uid"], resourceVersion=str(found.revision))
        options = DeleteOptions(propagationPolicy=policy, preconditions=unchanged)
        try:
            await self._registry.delete(item.kind, item.namespace, item.name, options)
        except ApiError as error:
            if error.reason != "NotFound":
                raise

    async def _disown(self, item: _Item, lost: list[str]) -> None:
        """Take some owners out of an object's references."""

        def change(document: Document) -> Document:
            metadata = document["metadata"]
            left = [one for one in metadata.get("ownerReferences", []) if one["uid"] not in lost]
            metadata["ownerReferences"] = left or None
            return document

        await self._change(item, change)

    async def _change(self, item: _Item, change: Any, subresource: str = "") -> None:
        try:
            await self._registry.update(
                item.kind, item.namespace, item.name, change, author=SERVER.through(subresource)
            )
        except ApiError as error:
            if error.reason != "NotFound":
                raise

    async def _release_owner(self, uid: str, item: _Item) -> None:
        """Do what an owner's finalizers ask for, and take them away once it is done."""
        found = await self._find(uid, item)
        if found is None:
            return
        metadata = found.document()["metadata"]
        finalizers = metadata.get("finalizers", ())
        if not metadata.get("deletionTimestamp"):
            return
        dependents = {one: self._items[one] for one in self._dependents.get(uid, ()) if one in self._items}
        if ORPHAN in finalizers:
            for dependent in dependents.values():
                await self._disown(dependent, [uid])
            await self._drop_finalizer(item, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = [one for one, dependent in dependents.items() if await self._blocks(one, dependent, uid)]
            for dependent_uid in blocking:
                self._steps["dependent", dependent_uid] = None
            if not blocking:
                await self._drop_finalizer(item, FOREGROUND)

    async def _blocks(self, uid: str, dependent: _Item, owner: str) -> bool:
        found = await self._find(uid, dependent)
        references = found.document()["metadata"].get("ownerReferences", []) if found else []
        return any(one["uid"] == owner and one.get("blockOwnerDeletion") for one in references)

    async def _drop_finalizer(self, item: _Item, finalizer: str) -> None:
        def change(document: Document) -> Document:
            metadata = document["metadata"]
            metadata["finalizers"] = [one for one in metadata.get("finalizers", ()) if one != finalizer]
            return document

        await self._change(item, change)

    async def _empty_namespace(self, name: str) -> None:
        """Delete what is in a terminating Namespace; when nothing is left, let it go."""
        kinds = self._registry.kinds
        left = 0
        for kind in kinds.stored:
            if not kind.resource.namespaced:
                continue
            listing = await self._registry.storage.list(kind.within(name), limit=_BATCH)
            left += len(listing.entries) + listing.remaining
            for entry in listing.entries:
                metadata = Stored.of(kind, entry).document()["metadata"]
                if not metadata.get("deletionTimestamp"):
                    item = _Item(kind, name, metadata["name"], ())
                    await self._delete(item, Stored.of(kind, entry), "Background")
                    await asyncio.sleep(0)
            if listing.remaining:
                self._steps["namespace", name] = None
        if not left:
            item = _Item(kinds[resources.NAMESPACES], "", name, ())
            await self._change(item, _without_kubernetes, "finalize")


def _without_kubernetes(namespace: Document) -> Document:
    """A Namespace whose contents have gone, as far as we are concerned."""
    spec = namespace.get("spec", {})
    return {
        **namespace,
        "spec": {**spec, "finalizers": [one for one in spec.get("finalizers", ()) if one != "kubernetes"]},
    }
