"""Clusters that a real kube-proxy served are loaded into our lab, and real packets end there as they did then.

Every probe must end as the objects foretell, and as it was recorded where `tests.scenarios.dumps` names no difference:
answered by whom, with whose address; refused; or met with silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fairway.conform.stage import Stage, opened
from fairway.kernel.links import Links
from fairway.lab.ports import ServedPort
from fairway.lab.probe import Answer
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import ROUTER_ADDRESS, LabNode, LabPod, Topology
from fairway.model.packet import Verdict
from fairway.modes.registry import MODES
from tests.kernel.modes import HERE
from tests.scenarios.dumps import CLUSTERS, DUMPS, LISTENING, NODES, ROUTES_OF_EXT, Probe, difference, foreseen
from tests.scenarios.dumps import load as read
from tests.scenarios.dumps import probes as read_probes

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not DUMPS.is_dir(), reason=f"no folder of dumps at {DUMPS}"),
]

SILENCE = 0.4  # seconds
AT_ONCE = 20.0  # with room for a busy machine
SEVERAL = 3  # tries of what may go several ways
RECORDED = {"iptables": "iptables-nft"}
"""What the dumps call a mode of ours, where they call it something else."""
WORDS = {"answered": "answered", "refused": "refused", "timed out": "timeout", "unreachable": "unreachable"}


@pytest.fixture(params=[(mode, name) for mode in HERE for name in CLUSTERS], ids="-".join)
def place(
    request: pytest.FixtureRequest, make_network: Callable[[Topology], RunningNetwork]
) -> Iterator[tuple[Stage, str]]:
    mode, name = request.param
    network = make_network(_topology(name))
    for pod in network.topology.pods:
        network.serve(pod.key, *(ServedPort(port, protocol) for protocol, port in LISTENING if port != 6443))
    network.serve_at("router", ServedPort(6443), says="apiserver")
    with Links(network.network.router) as links:
        for destination in ("10.96.0.0/12", "198.51.100.0/24"):
            links.add_route(destination, via=NODES["n1"])
        for address, node in ROUTES_OF_EXT.items():
            links.add_route(f"{address}/32", via=NODES[node])
    with opened(network, MODES[mode]) as stage:
        cluster = read(name, moved=True)
        assert stage.load({node: cluster.view(node) for node in NODES}, as_change=False) == []
        yield stage, name


def test_packets_end_as_they_did_under_kube_proxy(place: tuple[Stage, str]) -> None:
    stage, name = place
    probes = _probes(name, stage.mode.name)
    assert len(probes) >= 40
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = pool.map(lambda probe: list(_problems(stage.network, probe)), probes)
        wrong = [one for some in found for one in some]
    assert wrong == []


def _topology(name: str) -> Topology:
    cluster = read(name, moved=True)
    nodes = tuple(
        LabNode(node.metadata.name, NODES[node.metadata.name], str(node.spec.pod_cidr), node.zone)
        for node in cluster.nodes.values()
    )
    pods = (
        LabPod(pod.metadata.name, pod.spec.node_name, pod.addresses[0], pod.metadata.namespace)
        for pod in cluster.pods.values()
        if pod.addresses and not pod.spec.host_network
    )
    return Topology("dump", nodes, tuple(pods))


def _probes(name: str, mode: str) -> list[Probe]:
    """Those of the mode's own name, or else of the first that the dump has: what is asked is the same."""
    found = read_probes(name, moved=True)
    wanted = RECORDED.get(mode, mode)
    if all(one.mode != wanted for one in found):
        wanted = found[0].mode
    return [one for one in found if one.mode == wanted]


def _problems(network: RunningNetwork, probe: Probe) -> Iterator[str]:
    expected = foreseen(probe)
    client = network.client_from("router" if probe.start.address == ROUTER_ADDRESS else _name(probe))
    target, several = probe.target, len(probe.journey.outcome.choices) > 1
    for _ in range(SEVERAL if several else 1):
        patience = SILENCE if "timeout" in expected else AT_ONCE
        answer = client.ask(target.address, target.port, target.protocol, timeout=patience)
        ended = WORDS[answer.result]
        if ended not in expected:
            yield f"{probe}: {answer}, foreseen {sorted(expected)}"
        elif difference(probe) is None and len(expected) == 1 and probe.outcomes != expected:
            yield f"{probe}: {answer}, recorded {sorted(probe.outcomes)}"
        elif answer.ok:
            yield from _of_answer(network.topology, probe, answer)


def _name(probe: Probe) -> str:
    """As the lab calls the place where a probe starts."""
    return "outside" if probe.start.outside else probe.start.name


def _of_answer(topology: Topology, probe: Probe, answer: Answer) -> Iterator[str]:
    """Whether one of the foreseen backends answered, and saw whom it should."""
    outcome = probe.journey.outcome
    if outcome.verdict is not Verdict.DELIVER:
        return
    pods = {choice.backend.target.rpartition("/")[2]: choice.masquerade for choice in outcome.choices}
    if answer.pod == "apiserver":
        return  # its slice names no pod
    if answer.pod not in pods:
        yield f"{probe}: {answer.pod} answered, foreseen {sorted(pods)}"
        return
    node = topology.node(probe.journey.hops[-1].node)
    seen = (node.address, node.gateway) if pods[answer.pod] else (probe.start.address,)
    if answer.client_address not in seen:
        yield f"{probe}: {answer.pod} saw {answer.client_address}, foreseen {' or '.join(seen)}"
