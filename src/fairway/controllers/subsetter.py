"""The Endpoints controller: writes the Endpoints objects that `subsets` says."""

from __future__ import annotations

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.controllers.endpointslices import has_managed_slices
from fairway.controllers.feeds import Feeds
from fairway.controllers.membership import Membership
from fairway.controllers.subsets import LEADER, is_managed, wanted
from fairway.controllers.triggers import TriggerTimes
from fairway.controllers.working import Controller, is_namespace_going
from fairway.objects.endpoints import Endpoints
from fairway.objects.meta import Key
from fairway.objects.resources import ENDPOINTS, SERVICES
from fairway.objects.service import Service
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience


class Subsetter(Controller):
    """Works on Services, by their keys, which are those of their Endpoints."""

    def __init__(
        self, client: Client, feeds: Feeds, membership: Membership, recorder: Recorder, patience: Patience
    ) -> None:
        super().__init__("endpoints", patience)
        self._client = client
        self._feeds = feeds
        self._membership = membership
        self._recorder = recorder
        self._triggers = TriggerTimes()
        self._bereft: set[Key] = set()
        membership.listen(self.add)
        feeds.services.listen(self._service_changed)
        feeds.endpoints.listen(self._endpoints_changed)

    async def handle(self, item: Key) -> None:
        service = self._feeds.services.cache.get(item)
        old = self._feeds.endpoints.cache.get(item)
        if service is None:
            await self._remove(item, old)
            return
        if not has_managed_slices(service) or service.metadata.deletion_timestamp is not None:
            return
        pods = self._membership.pods_of(item)
        new = wanted(service, pods, old, trigger_time=self._triggers.next(service, pods))
        if new is not None:
            await self._write(service, old, new)

    async def _write(self, service: Service, old: Endpoints | None, new: Endpoints) -> None:
        try:
            if old is None:
                written = await self._client.create(ENDPOINTS, new)
            else:
                written = await self._client.replace(ENDPOINTS, new)
        except ApiError as error:
            if is_namespace_going(error):
                return
            if error.code != 409:
                what = "Create" if old is None else "Update"
                self._recorder.record(
                    SERVICES,
                    service,
                    f"FailedTo{what}Endpoint",
                    f"Failed to {what.lower()} endpoint {service.key}: {error}",
                    type_="Warning",
                )
            raise
        self._feeds.endpoints.written(written)

    async def _remove(self, item: Key, old: Endpoints | None) -> None:
        """What belonged to a Service that has gone; whoever uses an Endpoints object as a lock keeps it."""
        ours = old is not None and (item in self._bereft or is_managed(old))
        if old is not None and ours and not old.metadata.annotation(LEADER):
            await self._client.delete_if_there(ENDPOINTS, item.name, item.namespace, uid=old.metadata.uid)
        self._bereft.discard(item)

    def _service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        if new is None:
            self._bereft.add(key)
            self._triggers.forget(key)
        else:
            self._bereft.discard(key)

    def _endpoints_changed(self, key: Key, old: Endpoints | None, new: Endpoints | None) -> None:
        """Somebody else's edit of ours is put right; what nobody has a Service for is looked at once."""
        if new is None or is_managed(new) or (old is not None and is_managed(old)):
            self.add(key)
