"""Namespaces and links, made by our own rtnetlink and seen through iproute2."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from fairway.kernel import namespaces
from fairway.kernel.command import CommandFailed, run
from fairway.kernel.links import LinkError, Links, set_sysctls, sysctl
from fairway.kernel.namespaces import NetworkNamespace

pytestmark = pytest.mark.kernel


@pytest.fixture
def left() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fwt-lab-{os.getpid()}-left") as namespace:
        yield namespace


@pytest.fixture
def right() -> Iterator[NetworkNamespace]:
    with namespaces.created(f"fwt-lab-{os.getpid()}-right") as namespace:
        yield namespace


def shown(namespace: NetworkNamespace, *arguments: str) -> Any:
    return json.loads(run(["ip", "-json", "-details", *arguments], namespace=namespace))


def test_a_created_namespace_is_one_that_ip_netns_knows(left: NetworkNamespace) -> None:
    assert left.name in run(["ip", "netns", "list"]).split()
    assert run(["ip", "netns", "exec", left.name, "ip", "-o", "link"]).startswith("1: lo:")


def test_a_name_can_be_given_only_once(left: NetworkNamespace) -> None:
    with pytest.raises(FileExistsError):
        namespaces.create(left.name)
    assert left.exists


def test_deleting_twice_says_that_there_was_none() -> None:
    name = f"fwt-lab-{os.getpid()}-twice"
    namespaces.create(name)
    assert namespaces.delete(name) is True
    assert namespaces.delete(name) is False
    assert name not in namespaces.names("fwt-lab-")


def test_the_file_that_a_crash_before_the_mount_leaves_can_be_deleted(left: NetworkNamespace) -> None:
    name = f"fwt-lab-{os.getpid()}-crashed"
    (namespaces.DIRECTORY / name).touch()
    assert namespaces.delete(name) is True


def test_a_function_runs_inside_and_the_caller_stays_outside(left: NetworkNamespace) -> None:
    outside = os.stat("/proc/thread-self/ns/net").st_ino
    inside = left.run(lambda: os.stat("/proc/thread-self/ns/net").st_ino)
    assert inside == os.stat(left.path).st_ino != outside
    assert os.stat("/proc/thread-self/ns/net").st_ino == outside


def test_an_error_inside_reaches_the_caller(left: NetworkNamespace) -> None:
    with pytest.raises(ZeroDivisionError):
        left.run(lambda: 1 // 0)


def test_entering_a_namespace_that_is_not_there_fails_with_its_name() -> None:
    with pytest.raises(FileNotFoundError, match="fwt-lab-nowhere"):
        NetworkNamespace("fwt-lab-nowhere").run(lambda: None)


def test_a_veth_pair_carries_a_connection_over_a_bridge(left: NetworkNamespace, right: NetworkNamespace) -> None:
    with Links(left) as here, Links(right) as there:
        here.add_bridge("br0")
        here.add_veth("veth0", "eth0", right)
        here.add_port("br0", "veth0", hairpin=True)
        here.add_address("br0", "10.9.0.1/24")
        there.add_address("eth0", "10.9.0.2/24")
        here.set_up("br0")
        here.set_up("veth0")
        there.set_up("eth0", mtu=1400)
        there.add_route("default", via="10.9.0.1")
        assert here.addresses("br0")[0] == "10.9.0.1/24"
        assert "veth0" in here.names()
    port = next(link for link in shown(left, "link") if link["ifname"] == "veth0")
    assert port["master"] == "br0"
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert shown(right, "link", "show", "eth0")[0]["mtu"] == 1400
    assert shown(right, "route", "show", "default")[0]["gateway"] == "10.9.0.1"
    with left.socket() as server, right.socket() as client:
        server.bind(("10.9.0.1", 0))
        server.listen()
        client.settimeout(30)
        client.connect(server.getsockname())
        accepted, address = server.accept()
        with accepted:
            assert address[0] == "10.9.0.2"


def test_a_route_can_have_several_gateways(left: NetworkNamespace, right: NetworkNamespace) -> None:
    with Links(left) as here:
        here.add_veth("veth0", "eth0", right)
        here.add_address("veth0", "10.9.0.1/24")
        here.set_up("veth0")
        here.add_route("203.0.113.0/24", via=["10.9.0.2", "10.9.0.3"])
        assert [hop["gateway"] for hop in shown(left, "route", "show", "203.0.113.0/24")[0]["nexthops"]] == [
            "10.9.0.2",
            "10.9.0.3",
        ]
        here.delete_route("203.0.113.0/24")
        assert shown(left, "route", "show", "203.0.113.0/24") == []


def test_an_ipv6_address_is_usable_at_once(left: NetworkNamespace, right: NetworkNamespace) -> None:
    with Links(left) as here:
        here.add_veth("veth0", "eth0", right)
        here.add_address("veth0", "fd00:1::1/64")
        here.set_up("veth0")
        assert "fd00:1::1/64" in here.addresses("veth0")
    with left.socket(socket.AF_INET6) as server:
        server.bind(("fd00:1::1", 0))
        assert server.getsockname()[0] == "fd00:1::1"


def test_a_refusal_names_what_was_refused(left: NetworkNamespace) -> None:
    with Links(left) as links:
        links.add_bridge("br0")
        with pytest.raises(LinkError, match="cannot add the bridge br0: File exists") as caught:
            links.add_bridge("br0")
        assert caught.value.errno == errno.EEXIST
        with pytest.raises(LinkError, match="cannot find the link nothing") as missing:
            links.set_up("nothing")
        assert missing.value.errno == errno.ENODEV
        with pytest.raises(LinkError, match=r"add the route to default: Network is unreachable \(.+\)"):
            links.add_route("default", via="10.9.0.9")
        links.set_up("lo")
        assert "br0" in links.names()


def test_deleting_one_end_of_a_cable_removes_both(left: NetworkNamespace, right: NetworkNamespace) -> None:
    with Links(left) as here, Links(right) as there:
        here.add_veth("veth0", "eth0", right)
        there.delete("eth0")
        assert "veth0" not in here.names()


def test_a_setting_is_of_the_namespace_it_was_made_in(left: NetworkNamespace, right: NetworkNamespace) -> None:
    set_sysctls({"net.ipv4.ip_forward": "1"}, left)
    assert sysctl("net.ipv4.ip_forward", left) == "1"
    assert sysctl("net.ipv4.ip_forward", right) == "0"
    with pytest.raises(FileNotFoundError):
        set_sysctls({"net.ipv4.no_such_setting": "1"}, left)


def test_a_program_runs_inside_the_namespace(left: NetworkNamespace) -> None:
    with Links(left) as links:
        links.add_bridge("only-here")
    assert "only-here" in run(["ip", "link"], namespace=left)
    with pytest.raises(CommandFailed, match="does not exist"):
        run(["ip", "link", "show", "only-here"])


def test_a_link_is_up_when_its_other_end_is(left: NetworkNamespace, right: NetworkNamespace) -> None:
    with Links(left) as links, Links(right) as others:
        links.add_veth("cable", "eth0", right)
        links.set_up("cable")
        with pytest.raises(LinkError, match=r"cable is still down after 0\.01 s"):
            links.wait_until_up("cable", timeout=0.01)
        others.set_up("eth0")
        links.wait_until_up("cable")
        assert shown(left, "link", "show", "cable")[0]["operstate"] == "UP"
