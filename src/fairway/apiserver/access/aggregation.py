"""ClusterRoles that are made of others: ``aggregationRule`` says by labels of which, the server fills in the rules."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from fairway.apiserver.registry import Registry
from fairway.apiserver.storage.contract import Compacted, FutureRevision, StorageError, WatchClosed
from fairway.apiserver.stored import Stored
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.selectors import Selector, label_selector
from fairway.objects.status import ApiError
from fairway.objects.workloads import LabelSelector
from fairway.runtime.clock import Clock

_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)


async def aggregate_roles(registry: Registry, clock: Clock) -> None:
    """Keep the rules of aggregated ClusterRoles true until cancelled, or until the storage is closed."""
    prefix = registry.kinds[resources.CLUSTER_ROLES].prefix
    while True:
        try:
            watch = await registry.storage.watch(prefix, after=await aggregate_once(registry))
            try:
                while not await watch.next():
                    pass
            finally:
                watch.close()
        except WatchClosed as closed:
            if not closed.slow:
                return
        except (ApiError, StorageError, Compacted, FutureRevision) as error:
            log.warning("the aggregated ClusterRoles could not be filled: %s", error)
            await clock.sleep(_AGAIN_SECONDS)


async def aggregate_once(registry: Registry) -> int:
    """Write the rules that have changed; gives the revision that was looked at."""
    kind = registry.kinds[resources.CLUSTER_ROLES]
    listing = await registry.storage.list(kind.prefix)
    roles = {str((one := Stored.of(kind, entry).document())["metadata"]["name"]): one for entry in listing.entries}
    for name, role in roles.items():
        if not role.get("aggregationRule"):
            continue
        rules = aggregated(role, roles)
        if rules != (role.get("rules") or []):
            try:
                await registry.update(kind, "", name, lambda old, rules=rules: {**old, "rules": rules})  # type: ignore[misc]
            except ApiError as error:
                if error.reason != "NotFound":
                    raise
    return listing.revision


def aggregated(role: Document, roles: dict[str, Document]) -> list[Any]:
    """The rules of every other role that one of the selectors matches, by name, each once."""
    own, found = role["metadata"]["name"], []
    selectors = [_selector(one) for one in role["aggregationRule"].get("clusterRoleSelectors") or ()]
    for name in sorted(roles):
        labels = roles[name]["metadata"].get("labels")
        if name != own and any(selector.matches(labels) for selector in selectors):
            found += [rule for rule in roles[name].get("rules") or () if rule not in found]
    return found


def _selector(document: Document) -> Selector:
    return label_selector(msgspec.convert(document, LabelSelector))
