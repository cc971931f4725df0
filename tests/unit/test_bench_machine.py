"""What a run found is said with its figures."""

from __future__ import annotations

import os

from fairway.bench.machine import Machine, sentence

REAL = {"processors": 2, "model": "A processor", "load": 0.5, "stolen": 0.0, "kernel": "6.18", "python": "3.11.2"}


def test_no_part_of_the_time_is_stolen_that_is_less_than_none_or_more_than_all() -> None:
    told = Machine().told()
    assert told.keys() == REAL.keys()
    assert 0 <= told["stolen"] <= 1


def test_what_the_host_gave_to_others_counts_from_the_first_look() -> None:
    assert Machine(stolen=-1e9).told()["stolen"] == 1


def test_what_other_machines_took_is_said_where_it_shows() -> None:
    assert sentence(REAL) == "on A processor, 2 processors, load 0.5, kernel 6.18, Python 3.11.2"
    assert ", 2 processors, 3.1 % of their time taken by the host, load" in sentence(REAL | {"stolen": 0.0314})


def test_the_processors_are_those_that_there_were_before_most_were_left_to_the_proxy() -> None:
    before = os.sched_getaffinity(0)
    machine = Machine()
    os.sched_setaffinity(0, {min(before)})
    try:
        assert machine.told()["processors"] == len(before)
    finally:
        os.sched_setaffinity(0, before)
