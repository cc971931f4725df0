"""The server against its own OpenAPI document, by Schemathesis: every operation answers, and answers what it says.

Requests are drawn from the document: paths, queries and bodies that it allows. Some would be refused for their names
alone, so names are given, and the rest is left as it was drawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response

from fairway.apiserver.access.reviews import KINDS
from fairway.apiserver.allocation import Ranges, ServiceAllocator
from fairway.apiserver.kinds import standard_kinds
from tests.unit.api_calls import Answer, Calls, service, start

# Two requests for each operation of each group: enough to meet every path and every type, in some seconds.
EXAMPLES = 3
ROOTS = sorted(
    {
        f"apis/{kind.resource.api_version}" if kind.resource.group else "api/v1"
        for kind in (*standard_kinds(ServiceAllocator(Ranges.parse(), lambda below: 0)).rows, *KINDS)
    }
)
NAMES = st.sampled_from(["web", "kubernetes", "default"])
# A list or watch of a version that has not come yet, and proxies that lead nowhere.
_HONEST = ("Timeout", "ServiceUnavailable")


class World:
    """One server for all requests, and the loop that it lives in."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.api: Calls = self.runner.run(start())
        self.runner.run(self.api("POST", "/api/v1/namespaces/default/services", service("web")))

    def document(self, root: str) -> dict[str, Any]:
        answer = self.runner.run(self.api("GET", f"/openapi/v3/{root}"))
        assert answer.status == 200
        found: dict[str, Any] = answer.json
        return found

    def ask(self, sent: dict[str, Any]) -> Answer:
        # A watch would not end by itself.
        query = [(name, value) for name, value in (sent.get("params") or {}).items() if name != "watch"]
        url = sent["url"] + ("?" + urlencode(query, doseq=True) if query else "")
        media = sent["headers"].get("Content-Type", "application/json")
        raw = sent["data"] if isinstance(sent.get("data"), bytes) else None
        return self.runner.run(self.api(sent["method"], url, sent.get("json"), raw=raw, content_type=media))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.runner.close()


def named(body: Any, name: str) -> Any:
    """What was drawn, with a name that can be stored."""
    if not isinstance(body, dict) or "metadata" not in body:
        return body
    return {key: value for key, value in body.items() if key not in ("apiVersion", "kind")} | {
        "metadata": {"name": name}
    }


def check(operation: Any, case: Any, sent: dict[str, Any], answer: Answer) -> None:
    what = f"{sent['method']} {sent['url']} {sent.get('params')} {sent.get('json')}: {answer.body[:400]!r}"
    assert answer.status < 500 or answer.json.get("reason") in _HONEST, what
    if answer.status >= 400:
        assert (answer.json["kind"], answer.json["code"]) == ("Status", answer.status), what
        assert answer.json["message"], what
        return
    if sent["method"] == "DELETE" and answer.json["kind"] != "Status":
        return  # as in Kubernetes: an object that waits for its finalizers is shown, and so is a deleted collection
    request = requests.Request(sent["method"], f"https://api.example{sent['url']}").prepare()
    headers = {name: [value] for name, value in answer.headers.items()}
    operation.validate_response(
        Response(answer.status, headers, answer.body, request, elapsed=0.0, verify=True), case=case
    )


@pytest.mark.reference("API document")
@pytest.mark.parametrize("root", ROOTS)
def test_every_operation_of_the_document_answers_what_it_says(world: World, root: str) -> None:
    schema = schemathesis.openapi.from_dict(world.document(root))
    found = list(schema.get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert operations
    assert len(operations) == len(found), "a part of the document cannot be read"

    def run(operation: Any) -> None:
        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def requests_of(data: st.DataObject) -> None:
            name = data.draw(NAMES)
            given_paths = {one.name for one in operation.path_parameters}
            places = {"namespace": "default", "name": name}
            case = data.draw(
                operation.as_strategy(path_parameters={one: places[one] for one in sorted(given_paths)} or None)
            )
            sent = case.as_transport_kwargs()
            if "json" in sent:
                sent["json"] = named(sent["json"], name)
            check(operation, case, sent, world.ask(sent))

        requests_of()

    for operation in operations:
        run(operation)
