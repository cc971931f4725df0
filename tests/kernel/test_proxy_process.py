"""`fairway proxy` as a node runs it: objects in, packets delivered; killed, flushed, refused, and still right."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fairway.cli.main import run as fairway
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.conntrack import Conntrack, Match
from fairway.kernel.links import set_sysctls
from fairway.kernel.namespaces import NetworkNamespace
from fairway.lab.ports import ServedPort
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology, cluster
from fairway.objects.resources import SERVICE_CIDRS
from tests.kernel.proxy_world import NODE, NODE_ADDRESS, PATIENCE, VIP, Api, Conversation, Proxy, nft, proxy, until

pytestmark = pytest.mark.kernel

NOT_OWNED = "--nftables-own-tables=false"
SERVED = (ServedPort(8080), ServedPort(8080, "UDP"))


@dataclass
class World:
    network: RunningNetwork
    api: Api
    directory: Path

    @property
    def node(self) -> NetworkNamespace:
        return self.network.network.place(NODE)

    @property
    def web(self) -> list[str]:
        return [self.network.address("web-1"), self.network.address("web-2")]

    def proxy(self, *flags: str, ready: bool = True) -> AbstractContextManager[Proxy]:
        networks = ("--cluster-cidr=10.244.0.0/16", "--service-cluster-ip-range=10.96.0.0/16")
        return proxy(self.node, self.api.kubeconfig, self.directory / "proxy.log", *networks, *flags, ready=ready)

    def cleanup(self, *flags: str) -> str:
        return run([sys.executable, "-m", "fairway.cli.main", "proxy", "--cleanup", *flags], namespace=self.node)

    def converse(self, address: str = VIP, port: int = 80) -> Conversation:
        place = self.network.network.place
        return Conversation(place("shell"), (address, port), [place("talk-1"), place("talk-2")])

    def until_answers(self, expected: set[str], what: str, *, times: int = 32) -> None:
        until(self.node, lambda: self.answers(times=times, patience=1.0) == expected, what)

    def answers(
        self, address: str = VIP, *, place: str = "shell", times: int = 32, port: int = 80, patience: float = PATIENCE
    ) -> set[str]:
        """Who answers there, asked so often that each of two would be heard; ``refused`` and ``timed out`` too."""
        client = self.network.client_from(place)
        found = (client.ask(address, port, timeout=patience) for _ in range(times))
        return {one.pod or one.result for one in found}


@pytest.fixture(scope="module")
def network(make_network: Callable[[Topology], RunningNetwork]) -> RunningNetwork:
    pods = [(name, NODE) for name in ("web-1", "web-2", "talk-1", "talk-2", "shell")]
    made = make_network(cluster(nodes=1, pods=pods))
    for name in ("web-1", "web-2"):
        made.serve(name, *SERVED)
    return made


@pytest.fixture
def world(network: RunningNetwork, tmp_path: Path) -> Iterator[World]:
    """An API server that knows the node and nothing else; a kernel that holds nothing."""
    with Api(network.network.place(NODE), tmp_path / "api") as api:
        api.node()
        found = World(network, api, tmp_path)
        nft(found.node, "flush", "ruleset")
        yield found


def test_what_is_applied_answers_and_what_goes_stops_answering(world: World) -> None:
    with world.proxy():
        world.api.service("web")
        world.until_answers({"refused"}, "a Service without endpoints refuses")
        world.api.endpoints("web", *world.web)
        world.until_answers({"web-1", "web-2"}, "both answer")
        world.api.endpoints("web", world.web[1])
        world.until_answers({"web-2"}, "only the second answers")
        world.api.delete("web")
        world.until_answers({"timed out"}, "nobody has the address", times=1)


@pytest.mark.reference("7.5 KubeProxy: recreate its iptables rules if they are deleted")
def test_the_iptables_mode_follows_repairs_and_is_cleaned_up(world: World) -> None:
    world.api.service("web")
    with world.proxy("--proxy-mode=iptables", "--iptables-variant=nft") as running:
        world.until_answers({"refused"}, "a Service without endpoints refuses")
        world.api.endpoints("web", *world.web)
        world.until_answers({"web-1", "web-2"}, "both answer")
        run(["iptables-nft", "-t", "nat", "-F"], namespace=world.node)
        until(world.node, lambda: "put back with" in running.said(), "the flush is noticed")
        world.until_answers({"web-1", "web-2"}, "both answer again")
        world.api.endpoints("web", world.web[1])
        world.until_answers({"web-2"}, "only the second answers")
        assert "changed by iptables" in running.said()
    with world.proxy("--proxy-mode=iptables", "--iptables-variant=nft") as second:
        assert "it held all of it already" in second.said()
    assert "iptables-nft ip nat: KUBE-" in world.cleanup("--proxy-mode=iptables")
    assert "KUBE" not in run(["iptables-nft-save"], namespace=world.node)


def test_a_node_port_answers_at_the_nodes_own_address(world: World) -> None:
    world.api.service("web", node_port=30080)
    world.api.endpoints("web", *world.web)
    with world.proxy():
        assert world.answers(NODE_ADDRESS, place="outside", port=30080) == {"web-1", "web-2"}
        assert world.answers("127.0.0.1", place=NODE, port=30080, times=1) == {"refused"}


@pytest.mark.reference("7.5 Networking: check kube-proxy urls")
@pytest.mark.reference("7.4 TestConfigz, TestStatuszRegistryReceivesListedPaths")
def test_health_speaks_of_packets_and_configz_of_what_counts(world: World) -> None:
    with world.proxy("--conntrack-min=7") as running:
        until(world.node, lambda: '"delivered":true' in running.get("/healthz", 10256)[1], "the canary arrives")
        assert running.get("/healthz", 10256)[0] == 200
        found = json.loads(running.get("/configz")[1])["kubeproxy.config.k8s.io"]
        assert found["kind"] == "KubeProxyConfiguration"
        assert found["conntrack"]["min"] == 7
        assert "conntrack-min=7\n" in running.get("/flagz")[1]
        assert "/metrics/slis" in running.get("/statusz")[1]
        assert 'kubernetes_healthcheck{name="ping",type="healthz"} 1' in running.get("/metrics/slis")[1]


def test_a_node_that_boots_while_the_api_is_away_has_the_services_it_had(world: World) -> None:
    world.api.service("web")
    world.api.endpoints("web", *world.web)
    file = world.directory / "last" / "state.json"
    with world.proxy(f"--state-file={file}") as first:
        until(world.node, file.exists, "the state is kept")
        # Less than a minute before it is stopped.
        world.api.endpoints("web", world.web[1])
        until(world.node, lambda: world.answers() == {"web-2"}, "the change is there")
        assert first.stop() == 0
    world.api.close()
    nft(world.node, "flush", "ruleset")
    with world.proxy(f"--state-file={file}") as second:
        assert world.answers() == {"web-2"}
        assert re.search(
            r"the API server has not told what there is: \d+ Services as they were \d+ s ago", second.said()
        )
        assert second.status()["rememberedFrom"] is not None


@pytest.mark.reference("7.5 Service CIDRs: create Services and serve on different Service CIDRs")
@pytest.mark.reference("7.2 TestProxier_OnServiceCIDRsChanged")
def test_a_network_of_cluster_ips_counts_while_it_is_declared(world: World) -> None:
    """What goes to an unused cluster IP is dropped, instead of being sent to wherever the default route leads."""

    def networks() -> set[str]:
        return set(
            re.findall(r"10\.\d+\.0\.0/\d+", nft(world.node, "list", "set", "ip", "fairway", "service-networks"))
        )

    with world.proxy() as running:
        assert networks() == {"10.96.0.0/16"}
        world.api.service_cidr("extra", "10.200.0.0/24")
        until(world.node, lambda: networks() == {"10.96.0.0/16", "10.200.0.0/24"}, "the new network counts")
        assert running.status()["node"]["service_networks"] == ["10.96.0.0/16", "10.200.0.0/24"]
        world.api.call(lambda client: client.delete(SERVICE_CIDRS, "extra"))
        until(world.node, lambda: networks() == {"10.96.0.0/16"}, "the network has gone")


@pytest.mark.reference("7.5 should work after restarting kube-proxy / restarting apiserver")
@pytest.mark.reference("7.2 TestSyncProxyRulesStartup")
def test_killed_and_started_again_it_adopts_the_rules_and_no_connection_notices(world: World) -> None:
    world.api.service("web")
    world.api.endpoints("web", world.network.address("talk-1"), world.network.address("talk-2"))
    with world.proxy() as first:
        talk = world.converse()
        first.kill()
        assert talk.still_works()
    with talk, world.proxy() as second:
        assert talk.still_works()
        assert "it held all of it already" in second.said()
        assert second.status()["rounds"][0]["commands"] == 0


def test_what_changed_while_there_was_no_proxy_is_caught_up_with(world: World) -> None:
    world.api.service("web")
    world.api.endpoints("web", world.web[0])
    with world.proxy() as first:
        assert first.stop() == 0
        assert "the rules stay" in first.said()
    assert world.answers() == {"web-1"}
    world.api.endpoints("web", world.web[1])
    with world.proxy():
        assert world.answers() == {"web-2"}


@pytest.mark.reference("7.5 KubeProxy: recreate its iptables rules if they are deleted")
@pytest.mark.parametrize(
    "intrusion",
    [("flush", "ruleset"), ("delete", "table", "ip", "fairway"), ("flush", "table", "ip", "fairway")],
    ids=lambda words: " ".join(words),
)
def test_what_somebody_removes_comes_back_and_the_log_names_who(world: World, intrusion: tuple[str, ...]) -> None:
    world.api.service("web")
    world.api.endpoints("web", *world.web)
    with world.proxy(NOT_OWNED) as running:
        wanted = nft(world.node, "list", "table", "ip", "fairway")
        talk = world.network.client_from("shell")
        nft(world.node, *intrusion)
        until(world.node, lambda: "put back" in running.said(), "the log tells of a repair")
        assert nft(world.node, "list", "table", "ip", "fairway") == wanted
        assert talk.ask(VIP, 80, timeout=PATIENCE).ok
        assert "kernel state changed by nft (pid " in running.said()
        until(world.node, lambda: running.status()["rounds"][-1]["kind"] == "repair", "it is told as a repair")


def test_nobody_removes_what_is_owned_and_it_can_be_read_whose_it_is(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.api.service("web")
    world.api.endpoints("web", *world.web)
    with world.proxy() as running:
        nft(world.node, "flush", "ruleset")
        with pytest.raises(CommandFailed, match="Operation not permitted"):
            nft(world.node, "delete", "table", "ip", "fairway")
        assert world.answers() == {"web-1", "web-2"}
        assert [one["kind"] for one in running.status()["rounds"]] == ["start"]
        assert "fairway_proxy_tables_owned 1.0" in running.get("/metrics")[1]
        for flags, told in (
            (["--plan"], "only {} can change it: stop that first"),
            (["--force"], "belongs to {}: nobody"),
        ):
            code = world.node.run(partial(fairway, ["cleanup", *flags]))
            said = capsys.readouterr()
            assert told.format(f"fairway (pid {running.process.pid})") in said.out + said.err
            assert code == (1 if flags == ["--force"] else 0)
        assert world.answers() == {"web-1", "web-2"}


def test_an_open_connection_survives_the_loss_of_all_rules(world: World) -> None:
    world.api.service("web")
    world.api.endpoints("web", world.network.address("talk-1"))
    with world.proxy(NOT_OWNED) as running, world.converse() as talk:
        nft(world.node, "flush", "ruleset")
        until(world.node, lambda: "put back" in running.said(), "the log tells of a repair")
        assert talk.still_works()


@pytest.mark.reference("7.2 TestCleanupLeftovers")
def test_other_peoples_tables_are_none_of_its_business(world: World) -> None:
    with world.proxy() as running:
        nft(world.node, "add", "table", "ip", "theirs")
        world.api.service("web")
        world.until_answers({"refused"}, "a Service without endpoints refuses")
        assert "put back" not in running.said()
        assert running.stop() == 0
        removed = {line.partition(". ")[0] for line in world.cleanup().splitlines()}
        assert {f"removed: nftables: table {family} fairway" for family in ("ip", "ip6")} <= removed
        assert nft(world.node, "list", "tables").split("\n") == ["table ip theirs", ""]
        assert world.cleanup() == "nothing stale is here\n"


def test_rules_of_kube_proxys_beside_ours_are_told_once_at_the_start(world: World) -> None:
    for tool in ("iptables-nft", "iptables-legacy"):
        run([tool, "-t", "nat", "-N", "KUBE-SERVICES"], namespace=world.node)
    nft(world.node, "add", "table", "ip6", "kube-proxy")
    names = "chain KUBE-SERVICES (iptables-nft, ip), table ip6 kube-proxy (nftables), "
    names += "chain KUBE-SERVICES (iptables-legacy, ip)"
    told = f"rules of kube-proxy's are still here and may serve clients in our place: {names}; `fairway cleanup --plan`"
    try:
        with world.proxy() as running:
            until(world.node, lambda: told in running.said(), "the rivals are told")
            assert running.said().count("kube-proxy's") == 1
    finally:
        run(["iptables-legacy", "-t", "nat", "-X", "KUBE-SERVICES"], namespace=world.node)
        nft(world.node, "flush", "ruleset")
    with world.proxy() as running:
        world.api.service("web")
        world.until_answers({"refused"}, "a Service without endpoints refuses")
        assert running.said().count("kube-proxy's") == 1


def test_two_proxies_do_not_work_against_each_other(world: World) -> None:
    with world.proxy() as first:
        with world.proxy(ready=False) as second:
            assert second.process.wait(PATIENCE) == 1
            assert f"works in this network namespace already: process {first.process.pid}" in second.said()
        with pytest.raises(CommandFailed, match="works in this network namespace already"):
            world.cleanup()


def test_a_kernel_that_refuses_is_told_of_once_and_asked_again(world: World) -> None:
    world.api.service("web")
    world.api.endpoints("web", *world.web)
    start = partial(subprocess.Popen, ["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    with world.node.run(start) as owner:
        assert owner.stdin
        # The kernel lets nobody else touch a table that has an owner, until the owner's socket closes.
        owner.stdin.write("add table ip fairway { flags owner; }\n")
        owner.stdin.flush()
        until(world.node, lambda: "fairway" in nft(world.node, "list", "tables"), "somebody owns our table")
        with world.proxy(ready=False) as running:
            until(world.node, lambda: "trying again" in running.said(), "the refusal is in the log")
            assert f"table ip fairway belongs to nft (pid {owner.pid})" in running.said()
            assert running.status()["ready"] is False
            owner.stdin.close()
            owner.wait(PATIENCE)
            world.until_answers({"web-1", "web-2"}, "the kernel has let us")
            assert running.said().count("trying again") == 1
            until(world.node, lambda: "the kernel follows again" in running.said(), "the log tells of the recovery")


# Two more ports for the same API server; what goes to the first of them can be cut off.
MORE_PORTS = """
table ip doors {
  chain in { type nat hook output priority -100; tcp dport { 6444, 6445 } redirect to :6443; }
  chain out { type filter hook output priority 0; }
}
"""
WALL = "tcp dport 6443 ct original proto-dst 6444 reject with tcp reset"


def test_what_is_wrong_with_a_service_is_an_event_of_it_and_the_start_one_of_the_node(world: World) -> None:
    world.api.service("web", external_ips=["2001:db8::7"])

    why = "'2001:db8::7' takes no traffic: the Service has no cluster IP of its family"
    sentence = f"node node-1: spec.externalIPs[0]: {why}"
    expected = {("web", "NotServed", sentence), (NODE, "Starting", "")}
    with world.proxy():
        until(world.node, lambda: world.api.events() == expected, "the Events are written")


def test_when_one_api_server_does_not_answer_it_follows_the_next(world: World) -> None:
    """One server at three ports: nobody is at the first, and the second is cut off later."""
    run(["nft", "-f", "-"], namespace=world.node, input=MORE_PORTS)
    world.api.service("web")
    servers = ",".join(f"https://127.0.0.1:{port}" for port in (1, 6444, 6445))
    with world.proxy(f"--master={servers}") as running:
        assert world.answers() == {"refused"}
        nft(world.node, "add", "rule", "ip", "doors", "out", WALL)
        world.api.endpoints("web", world.web[0])
        moved = "https://127.0.0.1:6444 does not answer; using https://127.0.0.1:6445"
        until(world.node, lambda: moved in running.said(), "the last one is used")
        world.api.endpoints("web", world.web[1])
        world.until_answers({"web-2"}, "what the last one tells is followed")
        nft(world.node, "delete", "table", "ip", "doors")  # or the server would wait for the client that was cut off


@pytest.mark.reference("7.5 should work after restarting kube-proxy / restarting apiserver")
def test_it_does_without_the_api_server_and_goes_on_when_that_is_back(world: World) -> None:
    world.api.service("web")
    world.api.endpoints("web", world.web[0])
    with world.proxy() as running:
        world.api.close()
        until(world.node, lambda: "cannot reach the API server" in running.said(), "the log tells that it is away")
        assert world.answers() == {"web-1"}
        assert running.get("/livez", 10256)[0] == 200
        with Api(world.node, world.directory / "api") as again:
            again.node()
            again.service("web")
            again.endpoints("web", world.web[1])
            world.until_answers({"web-2"}, "the new state is followed")


@pytest.mark.reference("7.5 Conntrack: cleanup conntrack entries when UDP targetPort changes for NodePort")
@pytest.mark.reference("7.5 LoadBalancers / Conntrack: preserve UDP traffic when server pod cycles")
def test_a_udp_client_that_keeps_its_port_follows_its_service(world: World) -> None:
    with world.proxy(), world.network.client_from("shell").namespace.socket(kind=socket.SOCK_DGRAM) as client:
        client.settimeout(1.0)
        client.connect((VIP, 80))

        def answer() -> str:
            try:
                client.send(b"who?")
                return client.recv(512).decode().split()[0]
            except OSError:
                return "nobody"

        assert answer() == "nobody"
        world.api.service("web", protocol="UDP")
        world.api.endpoints("web", world.web[0], protocol="UDP")
        until(world.node, lambda: answer() == "web-1", "a flow from before the Service reaches its first backend")
        world.api.endpoints("web", world.web[1], protocol="UDP")
        until(world.node, lambda: answer() == "web-2", "a flow to a backend that left reaches the one that is there")


@pytest.mark.reference("7.5 Conntrack: initial unready endpoints get ready")
def test_a_udp_client_is_followed_through_every_change_and_its_neighbour_is_left_alone(world: World) -> None:
    """The first backend, another one, none, a node port, the end; each by one flow that never changes its port."""
    world.api.service("other", "10.96.7.8", protocol="UDP")
    world.api.endpoints("other", world.web[0], protocol="UDP")
    with world.proxy() as running, ExitStack() as stack:
        # The neighbour is silent meanwhile, and its flow is to be the same afterwards, however long that takes.
        for kind in ("udp_timeout", "udp_timeout_stream"):
            set_sysctls({f"net.netfilter.nf_conntrack_{kind}": "600"}, world.node)
        place = world.network.client_from("shell").namespace
        client, neighbour, outside = (
            stack.enter_context(one.socket(kind=socket.SOCK_DGRAM))
            for one in (place, place, world.network.client_from("outside").namespace)
        )
        for one, where in ((client, (VIP, 80)), (neighbour, ("10.96.7.8", 80)), (outside, (NODE_ADDRESS, 30080))):
            one.settimeout(0.5)
            one.connect(where)
        first = identity(world, "10.96.7.8", neighbour)
        world.api.service("web", protocol="UDP", node_port=30080)

        def until_both_reach(expected: str) -> None:
            until(world.node, lambda: answer(client) == answer(outside) == expected, f"both reach {expected}")

        for backends, expected in ((1, "web-1"), (2, "web-2"), (0, "nobody"), (1, "web-1")):
            world.api.endpoints("web", *world.web[backends - 1 : backends], protocol="UDP")
            until_both_reach(expected)
        world.api.delete("web")
        until_both_reach("nobody")
        neighbour.settimeout(PATIENCE)
        assert answer(neighbour) == "web-1"
        assert identity(world, "10.96.7.8", neighbour) == first
        until(world.node, lambda: stale_flows(running, "UDP") >= 6, "all of them are counted")


def answer(client: socket.socket) -> str:
    """Who answers a datagram."""
    try:
        client.send(b"who?")
        return client.recv(512).decode().split()[0]
    except OSError:
        return "nobody"


def identity(world: World, address: str, client: socket.socket) -> bytes:
    """What the kernel calls the flow of that client."""
    answer(client)
    with world.node.run(Conntrack) as table:
        (found,) = (one for one in table.flows(Match("UDP", address, 80)) if one.source_port == client.getsockname()[1])
    return found.identity


def backends(world: World) -> set[str]:
    """Who the connections through the Service go to, as the kernel remembers them."""
    with world.node.run(Conntrack) as table:
        return {one.reply_source for one in table.flows(Match("TCP", VIP, 80))}


def stale_flows(running: Proxy, protocol: str) -> int:
    """How many it says it has removed."""
    line = rf'^fairway_proxy_stale_flows_total{{ip_family="IPv4",protocol="{protocol}"}} (\d+)'
    found = re.search(line, running.get("/metrics")[1], re.MULTILINE)
    return int(found[1]) if found else 0


def followed(running: Proxy, name: str) -> int:
    """How many versions of an object the kernel has followed."""
    return sum(one["object"] == name for one in running.status()["receipts"])


@pytest.mark.parametrize("policy", ["keep", "cut"])
def test_a_connection_to_a_backend_that_left_is_kept_or_cut_as_its_service_says(world: World, policy: str) -> None:
    world.api.service("web", stale_connections=policy)
    world.api.endpoints("web", world.network.address("talk-1"))
    with world.proxy() as running, world.converse() as talk:
        world.api.endpoints("web", world.network.address("talk-2"))
        until(world.node, lambda: followed(running, "default/web-1") == 2, "the kernel knows the other backend")
        if policy == "keep":
            assert talk.still_works()
        else:
            until(world.node, lambda: world.network.address("talk-1") not in backends(world), "the flow is gone")
            until(world.node, lambda: stale_flows(running, "TCP") > 0, "it is counted")
            assert talk.client_is_refused()


@pytest.mark.reference("7.5 Networking: check kube-proxy urls")
def test_probes_and_scrapes_are_answered(world: World) -> None:
    with world.proxy() as running:
        world.api.service("web")
        world.until_answers({"refused"}, "a Service without endpoints refuses")
        assert running.get("/healthz", 10256)[0] == 200
        assert running.get("/proxyMode") == (200, "nftables")
        assert 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}' in running.get("/metrics")[1]
        asked = 'rest_client_requests_total{code="200",host="127.0.0.1:6443",method="GET"}'
        assert asked in running.get("/metrics")[1]
        status = running.status()
        assert status["node"]["node_port_addresses"] == [NODE_ADDRESS]
        receipt = status["receipts"][-1]
        assert (receipt["kind"], receipt["object"]) == ("Service", "default/web")
        assert 0 < receipt["seconds"] < PATIENCE
        assert receipt["commands"] > 0
