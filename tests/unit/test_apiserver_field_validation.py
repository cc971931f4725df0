"""Fields that a kind does not have: kept, told to whoever brings them, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.objects.resources import SERVICES
from tests.unit.api_calls import JSON_PATCH, MERGE, STRATEGIC, Calls, service, start

HERE = SERVICES.path("default")
ODD = 'unknown field "spec.ports[0].odd"'


async def with_odd_field() -> Calls:
    calls = await start()
    made = await calls("POST", HERE, service("cart", ports=[{"port": 80, "odd": 1}]))
    assert ODD.replace('"', '\\"') in made.headers["warning"]
    return calls


QUIET: list[tuple[str, Any]] = [
    (MERGE, {"metadata": {"labels": {"a": "b"}}}),
    (STRATEGIC, {"spec": {"ports": [{"port": 443, "name": "tls"}, {"port": 80, "name": "web"}]}}),
    (JSON_PATCH, [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
]
LOUD: list[tuple[str, Any]] = [
    (MERGE, {"spec": {"ports": [{"port": 80, "odd": 2}]}}),
    (STRATEGIC, {"spec": {"ports": [{"port": 80, "odd": 2}]}}),
    (JSON_PATCH, [{"op": "replace", "path": "/spec/ports/0/odd", "value": 2}]),
]


@pytest.mark.parametrize("media, patch", QUIET)
@pytest.mark.parametrize("directive", ["Warn", "Strict"])
async def test_a_stored_field_troubles_no_later_patch(media: str, patch: Any, directive: str) -> None:
    calls = await with_odd_field()
    answer = await calls("PATCH", f"{HERE}/cart?fieldValidation={directive}", patch, content_type=media)
    assert answer.status == 200, answer.json
    assert "warning" not in answer.headers
    assert [port.get("odd") for port in answer.json["spec"]["ports"] if port["port"] == 80] == [1]


@pytest.mark.parametrize("media, patch", LOUD)
async def test_who_brings_the_field_again_is_told_again(media: str, patch: Any) -> None:
    calls = await with_odd_field()
    answer = await calls("PATCH", f"{HERE}/cart", patch, content_type=media)
    assert answer.status == 200, answer.json
    assert "spec.ports[0].odd" in answer.headers["warning"]
    strict = await calls("PATCH", f"{HERE}/cart?fieldValidation=Strict", patch, content_type=media)
    assert strict.status == 400
    assert ODD in strict.json["message"]


async def test_what_a_put_says_it_brings() -> None:
    calls = await with_odd_field()
    whole = (await calls("GET", f"{HERE}/cart")).json
    assert "spec.ports[0].odd" in (await calls("PUT", f"{HERE}/cart", whole)).headers["warning"]
    assert (await calls("PUT", f"{HERE}/cart?fieldValidation=Strict", whole)).status == 400
    quiet = await calls("PUT", f"{HERE}/cart?fieldValidation=Ignore", whole)
    assert (quiet.status, "warning" in quiet.headers) == (200, False)
