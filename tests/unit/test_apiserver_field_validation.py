"""Fields that a kind does not have: never stored, told to whoever brings them, refused if they ask for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairway.apiserver.storage.contract import Transaction
from fairway.objects.resources import DEPLOYMENTS, SERVICES
from tests.unit.api_calls import APPLY, JSON_PATCH, MERGE, STRATEGIC, Answer, Calls, service, start

HERE = SERVICES.path("default")
ODD = 'unknown field "spec.ports[0].odd"'
ODD_PORT: Any = {"port": 80, "odd": 1}

WRITES: list[tuple[str, str, str, Any]] = [
    ("POST", HERE, "application/json", service("new", ports=[ODD_PORT])),
    ("PUT", f"{HERE}/cart", "application/json", service("cart", ports=[ODD_PORT])),
    ("PATCH", f"{HERE}/cart", MERGE, {"spec": {"ports": [ODD_PORT]}}),
    ("PATCH", f"{HERE}/cart", STRATEGIC, {"spec": {"ports": [ODD_PORT]}}),
    ("PATCH", f"{HERE}/cart", JSON_PATCH, [{"op": "add", "path": "/spec/ports/0/odd", "value": 1}]),
]


def told(answer: Answer) -> str:
    return answer.headers.get("warning", "").replace("\\", "")


async def with_cart() -> Calls:
    calls = await start()
    assert (await calls("POST", HERE, service("cart"))).status == 201
    return calls


@pytest.mark.reference("API unknown fields")
@pytest.mark.parametrize("directive, warned", [("", True), ("Warn", True), ("Ignore", False)])
@pytest.mark.parametrize("method, url, media, body", WRITES, ids=lambda one: one if isinstance(one, str) else "")
async def test_an_unknown_field_is_told_and_not_stored(
    method: str, url: str, media: str, body: Any, directive: str, warned: bool
) -> None:
    calls = await with_cart()
    answer = await calls(method, f"{url}?fieldValidation={directive}", body, content_type=media)
    assert answer.status in (200, 201), answer.json
    assert (ODD in told(answer)) is warned
    assert "odd" not in answer.json["spec"]["ports"][0]
    stored = (await calls("GET", f"{HERE}/{answer.json['metadata']['name']}")).body.decode()
    assert '"odd"' not in stored
    assert "f:odd" not in stored


@pytest.mark.reference("API unknown fields")
@pytest.mark.parametrize("method, url, media, body", WRITES, ids=lambda one: one if isinstance(one, str) else "")
async def test_who_asks_for_strictness_is_refused(method: str, url: str, media: str, body: Any) -> None:
    calls = await with_cart()
    answer = await calls(method, f"{url}?fieldValidation=Strict", body, content_type=media)
    assert answer.status == 400
    assert answer.json["message"] == (
        f'Service in version "v1" cannot be handled as a Service: strict decoding error: {ODD}'
    )


async def test_an_applied_configuration_has_to_fit_the_schema() -> None:
    calls = await with_cart()
    body = service("cart", ports=[ODD_PORT])
    answer = await calls("PATCH", f"{HERE}/cart?fieldManager=me", body, content_type=APPLY)
    assert answer.status == 400
    assert "field not declared in schema" in answer.json["message"]


async def test_fields_of_a_pods_template_are_pruned_and_free_maps_are_not() -> None:
    calls = await start()
    template: Any = {
        "metadata": {"labels": {"app": "web"}, "annotations": {"any.example/thing": "1"}},
        "spec": {"containers": [{"name": "main", "image": "any", "imaeg": "typo"}], "nodeSelector": {"disk": "ssd"}},
    }
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    made = await calls("POST", DEPLOYMENTS.path("default"), {"metadata": {"name": "web"}, "spec": spec})
    assert 'unknown field "spec.template.spec.containers[0].imaeg"' in told(made)
    stored = made.json["spec"]["template"]
    assert "imaeg" not in stored["spec"]["containers"][0]
    assert stored["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert stored["metadata"]["annotations"] == {"any.example/thing": "1"}


async def test_a_field_that_an_earlier_version_stored_goes_with_the_next_write_of_anything() -> None:
    calls = await with_cart()
    registry = calls.app.registry
    key = registry.kinds[SERVICES].key("default", "cart")
    entry = await registry.storage.get(key)
    assert entry is not None
    document = json.loads(entry.value)
    document["spec"]["odd"] = 1
    await registry.storage.transact(Transaction(puts={key: json.dumps(document, separators=(",", ":")).encode()}))
    patch = {"metadata": {"labels": {"a": "b"}}}
    answer = await calls("PATCH", f"{HERE}/cart?fieldValidation=Strict", patch, content_type=MERGE)
    assert answer.status == 200, answer.json
    assert "odd" not in answer.json["spec"]


TWICE = b'{"metadata":{"name":"web"},"spec":{"ports":[{"port":80,"port":81}],"type":"NodePort","type":"ClusterIP"}}'
TWICE_SAID = ['duplicate field "spec.type"', 'duplicate field "spec.ports[0].port"']


@pytest.mark.reference("API unknown fields")
async def test_a_field_that_is_there_twice_is_told_and_the_last_one_counts() -> None:
    calls = await start()
    answer = await calls("POST", f"{HERE}?fieldValidation=Warn", raw=TWICE)
    assert answer.status == 201
    assert "duplicate field" in told(answer)
    assert (answer.json["spec"]["type"], answer.json["spec"]["ports"][0]["port"]) == ("ClusterIP", 81)


@pytest.mark.reference("API unknown fields")
async def test_a_field_that_is_there_twice_is_refused_by_who_is_strict() -> None:
    calls = await start()
    answer = await calls("POST", f"{HERE}?fieldValidation=Strict", raw=TWICE)
    assert answer.status == 400
    assert answer.json["message"].endswith("strict decoding error: " + ", ".join(TWICE_SAID))
    assert (await calls("POST", f"{HERE}?fieldValidation=Ignore", raw=TWICE)).status == 201


async def test_in_yaml_a_key_that_is_there_twice_is_named_by_its_line() -> None:
    calls = await start()
    text = b"metadata: {name: web}\nspec:\n  ports: [{port: 80}]\n  type: NodePort\n  type: ClusterIP\n"
    yaml = "application/yaml"
    answer = await calls("POST", f"{HERE}?fieldValidation=Strict", raw=text, content_type=yaml)
    assert (answer.status, 'line 5: key "type" already set in map' in answer.json["message"]) == (400, True)
    assert (await calls("POST", HERE, raw=text, content_type=yaml)).status == 201
