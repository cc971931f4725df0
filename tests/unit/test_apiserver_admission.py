"""Unit tests of `fairway.apiserver.admission`: what a cluster can refuse although Kubernetes allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.cli.main import run
from fairway.cli.output import EXIT_USAGE
from fairway.objects.resources import SERVICES
from tests.unit.api_calls import MERGE, Calls, service

HERE = SERVICES.path("default")
REFUSED = 'services "cart" is forbidden: Use of external IPs is denied by admission control'
TWO = ["192.0.2.1", "192.0.2.2"]


async def start(*plugins: str) -> Calls:
    settings = Settings(data_directory=Path("/nowhere"), admission_plugins=plugins)
    return Calls(await create_app(MemoryStorage(), settings))


async def with_external_ips() -> Calls:
    """A cluster in which a Service got its external IPs before the plugin was on."""
    storage = MemoryStorage()
    before = Calls(await create_app(storage, Settings(data_directory=Path("/nowhere"))))
    assert (await before("POST", HERE, service("cart", externalIPs=TWO))).status == 201
    settings = Settings(data_directory=Path("/nowhere"), admission_plugins=("DenyServiceExternalIPs",))
    return Calls(await create_app(storage, settings))


@pytest.mark.reference("5.7 deny external ips")
async def test_external_ips_are_allowed_unless_the_plugin_is_on() -> None:
    calls = await start()
    assert (await calls("POST", HERE, service("cart", externalIPs=TWO))).status == 201


@pytest.mark.reference("5.7 deny external ips")
async def test_a_new_service_with_external_ips_is_refused_and_keeps_no_address() -> None:
    calls = await start("DenyServiceExternalIPs")
    answer = await calls("POST", HERE, service("cart", externalIPs=TWO, clusterIP="10.96.7.7"))
    assert (answer.status, answer.json["reason"], answer.json["message"]) == (403, "Forbidden", REFUSED)
    assert answer.json["details"] == {"name": "cart", "kind": "services"}
    assert (await calls("POST", HERE, service("cart", clusterIP="10.96.7.7"))).status == 201


@pytest.mark.reference("5.7 deny external ips")
@pytest.mark.parametrize(
    "ips, status",
    [
        (TWO, 200),
        (TWO[:1], 200),
        ([], 200),
        ([*TWO, "192.0.2.3"], 403),
        (["192.0.2.3"], 403),
    ],
)
async def test_a_service_may_keep_and_lose_what_it_has_and_gain_nothing(ips: list[str], status: int) -> None:
    calls = await with_external_ips()
    patch: Any = {"spec": {"externalIPs": ips}, "metadata": {"labels": {"a": "b"}}}
    assert (await calls("PATCH", f"{HERE}/cart", patch, content_type=MERGE)).status == status


async def test_what_is_wrong_with_a_service_is_said_before_what_is_not_wanted() -> None:
    calls = await start("DenyServiceExternalIPs")
    answer = await calls("POST", HERE, service("cart", externalIPs=["127.0.0.1"]))
    assert answer.status == 422
    assert "spec.externalIPs[0]" in answer.json["message"]


def test_a_plugin_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["apiserver", "--enable-admission-plugins=NodeRestriction,AlwaysPull"]) == EXIT_USAGE
    assert "there is no 'AlwaysPull'; there are DenyServiceExternalIPs" in capsys.readouterr().err
