"""Which Services select which Pods, kept up to date by small steps.

    Service shop/cart {app: cart, tier: web}      filed under one of its terms: (shop, app, cart)
    Pod shop/cart-1   {app: cart, tier: web, …}   filed under each of its labels

A pod's change looks only at the Services filed under one of its labels, and a Service's at the Pods filed under its
term; nothing loops over all Services (reference, section 8.1, row 19).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import TypeVar

from fairway.objects.meta import Key

At = TypeVar("At", bound=Hashable)
Term = tuple[str, str, str]
"""A namespace, a label and its value."""


class Selection:
    """The members of each Service. Keys in, keys out; it never sees an object."""

    def __init__(self) -> None:
        self._selectors: dict[Key, Mapping[str, str]] = {}
        self._filed: dict[Key, Term] = {}
        self._services: defaultdict[Term, set[Key]] = defaultdict(set)
        self._labels: dict[Key, Mapping[str, str]] = {}
        self._pods: defaultdict[Term, set[Key]] = defaultdict(set)
        self._members: defaultdict[Key, set[Key]] = defaultdict(set)
        self._selected_by: defaultdict[Key, set[Key]] = defaultdict(set)

    def members(self, service: Key) -> frozenset[Key]:
        """The Pods that the Service selects."""
        return frozenset(self._members.get(service, ()))

    def selected_by(self, pod: Key) -> frozenset[Key]:
        """The Services that select the Pod."""
        return frozenset(self._selected_by.get(pod, ()))

    def set_service(self, service: Key, selector: Mapping[str, str] | None) -> None:
        """The Service selects by these labels from now on; one without a selector selects nothing."""
        if self._selectors.get(service, {}) == (selector or {}):
            return
        self._forget_service(service)
        if not selector:
            return
        term = min(
            ((service.namespace, key, value) for key, value in sorted(selector.items())),
            # The term with the fewest Services: one label that all of them share would make a list of all of them.
            key=lambda term: len(self._services.get(term, ())),
        )
        self._selectors[service] = dict(selector)
        self._filed[service] = term
        self._services[term].add(service)
        for pod in self._pods.get(term, ()):
            if _matches(selector, self._labels[pod]):
                self._members[service].add(pod)
                self._selected_by[pod].add(service)

    def set_pod(self, pod: Key, labels: Mapping[str, str] | None) -> None:
        """The Pod has these labels from now on; None when it is gone."""
        if self._labels.get(pod) == labels:
            return
        self._forget_pod(pod)
        if labels is None:
            return
        self._labels[pod] = dict(labels)
        for key, value in labels.items():
            term = (pod.namespace, key, value)
            self._pods[term].add(pod)
            for service in self._services.get(term, ()):
                if _matches(self._selectors[service], labels):
                    self._members[service].add(pod)
                    self._selected_by[pod].add(service)

    def _forget_service(self, service: Key) -> None:
        if self._selectors.pop(service, None) is None:
            return
        _discard(self._services, self._filed.pop(service), service)
        for pod in self._members.pop(service, ()):
            _discard(self._selected_by, pod, service)

    def _forget_pod(self, pod: Key) -> None:
        for key, value in self._labels.pop(pod, {}).items():
            _discard(self._pods, (pod.namespace, key, value), pod)
        for service in self._selected_by.pop(pod, ()):
            _discard(self._members, service, pod)


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _discard(index: defaultdict[At, set[Key]], at: At, key: Key) -> None:
    index[at].discard(key)
    if not index[at]:
        del index[at]
