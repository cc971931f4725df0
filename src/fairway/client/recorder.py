"""Tells users what a component did or could not do: Events, written behind its back.

Nobody waits for an Event, and no Event is worth a lost change: `record` only notes it, `Recorder.run` writes one at a
time, and when more happens than can be told, what is told last is left out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

from fairway.client.events import Bucket, Correlator, Write, told
from fairway.client.http import Client
from fairway.client.transport import ServerUnreachable
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

_WAITING = 1000
T = TypeVar("T", bound=KubernetesObject)
log = logging.getLogger(__name__)


class Recorders:
    """One writer for the recorders of several components.

    ``budget``, if there is one, is what all of them may tell together: what is wrong on every node with ten thousand
    objects must not become the API server's whole work.
    """

    def __init__(self, client: Client, patience: Patience, budget: Bucket | None = None) -> None:
        self._budget = budget
        self._client = client
        self._patience = patience
        self._clock = patience.clock
        self._queue: asyncio.Queue[Write] = asyncio.Queue(_WAITING)
        self._left_out = 0

    def of(self, component: str, instance: str = "") -> Recorder:
        """The recorder of a component, which ``kubectl describe`` shows in the column From; see `Correlator`."""
        return Recorder(self, component, instance)

    def now(self) -> float:
        return self._clock.now()

    def put(self, write: Write) -> None:
        try:
            if self._budget is not None and not self._budget.take(self.now()):
                raise asyncio.QueueFull
            self._queue.put_nowait(write)
        except asyncio.QueueFull:
            self._left_out += 1

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            write = await self._queue.get()
            failures = 0
            while not await self._written(write):
                failures += 1
                await self._patience.wait(failures)
            if self._left_out and self._queue.empty():
                log.warning("%d Events were left out: more happened than could be told", self._left_out)
                self._left_out = 0

    async def _written(self, write: Write) -> bool:
        """Whether that is done; an Event that the server refuses is, too."""
        try:
            if not write.name:
                await self._client.create(write.resource, write.document)
                return True
            try:
                await self._client.patch(write.resource, write.name, write.document, write.namespace)
            except ApiError as error:
                if error.code != 404:
                    raise
                await self._client.create(write.resource, write.again)
        except ServerUnreachable:
            return False
        except ApiError as error:
            # The namespace goes, or the object's name cannot be an Event's: there is nobody to tell it to.
            log.debug("an Event was refused: %s", error)
        return True


class Recorder:
    """What one component tells."""

    def __init__(self, recorders: Recorders, component: str, instance: str = "") -> None:
        self._recorders = recorders
        self._correlator = Correlator(component, instance)

    def record(
        self, resource: Resource[T], about: T, reason: str, message: str, *, type_: str = "Normal", action: str = ""
    ) -> None:
        """Something happened to an object; returns at once."""
        write = self._correlator.decide(told(resource, about, reason, message, type_, action), self._recorders.now())
        if write is not None:
            self._recorders.put(write)
