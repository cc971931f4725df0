"""``fairway bench relay``: what connections pay for a relay, and what a relay pays for connections."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from fairway.bench.machine import sentence
from fairway.cli.bench_proxies import measuring
from fairway.cli.output import EXIT_USAGE, CommandError, Output, print_json, tell


def relay(
    *,
    connections: int = 2_000,
    held: int = 10_000,
    seconds: float = 2.0,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Measure what a relay costs, beside the kernel's rules and beside no Service at all.

    Two nodes are made of network namespaces, one with the nftables mode, one that relays every Service, each with a
    client and a backend that says every word back. Connections to the backend directly, through the rules and through
    the relay take turns, so that the figures of one run can be compared. Then very many are held open through the relay
    at one time. Needs root; leaves nothing behind.

    Example: sudo fairway bench relay --held 10000

    Parameters
    ----------
    connections
        How many connections are made on each way, and how many requests.
    held
        How many are then open at one time; each takes two file descriptors of the relay. 0: none.
    seconds
        How long each stream for the throughput lasts; 0 for none.
    output
        text or json; times in seconds, memory in bytes.
    """
    from fairway.bench.relay import measure

    if connections < 1 or held < 0 or seconds < 0:
        raise CommandError("--connections: at least one; --held, --seconds: not less than 0", EXIT_USAGE)
    with measuring():
        found = measure(connections, held, seconds, tell)
    if output == "json":
        print_json(found)
    else:
        _show(found)
    return 0


def _show(found: dict[str, Any]) -> None:
    head = f"{'way':<10}{'answer p50':>13}{'p99':>13}{'request p50':>13}{'p99':>13}{'connections/s':>15}{'Gbit/s':>9}"
    print(head)
    for name, one in found["targets"].items():
        times = [one[which][part] for which in ("answer_seconds", "request_seconds") for part in ("p50", "p99")]
        bits = one.get("throughput_bits_per_second")
        rate = "" if bits is None else f"{bits / 1e9:.1f}"
        columns = "".join(f"{each * 1e6:>10.0f} µs" for each in times)
        print(f"{name:<10}{columns}{one['connections_per_second']:>15}{rate:>9}")
    if held := found.get("held"):
        print(f"\n{held['connections']} connections at one time, made and answered in {held['seconds']:.1f} s")
        before, after = held["rss_bytes_before"] / 2**20, held["rss_bytes"] / 2**20
        each = held["bytes_per_connection"] / 1024
        print(f"the relay's memory {before:.0f} MiB without them, {after:.0f} MiB with: {each:.1f} KiB each")
        times = held["request_seconds"]
        print(f"processor time     {held['cpu_seconds_per_connection'] * 1e6:.0f} µs to make and answer each")
        print(f"file descriptors   {held['descriptors_per_connection']:g} each")
        print(f"a request on each  {times['p50'] * 1e6:.0f} µs p50, {times['p99'] * 1e6:.0f} µs p99")
    print(sentence(found["machine"]))
