"""Reading and writing objects: the verbs of the API without HTTP.

A write reads the newest version, works out the new one with pure functions (`metadata`, the kind's `Strategy`, its
`Allocator`), and commits it in one transaction that fails if anything it relied on has changed: the object, its
namespace, the addresses and ports it claims. Then it is worked out again. So nothing needs a lock, nothing can be
allocated twice, and a crash at any point leaves either all of a write or nothing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fairway.apiserver import metadata
from fairway.apiserver.admission import Admission, Attempt, refused
from fairway.apiserver.allocation import Ledger, ServiceNetwork
from fairway.apiserver.apply.owners import SERVER, Author
from fairway.apiserver.apply.ownership import Entries, Write, after_create, after_update
from fairway.apiserver.changes import note
from fairway.apiserver.claims import ADDRESSES, PORTS, Claims, held_by
from fairway.apiserver.decoding import pruned, type_errors
from fairway.apiserver.fit import fits
from fairway.apiserver.kinds import Kind, Kinds
from fairway.apiserver.metadata import DeleteOptions
from fairway.apiserver.schema import UNKNOWN, shape
from fairway.apiserver.storage.contract import Conflict, Entry, Storage, Transaction
from fairway.apiserver.stored import Stored, to_storage, to_value
from fairway.apiserver.strategy import Allocation, Exhausted, FieldErrors
from fairway.objects import resources
from fairway.objects.codec import Document, decode
from fairway.objects.status import (
    FieldError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    internal,
    invalid_object,
    not_found,
)
from fairway.runtime.clock import Clock, rfc3339

# How often a write is worked out again before its client has to: contention on one object, or on the last addresses.
_ATTEMPTS = 50
# The letters of generated names: no vowels, so that no words appear.
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
# What a UUID of version 4 leaves to chance, and what it says about itself.
_VERSION_BITS = 4 << 76 | 2 << 62
_RANDOM_BITS = (1 << 128) - 1 & ~(0xF << 76 | 3 << 62)
_PERMANENT_NAMESPACES = ("default", "kube-system")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Deleted:
    """The last state of an object, and whether it is gone already."""

    stored: Stored
    gone: bool


class Registry:
    """The objects of one storage.

    ``draw`` makes uids and name suffixes; ``reuse_after`` is how many seconds a cluster IP rests after its Service.
    """

    def __init__(
        self,
        storage: Storage,
        kinds: Kinds,
        clock: Clock,
        draw: random.Random | None = None,
        *,
        reuse_after: float = 0.0,
        admission: Admission | None = None,
    ) -> None:
        self.storage = storage
        self.kinds = kinds
        self.claims = Claims(storage, clock, self._uid, reuse_after)
        self.networks: tuple[ServiceNetwork, ...] = ()
        self._admission = admission or Admission()
        self._clock = clock
        self._draw = draw or random.SystemRandom()
        self._namespaces = kinds[resources.NAMESPACES]

    @property
    def ledger(self) -> Ledger:
        return self.claims.ledger

    async def open(self) -> None:
        """Learn what is claimed and where from; call once before the first write."""
        moved = await self.claims.migrate(self.kinds)
        if moved:
            log.info("%d cluster IPs of an earlier version are IPAddresses now", moved)
        for prefix in (ADDRESSES, PORTS):
            await self.claims.load(prefix)
        await self.refresh_networks()

    async def refresh_networks(self) -> int:
        """Read the ServiceCIDRs anew; gives the revision they are of."""
        kind = self.kinds[resources.SERVICE_CIDRS]
        listing = await self.storage.list(kind.prefix)
        self.networks = tuple(
            ServiceNetwork.of(one.key, one.revision, Stored.of(kind, one).document()) for one in listing.entries
        )
        allocator = self.kinds[resources.SERVICES].allocator
        if allocator is not None:
            allocator.follow(self.networks)
        return listing.revision

    async def find(self, kind: Kind, namespace: str, name: str) -> Stored | None:
        entry = await self.storage.get(kind.key(namespace, name))
        return Stored.of(kind, entry) if entry else None

    async def get(self, kind: Kind, namespace: str, name: str) -> Stored:
        """The newest version; raises `ApiError` NotFound."""
        found = await self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind.resource, name)
        return found

    async def create(
        self, kind: Kind, namespace: str, document: Document, *, author: Author = SERVER, dry_run: bool = False
    ) -> Stored:
        """Store a new object; raises `ApiError`. The document is the registry's from here on.

        The ``author`` owns its fields; one who applies has said in the document's ``managedFields`` who owns what.
        """
        metadata.check_identity(kind, document, namespace, "")
        generated = not document["metadata"].get("name")
        entries = document["metadata"].get("managedFields") if author.operation == "Apply" else None
        for _ in range(_ATTEMPTS):
            expect = await self._expect_namespace(kind, namespace)
            attempt = metadata.prepare_create(
                kind, _read(kind, document), uid=self._uid(), now=self._time(0), suffix=self._suffix
            )
            allocation = self._apply_create_rules(kind, attempt, entries, self.write(kind, author))
            name = allocation.document["metadata"]["name"]
            key = kind.key(namespace, name)
            with self.ledger.promised(allocation.claims):
                if await self.storage.get(key) is None:
                    stored = await self._commit(kind, key, {**expect, key: 0}, allocation, dry_run)
                elif generated:
                    stored = None
                else:
                    raise already_exists(kind.resource, name)
            if stored is not None:
                note(kind, None, allocation.document, dry_run=dry_run)
                return stored
        raise conflict(kind.resource, str(document["metadata"].get("name", "")), "too many writers at the same time")

    async def _expect_namespace(self, kind: Kind, namespace: str) -> dict[str, int]:
        """The namespace must be there, stay, and not be going; raises `ApiError`."""
        if not kind.resource.namespaced:
            return {}
        found = await self.get(self._namespaces, "", namespace)
        if _is_leaving(found.value):
            raise forbidden(
                f"{kind.resource.qualified} is forbidden: unable to create new content in namespace {namespace} "
                "because it is being terminated",
            )
        return {self._namespaces.key("", namespace): found.revision}

    def _apply_create_rules(self, kind: Kind, document: Document, entries: Entries | None, write: Write) -> Allocation:
        _refuse(kind, document, metadata.validate_metadata(document))
        defaulted = kind.strategy.default(document)
        # Before anything is allocated: what the server chooses belongs to nobody.
        _own(defaulted, after_create(write, defaulted) if entries is None else entries)
        allocation = self._allocate(kind, None, defaulted)
        prepared = kind.strategy.prepare_create(allocation.document)
        _refuse(kind, prepared, kind.strategy.validate(prepared))
        self._admission.check(Attempt(kind.resource, None, prepared, write.author.user))
        return allocation if prepared is allocation.document else replace(allocation, document=prepared)

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Document], Document],
        *,
        author: Author = SERVER,
        dry_run: bool = False,
    ) -> Stored:
        """Store ``change`` of the newest version, through the author's subresource if it names one; raises `ApiError`.

        ``change`` gets a copy and may be called again when somebody else was faster. A resourceVersion in its answer
        that is not the newest is a conflict. The ``managedFields`` in it are what the author says about the owners:
        taken as they are from one who applies.
        """
        key = kind.key(namespace, name)
        for _ in range(_ATTEMPTS):
            current = await self.get(kind, namespace, name)
            old = current.document()
            # What an earlier version stored of unknown fields is no business of a patch.
            changed = _read(kind, change(pruned(kind.resource.api_version, kind.name, current.document())))
            metadata.check_identity(kind, changed, namespace, name)
            entries = changed["metadata"].get("managedFields")
            new = metadata.prepare_update(kind, old, changed, subresource=author.subresource)
            allocation = self._apply_update_rules(kind, old, new, entries, self.write(kind, author))
            if metadata.is_finished(kind, allocation.document):
                if await self._remove(kind, key, current, dry_run):
                    note(kind, old, None, dry_run=dry_run)
                    return Stored(kind, to_value(allocation.document), self.storage.revision)
                continue
            if allocation.document == old:
                return current
            with self.ledger.promised(allocation.claims):
                stored = await self._commit(kind, key, {key: current.revision}, allocation, dry_run)
            if stored is not None:
                note(kind, old, allocation.document, dry_run=dry_run)
                return stored
        raise conflict(kind.resource, name, "too many writers at the same time")

    def _apply_update_rules(self, kind: Kind, old: Document, new: Document, entries: Any, write: Write) -> Allocation:
        rules = kind.strategy
        _refuse(kind, new, metadata.validate_metadata(new) + metadata.validate_metadata_update(old, new))
        if write.author.subresource != "finalize":
            new = rules.default(new)
        _own(new, entries if write.author.operation == "Apply" else after_update(write, old, new, entries))
        if write.author.subresource == "status":
            _refuse(kind, new, rules.validate_status(old, new))
            return Allocation(new)
        if write.author.subresource == "finalize":
            return Allocation(new)
        allocation = self._allocate(kind, old, new)
        prepared = rules.prepare_update(old, allocation.document)
        _refuse(kind, prepared, rules.validate(prepared) + rules.validate_update(old, prepared))
        self._admission.check(Attempt(kind.resource, old, prepared, write.author.user))
        finished = metadata.finish_update(kind, old, prepared)
        return allocation if finished is allocation.document else replace(allocation, document=finished)

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions, *, dry_run: bool = False
    ) -> Deleted:
        """Delete an object, or mark it when something has to happen first; raises `ApiError`."""
        if kind is self._namespaces and name in _PERMANENT_NAMESPACES:
            raise refused(kind.resource, name, "this namespace may not be deleted")
        key = kind.key(namespace, name)
        for _ in range(_ATTEMPTS):
            current = await self.get(kind, namespace, name)
            await self._refuse_held(kind, current)
            deletion = metadata.begin_deletion(kind, current.document(), options, self._time)
            if deletion.now:
                if await self._remove(kind, key, current, dry_run):
                    note(kind, current.document(), None, dry_run=dry_run)
                    return Deleted(Stored(kind, to_value(deletion.document), self.storage.revision), gone=True)
                continue
            if to_value(deletion.document) == current.value:
                return Deleted(current, gone=False)
            stored = await self._commit(kind, key, {key: current.revision}, Allocation(deletion.document), dry_run)
            if stored is not None:
                note(kind, current.document(), deletion.document, dry_run=dry_run)
                return Deleted(stored, gone=False)
        raise conflict(kind.resource, name, "too many writers at the same time")

    async def _remove(self, kind: Kind, key: str, current: Stored, dry_run: bool) -> bool:
        """Delete an object with everything it holds; False when somebody else was faster."""
        if dry_run:
            return True
        document = current.document()
        held = kind.allocator.held(document) if kind.allocator else frozenset()
        parts = await self.claims.parts(document, (), held)
        transaction = Transaction(
            expect={key: current.revision, **parts.expect},
            puts=parts.puts,
            deletes=frozenset([key, *parts.deletes]),
        )
        try:
            revision = await self.storage.transact(transaction)
        except Conflict as lost:
            await self._learn(lost.key, lost.entry)
            return False
        self.claims.committed(document, (), held, revision)
        await self._learn(key, None)
        return True

    async def _refuse_held(self, kind: Kind, current: Stored) -> None:
        """An address goes with its Service, and never before; raises `ApiError`."""
        if kind.resource != resources.IP_ADDRESSES:
            return
        document = current.document()
        holder = held_by(document)
        services = self.kinds[resources.SERVICES]
        service = await self.find(services, *holder) if holder else None
        name = document["metadata"]["name"]
        if service and services.allocator and f"ip/{name}" in services.allocator.held(service.document()):
            raise forbidden(
                f'{kind.resource.qualified} "{name}" is forbidden: the Service {"/".join(holder or ())} holds it; '
                "it goes with the Service"
            )

    async def _learn(self, key: str, entry: Entry | None) -> None:
        """A key has changed, by us or by somebody who was faster: keep what is remembered of it true."""
        self.claims.note(key, entry)
        if key.startswith(self.kinds[resources.SERVICE_CIDRS].prefix):
            await self.refresh_networks()

    async def _commit(
        self, kind: Kind, key: str, expect: dict[str, int], allocation: Allocation, dry_run: bool
    ) -> Stored | None:
        """Write an object with its claims in one transaction; None when something it relied on has changed."""
        value = to_value(allocation.document)
        if dry_run:
            return Stored(kind, value, expect.get(key) or self.storage.revision)
        parts = await self.claims.parts(allocation.document, allocation.claims, allocation.releases)
        stored = to_storage(kind, allocation.document) if kind.view else value
        transaction = Transaction(
            expect={**expect, **allocation.relies, **parts.expect},
            puts={key: stored, **parts.puts},
            deletes=frozenset(parts.deletes),
        )
        try:
            revision = await self.storage.transact(transaction)
        except Conflict as lost:
            await self._learn(lost.key, lost.entry)
            return None
        self.claims.committed(allocation.document, allocation.claims, allocation.releases, revision)
        await self._learn(key, Entry(key, stored, revision, revision))
        return Stored(kind, value, revision, allocation.document)

    def _allocate(self, kind: Kind, old: Document | None, new: Document) -> Allocation:
        if kind.allocator is None:
            return Allocation(new)
        try:
            return kind.allocator.allocate(old, new, self.ledger)
        except FieldErrors as error:
            raise invalid_object(kind.resource, new["metadata"]["name"], error.errors) from None
        except Exhausted as error:
            raise internal(str(error)) from None

    def write(self, kind: Kind, author: Author) -> Write:
        """A write by an author, now."""
        resource = kind.resource
        return Write(author, shape(resource.api_version, resource.kind) or UNKNOWN, resource.api_version, self._time(0))

    def _time(self, seconds: int) -> str:
        return rfc3339(self._clock.now() + seconds)

    def _uid(self) -> str:
        """A random UUID (RFC 9562, version 4), without making a `uuid.UUID` only to have its text."""
        digits = f"{self._draw.getrandbits(128) & _RANDOM_BITS | _VERSION_BITS:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def _suffix(self) -> str:
        return "".join(self._draw.choices(_LETTERS, k=5))


@lru_cache(maxsize=1024)
def _is_leaving(namespace: bytes) -> bool:
    """Whether a stored Namespace is being deleted; nearly every write asks that of the same few."""
    return "deletionTimestamp" in decode(namespace, dict)["metadata"]


def _refuse(kind: Kind, document: Document, errors: list[FieldError]) -> None:
    if errors:
        raise invalid_object(kind.resource, str(document["metadata"].get("name", "")), errors)


def _read(kind: Kind, document: Document) -> Document:
    """What the kind has of a document: neither nulls nor unknown fields, and values of the right types.

    Raises `ApiError` for a value that is of another type, or too deep.
    """
    read: Document = metadata.without_nulls(document)
    root = shape(kind.resource.api_version, kind.name)
    if root is None or not fits(root, read):
        read = pruned(kind.resource.api_version, kind.name, read)
        check_types(kind, read)
    return read


def _own(document: Document, entries: Entries | None) -> None:
    if entries:
        document["metadata"] = {**document["metadata"], "managedFields": entries}


def check_types(kind: Kind, document: Document) -> None:
    """What reads the document from here on relies on its types; raises `ApiError` naming the field that is wrong."""
    errors = type_errors(kind.resource.api_version, kind.resource.kind, document)
    if errors:
        raise bad_request(errors[0])
