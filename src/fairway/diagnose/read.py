"""A `Cluster` read from an API server: four lists, at once."""

from __future__ import annotations

import asyncio

from fairway.client.http import Client
from fairway.diagnose.cluster import Cluster, Networks
from fairway.objects.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES


async def from_api(client: Client, networks: Networks) -> Cluster:
    """Everything that decides where packets go. Raises what the client raises."""
    services, slices, nodes, pods = await asyncio.gather(
        client.list(SERVICES), client.list(ENDPOINT_SLICES), client.list(NODES), client.list(PODS)
    )
    cluster = Cluster(networks=networks)
    cluster.extend(services.items)
    cluster.extend(slices.items)
    cluster.extend(nodes.items)
    cluster.extend(pods.items)
    return cluster
