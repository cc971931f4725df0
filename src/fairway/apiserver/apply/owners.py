"""Who owns which fields of an object: ``metadata.managedFields`` as a value, and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from fairway.apiserver.access.users import User
from fairway.apiserver.apply.fields import Fields, FieldsError, parse_fields, union
from fairway.apiserver.decoding import is_time

Operation = Literal["Apply", "Update"]
NAME_LIMIT = 128
# Clients that write under ever new names must not make an object grow without end: the oldest are counted together.
_MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa1-\U0010ffff]")


@dataclass(frozen=True)
class Author:
    """Who writes, as the owner of fields: a name, what it does, and through which subresource.

    ``user`` is on whose behalf, None for the server itself.
    """

    manager: str
    operation: Operation = "Update"
    subresource: str = ""
    user: User | None = None

    def through(self, subresource: str) -> Author:
        return replace(self, subresource=subresource)


SERVER = Author("fairway-apiserver")


class Identity(NamedTuple):
    """What tells two entries apart. An applier has one entry whatever version of the API it speaks (empty)."""

    operation: str
    manager: str
    version: str
    subresource: str

    def __str__(self) -> str:
        """As conflicts name it: ``"kubectl" with subresource "status" using v1``."""
        subresource = f' with subresource "{self.subresource}"' if self.subresource else ""
        version = f" using {self.version}" if self.operation == "Update" else ""
        return f'"{self.manager}"{subresource}{version}'


@dataclass(frozen=True)
class Share:
    """What one of them owns, since when, in which version of the API."""

    fields: Fields
    time: str
    version: str


Owners = dict[Identity, Share]


@lru_cache(maxsize=128)
def author_of(field_manager: str, user_agent: str, subresource: str = "") -> Author:
    """The author of a request that is not an apply: by the parameter, else by the first word of its User-Agent."""
    name = field_manager or _UNPRINTABLE.sub("", user_agent.partition("/")[0])[:NAME_LIMIT]
    return Author(name or "unknown", "Update", subresource)


def identity_of(author: Author, version: str) -> Identity:
    return Identity(
        author.operation, author.manager, version if author.operation == "Update" else "", author.subresource
    )


def read_owners(entries: list[Any]) -> Owners:
    """Raises `FieldsError` for what is no list of entries."""
    found: Owners = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise FieldsError(f"an entry of managedFields must be an object, got {type(entry).__name__}")
        operation = entry.get("operation")
        if operation not in ("Apply", "Update"):
            raise FieldsError(f"the operation must be Apply or Update, got {operation!r}")
        author = Author(_text(entry, "manager"), operation, _text(entry, "subresource"))
        version, time = _text(entry, "apiVersion"), _text(entry, "time")
        if time and not is_time(time):
            raise FieldsError(f"the time must be like 2026-01-31T12:00:00Z, got {time!r}")
        fields = parse_fields(entry.get("fieldsV1", {}))
        found[identity_of(author, version)] = Share(fields, time, version)
    return found


def stored_owners(entries: list[Any]) -> Owners:
    """The same for what the server itself has written: nothing is checked again."""
    return {
        Identity(
            entry["operation"],
            entry["manager"],
            entry["apiVersion"] if entry["operation"] == "Update" else "",
            entry.get("subresource", ""),
        ): Share(entry["fieldsV1"], entry.get("time", ""), entry["apiVersion"])
        for entry in entries
    }


def _text(entry: Mapping[str, Any], field: str) -> str:
    value = entry.get(field) or ""
    if not isinstance(value, str):
        raise FieldsError(f"{field} of an entry of managedFields must be a string, got {value!r}")
    return value


def write_owners(owners: Owners) -> list[dict[str, Any]]:
    """The entries in Kubernetes' order: appliers first, then by time and name."""
    found = sorted(_capped(owners).items(), key=lambda one: (one[0].operation, one[1].time, one[0]))
    return [_entry(identity, share) for identity, share in found if share.fields]


def entry_of(author: Author, version: str, fields: Fields, time: str) -> dict[str, Any]:
    """The entry of the only owner there is."""
    return _entry(identity_of(author, version), Share(fields, time, version))


def _entry(identity: Identity, share: Share) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "manager": identity.manager,
        "operation": identity.operation,
        "apiVersion": share.version,
        "fieldsType": "FieldsV1",
        "fieldsV1": share.fields,
    }
    if share.time:
        entry["time"] = share.time
    if identity.subresource:
        entry["subresource"] = identity.subresource
    return entry


def _capped(owners: Owners) -> Owners:
    updaters = [one for one in owners if one.operation == "Update" and not one.subresource]
    if len(updaters) <= _MOST_UPDATERS:
        return owners
    oldest = sorted(updaters, key=lambda one: (one.manager != _ANCIENT, owners[one].time, one))
    merged = oldest[: len(updaters) - _MOST_UPDATERS + 1]
    left = {identity: share for identity, share in owners.items() if identity not in merged}
    last = owners[merged[-1]]
    fields: Fields = {}
    for identity in merged:
        fields = union(fields, owners[identity].fields)
    left[identity_of(Author(_ANCIENT), last.version)] = replace(last, fields=fields)
    return left
