"""All controllers of a cluster, in one event loop, over shared caches; and the election of who runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from fairway.client.http import Client
from fairway.client.recorder import Recorders
from fairway.controllers.binder import Binder
from fairway.controllers.election import Candidate, Election
from fairway.controllers.endpointslices import MAX_ENDPOINTS
from fairway.controllers.feeds import Feeds
from fairway.controllers.furnisher import Furnisher
from fairway.controllers.membership import Membership
from fairway.controllers.mirror import Mirror
from fairway.controllers.replicator import Replicator
from fairway.controllers.roller import Roller
from fairway.controllers.slicer import Slicer
from fairway.controllers.subsetter import Subsetter
from fairway.controllers.watchman import GRACE_SECONDS, Watchman
from fairway.controllers.working import Controller
from fairway.runtime.retry import Backoff, Patience

# The first retry comes soon: it mostly follows a conflict, which a fresh cache resolves. The last ones are not far
# apart, so that a server that comes back finds everybody there.
_BACKOFF = Backoff(first=0.01, most=3.0)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """``node_grace`` is for how long, in seconds, a Node may be silent; without an ``election`` we just work.

    ``root_ca`` is the authority of the API server's certificate, in PEM, for every namespace to know; empty: untold.
    """

    node_grace: float = GRACE_SECONDS
    root_ca: str = ""
    max_endpoints_per_slice: int = MAX_ENDPOINTS
    election: Election | None = None


async def run_controllers(
    client: Client,
    *,
    on_ready: Callable[[], None] = lambda: None,
    patience: Patience | None = None,
    options: Options | None = None,
) -> None:
    """Keep the cluster true until cancelled; ``on_ready`` is called each time when all caches hold their first list.

    With an election this works only while it leads. While the server is away this waits, and says so once.
    """
    patience, options = patience or Patience(_BACKOFF), options or Options()

    async def work() -> None:
        await _work(client, patience, options, on_ready)

    if options.election is None:
        await work()
    else:
        await Candidate(client, options.election, patience.clock).run(work)


async def _work(client: Client, patience: Patience, options: Options, on_ready: Callable[[], None]) -> None:
    feeds = Feeds(client, patience)
    membership = Membership(feeds)
    tell = Recorders(client, patience)
    controllers: list[Controller] = [
        Slicer(
            client,
            feeds,
            membership,
            tell.of("endpoint-slice-controller"),
            patience,
            options.max_endpoints_per_slice,
        ),
        Subsetter(client, feeds, membership, tell.of("endpoint-controller"), patience),
        Mirror(client, feeds, tell.of("endpoint-slice-mirroring-controller"), patience),
        Roller(client, feeds, tell.of("deployment-controller"), patience),
        Replicator(client, feeds, tell.of("replicaset-controller"), patience),
        Binder(client, feeds, tell.of("default-scheduler"), patience),
        Watchman(client, feeds, tell.of("node-controller"), patience, options.node_grace),
        Furnisher(client, feeds, patience, options.root_ca),
    ]
    async with asyncio.TaskGroup() as group:
        for feed in feeds:
            group.create_task(feed.informer.run())
        await feeds.synced()
        for controller in controllers:
            group.create_task(controller.run())
        group.create_task(tell.run())
        on_ready()
