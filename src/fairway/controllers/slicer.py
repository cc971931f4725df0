"""The EndpointSlice controller: watches Services, Pods, Nodes and slices, and writes what `endpointslices` says."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.controllers.endpointslices import MAX_ENDPOINTS, has_managed_slices, is_managed, reconcile
from fairway.controllers.feeds import Feeds
from fairway.controllers.hints import wants_topology_mode
from fairway.controllers.membership import Membership
from fairway.controllers.slicewrites import write_slices
from fairway.controllers.topology import NodeCPUs
from fairway.controllers.triggers import TriggerTimes
from fairway.controllers.working import Controller
from fairway.objects.cluster import Node
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.resources import SERVICES
from fairway.objects.service import Service
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

log = logging.getLogger(__name__)


class Slicer(Controller):
    """Works on Services, by their keys."""

    def __init__(
        self,
        client: Client,
        feeds: Feeds,
        membership: Membership,
        recorder: Recorder,
        patience: Patience,
        limit: int = MAX_ENDPOINTS,
    ) -> None:
        """``limit`` is how many endpoints a slice may hold."""
        super().__init__("endpointslices", patience)
        self._limit = limit
        self._recorder = recorder
        self._client = client
        self._feeds = feeds
        self._membership = membership
        self._triggers = TriggerTimes()
        self._cpus = NodeCPUs()
        self._slices_of: defaultdict[Key, set[Key]] = defaultdict(set)
        # Those that want hints in proportion, and what was last told about each of their families.
        self._proportional: dict[Key, dict[str, str]] = {}
        membership.listen(self.add)
        feeds.services.listen(self._service_changed)
        feeds.nodes.listen(self._node_changed)
        feeds.slices.listen(self._slice_changed)

    async def handle(self, item: Key) -> None:
        service = self._feeds.services.cache.get(item)
        if service is None or not has_managed_slices(service):
            return
        pods = self._membership.pods_of(item)
        slices = [self._feeds.slices.cache[key] for key in self._slices_of.get(item, ())]
        changes = reconcile(
            service,
            pods,
            self._feeds.nodes.cache,
            [one for one in slices if one.metadata.deletion_timestamp is None and not self._feeds.slices.is_going(one)],
            trigger_time=self._triggers.next(service, pods),
            limit=self._limit,
            cpus=self._cpus.zones(),
        )
        if changes.unknown_nodes:
            # The pods come in as soon as their nodes are there: that is a change, too.
            log.info("Service %s: pods left out, unknown nodes: %s", item, ", ".join(sorted(changes.unknown_nodes)))
        try:
            await write_slices(self._client, self._feeds.slices, changes)
        except ApiError as error:
            if error.code != 409:
                self._warn(service, error)
            raise
        self._tell_hints(service, changes.no_hints)

    def _warn(self, service: Service, error: ApiError) -> None:
        words = f"Error updating Endpoint Slices for Service {service.key}: {error}"
        self._recorder.record(SERVICES, service, "FailedToUpdateEndpointSlices", words, type_="Warning")

    def _tell_hints(self, service: Service, no_hints: Mapping[str, str]) -> None:
        """Each time that a family gets hints, loses them, or has another reason to have none."""
        told = self._proportional.get(service.key)
        if told is None:
            return
        for address_type, problem in no_hints.items():
            if told.get(address_type) == problem:
                continue
            told[address_type] = problem
            if problem:
                words, reason, type_ = problem, "TopologyAwareHintsDisabled", "Warning"
            else:
                words, reason, type_ = "Topology Aware Hints has been enabled", "TopologyAwareHintsEnabled", "Normal"
            self._recorder.record(SERVICES, service, reason, f"{words}, addressType: {address_type}", type_=type_)

    def _service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        if new is None:
            self._triggers.forget(key)
        if new is not None and has_managed_slices(new) and wants_topology_mode(new):
            self._proportional.setdefault(key, {})
        else:
            self._proportional.pop(key, None)

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> None:
        if self._cpus.set(key.name, new):
            self.add(*self._proportional)
        if (old is None) != (new is None) or (old.zone if old else "") != (new.zone if new else ""):
            self.add(*self._membership.services_on(key.name))

    def _slice_changed(self, key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for one in (old, new):
            if one is None or not one.service_name:
                continue
            service = Key(key.namespace, one.service_name)
            if one is new and is_managed(one):
                self._slices_of[service].add(key)
            else:
                self._slices_of[service].discard(key)
                if not self._slices_of[service]:
                    del self._slices_of[service]
            if is_managed(one):
                self.add(service)
