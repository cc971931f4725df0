"""EndpointSlices on their way to the API server, in the order in which every endpoint stays in some slice."""

from __future__ import annotations

from typing import Protocol

from fairway.client.http import Client
from fairway.controllers.feeds import Feed
from fairway.controllers.working import is_namespace_going
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.resources import ENDPOINT_SLICES
from fairway.objects.status import ApiError


class SliceChanges(Protocol):
    """Create first, then update, then delete."""

    @property
    def create(self) -> tuple[EndpointSlice, ...]: ...

    @property
    def update(self) -> tuple[EndpointSlice, ...]: ...

    @property
    def delete(self) -> tuple[EndpointSlice, ...]: ...


async def write_slices(client: Client, feed: Feed[EndpointSlice], changes: SliceChanges) -> None:
    """Raises `ApiError`; a namespace that is being deleted takes no new slices, and needs none."""
    for one in changes.create:
        try:
            feed.written(await client.create(ENDPOINT_SLICES, one))
        except ApiError as error:
            if not is_namespace_going(error):
                raise
    for one in changes.update:
        feed.written(await client.replace(ENDPOINT_SLICES, one))
    for one in changes.delete:
        meta = one.metadata
        await client.delete_if_there(ENDPOINT_SLICES, meta.name, meta.namespace, uid=meta.uid)
        feed.deleted(one)
