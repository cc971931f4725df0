"""Lists: a consistent view of a collection, whole or in pages."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import msgspec

from fairway.apiserver.filters import Filter
from fairway.apiserver.kinds import Kind
from fairway.apiserver.storage.contract import Compacted, Entry, FutureRevision, Listing, Storage
from fairway.apiserver.stored import Stored
from fairway.objects.status import ApiError, bad_request, expired

_PAGE = 500


@dataclass(frozen=True)
class Selection:
    """What a list is about: the kind, one namespace or all (empty), and the selectors."""

    kind: Kind
    namespace: str
    filter: Filter


@dataclass(frozen=True)
class Page:
    """Some objects as of one revision; ``token`` continues behind them, empty when there are no more.

    ``remaining`` is how many are left, None when selectors make that unknown.
    """

    objects: list[Stored]
    revision: int
    token: str = ""
    remaining: int | None = None


class _Token(msgspec.Struct):
    """Where a list goes on: behind a key, as of a revision, or of the newest (0)."""

    revision: int
    after: str


async def read_page(storage: Storage, what: Selection, *, limit: int = 0, token: str = "", revision: int = 0) -> Page:
    """At most ``limit`` objects (0 for all), from the beginning or from where ``token`` left off.

    Raises `ApiError`: Expired for a revision that is compacted, Timeout for one that has not come yet.
    """
    after = ""
    if token:
        decoded = _decode(token)
        revision, after = decoded.revision, decoded.after
    if what.filter.name:
        return await _read_one(storage, what)
    found: list[Stored] = []
    try:
        while True:
            listing = await storage.list(
                what.kind.within(what.namespace),
                revision=revision,
                after=after,
                limit=max(limit, _PAGE) if limit else 0,
            )
            revision = listing.revision
            if not limit:
                return Page(_matching(what, listing.entries), revision)
            for position, entry in enumerate(listing.entries):
                after = entry.key
                found += _matching(what, (entry,))
                if len(found) == limit:
                    return _full_page(what, listing, found, entry, position)
            if not listing.remaining:
                return Page(found, revision)
    except Compacted:
        raise (
            _expired_page(after) if token else expired(f"too old resource version: {revision} ({storage.compacted})")
        ) from None
    except FutureRevision as error:
        raise too_large_version(revision, error.newest) from None


def _matching(what: Selection, entries: tuple[Entry, ...]) -> list[Stored]:
    kind, chosen = what.kind, what.filter
    if kind.view is None:
        objects = [Stored(kind, entry.value, entry.revision) for entry in entries]
    else:
        objects = [Stored.of(kind, entry) for entry in entries]
    return objects if chosen.everything else [one for one in objects if chosen.matches(one)]


def _expired_page(after: str) -> ApiError:
    """The moment of a list is forgotten; the token in the answer goes on with what there is now."""
    error = expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
        "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
        "modified, or deleted between the time the first chunk was returned and now may show up in the list."
    )
    error.token = _encode(_Token(0, after))
    return error


async def _read_one(storage: Storage, what: Selection) -> Page:
    """A selector that names the object: one read instead of a walk (`kubectl get pod x --watch` asks this way)."""
    kind = what.kind
    if kind.resource.namespaced and not what.namespace:
        listing = await storage.list(kind.prefix)
        entries = [entry for entry in listing.entries if entry.key.endswith(f"/{what.filter.name}")]
    else:
        entry = await storage.get(kind.key(what.namespace, what.filter.name))
        entries = [entry] if entry else []
    found = [Stored.of(kind, entry) for entry in entries]
    return Page([stored for stored in found if what.filter.matches(stored)], storage.revision)


def _full_page(what: Selection, listing: Listing, found: list[Stored], last: Entry, position: int) -> Page:
    left = len(listing.entries) - position - 1 + listing.remaining
    if not left:
        return Page(found, listing.revision)
    token = _encode(_Token(listing.revision, last.key))
    return Page(found, listing.revision, token, left if what.filter.everything else None)


def _encode(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()


def _decode(token: str) -> _Token:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=_Token)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, ValueError):
        raise bad_request("the continue parameter is not one that this server gave out") from None


def too_large_version(asked: int, newest: int) -> ApiError:
    """A version that this server has not seen: clients know the cause and list again without one."""
    details = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    return ApiError(504, "Timeout", f"Timeout: Too large resource version: {asked}, current: {newest}", details)
