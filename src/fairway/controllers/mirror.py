"""The EndpointSlice mirroring controller: writes the mirrors that `mirroring` says."""

from __future__ import annotations

from collections import defaultdict

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.controllers.feeds import Feeds
from fairway.controllers.mirroring import is_mirror, reconcile
from fairway.controllers.slicewrites import write_slices
from fairway.controllers.subsets import is_managed
from fairway.controllers.working import Controller
from fairway.objects.endpoints import Endpoints
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.resources import ENDPOINTS
from fairway.objects.service import Service
from fairway.runtime.retry import Patience


class Mirror(Controller):
    """Works on Endpoints, by their keys, which are those of their Services."""

    def __init__(self, client: Client, feeds: Feeds, recorder: Recorder, patience: Patience) -> None:
        super().__init__("mirroring", patience)
        self._client = client
        self._feeds = feeds
        self._recorder = recorder
        self._mirrors: defaultdict[Key, set[Key]] = defaultdict(set)
        feeds.services.listen(self._service_changed)
        feeds.endpoints.listen(self._endpoints_changed)
        feeds.slices.listen(self._slice_changed)

    async def handle(self, item: Key) -> None:
        endpoints = self._feeds.endpoints.cache.get(item)
        slices = [self._feeds.slices.cache[key] for key in self._mirrors.get(item, ())]
        living = [
            one for one in slices if one.metadata.deletion_timestamp is None and not self._feeds.slices.is_going(one)
        ]
        changes = reconcile(endpoints, self._feeds.services.cache.get(item), living)
        await write_slices(self._client, self._feeds.slices, changes)
        for reason, message in changes.warnings:
            if endpoints is not None:
                self._recorder.record(ENDPOINTS, endpoints, reason, message, type_="Warning")

    def _service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        """Only whether there is one, and whether it has a selector, counts."""
        if (old is None) != (new is None) or bool(old and old.spec.selector) != bool(new and new.spec.selector):
            self._look(key)

    def _endpoints_changed(self, key: Key, old: Endpoints | None, new: Endpoints | None) -> None:
        # Those that the Endpoints controller writes change often, and are never mirrored.
        if new is None or not is_managed(new) or key in self._mirrors:
            self.add(key)

    def _slice_changed(self, key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for one in (old, new):
            if one is None or not one.service_name or not is_mirror(one):
                continue
            item = Key(key.namespace, one.service_name)
            if one is new:
                self._mirrors[item].add(key)
            elif new is None or not is_mirror(new) or new.service_name != one.service_name:
                self._mirrors[item].discard(key)
                if not self._mirrors[item]:
                    del self._mirrors[item]
            self.add(item)

    def _look(self, key: Key) -> None:
        if key in self._feeds.endpoints.cache or key in self._mirrors:
            self.add(key)
