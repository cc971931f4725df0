"""Unit tests of `fairway.modes.userspace`: listeners around another mode's program."""

from __future__ import annotations

import msgspec

from fairway.model.packet import Packet, Verdict
from fairway.model.view import (
    LEAST_CONNECTIONS,
    ROUND_ROBIN,
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    Pool,
    Relaying,
)
from fairway.modes.nftables import NftablesMode
from fairway.modes.userspace import ListenerKey, UserspaceMode

MODE = UserspaceMode(NftablesMode(), "nftables")
SETTINGS = NodeSettings(name="node-1", addresses=("172.30.0.1",), pod_networks=("10.244.0.0/16",))
ANYWHERE = Action(kind=ActionKind.FORWARD, masquerade=True)
HERE = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL, masquerade=True)
ONE, TWO = (Backend(address=f"10.244.{number}.2", port=8080, slice="web-1") for number in (1, 2))
PACKET = Packet(source="10.244.1.9", destination="10.96.0.1", protocol="TCP", port=80)


def frontend(relaying: Relaying | None = None, **more: object) -> Frontend:
    made = Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address="10.96.0.1",
        protocol="TCP",
        port=80,
        service=Key("shop", "web"),
        cluster=(ONE, TWO),
        pod=ANYWHERE,
        node=ANYWHERE,
        outside=ANYWHERE,
        balancing=ROUND_ROBIN,
        relaying=relaying,
    )
    return msgspec.structs.replace(made, **more)


def view(*frontends: Frontend) -> NodeView:
    return NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})


def test_who_does_not_ask_goes_the_carriers_way() -> None:
    plain = frontend(balancing="random")
    program, carried = MODE.program(view(plain)), NftablesMode().program(view(plain))
    assert program.listeners == {}
    assert MODE.render(program) == NftablesMode().render(carried)


def test_each_pool_in_use_has_a_listener() -> None:
    both = frontend(Relaying(), outside=HERE, local=(ONE,))
    listeners = MODE.program(view(both)).listeners
    assert {key.pool: tuple(one.backends) for key, one in listeners.items()} == {
        Pool.CLUSTER: (ONE, TWO),
        Pool.LOCAL: (ONE,),
    }
    assert len({one.port for one in listeners.values()}) == 2
    assert set(MODE.program(view(frontend(Relaying()))).listeners) == {ListenerKey(both.key, Pool.CLUSTER)}


def test_the_rules_lead_to_the_listener_and_do_not_hide_the_client() -> None:
    program = MODE.program(view(frontend(Relaying(), affinity_seconds=60)))
    (listener,) = program.listeners.values()
    carried = NftablesMode().evaluate(program.carried, PACKET).outcome
    assert carried.verdict is Verdict.DELIVER
    assert [(one.backend.address, one.backend.port, one.masquerade) for one in carried.choices] == [
        ("169.254.77.77", listener.port, False)
    ]


def test_a_packet_is_followed_through_the_relay() -> None:
    program = MODE.program(view(frontend(Relaying(), affinity_seconds=60)))
    trace = MODE.evaluate(program, PACKET)
    assert trace.outcome.essence == (
        Verdict.DELIVER,
        frozenset({("10.244.1.2", 8080, True), ("10.244.2.2", 8080, True)}),
    )
    assert trace.steps[-1].where == "relay"
    again = MODE.evaluate(program, PACKET, TWO)
    assert [one.backend for one in again.outcome.choices] == [TWO]


def test_changes_listen_before_they_lead_there_and_close_afterwards() -> None:
    program = MODE.program(view(frontend()))
    relayed = {frontend().key: MODE.compile(frontend(Relaying()), SETTINGS)}
    plan = MODE.plan_changes(program, relayed)
    assert [one.key.pool for one in plan.listen] == [Pool.CLUSTER]
    assert plan.close == ()
    assert plan.render().splitlines()[0].startswith("listen tcp 169.254.77.77 ")
    MODE.accept(program, relayed)
    same = MODE.plan(program, MODE.program(view(frontend(Relaying()))))
    assert (same.listen, same.close) == ((), ())

    other = {frontend().key: MODE.compile(frontend(Relaying(), balancing=LEAST_CONNECTIONS), SETTINGS)}
    plan = MODE.plan_changes(program, other)
    assert (len(plan), len(plan.listen)) == (1, 1)
    MODE.accept(program, other)

    gone = {frontend().key: None}
    plan = MODE.plan_changes(program, gone)
    assert plan.close == (ListenerKey(frontend().key, Pool.CLUSTER),)
    assert plan.render().splitlines()[-1] == "close 10.96.0.1:80/TCP (cluster pool)"
    MODE.accept(program, gone)
    assert program.listeners == {}


def test_a_word_that_is_no_balancing_is_said() -> None:
    (sentence,) = MODE.unsupported(frontend(Relaying(), balancing="fastest"))
    assert "fairway.dev/balancing must be one of random, hash, round-robin, least-connections" in sentence
    (sentence,) = MODE.unsupported(frontend(Relaying(), scheduler="wlc"))
    assert "no IPVS scheduler" in sentence
    assert MODE.unsupported(frontend(Relaying())) == []
