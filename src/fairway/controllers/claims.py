"""Whose an object is: what a controller owns, what it takes up, what it lets go (adoption and release). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from fairway.controllers.workloads import owner_reference
from fairway.objects.codec import Document
from fairway.objects.meta import KubernetesObject
from fairway.objects.selectors import EVERYTHING, Selector, SelectorError, label_selector
from fairway.objects.workloads import LabelSelector

T = TypeVar("T", bound=KubernetesObject)


@dataclass(frozen=True)
class Claim(Generic[T]):
    """Of some objects: ``mine`` stay, ``adopt`` become mine, ``release`` do so no longer."""

    mine: tuple[T, ...] = ()
    adopt: tuple[T, ...] = ()
    release: tuple[T, ...] = ()


def claim(owner: KubernetesObject, selector: LabelSelector, objects: Iterable[T]) -> Claim[T]:
    """Sort objects of one namespace; those that somebody else controls are in none of the three.

    An owner on its way out takes up nobody: that would only be deleted with it.
    """
    wanted = selector_of(selector)
    alive = owner.metadata.deletion_timestamp is None
    mine: list[T] = []
    adopt: list[T] = []
    release: list[T] = []
    for one in objects:
        matches = wanted is not None and wanted.matches(one.metadata.labels)
        controller = one.metadata.controller()
        if controller is not None and controller.uid == owner.metadata.uid:
            (mine if matches or not alive else release).append(one)
        elif controller is None and matches and alive and one.metadata.deletion_timestamp is None:
            adopt.append(one)
    return Claim(tuple(mine), tuple(adopt), tuple(release))


def selector_of(selector: LabelSelector) -> Selector | None:
    """What a workload selects; None for nothing, which is what an empty selector means here."""
    try:
        read = label_selector(selector)
    except SelectorError:
        return None
    return None if read == EVERYTHING else read


def adoption(kind: str, owner: KubernetesObject, orphan: KubernetesObject) -> Document:
    """The patch that makes an orphan ours, unless anybody has changed it since we looked."""
    others = [msgspec.to_builtins(one) for one in orphan.metadata.owner_references or ()]
    return _patch(orphan, [*others, owner_reference(kind, owner)])


def release(owner: KubernetesObject, owned: KubernetesObject) -> Document:
    """The patch after which an object is its own again."""
    others = [
        msgspec.to_builtins(one) for one in owned.metadata.owner_references or () if one.uid != owner.metadata.uid
    ]
    return _patch(owned, others)


def _patch(one: KubernetesObject, references: list[Document]) -> Document:
    meta = one.metadata
    return {
        "metadata": {
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
            "ownerReferences": references or None,
        }
    }
