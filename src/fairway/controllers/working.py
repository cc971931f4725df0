"""What all controllers have in common: a queue of keys that need work, workers, and how failures are told."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable

from fairway.client.transport import ServerUnreachable
from fairway.objects.meta import Key
from fairway.objects.status import ApiError
from fairway.runtime.queue import WorkLoop
from fairway.runtime.retry import Patience

WORKERS = 8
# So many failures in a row are everyday life between writers who meet at one object.
_QUIET = 5
log = logging.getLogger(__name__)


async def all_of(works: Iterable[Awaitable[None]]) -> None:
    """Do them at the same time, and all of them, even if one fails; raises what the first of them raised."""
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


class Controller(ABC):
    """Makes objects of one kind true, one key at a time; whatever fails is tried again, later and later.

    ``handle`` looks at the caches, decides and writes; it must come to nothing when everything is as it should be.
    """

    def __init__(self, name: str, patience: Patience) -> None:
        self.name = name
        self._loop: WorkLoop[Key] = WorkLoop(self.handle, on_error=self._note, workers=WORKERS, patience=patience)

    @abstractmethod
    async def handle(self, item: Key) -> None: ...

    def add(self, *keys: Key) -> None:
        """These need a look now."""
        for key in keys:
            self._loop.add(key)

    def add_later(self, key: Key, seconds: float) -> None:
        """This needs a look then, if nothing happens before."""
        self._loop.add_later(key, seconds)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._loop.run()

    async def quiet(self) -> None:
        """Wait until nothing needs a look now."""
        await self._loop.quiet()

    def _note(self, key: Key, error: Exception | None, failures: int) -> None:
        if error is None:
            log.log(logging.INFO if failures > _QUIET else logging.DEBUG, "%s: %s is well again", self.name, key)
        elif isinstance(error, ServerUnreachable):
            # The informers tell that the server is away, once for everybody.
            log.debug("%s: %s: %s", self.name, key, error)
        elif isinstance(error, ApiError) and is_namespace_going(error):
            log.debug("%s: %s: %s", self.name, key, error)
        elif isinstance(error, ApiError):
            often = failures == _QUIET + 1 or (failures == 1 and error.code not in (404, 409))
            log.log(logging.WARNING if often else logging.DEBUG, "%s: %s: %s; retrying", self.name, key, error)
        elif failures == 1:
            log.error("%s: %s failed, which is a bug", self.name, key, exc_info=error)


def is_namespace_going(error: ApiError) -> bool:
    """Whether a creation failed because its namespace is being deleted: then there is nothing to keep true."""
    return error.code == 403 and "because it is being terminated" in error.message
