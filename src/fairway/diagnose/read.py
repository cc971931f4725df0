"""A `Cluster` read from an API server: four lists, at once."""

from __future__ import annotations

import asyncio

from fairway.client.http import Client
from fairway.diagnose.cluster import Cluster, Networks
from fairway.objects.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES


async def from_api(client: Client, networks: Networks) -> Cluster:
    """Everything that decides where packets go. Raises what the client raises."""
    lists = await asyncio.gather(*(client.list(one) for one in (SERVICES, ENDPOINT_SLICES, NODES, PODS)))
    cluster = Cluster(networks=networks)
    for found in lists:
        for one in found.items:
            cluster.add(one)
    return cluster
