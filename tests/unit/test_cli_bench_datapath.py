"""Unit tests of `fairway.cli.bench_datapath`: questions that make no sense are told so before anything is made."""

from __future__ import annotations

import pytest

from fairway.cli.main import run


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--services", "10,x"], "--services: '10,x' is not a list of numbers"),
        (["--services", "0"], "--services: there must be at least one Service"),
        (["--services", "9999999"], "--services: 9999999 x 1 is more than"),
        (["--mode", "magic"], "--mode: no mode 'magic'; there is: nftables"),
        (["--mode", "iptables,iptables:round"], "--mode: iptables has no form 'round'; there is: flat, nft, legacy"),
        (["--mode", "nftables:flat"], "--mode: nftables has no form 'flat'; there is: none"),
        (["--connections", "0"], "--connections: at least one"),
        (["--command", "kube-proxy"], "--command: the command must name {kubeconfig}"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "datapath", *arguments]) == 2
    assert words in capsys.readouterr().err
