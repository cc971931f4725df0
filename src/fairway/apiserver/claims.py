"""Claims: the keys that make a cluster IP or a node port belong to one Service.

A claim is a key in the storage, written in the transaction that writes the Service. That the key can exist once is what
makes a duplicate impossible; the `Ledger` only spares allocators from guessing::

    ip/10.96.0.7   /objects/ipaddresses.networking.k8s.io/10.96.0.7    the IPAddress itself: there is no other book
    port/30080     /allocations/port/30080

An address may rest when its Service has gone (``--cluster-ip-reuse-after``), so that a client with an old connection or
an old DNS answer does not reach somebody else: its IPAddress stays, with the moment of its release written on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fairway.apiserver.allocation import Ledger, Rest, claims_of
from fairway.apiserver.kinds import Kinds
from fairway.apiserver.storage.contract import Conflict, Entry, Event, Storage, Transaction
from fairway.apiserver.stored import to_value
from fairway.objects import resources
from fairway.objects.codec import Document, decode, encode
from fairway.objects.networking import ALLOCATOR, FAMILY_LABEL, MANAGED_BY_LABEL
from fairway.runtime.clock import Clock, parse_rfc3339, rfc3339

PORTS = "/allocations/port/"
ADDRESSES = f"/objects/{resources.IP_ADDRESSES.qualified}/"
# Where the first version of Fairway kept addresses.
OLD_ADDRESSES = "/allocations/ip/"
RELEASED = "fairway.dev/released"
# etcd takes 128 operations in one transaction.
_BATCH = 50
# An IPAddress in the form of `to_value`. Every Service comes with one: put together, not encoded.
_ADDRESS = (
    to_value(
        {
            "apiVersion": resources.IP_ADDRESSES.api_version,
            "kind": resources.IP_ADDRESSES.kind,
            "metadata": {
                "name": "NAME",
                "uid": "NAME",
                "creationTimestamp": "NAME",
                "labels": {FAMILY_LABEL: "NAME", MANAGED_BY_LABEL: ALLOCATOR},
            },
            "spec": {
                "parentRef": {
                    "group": resources.SERVICES.group,
                    "resource": resources.SERVICES.plural,
                    "namespace": "JSON",
                    "name": "JSON",
                }
            },
        }
    )
    .replace(b"NAME", b"%s")
    .replace(b'"JSON"', b"%s")
)
_PREFIXES = {"ip": ADDRESSES, "port": PORTS}


def claim_key(claim: str) -> str:
    """``ip/10.96.0.7`` as the key that holds it."""
    kind, _, value = claim.partition("/")
    return _PREFIXES[kind] + value


def claims_in(keys: Iterable[str]) -> frozenset[str]:
    """The claims among some storage keys."""
    found = ((kind, prefix, key) for key in keys for kind, prefix in _PREFIXES.items() if key.startswith(prefix))
    return frozenset(f"{kind}/{key.removeprefix(prefix)}" for kind, prefix, key in found)


@dataclass
class Parts:
    """What a write of an object adds to its transaction."""

    expect: dict[str, int] = field(default_factory=dict)
    puts: dict[str, bytes] = field(default_factory=dict)
    deletes: set[str] = field(default_factory=set)


class Claims:
    """The claims in one storage. ``reuse_after`` is how many seconds an address rests; ``uid`` makes one."""

    def __init__(self, storage: Storage, clock: Clock, uid: Callable[[], str], reuse_after: float = 0.0) -> None:
        self.ledger = Ledger()
        self.reuse_after = reuse_after
        self._storage = storage
        self._clock = clock
        self._uid = uid
        # Up to which revision the changes under a prefix have been followed: what is older is no news.
        self._followed = dict.fromkeys(_PREFIXES.values(), 0)

    async def load(self, prefix: str) -> int:
        """Learn what is claimed under `ADDRESSES` or `PORTS`, and nothing else; gives the revision it is of."""
        listing = await self._storage.list(prefix)
        self.ledger.forget("ip" if prefix == ADDRESSES else "port")
        self._followed[prefix] = 0
        for entry in listing.entries:
            self.note(entry.key, entry)
        self._followed[prefix] = listing.revision
        return listing.revision

    def follow(self, event: Event) -> None:
        """The next change of a claim's key, whoever made it."""
        self.note(event.key, event.entry)
        for prefix in self._followed:
            if event.key.startswith(prefix):
                self._followed[prefix] = event.revision

    def _is_news(self, claim: str, revision: int) -> bool:
        """With another server on the same storage, what we did may have been undone before we are told that we did it:
        then the changes, which come in order, have told both already."""
        return revision > self._followed[_PREFIXES[claim.partition("/")[0]]]

    def note(self, key: str, entry: Entry | None) -> None:
        """A claim's key as it is now in the storage; any other key is passed over."""
        for claim in claims_in([key]):
            if entry is not None and not self._is_news(claim, entry.revision):
                continue
            rest = _rest(entry, self.reuse_after) if entry and claim.startswith("ip/") else None
            if entry is None:
                self.ledger.release([claim])
            elif rest is not None:
                self.ledger.put_to_rest(claim, rest)
            else:
                self.ledger.claim([claim])

    def lost(self, conflict: Conflict) -> None:
        """A transaction was refused: if it was for a claim, somebody else was faster."""
        self.note(conflict.key, conflict.entry)

    async def parts(self, owner: Document, claims: Iterable[str], releases: Iterable[str]) -> Parts:
        """What ``owner`` takes and gives up, for its transaction."""
        parts = Parts()
        for claim in claims:
            key = claim_key(claim)
            resting = await self._rested(claim, owner)
            parts.expect[key] = resting.revision if resting else 0
            parts.puts[key] = self._value(claim, owner, resting)
        for claim in releases:
            key = claim_key(claim)
            entry = await self._storage.get(key) if self.reuse_after and claim.startswith("ip/") else None
            if entry is None:
                parts.deletes.add(key)
            else:
                parts.expect[key] = entry.revision
                parts.puts[key] = _released(entry, rfc3339(self._clock.now()))
        return parts

    def committed(self, owner: Document, claims: Iterable[str], releases: Iterable[str], revision: int) -> None:
        """The transaction has been written, with this revision."""
        self.ledger.claim(claim for claim in claims if self._is_news(claim, revision))
        until = self._clock.now() + self.reuse_after
        for claim in releases:
            if not self._is_news(claim, revision):
                continue
            if self.reuse_after and claim.startswith("ip/"):
                self.ledger.put_to_rest(claim, Rest(_holder(owner), until))
            else:
                self.ledger.release([claim])

    async def end_rests(self) -> float | None:
        """Free the addresses that have rested long enough; gives the seconds until the next one, None without any."""
        now = self._clock.now()
        for claim, rest in list(self.ledger.resting.items()):
            if rest.until <= now:
                await self._end_rest(claim, now)
        left = [rest.until - now for rest in self.ledger.resting.values()]
        return max(min(left), 0.0) if left else None

    async def _end_rest(self, claim: str, now: float) -> None:
        key = claim_key(claim)
        entry = await self._storage.get(key)
        rest = _rest(entry, self.reuse_after) if entry else None
        if entry is None or rest is None or rest.until > now:
            self.note(key, entry)
            return
        try:
            await self._storage.transact(Transaction(expect={key: entry.revision}, deletes=frozenset([key])))
        except Conflict as conflict:
            self.lost(conflict)
        else:
            self.ledger.release([claim])

    async def _rested(self, claim: str, owner: Document) -> Entry | None:
        """The address that rests and was this very Service's, if it is one."""
        if claim not in self.ledger.resting:
            return None
        entry = await self._storage.get(claim_key(claim))
        rest = _rest(entry, self.reuse_after) if entry else None
        return entry if rest and rest.holder == _holder(owner) else None

    def _value(self, claim: str, owner: Document, resting: Entry | None) -> bytes:
        if claim.startswith("port/"):
            return encode(_owner(owner))
        if resting is not None:
            return _woken(resting)
        return self._address(claim.removeprefix("ip/"), owner["metadata"])

    def _address(self, address: str, owner: Document) -> bytes:
        """The IPAddress of a Service as it is stored; what comes from a user is the owner's namespace and name."""
        family = "IPv6" if ":" in address else "IPv4"
        time, parent = rfc3339(self._clock.now()), (encode(owner["namespace"]), encode(owner["name"]))
        return _ADDRESS % (address.encode(), self._uid().encode(), time.encode(), family.encode(), *parent)

    async def migrate(self, kinds: Kinds) -> int:
        """Make IPAddresses of the addresses that the first version of Fairway kept as keys of its own; how many.

        Each step is one transaction, so a crash in between leaves the rest for the next start. What no Service holds
        comes free.
        """
        moved = 0
        while entries := (await self._storage.list(OLD_ADDRESSES, limit=_BATCH)).entries:
            parts = Parts(expect={one.key: one.revision for one in entries}, deletes={one.key for one in entries})
            for entry in entries:
                address = entry.key.removeprefix(OLD_ADDRESSES)
                owner = decode(entry.value, dict)
                if await self._holds(kinds, owner, f"ip/{address}"):
                    key = claim_key(f"ip/{address}")
                    parts.expect[key] = 0
                    parts.puts[key] = self._address(address, owner)
                    moved += 1
            await self._storage.transact(Transaction(parts.expect, parts.puts, frozenset(parts.deletes)))
        return moved

    async def _holds(self, kinds: Kinds, owner: Document, claim: str) -> bool:
        services = kinds[resources.SERVICES]
        entry = await self._storage.get(services.key(owner.get("namespace", ""), owner.get("name", "")))
        return entry is not None and claim in claims_of(decode(entry.value, dict))


