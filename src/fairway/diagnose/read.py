"""A `Cluster` read from an API server: five lists, at once."""

from __future__ import annotations

import asyncio

from fairway.client.http import Client
from fairway.diagnose.cluster import Cluster, Networks
from fairway.objects.networking import ServiceCIDR
from fairway.objects.resources import ENDPOINT_SLICES, NODES, PODS, SERVICE_CIDRS, SERVICES
from fairway.objects.status import ApiError


async def from_api(client: Client, networks: Networks) -> Cluster:
    """Everything that decides where packets go. Raises what the client raises."""
    services, slices, nodes, pods, cidrs = await asyncio.gather(
        client.list(SERVICES),
        client.list(ENDPOINT_SLICES),
        client.list(NODES),
        client.list(PODS),
        _service_cidrs(client),
    )
    cluster = Cluster(networks=networks)
    cluster.extend(services.items)
    cluster.extend(slices.items)
    cluster.extend(nodes.items)
    cluster.extend(pods.items)
    cluster.extend(cidrs)
    return cluster


async def _service_cidrs(client: Client) -> tuple[ServiceCIDR, ...]:
    """None in a cluster before 1.33, or for a reader who may not see them: then the flag says it."""
    try:
        return tuple((await client.list(SERVICE_CIDRS)).items)
    except ApiError as error:
        if error.code not in (403, 404):
            raise
        return ()
