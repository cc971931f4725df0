"""Elements that are sent to nf_tables are read back as the same values."""

from __future__ import annotations

import pytest

from fairway.kernel.nfnetlink import BODY
from fairway.kernel.nftables_elements import join_intervals, new_elements, read_elements
from fairway.model.view import NodeSettings
from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.ruleset import base
from fairway.modes.nftables.tables import Element

TABLES = base(NodeSettings(name="node"))
ELEMENTS = [
    pytest.param("frontends", Element("frontends", bytes(range(12)), b"\3\0\0\0", "shop/web:http"), id="comment"),
    pytest.param("slots", Element("slots", bytes(range(16)), bytes(range(8))), id="data"),
    pytest.param("actions", Element("actions", b"\3\0\0\0", e.Jump(e.GOTO, "balance-3")), id="jump"),
    pytest.param("actions", Element("actions", b"\0\0\0\0", e.Jump(e.DROP)), id="drop"),
    pytest.param("cluster-ips", Element("cluster-ips", b"\x0a\x60\0\7"), id="no data"),
    pytest.param("source-ranges", Element("source-ranges", bytes(range(20))), id="five fields"),
]


@pytest.mark.parametrize("name, element", ELEMENTS)
def test_an_element_is_read_as_it_was_written(name: str, element: Element) -> None:
    declared = TABLES["ip"].sets[name]
    (request,) = new_elements("ip", "fairway", declared, [element])
    assert read_elements(request.body) == ("fairway", name, [(element, False)])


def test_intervals_are_joined_whatever_their_order() -> None:
    networks = [Element("pod-networks", b"\x0a\0\0\0\x0b\0\0\0"), Element("pod-networks", b"\xff\0\0\0")]
    (request,) = new_elements("ip", "fairway", TABLES["ip"].sets["pod-networks"], networks)
    read = read_elements(request.body)[2]
    assert list(join_intervals(reversed(read))) == networks


def test_many_elements_are_split_into_messages_that_fit() -> None:
    declared = TABLES["ip"].sets["slots"]
    elements = [Element("slots", number.to_bytes(16, "big"), bytes(8)) for number in range(5000)]
    requests = list(new_elements("ip", "fairway", declared, elements))
    assert len(requests) > 1
    assert all(BODY + len(one.body) < 65536 for one in requests)
    assert [one for request in requests for one, _ in read_elements(request.body)[2]] == elements


def test_no_elements_are_no_messages() -> None:
    assert not list(new_elements("ip", "fairway", TABLES["ip"].sets["slots"], []))


def test_a_pointer_into_a_message_names_the_element() -> None:
    declared = TABLES["ip"].sets["cluster-ips"]
    elements = [Element("cluster-ips", bytes((10, 96, 0, n))) for n in range(4)]
    (request,) = new_elements("ip", "fairway", declared, elements)
    assert request.pointer is not None
    assert request.pointer(request.body, request.body.index(bytes((10, 96, 0, 2)))) == "{ 10.96.0.2 }"
    assert request.pointer(request.body, None) == "{ 4 elements }"