def held_by(address: Document) -> tuple[str, str] | None:
    """The namespace and name of the Service that an IPAddress says it belongs to; None for another owner's or one at
    rest.
    """
    metadata, parent = address["metadata"], address.get("spec", {}).get("parentRef", {})
    ours = metadata.get("labels", {}).get(MANAGED_BY_LABEL) == ALLOCATOR
    at_rest = RELEASED in metadata.get("annotations", {})
    if not ours or at_rest or parent.get("group") or parent.get("resource") != resources.SERVICES.plural:
        return None
    return parent.get("namespace", ""), parent.get("name", "")


def _owner(owner: Document) -> Document:
    """Who holds a port, for a person who looks into the storage."""
    metadata = owner["metadata"]
    who = {field: metadata.get(field, "") for field in ("namespace", "name", "uid")}
    return {"kind": owner["kind"], **who}


def _holder(owner: Document) -> str:
    metadata = owner["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _rest(entry: Entry, reuse_after: float) -> Rest | None:
    """How long an IPAddress rests; None for one that is held."""
    if RELEASED.encode() not in entry.value:
        return None
    document = decode(entry.value, dict)
    text = document["metadata"].get("annotations", {}).get(RELEASED)
    parent = document.get("spec", {}).get("parentRef", {})
    if not isinstance(text, str) or document["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) != ALLOCATOR:
        return None
    try:
        released = parse_rfc3339(text)
    except ValueError:
        # Somebody wrote something there: as if it had been released long ago.
        released = 0.0
    return Rest(f"{parent.get('namespace', '')}/{parent.get('name', '')}", released + reuse_after)


def _released(entry: Entry, now: str) -> bytes:
    document = decode(entry.value, dict)
    metadata = document["metadata"]
    metadata["annotations"] = {**metadata.get("annotations", {}), RELEASED: now}
    return to_value(document)


def _woken(entry: Entry) -> bytes:
    document = decode(entry.value, dict)
    del document["metadata"]["annotations"][RELEASED]
    if not document["metadata"]["annotations"]:
        del document["metadata"]["annotations"]
    return to_value(document)
