"""Plans of the ipvs mode: their order, what several frontends share, and what changes of the rules become."""

from __future__ import annotations

from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.modes.ipvs import IpvsMode, Options
from fairway.modes.ipvs.plan import AddDevice, RemoveDevice, Restore, restoration
from fairway.modes.xtables import Place
from tests.unit.test_modes_ipvs_compile import HERE, THERE, frontend

MODE = IpvsMode()
SETTINGS = NodeSettings(name="node-1", addresses=("192.168.0.2",))
ONE, OTHER = frontend(), frontend(port=81)
LATE = Backend(address="10.244.3.2", port=8080, node="node-3")


def view(*frontends: Frontend) -> NodeView:
    return NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends})


def changes_of(*frontends: Frontend) -> list[str]:
    program = MODE.program(view(ONE, OTHER))
    changes = {one.key: MODE.compile(one, SETTINGS) for one in frontends}
    return MODE.plan_changes(program, changes).render().splitlines()


def test_a_backend_that_changes_is_two_messages() -> None:
    assert changes_of(frontend(cluster=(HERE, LATE))) == [
        "ipvsadm -a -t 10.96.0.1:80 -r 10.244.3.2:8080 -m -w 1",
        "ipvsadm -d -t 10.96.0.1:80 -r 10.244.2.2:8080",
    ]


def test_a_weight_or_a_scheduler_changes_in_place() -> None:
    heavy = Backend(address=THERE.address, port=THERE.port, node=THERE.node, weight=5)
    assert changes_of(frontend(cluster=(HERE, heavy))) == [
        "ipvsadm -E -t 10.96.0.1:80 -s wrr",
        "ipvsadm -e -t 10.96.0.1:80 -r 10.244.2.2:8080 -m -w 5",
    ]
    assert changes_of(frontend(scheduler="lc", affinity_seconds=60)) == ["ipvsadm -E -t 10.96.0.1:80 -s lc -p 60"]


def test_a_service_keeps_its_scheduler_when_it_asks_for_one_that_there_is_not() -> None:
    program = MODE.program(view(frontend(scheduler="lc")))
    wrong = {ONE.key: MODE.compile(frontend(cluster=(HERE,), scheduler="fastest"), SETTINGS)}
    assert MODE.plan_changes(program, wrong).render() == "ipvsadm -d -t 10.96.0.1:80 -r 10.244.2.2:8080\n"
    MODE.accept(program, wrong)
    assert not MODE.plan_changes(program, wrong)


def test_a_restart_keeps_it_too() -> None:
    held = MODE.empty()
    held.loose = MODE.program(view(frontend(scheduler="mh"), OTHER)).parts()
    wanted = MODE.program(view(frontend(scheduler="fastest"), OTHER))
    assert "ipvsadm -E" in MODE.plan(held, wanted).render()
    assert "ipvsadm -E" not in MODE.plan(held, MODE.adopt(held, wanted)).render()


def test_what_another_port_still_needs_stays() -> None:
    program = MODE.program(view(ONE, OTHER))
    gone: dict[FrontendKey, None] = {ONE.key: None}
    assert MODE.plan_changes(program, gone).render().splitlines() == [
        "ipvsadm -D -t 10.96.0.1:80",
        "ipset del KUBE-CLUSTER-IP 10.96.0.1,tcp:80",
    ]
    MODE.accept(program, gone)
    last = MODE.plan_changes(program, {OTHER.key: None}).render().splitlines()
    assert last[0] == "ip address delete 10.96.0.1/32 dev kube-ipvs0"
    assert last[1] == "ipvsadm -D -t 10.96.0.1:81"
    assert "ipset del KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2" in last


def test_a_service_is_complete_before_packets_are_led_to_it() -> None:
    lines = MODE.plan(MODE.program(view()), MODE.program(view(ONE))).render().splitlines()
    assert [line.split()[0] for line in lines] == ["ipset"] * 3 + ["ipvsadm"] * 3 + ["ip"]


def test_the_whole_comes_and_goes() -> None:
    whole = MODE.program(view(ONE))
    come = MODE.plan(MODE.empty(), whole).commands
    assert isinstance(come[0], AddDevice)
    assert len([one for one in come if isinstance(one, Restore)]) == 2
    go = MODE.plan(whole, MODE.empty()).commands
    assert isinstance(go[-1], RemoveDevice)
    assert not MODE.plan(MODE.program(view(ONE)), whole)


def test_only_chains_that_differ_are_written() -> None:
    other = IpvsMode(Options(masquerade_bit=15)).program(view())
    (four, _) = MODE.plan(MODE.program(view()), other).commands
    assert isinstance(four, Restore)
    chains = [line for line in four.text.splitlines() if line.startswith(":")]
    assert chains == [
        ":KUBE-FORWARD - [0:0]",
        ":KUBE-MARK-MASQ - [0:0]",
        ":KUBE-POSTROUTING - [0:0]",
    ]


def test_hooks_get_our_rules_on_top_and_lose_those_of_before() -> None:
    hook = Place("nat", "OUTPUT")
    text = restoration({hook: ("-j A",)}, {hook: ("-j B", "-j C")})
    assert text == "*nat\n-D OUTPUT -j A\n-I OUTPUT -j C\n-I OUTPUT -j B\nCOMMIT\n"


def test_a_program_reads_as_the_tools_print_it_with_reasons() -> None:
    text = MODE.render(MODE.program(view(ONE)))
    assert "-A -t 10.96.0.1:80 -s rr # Service shop/web spec.ports[0]" in text
    assert "add KUBE-CLUSTER-IP 10.96.0.1,tcp:80 # Service shop/web spec.ports[0]" in text
    assert "10.96.0.1/32 dev kube-ipvs0 # Service shop/web spec.ports[0]" in text
