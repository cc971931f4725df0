"""When everything that was applied runs: all Deployments have their pods, and all pods are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.lab.errors import LabError
from fairway.objects.cluster import Pod
from fairway.objects.resources import DEPLOYMENTS, PODS
from fairway.objects.workloads import Deployment

_SHOWN = 8


async def until_ready(client: Client, seconds: float) -> None:
    """Wait until nothing is `missing`; raises `LabError` with what still is after so many seconds."""
    changed = asyncio.Event()

    def on_change(*_: object) -> None:
        changed.set()

    deployments: Informer[Deployment] = Informer(client, DEPLOYMENTS, on_change=on_change)
    pods: Informer[Pod] = Informer(client, PODS, on_change=on_change)

    async def wait() -> None:
        await deployments.synced()
        await pods.synced()
        while missing(deployments.cache.values(), pods.cache.values()):
            changed.clear()
            await changed.wait()

    tasks = [asyncio.create_task(deployments.run()), asyncio.create_task(pods.run())]
    try:
        async with asyncio.timeout(seconds):
            await wait()
    except TimeoutError:
        found = missing(deployments.cache.values(), pods.cache.values())
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise LabError(f"not ready after {seconds:g} s: {'; '.join(found[:_SHOWN])}{more}") from None
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def missing(deployments: Iterable[Deployment], pods: Iterable[Pod]) -> list[str]:
    """What is not as it should be yet, in words; empty when everything runs."""
    found = []
    for deployment in deployments:
        wanted = 1 if deployment.spec.replicas is None else deployment.spec.replicas
        status = deployment.status
        if status.observed_generation < deployment.metadata.generation:
            found.append(f"deployment {deployment.key}: not seen yet")
        elif not (status.updated_replicas == status.ready_replicas == status.replicas == wanted):
            found.append(f"deployment {deployment.key}: {status.ready_replicas} of {wanted} pods ready")
    found += [f"pod {pod.key}: {_state(pod)}" for pod in pods if not pod.ready and not pod.terminating]
    return found


def _state(pod: Pod) -> str:
    if not pod.spec.node_name:
        return "not given to a node"
    return f"{pod.status.phase or 'not started'} on {pod.spec.node_name}"
