"""Whether a user may do what they ask: the stored roles, kept in memory, with the answers that were given before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

from fairway.apiserver.access.node import node_of, refused
from fairway.apiserver.access.roles import MASTERS
from fairway.apiserver.access.rules import Attributes, Binding, Grant, Policy, Role, Rule
from fairway.apiserver.access.users import User
from fairway.apiserver.kinds import Kinds
from fairway.apiserver.storage.contract import Compacted, Entry, FutureRevision, Storage, StorageError, WatchClosed
from fairway.objects import resources
from fairway.objects.codec import decode
from fairway.objects.resources import Resource
from fairway.runtime.clock import Clock

_ROLES = (resources.ROLES, resources.CLUSTER_ROLES)
_BINDINGS = (resources.ROLE_BINDINGS, resources.CLUSTER_ROLE_BINDINGS)
# Answers kept: more than the different questions of a busy cluster's programs, and a few megabytes at most.
_REMEMBERED = 20_000
_AGAIN_SECONDS = 1.0

log = logging.getLogger(__name__)


class Decision(NamedTuple):
    allowed: bool
    reason: str = ""


_MASTER = Decision(True, "everything is allowed to system:masters")


class Authorizer:
    """Answers from memory; `load` reads the roles once, `follow` keeps up with their changes."""

    def __init__(self, storage: Storage, kinds: Kinds, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._prefixes = {kinds[resource].prefix: resource for resource in (*_ROLES, *_BINDINGS)}
        self._objects: dict[str, Role | Binding] = {}
        self._policy = Policy((), ())
        self._answers: dict[tuple[str, tuple[str, ...], Attributes], Decision] = {}

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether a user's roles allow it. For a node that writes, `refused_to_node` has the last word."""
        if MASTERS in user.groups:
            return _MASTER
        key = (user.name, user.groups, asked)
        known = self._answers.get(key)
        if known is None:
            grant = self._policy.find(user.name, user.groups, asked)
            known = Decision(True, grant.reason) if grant else Decision(False)
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[key] = known
        return known

    def refused_to_node(self, user: User, asked: Attributes) -> str:
        """Why a node may not write what is not its own, empty for everybody else and everything else."""
        node = node_of(user.name, user.groups)
        return "" if node is None or MASTERS in user.groups else refused(node, asked)

    def allows(self, user: User, asked: Attributes) -> bool:
        """Whether a user's roles allow it."""
        return self.decide(user, asked).allowed

    def rules_of(self, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role, of a ClusterRole when there is no namespace; None for one that does not exist."""
        return self._policy.rules_of(namespace, name)

    def grants(self, user: User, namespace: str) -> Iterable[Grant]:
        """Every rule that holds for a user in a namespace."""
        return self._policy.grants(user.name, user.groups, namespace)

    async def load(self) -> dict[str, int]:
        """Read every role and binding; gives the revision that each prefix was read at."""
        revisions: dict[str, int] = {}
        objects: dict[str, Role | Binding] = {}
        for prefix, resource in self._prefixes.items():
            listing = await self._storage.list(prefix)
            revisions[prefix] = listing.revision
            objects.update((entry.key, _read(resource, entry)) for entry in listing.entries)
        self._objects = objects
        self._rebuild()
        return revisions

    async def follow(self) -> None:
        """Take over every change until cancelled, or until the storage is closed."""
        over = False
        while not over:
            try:
                revisions = await self.load()
                async with asyncio.TaskGroup() as group:
                    for prefix, revision in revisions.items():
                        group.create_task(self._follow(prefix, revision))
            except* (Compacted, FutureRevision) as found:
                log.info("reading all roles again: %s", found.exceptions[0])
            except* StorageError as found:
                log.warning("the roles cannot be read: %s", found.exceptions[0])
            except* WatchClosed as found:
                over = not any(isinstance(one, WatchClosed) and one.slow for one in found.exceptions)
            if not over:
                await self._clock.sleep(_AGAIN_SECONDS)

    async def _follow(self, prefix: str, revision: int) -> None:
        watch = await self._storage.watch(prefix, after=revision)
        try:
            while True:
                events = await watch.next()
                for event in events:
                    if event.entry is None:
                        self._objects.pop(event.key, None)
                    else:
                        self._objects[event.key] = _read(self._prefixes[prefix], event.entry)
                if events:
                    self._rebuild()
        finally:
            watch.close()

    def _rebuild(self) -> None:
        found = self._objects.values()
        self._policy = Policy(
            (one for one in found if isinstance(one, Role)), (one for one in found if isinstance(one, Binding))
        )
        self._answers.clear()


def _read(resource: Resource, entry: Entry) -> Role | Binding:
    if resource in _ROLES:
        return decode(entry.value, Role)
    return decode(entry.value, Binding)
