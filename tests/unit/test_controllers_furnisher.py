"""Unit tests of `fairway.controllers.furnisher`: what a program in any namespace finds there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairway.controllers.feeds import ROOT_CA_NAME, ConfigMap
from fairway.controllers.runner import Options
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS
from tests.unit.controllers_world import settle, world

AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CERTIFICATES = CONFIG_MAPS.read_as(ConfigMap)
NAMESPACES_AT_START = 4


def namespaces_of(found: list[KubernetesObject]) -> set[str]:
    return {one.metadata.namespace for one in found}


def all_tell(found: list[ConfigMap], count: int) -> bool:
    named = [one for one in found if one.metadata.name == ROOT_CA_NAME]
    return len(named) == count and all(one.data == {"ca.crt": AUTHORITY} for one in named)


async def test_every_namespace_has_its_account_and_its_certificate(tmp_path: Path) -> None:
    async with world(tmp_path, Options(root_ca=AUTHORITY)) as it:
        await it.until(CERTIFICATES, lambda found: all_tell(found, NAMESPACES_AT_START))
        await it.client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        accounts = await it.until(SERVICE_ACCOUNTS, lambda found: "shop" in namespaces_of(found))
        assert namespaces_of(accounts) == {"default", "kube-system", "kube-public", "kube-node-lease", "shop"}
        assert {one.metadata.name for one in accounts} == {"default"}
        await it.until(CERTIFICATES, lambda found: all_tell(found, NAMESPACES_AT_START + 1))


async def test_what_somebody_takes_away_or_changes_is_put_right(tmp_path: Path) -> None:
    async with world(tmp_path, Options(root_ca=AUTHORITY)) as it:
        before = await it.until(SERVICE_ACCOUNTS, lambda found: "default" in namespaces_of(found))
        uids = {one.metadata.uid for one in before}
        await it.until(CERTIFICATES, lambda found: all_tell(found, NAMESPACES_AT_START))
        await it.client.delete(SERVICE_ACCOUNTS, "default", "default")
        await it.until(
            SERVICE_ACCOUNTS,
            lambda found: any(one.metadata.namespace == "default" and one.metadata.uid not in uids for one in found),
        )
        wrong: Any = {"data": {"ca.crt": "somebody else", "more": "of it"}}
        await it.client.patch(CONFIG_MAPS, ROOT_CA_NAME, wrong, "default")
        await it.until(CERTIFICATES, lambda found: all_tell(found, NAMESPACES_AT_START))


async def test_a_namespace_that_goes_is_not_furnished_again(tmp_path: Path) -> None:
    async with world(tmp_path, Options(root_ca=AUTHORITY)) as it:
        await it.client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await it.until(CERTIFICATES, lambda found: all_tell(found, NAMESPACES_AT_START + 1))
        await it.client.delete(NAMESPACES, "shop")
        await it.until(NAMESPACES, lambda found: all(one.metadata.name != "shop" for one in found))
        assert "shop" not in namespaces_of((await it.client.list(SERVICE_ACCOUNTS)).items)


async def test_without_an_authority_to_tell_there_are_accounts_only(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.until(SERVICE_ACCOUNTS, lambda found: len(found) == NAMESPACES_AT_START)
        await settle()
        assert (await it.client.list(CONFIG_MAPS)).items == []
        writes = len(it.door.writes)
        await it.client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default-2", "namespace": "default"}})
        await settle()
        assert len(it.door.writes) == writes
