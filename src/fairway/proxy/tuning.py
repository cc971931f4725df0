"""What the machine is set to when a proxy starts: limits of connection tracking, and who dies first without memory.

The numbers are the reference's (section 1.L). A limit that is higher already stays: somebody chose it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from fairway.kernel.links import ROUTE_LOCALHOST, set_sysctls, sysctl
from fairway.proxy.configuration import Configuration, TrackingLimits

log = logging.getLogger(__name__)

_MOST_SCALED = 1 << 20
_HASH_SIZE = Path("/sys/module/nf_conntrack/parameters/hashsize")
_OWN_SCORE = Path("/proc/self/oom_score_adj")
_LIMIT = "net.netfilter.nf_conntrack_max"


def prepare(configuration: Configuration) -> list[str]:
    """Set the machine up; returns what could not be set, as sentences. Needs root, and more than a namespace's."""
    refused: list[str] = []
    if configuration.tracking is not None:
        refused += _track(configuration.tracking, os.cpu_count() or 1)
    if configuration.oom_score is not None:
        try:
            _OWN_SCORE.write_text(str(configuration.oom_score))
        except OSError as error:
            log.debug("oom_score_adj stays as it is: %s", error.strerror)
    return refused


def open_localhost(configuration: Configuration) -> list[str]:
    """Let packets from 127.0.0.1 leave, once the kernel has the rules that keep others from coming in by that.

    Returns what could not be set, as sentences.
    """
    if not configuration.localhost_node_ports:
        return []
    return [
        f"{name} cannot be set to {value}, so node ports do not answer at 127.0.0.1: {why}"
        for name, value in ROUTE_LOCALHOST.items()
        if (why := _set(name, value))
    ]


def most_connections(limits: TrackingLimits, cores: int) -> int:
    """How many connections the kernel shall be able to track; 0 leaves that to it."""
    if limits.most_per_core == 0:
        return 0
    return max(limits.most_at_least, min(limits.most_per_core * cores, _MOST_SCALED))


def settings_for(limits: TrackingLimits) -> dict[str, str]:
    """Kernel settings by name, beside the number of connections."""
    protocol = "net.netfilter.nf_conntrack"
    seconds = {
        f"{protocol}_tcp_timeout_established": limits.established,
        f"{protocol}_tcp_timeout_close_wait": limits.close_wait,
        f"{protocol}_udp_timeout": limits.udp,
        f"{protocol}_udp_timeout_stream": limits.udp_stream,
    }
    found = {name: str(int(value)) for name, value in seconds.items() if value > 0}
    if limits.be_liberal:
        found[f"{protocol}_tcp_be_liberal"] = "1"
    return found


def _track(limits: TrackingLimits, cores: int) -> Iterator[str]:
    wanted = most_connections(limits, cores)
    if wanted and (why := _raise_to(_LIMIT, wanted)):
        yield f"{_LIMIT} is less than the {wanted} it should be: {why}"
    if wanted and (why := _raise_buckets(wanted // 4)):
        yield f"{_HASH_SIZE} is less than the {wanted // 4} it should be: {why}"
    for name, value in settings_for(limits).items():
        if why := _set(name, value):
            yield f"{name} cannot be set to {value}: {why}"


def _raise_to(name: str, value: int) -> str:
    try:
        return "" if int(sysctl(name)) >= value else _set(name, str(value))
    except OSError as error:
        return _words(error)


def _raise_buckets(value: int) -> str:
    try:
        if int(_HASH_SIZE.read_text()) < value:
            _HASH_SIZE.write_text(str(value))
    except OSError as error:
        return _words(error)
    return ""


def _set(name: str, value: str) -> str:
    try:
        if sysctl(name) != value:
            set_sysctls({name: value})
    except OSError as error:
        return _words(error)
    return ""


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
