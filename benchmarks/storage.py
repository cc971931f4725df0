"""How many Services a second an API server creates, with their addresses, on SQLite and on etcd.

    .venv/bin/python benchmarks/storage.py --etcd http://127.0.0.1:2379

Without HTTP: what is measured is the registry (defaults, validation, allocation) and the storage. Every Service gets
a cluster IP, and every tenth a node port. Prints JSON: Services a second with one writer and with 64, and how long one
create and one read take, in milliseconds. Use an etcd that nobody needs: its keys below /benchmark are left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from fairway.apiserver.registry import Registry
from fairway.apiserver.server import create_app, opened_storage
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.etcd_address import EtcdAddress, endpoints_of
from fairway.objects import resources


@contextlib.asynccontextmanager
async def registry_on(settings: Settings) -> AsyncIterator[Registry]:
    async with opened_storage(settings) as storage:
        yield (await create_app(storage, settings)).registry


async def create(registry: Registry, number: int) -> None:
    spec: dict[str, Any] = {"ports": [{"port": 80}], "selector": {"app": "web"}}
    if number % 10 == 0:
        spec["type"] = "NodePort"
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s{number}"}, "spec": spec}
    await registry.create(registry.kinds[resources.SERVICES], "default", document)


async def measure(settings: Settings, count: int) -> dict[str, float]:
    async with registry_on(settings) as registry:
        alone: list[float] = []
        for number in range(count // 10):
            start = time.perf_counter()
            await create(registry, number)
            alone.append(time.perf_counter() - start)
        numbers = iter(range(count // 10, count))

        async def writer() -> None:
            for number in numbers:
                await create(registry, number)

        start = time.perf_counter()
        await asyncio.gather(*(writer() for _ in range(64)))
        together = (count - count // 10) / (time.perf_counter() - start)
        start = time.perf_counter()
        for number in range(count // 10):
            await registry.get(registry.kinds[resources.SERVICES], "default", f"s{number}")
        read = (time.perf_counter() - start) / (count // 10)
    return {
        "creates per second, one writer": round(len(alone) / sum(alone)),
        "creates per second, 64 writers": round(together),
        "one create, median ms": round(statistics.median(alone) * 1000, 2),
        "one read, mean ms": round(read * 1000, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--etcd", default="", help="URLs of an etcd's members, with commas between them")
    parser.add_argument("--services", type=int, default=5000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        local = Settings(data_directory=Path(directory))
        found = {"sqlite": uvloop.run(measure(local, given.services))}
        if given.etcd:
            address = EtcdAddress(endpoints=endpoints_of(given.etcd), prefix=f"/benchmark/{uuid.uuid4().hex}")
            remote = Settings(data_directory=Path(directory), etcd=address)
            found["etcd"] = uvloop.run(measure(remote, given.services))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
