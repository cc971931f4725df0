"""How nodes say that they live: whoever speaks for them renews a Lease for each, in ``kube-node-lease``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from fairway.client.http import Client
from fairway.client.transport import ServerUnreachable
from fairway.objects.codec import Document
from fairway.objects.resources import LEASES, NODES
from fairway.objects.status import ApiError
from fairway.runtime.clock import Clock, SystemClock, rfc3339_micro

NAMESPACE = "kube-node-lease"
# As kubelets do: four renewals within the controllers' grace period.
INTERVAL_SECONDS = 10.0
_LEASE_SECONDS = 40
log = logging.getLogger(__name__)


class Heartbeat:
    """Renews the Leases of some nodes; a node that is not registered is left out until it is.

    ``speaks_for`` is asked before each renewal, for whoever wants a node to fall silent.
    """

    def __init__(
        self,
        client: Client,
        nodes: Iterable[str],
        *,
        interval: float = INTERVAL_SECONDS,
        speaks_for: Callable[[str], bool] = lambda node: True,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._nodes = tuple(nodes)
        self._interval = interval
        self._speaks_for = speaks_for
        self._clock = clock or SystemClock()

    async def run(self) -> None:
        """Renew until cancelled; what fails is tried again with the next beat."""
        while True:
            for node in self._nodes:
                if not self._speaks_for(node):
                    continue
                try:
                    await self.beat(node)
                except (ApiError, ServerUnreachable) as error:
                    log.debug("node %s: its Lease could not be renewed: %s", node, error)
            await self._clock.sleep(self._interval)

    async def beat(self, node: str) -> None:
        """Renew the Lease of one node once; raises `ApiError` and `ServerUnreachable`."""
        spec: Document = {
            "holderIdentity": node,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": rfc3339_micro(self._clock.now()),
        }
        try:
            await self._client.patch(LEASES, node, {"spec": spec}, NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            await self._begin(node, spec)

    async def _begin(self, node: str, spec: Document) -> None:
        """The first renewal; the Lease belongs to the Node, and goes with it."""
        registered = await self._client.get(NODES, node)
        owner = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": registered.metadata.uid}
        metadata = {"name": node, "namespace": NAMESPACE, "ownerReferences": [owner]}
        await self._client.create(LEASES, {"metadata": metadata, "spec": spec})
