"""Unit tests of `fairway.client.kubeconfig`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairway.client.kubeconfig import (
    Connection,
    KubeconfigError,
    default_files,
    find_connection,
    in_cluster,
    load_kubeconfig,
    write_kubeconfig,
)


def config(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443", **changes.pop("cluster", {})}}],
        "users": [{"name": "u", "user": changes.pop("user", {"token": "secret"})}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **changes.pop("context", {})}}],
        **changes,
    }


def write(path: Path, document: Any) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_current_context_names_server_user_and_namespace(tmp_path: Path) -> None:
    file = write(tmp_path / "config", config(context={"namespace": "shop"}))
    found = load_kubeconfig([file])
    assert (found.server, found.token, found.namespace) == ("https://10.0.0.1:6443", "secret", "shop")
    assert found.source == str(file)


def test_what_is_inline_wins_over_what_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"from a file")
    inline = base64.b64encode(b"inline").decode()
    only_file = write(tmp_path / "a", config(cluster={"certificate-authority": "ca.crt"}))
    both = write(
        tmp_path / "b", config(cluster={"certificate-authority": "ca.crt", "certificate-authority-data": inline})
    )
    assert load_kubeconfig([only_file]).certificate_authority == b"from a file"
    assert load_kubeconfig([both]).certificate_authority == b"inline"


def test_a_token_can_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("fresh\n")
    assert load_kubeconfig([write(tmp_path / "a", config(user={"tokenFile": "token"}))]).token == "fresh"
    assert load_kubeconfig([tmp_path / "a"]).token_file == tmp_path / "token"


def test_what_is_no_token_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    wrong = "holds no token: letters, digits and signs of ASCII, without spaces"
    with pytest.raises(KubeconfigError, match=rf"a: users\[.*\]\.tokenFile: {wrong}"):
        load_kubeconfig([write(tmp_path / "a", config(user={"tokenFile": "token"}))])
    with pytest.raises(KubeconfigError, match=rf"b: users\[.*\]\.token: {wrong}"):
        load_kubeconfig([write(tmp_path / "b", config(user={"token": "one\ntwo"}))])


def test_several_files_are_merged_and_the_first_one_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "a", {"current-context": "there", "contexts": [], "clusters": None})
    second = write(tmp_path / "b", config())
    third = write(
        tmp_path / "c",
        config(
            **{"current-context": "here"},
            clusters=[{"name": "c", "cluster": {"server": "https://ignored"}}],
            contexts=[{"name": "there", "context": {"cluster": "c", "user": "u"}}],
        ),
    )
    found = load_kubeconfig([first, tmp_path / "missing", second, third])
    assert found.server == "https://10.0.0.1:6443"
    assert load_kubeconfig([first, second, third], "here").token == "secret"


@pytest.mark.parametrize(
    "document, message",
    [
        (config(**{"current-context": ""}), "current-context: is not set"),
        (config(**{"current-context": "gone"}), "contexts: there is no entry 'gone'; there are: here"),
        (config(clusters=[]), "clusters: there is no entry 'c'; there are: none"),
        (config(cluster={"server": "10.0.0.1"}), r"clusters\[c\].server: must be a URL"),
        (config(cluster={"server": "https://[::1"}), r"clusters\[c\].server: must be a URL"),
        (config(cluster={"server": "https://one:port"}), r"clusters\[c\].server: must be a URL"),
        (config(cluster={"server": "https://"}), r"clusters\[c\].server: must be a URL"),
        (config(cluster={"server": f"https://{'a' * 64}.x"}), r"clusters\[c\].server: must be a URL"),
        (config(cluster={"tls-server-name": ".x"}), r"clusters\[c\].tls-server-name: must be the name of a host"),
        (config(cluster={"server": "https://one two"}), r"clusters\[c\].server: must be a URL"),
        (config(cluster={"proxy-url": "http://p"}), r"clusters\[c\].proxy-url: is not supported"),
        (config(cluster={"certificate-authority-data": "!"}), r"clusters\[c\].certificate-authority-data: not base64"),
        (config(cluster={"certificate-authority": "gone.crt"}), r"certificate-authority: .*gone.crt: no such file"),
        (config(user={"client-certificate-data": "YQ=="}), r"users\[u\].client-key: is missing"),
        (config(user={"exec": {"command": "login"}}), r"users\[u\].exec: is not supported; use a client certificate"),
        (config(user={"username": "me"}), r"users\[u\].username: is not supported"),
        (config(users=[{"name": 3}]), r"users\[0\].name: expected str, got int"),
        ([1], "expected an object"),
        ("a: [", "expected an object"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_field(tmp_path: Path, document: Any, message: str) -> None:
    file = write(tmp_path / "broken", document)
    with pytest.raises(KubeconfigError, match=message) as caught:
        load_kubeconfig([file])
    assert str(caught.value).startswith(f"{file}: ")


def test_text_that_is_no_yaml_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("a: b\nc: [\n")
    with pytest.raises(KubeconfigError, match="line 3: did not find"):
        load_kubeconfig([tmp_path / "broken"])


def test_no_file_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="nowhere: no such file"):
        load_kubeconfig([tmp_path / "nowhere"])


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="cannot be read: is a directory"):
        load_kubeconfig([tmp_path])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    given = Connection(
        "https://127.0.0.1:6443",
        b"authority",
        b"certificate",
        b"key",
        "token",
        tls_server_name="api",
        namespace="shop",
        source=str(tmp_path / "out"),
    )
    (tmp_path / "out").write_text(write_kubeconfig(given))
    assert load_kubeconfig([tmp_path / "out"]) == given


def test_secrets_are_not_printed() -> None:
    assert "hidden" not in repr(Connection("https://x", b"", b"hidden", b"hidden", "hidden"))


def test_a_pod_finds_its_cluster(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster(environment, tmp_path) is None
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "ca.crt").write_text("ca")
    (tmp_path / "namespace").write_text("shop")
    found = in_cluster(environment, tmp_path)
    assert found is not None
    assert (found.server, found.token, found.namespace) == ("https://[fd00::1]:443", "t", "shop")
    assert in_cluster({}, tmp_path) is None
    with pytest.raises(
        KubeconfigError, match="in-cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: must be"
    ):
        in_cluster({**environment, "KUBERNETES_SERVICE_PORT": "tcp://10.0.0.1:443"}, tmp_path)


def test_where_to_look(tmp_path: Path) -> None:
    assert default_files({"KUBECONFIG": "/a:/b:"}) == [Path("/a"), Path("/b")]
    assert default_files({"HOME": "/home/me"}) == [Path("/home/me/.kube/config")]
    named = write(tmp_path / "named", config())
    assert find_connection(named, {"KUBECONFIG": "/nowhere"}).source == str(named)
    assert find_connection(None, {"KUBECONFIG": str(named)}).source == str(named)
