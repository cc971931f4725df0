"""A frontend's rows as virtual servers, real servers, entries and addresses; what the mode says it does otherwise."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, Pool
from fairway.modes.ipvs.compile import compile_frontend, unsupported
from fairway.modes.ipvs.parts import HASH_PORT, PERSISTENT, SCHEDULERS, Bound, Entry, Marked, Real, Scheduling, Virtual
from fairway.modes.ipvs.rules import Options

SETTINGS = NodeSettings(name="node-1", addresses=("192.168.0.2", "10.244.1.1", "127.0.0.1", "fd00::2", "fe80::1"))
HERE = Backend(address="10.244.1.2", port=8080, node="node-1", local=True)
THERE = Backend(address="10.244.2.2", port=8080, node="node-2")
STAY = Action(kind=ActionKind.FORWARD)
HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)
NEAR = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL)
REJECT = Action(kind=ActionKind.REJECT)
DROP = Action(kind=ActionKind.DROP)


def frontend(pod: Action = STAY, node: Action | None = None, outside: Action | None = None, **more: object) -> Frontend:
    fields: dict[str, object] = {
        "kind": FrontendKind.CLUSTER_IP,
        "address": "10.96.0.1",
        "protocol": "TCP",
        "port": 80,
        "service": Key("shop", "web"),
        "field": "spec.ports[0]",
        "cluster": (HERE, THERE),
        "local": (HERE,),
        "pod": pod,
        "node": node or pod,
        "outside": outside or pod,
    }
    return Frontend(**(fields | more))  # type: ignore[arg-type]


def entries(one: Frontend, settings: NodeSettings = SETTINGS) -> set[str]:
    parts = compile_frontend(one, settings, Options()).parts
    return {f"{part.set.removeprefix('KUBE-')} {part.text}" for part in parts if isinstance(part, Entry)}


def virtuals(one: Frontend, options: Options | None = None) -> dict[Virtual, Scheduling]:
    parts = compile_frontend(one, SETTINGS, options or Options()).parts
    return {part: value for part, value in parts.items() if isinstance(part, Virtual) and isinstance(value, Scheduling)}


def reals(one: Frontend) -> dict[str, object]:
    parts = compile_frontend(one, SETTINGS, Options()).parts
    return {f"{part.address}:{part.port}": value for part, value in parts.items() if isinstance(part, Real)}


def test_a_cluster_ip() -> None:
    one = frontend()
    assert virtuals(one) == {Virtual("TCP", "10.96.0.1", 80): Scheduling("rr")}
    assert reals(one) == {"10.244.1.2:8080": 1, "10.244.2.2:8080": 1}
    assert entries(one) == {
        "CLUSTER-IP 10.96.0.1,tcp:80",
        "IPVS-IPS 10.96.0.1",
        "LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2",
    }
    assert Bound("10.96.0.1") in compile_frontend(one, SETTINGS, Options()).parts


def test_an_address_that_the_node_has_already_is_not_bound_again() -> None:
    one = frontend(kind=FrontendKind.EXTERNAL_IP, address="192.168.0.2")
    parts = compile_frontend(one, SETTINGS, Options()).parts
    assert not any(isinstance(part, Bound) for part in parts)
    assert Virtual("TCP", "192.168.0.2", 80) in parts


def test_a_node_port_is_at_each_address_of_the_node_but_loopback_and_link_local() -> None:
    one = frontend(HIDE, kind=FrontendKind.NODE_PORT, address="0.0.0.0", port=30080)
    assert [virtual.address for virtual in virtuals(one)] == ["192.168.0.2", "10.244.1.1"]
    assert "NODE-PORT-TCP 30080" in entries(one)
    six = frontend(HIDE, kind=FrontendKind.NODE_PORT, address="::", port=30080, cluster=(), local=())
    assert [virtual.address for virtual in virtuals(six)] == ["fd00::2"]
    sctp = replace(one, protocol="SCTP")
    assert "NODE-PORT-SCTP-HASH 192.168.0.2,sctp:30080" in entries(sctp)


LOCAL = frontend(STAY, HIDE, NEAR, kind=FrontendKind.LOAD_BALANCER, address="203.0.113.1")


def servers_of(one: Frontend) -> dict[str, set[str]]:
    """The real servers of each virtual one."""
    parts = compile_frontend(one, SETTINGS, Options()).parts
    found = {part: set[str]() for part in parts if isinstance(part, Virtual | Marked)}
    for part in parts:
        if isinstance(part, Real):
            found[part.virtual].add(part.address)
    return {("marked" if isinstance(part, Marked) else part.address): there for part, there in found.items()}


def test_policy_local_has_a_virtual_server_for_others_and_one_for_pods_and_the_node() -> None:
    assert servers_of(LOCAL) == {"203.0.113.1": {"10.244.1.2"}, "marked": {"10.244.1.2", "10.244.2.2"}}
    fragment = compile_frontend(LOCAL, SETTINGS, Options())
    assert fragment.parts[Entry("KUBE-POOL", "203.0.113.1,tcp:80")] == fragment.mark
    assert Marked("ip", fragment.mark) in fragment.parts
    assert {"LOAD-BALANCER 203.0.113.1,tcp:80", "LOAD-BALANCER-LOCAL 203.0.113.1,tcp:80"} <= entries(LOCAL)
    assert unsupported(LOCAL, Options()) == []


def test_one_mark_leads_from_each_address_of_a_node_port() -> None:
    one = replace(LOCAL, kind=FrontendKind.NODE_PORT, address="0.0.0.0", port=30080)
    parts = compile_frontend(one, SETTINGS, Options()).parts
    pools = {part.text: value for part, value in parts.items() if isinstance(part, Entry) and part.set == "KUBE-POOL"}
    assert pools.keys() == {"192.168.0.2,tcp:30080", "10.244.1.1,tcp:30080"}
    assert len(set(pools.values())) == 1
    six = replace(one, address="::", cluster=(), local=(), pod=STAY)
    assert [part.family for part in compile_frontend(six, SETTINGS, Options()).parts if isinstance(part, Marked)] == [
        "ip6"
    ]


def test_the_mark_stays_when_who_is_in_the_pools_changes() -> None:
    same = replace(LOCAL, cluster=(HERE,))
    nobody_here = replace(LOCAL, local=(), outside=DROP)
    marks = {compile_frontend(one, SETTINGS, Options()).mark for one in (LOCAL, same, nobody_here)}
    assert len(marks) == 1
    assert compile_frontend(replace(LOCAL, outside=HIDE), SETTINGS, Options()).mark == 0


def test_affinity_of_pods_and_the_node_is_a_hash() -> None:
    one = replace(LOCAL, affinity_seconds=600)
    parts = compile_frontend(one, SETTINGS, Options()).parts
    assert [value for part, value in parts.items() if isinstance(part, Marked)] == [Scheduling("mh")]
    assert parts[Virtual("TCP", "203.0.113.1", 80)] == Scheduling("rr", 600, PERSISTENT)
    (said,) = unsupported(one, Options())
    assert "pods and the node itself are kept to a backend by the scheduler mh" in said


def test_the_port_of_a_health_check_is_let_in() -> None:
    assert "HEALTH-CHECK-NODE-PORT 32000" in entries(frontend(health_check_port=32000))


@pytest.mark.parametrize(
    "one, expected",
    [
        (frontend(DROP, cluster=(), local=()), "DROP 10.96.0.1,tcp:80"),
        (frontend(STAY, HIDE, DROP, kind=FrontendKind.EXTERNAL_IP, local=()), "DROP-OUTSIDE 10.96.0.1,tcp:80"),
    ],
)
def test_who_has_an_empty_pool_while_others_have_backends_is_dropped(one: Frontend, expected: str) -> None:
    assert expected in entries(one)


def test_nobody_at_all_is_a_virtual_server_without_real_ones() -> None:
    one = frontend(REJECT, cluster=(), local=())
    assert (len(virtuals(one)), reals(one)) == (1, {})


def test_source_ranges() -> None:
    ranges = ("198.51.100.0/24", "192.0.2.7/32", "203.0.113.1/32")
    one = frontend(HIDE, kind=FrontendKind.LOAD_BALANCER, address="203.0.113.1", source_ranges=ranges)
    assert {text for text in entries(one) if text.startswith("LOAD-BALANCER-")} == {
        "LOAD-BALANCER-FW 203.0.113.1,tcp:80",
        "LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:80,198.51.100.0/24",
        "LOAD-BALANCER-SOURCE-CIDR 203.0.113.1,tcp:80,192.0.2.7",
        "LOAD-BALANCER-SOURCE-IP 203.0.113.1,tcp:80,203.0.113.1",
    }


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_service_may_choose_its_scheduler(scheduler: str) -> None:
    (scheduling,) = virtuals(frontend(scheduler=scheduler)).values()
    assert scheduling == Scheduling(scheduler, 0, HASH_PORT if scheduler == "mh" else 0)
    assert unsupported(frontend(scheduler=scheduler), Options()) == []


def test_how_it_is_scheduled_otherwise() -> None:
    def scheduling(one: Frontend, scheduler: str = "rr") -> Scheduling:
        (found,) = virtuals(one, Options(scheduler)).values()
        return found

    assert scheduling(frontend(), "lc") == Scheduling("lc")
    assert scheduling(frontend(affinity_seconds=600)) == Scheduling("rr", 600, PERSISTENT)
    assert scheduling(frontend(balancing="hash")) == Scheduling("mh")
    weighted = frontend(cluster=(replace(HERE, weight=3), THERE))
    assert (scheduling(weighted), scheduling(weighted, "lc")) == (Scheduling("wrr"), Scheduling("wlc"))
    assert reals(weighted) == {"10.244.1.2:8080": 3, "10.244.2.2:8080": 1}


def test_what_is_asked_for_and_not_done_is_said() -> None:
    assert unsupported(frontend(), Options()) == []
    (unknown,) = unsupported(frontend(scheduler="fastest"), Options())
    assert "fairway.dev/ipvs-scheduler must be one of rr, wrr" in unknown
    assert "'fastest'; it stays as it was, or is the node's own" in unknown
    (hashed,) = unsupported(frontend(balancing="hash"), Options())
    assert "the scheduler mh" in hashed
    (wrong,) = unsupported(frontend(balancing="best"), Options())
    assert "must be random or hash, not 'best'" in wrong


FEW = Options("lc", has_scheduler=lambda name: name in ("rr", "lc"))
"""A kernel with two schedulers."""


def test_a_scheduler_that_the_kernel_lacks_is_said_and_the_nodes_own_taken() -> None:
    (said,) = unsupported(frontend(scheduler="mh"), FEW)
    assert "this node's kernel has no mh: the module is ip_vs_mh" in said
    assert list(virtuals(frontend(scheduler="mh"), FEW).values()) == [Scheduling("lc")]
    assert unsupported(frontend(scheduler="rr"), FEW) == []


def test_without_weighted_and_hashing_schedulers_the_plain_ones_do() -> None:
    weighted = frontend(cluster=(replace(HERE, weight=3), THERE))
    assert list(virtuals(weighted, FEW).values()) == [Scheduling("lc")]
    assert list(virtuals(frontend(balancing="hash"), FEW).values()) == [Scheduling("lc")]
    parts = compile_frontend(replace(LOCAL, affinity_seconds=60), SETTINGS, FEW).parts
    assert [value for part, value in parts.items() if isinstance(part, Marked)] == [Scheduling("lc")]


def test_a_machine_without_ipv6_has_nothing_of_it() -> None:
    six = frontend(address="fd00:10:96::1", cluster=(), local=())
    assert compile_frontend(six, SETTINGS, Options(families=("ip",))).parts == {}
    assert compile_frontend(six, SETTINGS, Options()).parts != {}


def test_pings_are_answered_where_the_node_answers_them() -> None:
    one = frontend(REJECT, kind=FrontendKind.OTHER_PORTS, protocol="", port=0, cluster=(), local=())
    assert entries(one) == {"IPVS-IPS 10.96.0.1"}
    answering = replace(SETTINGS, answers_ping=("192.168.0.2",))
    assert entries(one, answering) == {"IPVS-IPS 10.96.0.1", "PING 10.96.0.1"}
