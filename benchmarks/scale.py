"""How long after `kubectl scale` the last node's kernel has the last change that follows from it.

    fairway lab up
    sudo .venv/bin/python benchmarks/scale.py --rounds 10

Needs a running lab. Each round scales a Deployment up and down again with the real kubectl; the times of the kernels'
acknowledgements come from the receipts of each node's proxy. Pods start and drain in between, so this is the whole
way: kubectl, API server, controllers, scheduler, pods, EndpointSlices, three proxies, three kernels. Prints JSON;
times in seconds, from the start of the kubectl process.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import time
from typing import Any

from fairway.kernel.command import run
from fairway.lab.network import Network
from fairway.lab.state import State


def receipts(network: Network, node: str) -> list[dict[str, Any]]:
    answer = run(["curl", "-sf", "http://127.0.0.1:10249/status"], namespace=network.place(node))
    found: list[dict[str, Any]] = json.loads(answer)["receipts"]
    return found


def seconds_of(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def scale(state: State, namespace: str, deployment: str, replicas: int) -> tuple[float, float, int]:
    """When kubectl started, when it had its answer, and the deployment's revision when it was all done."""
    kubectl = ["kubectl", "--kubeconfig", str(state.kubeconfig), "-n", namespace]
    started = time.time()
    subprocess.run(
        [*kubectl, "scale", f"deployment/{deployment}", f"--replicas={replicas}"], check=True, stdout=subprocess.DEVNULL
    )
    answered = time.time()
    subprocess.run([*kubectl, "rollout", "status", f"deployment/{deployment}"], check=True, stdout=subprocess.DEVNULL)
    return started, answered, replicas


def measure(state: State, namespace: str, deployment: str, replicas: int) -> dict[str, float]:
    network = Network(state.topology())
    nodes = [node.name for node in network.topology.nodes]
    started, answered, wanted = scale(state, namespace, deployment, replicas)
    first, last = [], []
    for node in nodes:
        times: list[float] = []
        give_up = time.monotonic() + 10
        while not times:  # the rollout is done when the pods are; the proxies hear of it a moment later
            if time.monotonic() > give_up:
                raise SystemExit(f"the proxy of {node} has no receipt of the change: did {deployment} change at all?")
            times = [
                seconds_of(one["at"])
                for one in receipts(network, node)
                if one["kind"] == "EndpointSlice"
                and one["object"].startswith(f"{namespace}/{deployment}-")
                and seconds_of(one["at"]) >= started
            ]
        first.append(min(times) - started)
        last.append(max(times) - started)
    return {"replicas": wanted, "kubectl": answered - started, "first_kernel": min(first), "last_kernel": max(last)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lab", default="lab")
    parser.add_argument("--namespace", default="shop")
    parser.add_argument("--deployment", default="frontend")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    state = State(given.lab)
    scale(state, given.namespace, given.deployment, 3)
    rounds = [
        measure(state, given.namespace, given.deployment, replicas) for _ in range(given.rounds) for replicas in (5, 3)
    ]
    up = [one["last_kernel"] for one in rounds if one["replicas"] == 5]
    print(json.dumps({"rounds": rounds, "last_kernel_after_scale_up_median": statistics.median(up)}, indent=2))


if __name__ == "__main__":
    main()
