"""What `deploy/` holds is valid, by Kubernetes' schemas, by systemd, and by the readers of our own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from fairway.apiserver.server import create_app
from fairway.apiserver.settings import Settings
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.client.asgi import AsgiTransport
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.transport import Request
from fairway.objects.codec import encode, read_yaml
from fairway.objects.resources import BY_KIND
from fairway.proxy.configuration import configure
from fairway.proxy.document import read_document
from fairway.proxy.flags import Flags

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OBJECTS: dict[str, Any] = {one["kind"]: one for one in read_yaml((DEPLOY / "kubernetes.yaml").read_bytes())}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


@pytest.mark.parametrize("kind", OBJECTS)
def test_each_object_is_valid(kind: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], "1.36", strict=True)


async def test_our_own_api_server_takes_the_objects_strictly(tmp_path: Path) -> None:
    """All but the DaemonSet, a kind that it does not serve."""
    transport = AsgiTransport(await create_app(MemoryStorage(), Settings(data_directory=tmp_path, storage="memory")))
    for document in OBJECTS.values():
        resource = BY_KIND.get((document["apiVersion"], document["kind"]))
        if resource is not None:
            path = resource.path(document["metadata"].get("namespace", ""))
            headers = {"Content-Type": "application/json"}
            request = Request("POST", path, {"fieldValidation": "Strict"}, headers, encode(document))
            answer = await transport.request(request, timeout=30)
            assert (answer.status, "warning" in answer.headers) == (201, False), answer.body
    assert set(OBJECTS) - {kind for _, kind in BY_KIND} == {"DaemonSet"}
    await transport.close()


def test_the_configuration_is_one_that_the_proxy_takes_without_a_note() -> None:
    document = read_document(OBJECTS["ConfigMap"]["data"]["config.conf"].encode())
    assert configure(Flags(), "node-1", document).notes == ()
    mounts = OBJECTS["DaemonSet"]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert Path(document.client_connection.kubeconfig).parent == Path(mounts[0]["mountPath"])


def test_tools_that_write_rules_wait_for_the_nodes_own_lock() -> None:
    spec = OBJECTS["DaemonSet"]["spec"]["template"]["spec"]
    (name,) = (one["name"] for one in spec["containers"][0]["volumeMounts"] if one["mountPath"] == "/run/xtables.lock")
    (volume,) = (one for one in spec["volumes"] if one["name"] == name)
    assert volume["hostPath"] == {"path": "/run/xtables.lock", "type": "FileOrCreate"}


def test_the_kubeconfig_is_one_that_the_client_takes(tmp_path: Path) -> None:
    secrets = "/var/run/secrets/kubernetes.io/serviceaccount"
    text = OBJECTS["ConfigMap"]["data"]["kubeconfig.conf"].replace(secrets, str(tmp_path))
    (tmp_path / "ca.crt").write_text("an authority")
    (tmp_path / "token").write_text("a-token")
    (tmp_path / "kubeconfig.conf").write_text(text)
    found = load_kubeconfig([tmp_path / "kubeconfig.conf"])
    assert (found.token, found.token_file) == ("a-token", tmp_path / "token")


def test_the_role_is_bound_to_the_account_that_the_pods_have() -> None:
    assert OBJECTS["ClusterRoleBinding"]["roleRef"]["name"] == OBJECTS["ClusterRole"]["metadata"]["name"]
    subject = OBJECTS["ClusterRoleBinding"]["subjects"][0]
    account = OBJECTS["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert OBJECTS["DaemonSet"]["spec"]["template"]["spec"]["serviceAccountName"] == account["name"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
@pytest.mark.parametrize("unit", UNITS, ids=lambda one: one.name)
def test_each_unit_is_one_that_systemd_takes(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=30)
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda one: one.name)
def test_each_unit_starts_a_command_that_there_is(unit: Path) -> None:
    found = re.search(r"^ExecStart=/usr/bin/env fairway (\w+)", unit.read_text(), re.MULTILINE)
    assert found is not None
    assert (ROOT / "src" / "fairway" / "cli" / f"{found[1]}.py").exists()


def test_what_the_image_runs_is_what_a_shell_takes() -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    commands = re.findall(r"^RUN (.+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        subprocess.run(["sh", "-n", "-c", command], check=True, timeout=30)
    for form in re.findall(r"^(?:ENTRYPOINT|CMD) (.+)$", text, re.MULTILINE):
        assert all(isinstance(word, str) for word in json.loads(form))


def test_the_image_copies_only_what_is_there_and_starts_what_it_installs() -> None:
    instructions = [line.split() for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line[:1].isupper()]
    assert {one[0] for one in instructions} <= {"FROM", "WORKDIR", "COPY", "RUN", "ENTRYPOINT", "CMD"}
    assert instructions[0][0] == "FROM"
    for _, *words in (one for one in instructions if one[0] == "COPY" and not one[1].startswith("--from")):
        assert [source for source in words[:-1] if not (ROOT / source).exists()] == []
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    images = {one["image"] for one in OBJECTS["DaemonSet"]["spec"]["template"]["spec"]["containers"]}
    assert images == {f"fairway:{version[1]}"}
