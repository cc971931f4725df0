"""``fairway bench datapath``: what a packet pays for Services, measured by whoever wants to know."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from fairway.bench.machine import sentence
from fairway.cli.bench_proxies import measuring, programs
from fairway.cli.output import EXIT_USAGE, CommandError, Output, print_json, tell


def datapath(
    *,
    mode: Annotated[str, Parameter(name="--mode")] = "nftables",
    services: str = "100,10000,50000",
    connections: int = 10_000,
    seconds: float = 2.0,
    command: Annotated[str, Parameter(name="--command")] = "",
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Measure what a packet pays for Services: connections and streams through a proxy's rules and past them.

    For each number of Services a client, a node and its backends are made of network namespaces, and a real
    `fairway proxy` runs on the node against a made-up cluster. Connections to a backend directly and through the
    first, the middle and the last Service take turns, so that the figures of one run can be compared. Needs root;
    leaves nothing behind.

    Example: sudo fairway bench datapath --services 100,10000,50000

    Parameters
    ----------
    mode
        The proxy mode; of iptables also its form and variant, such as iptables:flat:legacy. Several, with commas
        between, are measured side by side.
    services
        How many Services: one number, or several with commas between.
    connections
        How many connections are made to each target.
    seconds
        How long each stream for the throughput lasts; 0 for none. iperf3 sends it where it is installed.
    command
        Another proxy's command line, measured beside ours: `{kubeconfig}` stands for the file that leads to the
        cluster, `{node}`, `{cluster-cidr}` and `{service-cidr}` for what else it may want to be told.
    output
        text or json; times in seconds.
    """
    from fairway.bench.datapath import Traffic, measure
    from fairway.bench.shape import Shape

    sizes = _numbers(services)
    wanted = programs(mode, command)
    if connections < 1 or seconds < 0:
        raise CommandError("--connections: at least one; --seconds: not less than 0", EXIT_USAGE)
    try:
        for size in sizes:
            Shape(size, 1)
    except ValueError as error:
        raise CommandError(f"--services: {error}", EXIT_USAGE) from None
    with measuring():
        found = measure(wanted, sizes, Traffic(connections, seconds), tell)
    if output == "json":
        print_json(found)
    else:
        _show(found)
    return 0


def _numbers(text: str) -> list[int]:
    try:
        return sorted({int(one) for one in text.split(",")})
    except ValueError:
        raise CommandError(f"--services: {text!r} is not a list of numbers like 100,10000", EXIT_USAGE) from None


def _show(found: dict[str, Any]) -> None:
    for proxy in found["proxies"]:
        print(f"{proxy['proxy']}\n")
        print(f"{'Services':>9}  {'to':<8}{'connect p50':>12}{'p99':>10}{'connections/s':>15}{'Gbit/s':>9}")
        for size in proxy["sizes"]:
            for name, times in size["connect_seconds"].items():
                bits = size.get("throughput_bits_per_second", {}).get(name)
                rate = size["connections_per_second"][name]
                print(
                    f"{size['services']:>9}  {name:<8}{times['p50'] * 1e6:>9.1f} µs{times['p99'] * 1e6:>7.1f} µs"
                    f"{rate:>15}{'' if bits is None else f'{bits / 1e9:.1f}':>9}"
                )
        if "latency_ratio" in proxy:
            few, many = proxy["sizes"][0]["services"], proxy["sizes"][-1]["services"]
            change = (proxy["latency_ratio"] - 1) * 100
            print(f"\nlatency through a Service at {many} against {few} Services: {change:+.1f} %")
        print()
    if found["throughput_by"]:
        print(f"streams by {found['throughput_by']}")
    print(sentence(found["machine"]))
