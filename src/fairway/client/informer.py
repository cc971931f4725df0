"""A cache that follows the API server: list once, then watch, for ever.

    LIST ──▶ Reflection.replace ──┐   or one watch that begins with everything, where the server can (KEP-3157)
     ▲                            ├──▶ changes ──▶ on_change(key, old, new)
     │ 410                        │
    WATCH ─▶ Reflection.apply ────┘
     ▲ │ ended, or broke off: watch again from the revision reached
     └─┘

    own write ─▶ Reflection.observe: the cache has it at once, and a watch that lags behind cannot take it back

`Reflection` is the state machine (`fairway.client.reflection`); `Informer` drives it.
While the server is away the cache keeps what it had; after a relist the differences come out as changes, so whoever
listens never has to know what happened in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

from fairway.client.http import WATCH_SECONDS, Client, Event, Unreadable
from fairway.client.reflection import Change, Reflection
from fairway.client.transport import ServerUnreachable
from fairway.objects.codec import DecodeError
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError
from fairway.runtime.retry import Backoff, Patience

T = TypeVar("T", bound=KubernetesObject)
OnChange = Callable[[Key, T | None, T | None], None]
log = logging.getLogger(__name__)

SILENCE_SECONDS = 10.0
"""So long may a server keep silent amid the objects that it was asked to begin a watch with."""
STEADY_SECONDS = 0.5
"""A watch that lasts so long counts as an answer of the server, even if it says nothing."""
OVERDUE_SECONDS = WATCH_SECONDS + 60.0
"""A watch that lasts so long although the server was to end it is one whose other end has stopped, or is not heard."""
# Invalid, where the feature is off (1.33 has it so by default); bad request, from what stands in between; an internal
# error, where the feature is on and the server's etcd is too old for it (before 3.4.31 and 3.5.13).
_NOT_STREAMED = (400, 422, 500, 501)


def _collect(held: dict[Key, T], event: Event[T]) -> None:
    if event.type == "DELETED":
        held.pop(event.metadata.key, None)
    elif event.object is not None:
        held[event.metadata.key] = event.object


class Informer(Generic[T]):
    """Keeps ``cache`` like the server's objects of one resource, from ``run()`` until that is cancelled.

    ``on_change(key, old, new)`` is called in the event loop, after the cache has the change, and must not block; an
    exception from it ends ``run()``. To read less than the resource's class, pass ``resource.read_as(Slim)``.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource[T],
        *,
        on_change: OnChange[T] | None = None,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        patience: Patience | None = None,
    ) -> None:
        self._silence: float | None = None
        self._overdue = OVERDUE_SECONDS
        self._client = client
        self._on_change = on_change
        self._on_pause: Callable[[], None] = lambda: None
        self._on_unreadable: Callable[[Unreadable], None] = lambda one: None
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._saving_selector = ""
        self._patience = patience or Patience(Backoff(first=0.1, most=5.0))
        self._reflection: Reflection[T] = Reflection()
        self._resource = resource.beside(self._reflection.objects.get)
        self._synced = asyncio.Event()
        self._answered = asyncio.Event()
        self._failures = 0
        self._refused = False
        self._unreadable: dict[Key, Unreadable] = {}
        self._reported: dict[Key, Unreadable] = {}

    @property
    def unreadable(self) -> Mapping[Key, Unreadable]:
        """The objects that are not in the cache because nobody could read them."""
        return self._unreadable

    @property
    def cache(self) -> Mapping[Key, T]:
        return self._reflection.objects

    @property
    def resource_version(self) -> str:
        """The revision that the cache stands for; empty before the first list."""
        return self._reflection.resource_version

    def stream(self, silence: float = SILENCE_SECONDS) -> Informer[T]:
        """Let a watch bring the first whole list, too, object by object: the server need not make it at once.

        A server that refuses, or is silent for so many seconds before it has told everything, is asked for a list.
        """
        self._silence = silence
        return self

    def lasting(self, seconds: float) -> Informer[T]:
        """Ask anew when a watch has not ended in that time: a server that stands still keeps its connections."""
        self._overdue = seconds
        return self

    def pausing(self, on_pause: Callable[[], None]) -> Informer[T]:
        """Call this each time that all was told of what came together: a list, or what one look at a watch found."""
        self._on_pause = on_pause
        return self

    def reporting(self, on_unreadable: Callable[[Unreadable], None]) -> Informer[T]:
        """Call this for each object that nobody can read, once for as long as the same is wrong with it."""
        self._on_unreadable = on_unreadable
        return self

    def saving(self, field_selector: str) -> Informer[T]:
        """Select also by these fields, for the sake of what need not be sent.

        A server that does not know them is asked without, so whoever listens must bear the rest.
        """
        self._saving_selector = field_selector
        return self

    @property
    def is_synced(self) -> bool:
        """Whether the cache has held a whole list."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Wait until the cache holds the first whole list and ``on_change`` has heard of it."""
        await self._synced.wait()

    def remember(self, items: Iterable[T]) -> None:
        """Take these for the server's objects until the first list; nothing happens after it."""
        if not self._synced.is_set():
            self._announce(self._reflection.remember(items))

    async def answered(self) -> None:
        """Wait for the first whole list, or for the server to say that there is no such resource or not for us.

        It is asked again all the same: a cluster can be upgraded, a role be changed.
        """
        await self._answered.wait()

    def observe(self, written: T) -> None:
        """Put the server's answer to our own write into the cache now, so that we read what we wrote.

        Nothing happens if the watch was faster.
        """
        change = self._reflection.observe(written)
        if change is not None:
            self._announce((change,))

    async def run(self) -> None:
        """Follow the server until cancelled."""
        while True:
            try:
                if not self._reflection.resource_version and not (self._silence and await self._stream(self._silence)):
                    await self._list()
                progressed = await self._watch()
            except (ApiError, ServerUnreachable, DecodeError) as error:
                await self._failed(error)
            else:
                # A watch that ends at once without a word must not make us ask in a circle.
                if not progressed:
                    await self._patience.wait(1)

    async def _list(self) -> None:
        listed = await self._client.list(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._fields(),
        )
        self._unreadable = {}
        for one in listed.unreadable:
            self._leave_out(one)
        self._hold(listed.items, listed.metadata.resource_version)

    async def _stream(self, silence: float) -> bool:
        """Everything there is and then what happens, in one watch, until that ends; False when a list is needed."""
        held: dict[Key, T] = {}
        whole = False
        self._unreadable = {}
        clock = asyncio.get_running_loop().time
        overdue = clock() + self._overdue
        watch = self._events("", initial=True)
        try:
            async with asyncio.timeout(silence) as patience, aclosing(watch):
                async for events in watch:
                    following = whole
                    for event in events:
                        if whole:
                            self._apply(event)
                        elif whole := event.ends_initial:
                            self._hold(held.values(), event.metadata.resource_version)
                        else:
                            self._note(event)
                            _collect(held, event)
                    self._on_pause()
                    if not following:
                        # Who does not know the request is silent after the last object; so is a quiet cluster then.
                        patience.reschedule(overdue if whole else clock() + silence)
        except TimeoutError:
            if not whole:
                self._silence = None
        except ApiError as error:
            if error.code not in _NOT_STREAMED or self._may_ask_for_more(error):
                raise
            self._silence = None
        return self._reflection.resource_version != ""

    async def _watch(self) -> bool:
        """Follow one watch to its end; returns whether it said anything."""
        progressed = False
        watch = self._events(self._reflection.resource_version)
        try:
            async with asyncio.timeout(self._overdue), aclosing(watch):
                # The server has said yes; in a quiet cluster it may be a minute until it says more.
                await anext(watch, None)
                steady = asyncio.get_running_loop().call_later(STEADY_SECONDS, self._client.note_back)
                try:
                    async for events in watch:
                        progressed = True
                        self._recovered()
                        for event in events:
                            self._apply(event)
                        self._on_pause()
                finally:
                    steady.cancel()
        except TimeoutError:
            log.info("%s: the API server has not ended a watch in time, asking again", self._resource.qualified)
        return progressed

    def _events(self, revision: str, *, initial: bool = False) -> AsyncGenerator[Sequence[Event[T]], None]:
        return self._client.watch(
            self._resource,
            revision,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._fields(),
            initial=initial,
        )

    def _fields(self) -> str:
        return ",".join(filter(None, (self._field_selector, self._saving_selector)))

    def _hold(self, items: Iterable[T], resource_version: str) -> None:
        """The server has told everything there is."""
        self._reported = {**self._unreadable}
        self._announce(self._reflection.replace(items, resource_version))
        self._on_pause()
        self._recovered()
        self._synced.set()
        self._answered.set()

    def _note(self, event: Event[T]) -> None:
        if event.unreadable is not None:
            self._leave_out(event.unreadable)
        elif self._reported:
            self._unreadable.pop(event.metadata.key, None)
            self._reported.pop(event.metadata.key, None)

    def _leave_out(self, one: Unreadable) -> None:
        key = one.metadata.key
        known = self._reported.get(key)
        self._unreadable[key] = self._reported[key] = one
        if known is None or str(known) != str(one):
            self._on_unreadable(one)

    def _apply(self, event: Event[T]) -> None:
        self._note(event)
        change = self._reflection.apply(event)
        if change is not None:
            self._announce((change,))

    def _announce(self, changes: Iterable[Change[T]]) -> None:
        if self._on_change is not None:
            for key, old, new in changes:
                self._on_change(key, old, new)

    async def _failed(self, error: ApiError | ServerUnreachable | DecodeError) -> None:
        if isinstance(error, ApiError) and error.code in (403, 404):
            self._answered.set()
        if self._may_ask_for_more(error):
            log.info("%s: %s; asking for all of them", self._resource.qualified, error)
            self._saving_selector = ""
            return
        if isinstance(error, ApiError) and error.code == 410:
            self._reflection.expire()
            log.info("%s: the revision of the watch is too old, listing again", self._resource.qualified)
        elif isinstance(error, ServerUnreachable):
            self._client.note_away(error)
        elif not self._refused:
            self._refused = True
            log.warning("%s: %s; retrying", self._resource.qualified, error)
        self._failures += 1
        await self._patience.wait(self._failures)

    def _may_ask_for_more(self, error: Exception) -> bool:
        """Whether it may be that the server only does not know the field by which we would save something."""
        return bool(self._saving_selector) and isinstance(error, ApiError) and error.code == 400

    def _recovered(self) -> None:
        self._client.note_back()
        if self._refused:
            log.info("%s: following the API server again", self._resource.qualified)
        self._failures, self._refused = 0, False
