"""``fairway bench api`` from end to end, with a shape that is done in a moment; nothing is timed."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

pytestmark = pytest.mark.clients

TIMEOUT = 90


async def bench(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairway", "bench", "api", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("storage", ["sqlite", "memory"])
async def test_a_small_run_measures_everything(storage: str) -> None:
    shape = ("--services", "20", "--watchers", "5", "--patches", "10", "--changes", "30")
    code, out, err = await bench("--storage", storage, *shape, "--output", "json")
    assert code == 0, err
    found = json.loads(out)
    assert found["shape"] == {
        "storage": storage,
        "services": 20,
        "endpoints": 200,
        "watchers": 5,
        "patches": 10,
        "changes": 30,
    }
    assert found["service_creates"]["count"] == found["endpointslice_creates"]["count"] == 20
    assert found["service_list"]["bytes"] < found["endpointslice_list"]["bytes"]
    assert found["service_patch"]["p50_ms"] <= found["service_patch"]["p99_ms"] <= found["service_patch"]["most_ms"]
    assert found["watch"]["count"] == 5 * 30
    assert found["memory_mib_end"]["rss"] <= found["memory_mib_end"]["peak"]


async def test_an_etcd_that_is_not_there_is_named() -> None:
    code, _, err = await bench("--storage", "etcd", "--etcd-servers", "http://127.0.0.1:1", "--services", "1")
    assert code == 1
    assert "no etcd to measure at http://127.0.0.1:1: Connection refused" in err
    assert "Traceback" not in err
