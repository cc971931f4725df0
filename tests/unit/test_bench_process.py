"""Unit tests of `fairway.bench.process`: which process is started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairway.bench.process import Program, cpu_seconds
from fairway.bench.shape import CLUSTER_NETWORK, NODE, SERVICE_NETWORK


def test_our_own_proxy_is_told_everything_by_flags() -> None:
    program = Program(mode="nftables")
    arguments = program.arguments(Path("/tmp/k"), 7)
    assert arguments[1:4] == ["-m", "fairway", "proxy"]
    assert {"--proxy-mode=nftables", "--ready-fd=7", "--kubeconfig=/tmp/k"} <= set(arguments)
    assert str(program) == "fairway proxy --proxy-mode=nftables"


def test_the_form_and_the_variant_of_iptables_are_said_behind_it() -> None:
    program = Program.named("iptables:flat:legacy")
    assert str(program) == "fairway proxy --proxy-mode=iptables --iptables-flat --iptables-variant=legacy"
    assert {"--iptables-flat", "--iptables-variant=legacy", "--receipts-fd=8"} <= {*program.arguments(Path("/k"), 7, 8)}


def test_another_proxy_gets_its_own_command_line_with_the_places_filled_in() -> None:
    program = Program(command="kube-proxy --kubeconfig {kubeconfig} 'a b' {node} {cluster-cidr} {service-cidr} {x}")
    assert program.arguments(Path("/tmp/k"), 7) == [
        *("kube-proxy", "--kubeconfig", "/tmp/k", "a b"),
        *(NODE, CLUSTER_NETWORK, SERVICE_NETWORK, "{x}"),
    ]


def test_a_command_that_does_not_lead_to_the_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must name \{kubeconfig\}"):
        Program(command="kube-proxy")


def test_a_processs_time_is_known_to_less_than_a_tick_of_the_kernel() -> None:
    children = sum(os.times()[2:4])
    before = time.process_time()
    found = cpu_seconds(os.getpid()) - children
    assert before - 1e-6 <= found <= time.process_time() + 1e-6


def test_the_time_of_those_that_it_has_started_counts_too() -> None:
    before = cpu_seconds(os.getpid()) - time.process_time()
    subprocess.run([sys.executable, "-c", "sum(range(5_000_000))"], check=True)
    assert cpu_seconds(os.getpid()) - time.process_time() > before + 0.02
