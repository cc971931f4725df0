"""Unit tests of `fairway.proxy.tuning`: the numbers. That they arrive is a matter of real namespaces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.proxy.configuration import TrackingLimits, configure
from fairway.proxy.flags import Flags
from fairway.proxy.tuning import most_connections, settings_for

DEFAULT = configure(Flags(), "a").tracking
assert DEFAULT is not None


@pytest.mark.reference("7.4 TestGetConntrackMax, TestSetupConntrack")
@pytest.mark.parametrize(
    "limits, cores, expected",
    [
        (DEFAULT, 2, 131072),
        (DEFAULT, 8, 262144),
        (DEFAULT, 64, 1 << 20),
        (replace(DEFAULT, most_per_core=0), 8, 0),
        (replace(DEFAULT, most_at_least=1 << 21), 8, 1 << 21),
    ],
)
def test_connections_grow_with_the_cores_between_two_bounds(limits: TrackingLimits, cores: int, expected: int) -> None:
    assert most_connections(limits, cores) == expected


@pytest.mark.reference("7.4 TestGetConntrackMax, TestSetupConntrack")
@pytest.mark.reference("7.5 KubeProxy: set TCP CLOSE_WAIT timeout")
@pytest.mark.reference("7.5 Conntrack: not vulnerable to the invalid conntrack state bug")
def test_a_timeout_of_zero_leaves_the_kernels_own() -> None:
    name = "net.netfilter.nf_conntrack"
    assert DEFAULT is not None
    assert settings_for(DEFAULT) == {
        f"{name}_tcp_timeout_established": "86400",
        f"{name}_tcp_timeout_close_wait": "3600",
    }
    liberal = replace(DEFAULT, established=0, close_wait=0, udp=30, be_liberal=True)
    assert settings_for(liberal) == {f"{name}_udp_timeout": "30", f"{name}_tcp_be_liberal": "1"}
