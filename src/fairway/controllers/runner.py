"""All controllers of a cluster, in one event loop, over shared caches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairway.client.http import Client
from fairway.controllers.binder import Binder
from fairway.controllers.feeds import Feeds
from fairway.controllers.replicator import Replicator
from fairway.controllers.roller import Roller
from fairway.controllers.slicer import Slicer
from fairway.controllers.working import Controller
from fairway.runtime.retry import Backoff, Patience

# The first retry comes soon: it mostly follows a conflict, which a fresh cache resolves. The last ones are not far
# apart, so that a server that comes back finds everybody there.
_BACKOFF = Backoff(first=0.01, most=3.0)


async def run_controllers(
    client: Client, *, on_ready: Callable[[], None] = lambda: None, patience: Patience | None = None
) -> None:
    """Keep the cluster true until cancelled; ``on_ready`` is called once when all caches hold their first list.

    While the server is away this waits, and says so once. Several at a time do no harm, for writes are optimistic; but
    they work against each other, so it is better to run one.
    """
    patience = patience or Patience(_BACKOFF)
    feeds = Feeds(client, patience)
    controllers: list[Controller] = [
        Slicer(client, feeds, patience),
        Roller(client, feeds, patience),
        Replicator(client, feeds, patience),
        Binder(client, feeds, patience),
    ]
    async with asyncio.TaskGroup() as group:
        for feed in feeds:
            group.create_task(feed.informer.run())
        await feeds.synced()
        for controller in controllers:
            group.create_task(controller.run())
        on_ready()
