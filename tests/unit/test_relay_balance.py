"""Unit tests of `fairway.relay.balance`: who is next."""

from __future__ import annotations

from collections import Counter

import pytest

from fairway.model.view import HASH, LEAST_CONNECTIONS, RANDOM, ROUND_ROBIN, Backend
from fairway.relay.balance import MOST_REMEMBERED, Balancer

ONE, TWO, THREE = (Backend(address=f"10.244.0.{number}", port=8080) for number in (1, 2, 3))


def balancer(*backends: Backend, balancing: str = ROUND_ROBIN, affinity: int = 0, draw: int = 0) -> Balancer:
    made = Balancer(lambda most: min(draw, most - 1))
    made.put(backends, balancing, affinity)
    return made


def picked(one: Balancer, times: int, client: str = "10.0.0.1") -> list[str]:
    found = [one.pick(client, 0.0) for _ in range(times)]
    return [backend.address[-1] for backend in found if backend]


def test_backends_take_turns() -> None:
    turns = picked(balancer(ONE, TWO, THREE), 6)
    assert sorted(turns[:3]) == ["1", "2", "3"]
    assert turns[:3] == turns[3:]


def test_the_first_turn_is_drawn() -> None:
    assert {picked(balancer(ONE, TWO, THREE, draw=draw), 1)[0] for draw in range(3)} == {"1", "2", "3"}


@pytest.mark.parametrize("balancing", [ROUND_ROBIN, "a word that means nothing"])
def test_turns_follow_the_weights(balancing: str) -> None:
    heavy = Backend(address="10.244.0.9", port=8080, weight=3)
    turns = picked(balancer(heavy, ONE, balancing=balancing), 8)
    assert Counter(turns) == {"9": 6, "1": 2}


def test_who_stays_keeps_the_turn() -> None:
    one = balancer(ONE, TWO, THREE)
    first = picked(one, 1)
    one.put((ONE, TWO, THREE), ROUND_ROBIN, 0)
    assert len({*first, *picked(one, 2)}) == 3


def test_fewest_connections_for_its_weight_is_next() -> None:
    heavy = Backend(address="10.244.0.9", port=8080, weight=2)
    one = balancer(heavy, ONE, balancing=LEAST_CONNECTIONS)
    for backend in (heavy, ONE):
        one.begin(backend)
    assert picked(one, 1) == ["9"]
    one.begin(heavy)
    one.begin(heavy)
    assert picked(one, 1) == ["1"]
    one.end(ONE)
    assert picked(one, 1) == ["1"]
    assert one.active == {("10.244.0.9", 8080): 3}


def test_drawn_at_random_by_weight() -> None:
    heavy = Backend(address="10.244.0.9", port=8080, weight=3)
    found = [balancer(ONE, heavy, balancing=RANDOM, draw=draw).pick("c", 0.0) for draw in range(4)]
    assert [one.address[-1] for one in found if one] == ["1", "9", "9", "9"]


def test_a_clients_address_leads_to_one_backend() -> None:
    one = balancer(ONE, TWO, THREE, balancing=HASH)
    assert len(set(picked(one, 10, "192.0.2.7"))) == 1
    assert len({picked(one, 1, f"192.0.2.{number}")[0] for number in range(60)}) == 3


def test_those_that_did_not_answer_are_passed_over() -> None:
    one = balancer(ONE, TWO)
    assert one.pick("c", 0.0, [(ONE.address, ONE.port)]) == TWO
    assert one.pick("c", 0.0, [(ONE.address, ONE.port), (TWO.address, TWO.port)]) is None


def test_affinity_lasts_from_the_last_use_and_ends_with_its_backend() -> None:
    one = balancer(ONE, TWO, affinity=100)
    one.begin(TWO)
    one.connected("c", TWO, 0.0)
    assert [one.pick("c", 99.0) for _ in range(4)] == [TWO] * 4
    one.left("c", TWO, 50.0)
    assert [one.pick("c", 149.0) for _ in range(4)] == [TWO] * 4
    assert {one.pick("c", 150.0), one.pick("c", 150.0)} == {ONE, TWO}
    one.put((ONE,), ROUND_ROBIN, 100)
    assert one.pick("c", 60.0) == ONE


def test_affinity_gives_way_to_a_backend_that_answers() -> None:
    one = balancer(ONE, TWO, affinity=100)
    one.connected("c", TWO, 0.0)
    assert one.pick("c", 1.0, [(TWO.address, TWO.port)]) == ONE


def test_memory_of_clients_is_bounded() -> None:
    one = balancer(ONE, TWO, affinity=100)
    for number in range(MOST_REMEMBERED + 10):
        one.connected(str(number), TWO, 0.0)
    assert {one.pick("0", 1.0), one.pick("0", 1.0)} == {ONE, TWO}
    assert one.pick(str(MOST_REMEMBERED), 1.0) == TWO
