"""What a kind adds to the generic way of writing an object: the contract between `registry` and the kinds' own rules.

One write goes through these steps; the generic part (metadata, status separation, preconditions) lies in
`fairway.apiserver.metadata`, the kind's part is a `Strategy`, and what must be unique in the whole cluster is an
`Allocator`'s::

    create:  default ─▶ allocate ─▶ prepare_create ─▶ validate ────────────────────────▶ one transaction
    update:  default ─▶ allocate ─▶ prepare_update(old, new) ─▶ validate, validate_update ─▶ one transaction

Everything here is a pure function of documents. A function may change and return the document it is given as *new*
(the caller owns it), and never changes the one it is given as *old*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from fairway.objects.codec import Document
from fairway.objects.status import FieldError

if TYPE_CHECKING:
    from fairway.apiserver.allocation.networks import ServiceNetwork


class Strategy(Protocol):
    """The rules of one kind. Documents have passed `metadata` already, so ``metadata`` is a dict with a name."""

    def default(self, document: Document) -> Document:
        """The document with every default filled in; the same for what is created, updated and read from a file."""

    def prepare_create(self, document: Document) -> Document:
        """The document without what a creator may not decide (its status, where the kind says so)."""

    def prepare_update(self, old: Document, new: Document) -> Document:
        """``new`` with the fields dropped or kept that follow from the change; status was taken from ``old``."""

    def validate(self, document: Document) -> list[FieldError]:
        """Everything wrong with the document, in the order of its fields; empty when it may be stored."""

    def validate_update(self, old: Document, new: Document) -> list[FieldError]:
        """What may not change as it did; `validate` is called as well."""

    def validate_status(self, old: Document, new: Document) -> list[FieldError]:
        """What is wrong with an update through the status subresource."""


class Rules:
    """A `Strategy` without opinions: base class for kinds that only need some of its functions."""

    def default(self, document: Document) -> Document:
        return document

    def prepare_create(self, document: Document) -> Document:
        return document

    def prepare_update(self, old: Document, new: Document) -> Document:
        return new

    def validate(self, document: Document) -> list[FieldError]:
        return []

    def validate_update(self, old: Document, new: Document) -> list[FieldError]:
        return []

    def validate_status(self, old: Document, new: Document) -> list[FieldError]:
        return []


class FieldErrors(Exception):
    """A document that cannot be stored; ``errors`` says what is wrong with which field."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = list(errors)
        super().__init__(", ".join(str(error) for error in self.errors))


class Exhausted(Exception):
    """Nothing free is left in a range; the message names the range. The API answers 500, as Kubernetes does."""


class Taken(Protocol):
    """What is in use in the cluster, as far as this process knows; the transaction that claims has the last word."""

    def address(self, address: str, asker: str = "") -> bool:
        """Whether this cluster IP (canonical text form) is held, or rests for another Service than ``asker``."""

    def rest(self, address: str) -> str:
        """Until when this cluster IP rests after its Service has gone; empty for one that does not."""

    def port(self, port: int) -> bool:
        """Whether a Service holds this node port."""

    def free(self, space: str, first: int, last: int, start: int) -> int | None:
        """The first free number from ``start`` on, going round within ``first``..``last``; None when all are taken.

        ``space`` is ``IPv4``, ``IPv6`` (numbers are addresses) or ``port``. Must not look at every number:
        `fairway.apiserver.allocation.Ledger` does it.
        """


@dataclass(frozen=True)
class Allocation:
    """A document with what it was given, and the claims to write and to give up in the same transaction.

    A claim is ``ip/10.96.0.7`` or ``port/30080``: it becomes the key that makes it unique. ``relies`` are the storage
    keys, with their revisions, of the objects that must still be as they were: the ServiceCIDRs of the addresses.
    """

    document: Document
    claims: frozenset[str] = frozenset()
    releases: frozenset[str] = frozenset()
    relies: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One column of ``kubectl get``.

    ``priority`` 0 is always shown, higher only with ``-o wide``; ``cell`` gets a document and the time now (seconds
    since 1970).
    """

    name: str
    cell: Callable[[Document, float], Any]
    description: str = ""
    type: str = "string"
    format: str = ""
    priority: int = 0

    def definition(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


class Allocator(Protocol):
    def allocate(self, old: Document | None, new: Document, taken: Taken) -> Allocation:
        """``new`` with its addresses and ports; raises `FieldErrors` or `Exhausted`."""

    def follow(self, networks: Iterable[ServiceNetwork]) -> None:
        """Take addresses from these ServiceCIDRs from now on."""

    def held(self, document: Document) -> frozenset[str]:
        """Every claim a stored document holds: what its deletion gives back."""
