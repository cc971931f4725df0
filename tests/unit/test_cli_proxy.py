"""Unit tests of `fairway.cli.proxy` and `fairway.cli.up`: what a wrong command line is told, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.cli.main import run
from fairway.cli.output import EXIT_USAGE
from fairway.proxy.document import read_document


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--mode", "ebpf"], '--proxy-mode: unknown mode "ebpf"; it must be nftables'),
        (["--mode", "iptables", "--iptables-variant=old"], '--iptables-variant: "old" is no variant of iptables'),
        (["--cluster-cidr=10.244.0.0"], "--cluster-cidr: "),
        (["--nodeport-addresses=everywhere"], "--nodeport-addresses: "),
        (["--healthz-bind-address=:x"], "--healthz-bind-address: "),
        (["--detect-local-mode=Guess"], "--detect-local-mode: "),
        (["--master=10.0.0.1"], "--master: must be a URL such as https://10.0.0.1:6443"),
        (["--master=https://10.0.0.1:6443,https://10.0.0.2:port"], "not 'https://10.0.0.2:port'"),
    ],
)
def test_a_wrong_flag_is_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", *arguments]) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["proxy", f"--kubeconfig={tmp_path / 'nowhere'}"]) != 0
    assert f"{tmp_path / 'nowhere'}: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--service-cluster-ip-range=10.96.0.0"], "--service-cluster-ip-range: "),
        (["--hostname-override=a b"], "--hostname-override: "),
        (["--bind-address=localhost"], "--bind-address 'localhost' is not an IP address"),
        (["--event-ttl=soon"], "--event-ttl 'soon' is not a duration"),
        (["--enable-admission-plugins=Nope"], "--enable-admission-plugins: there is no 'Nope'"),
        (["--metrics-bind-address=x"], "--metrics-bind-address: "),
    ],
)
def test_up_names_a_wrong_flag_too(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", *arguments]) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_a_port_that_is_none_is_refused() -> None:
    assert run(["up", "--secure-port=70000"]) == EXIT_USAGE


def test_a_file_is_written_that_says_the_same_as_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.conf"
    assert run(["proxy", "--conntrack-min=7", "--cluster-cidr=10.244.0.0/16", f"--write-config-to={file}"]) == 0
    assert str(file) in capsys.readouterr().out
    document = read_document(file.read_bytes())
    assert (document.conntrack.min, document.cluster_cidr) == (7, "10.244.0.0/16")


def test_a_file_that_is_wrong_is_named_with_its_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.conf"
    assert run(["proxy", f"--config={file}"]) == EXIT_USAGE
    assert f"--config: {file}: no such file" in capsys.readouterr().err
    file.write_text("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmasquerade: true\n")
    assert run(["proxy", f"--config={file}"]) == EXIT_USAGE
    assert f"--config: {file}: masquerade: there is no such field" in capsys.readouterr().err
    file.write_text("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: magic\n")
    assert run(["proxy", f"--config={file}"]) == EXIT_USAGE
    assert 'mode: unknown mode "magic"' in capsys.readouterr().err
