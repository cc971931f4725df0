"""``fairway bench``: how fast it is here, measured by whoever wants to know."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from fairway.bench.machine import sentence
from fairway.cli.bench_api import api
from fairway.cli.bench_datapath import datapath
from fairway.cli.bench_proxies import measuring, programs
from fairway.cli.bench_relay import relay
from fairway.cli.output import EXIT_USAGE, FLAGS, CommandError, Output, print_json, tell

app = App(name="bench", help="Measure how fast it is on this machine.", default_parameter=FLAGS)
app.command(api)
app.command(datapath)
app.command(relay)


_EACH_ANSWERED = ("cold_seconds", "change_seconds", "cpu_seconds_per_change")
_EACH = ("first_change_seconds", *_EACH_ANSWERED)
"""What is told of every single run."""
_LONGEST_PAUSE = 60


@app.command
def programming(
    *,
    mode: Annotated[str, Parameter(name="--mode")] = "nftables",
    services: int = 10_000,
    backends: int = 10,
    changes: int = 200,
    pause: float = 0.0,
    rate: int = 1000,
    repeat: int = 1,
    command: Annotated[str, Parameter(name="--command")] = "",
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Measure how fast a proxy process makes the kernel follow the cluster.

    A real `fairway proxy` runs in a network namespace of its own against a made-up cluster. Measured are the time from
    its start until the kernel has everything, and for one change after the other the time from the last byte of the
    watch event to the kernel's word that it is done. Needs root; leaves nothing behind.

    Example: sudo fairway bench programming --services 10000 --backends 10

    Parameters
    ----------
    mode
        The proxy mode; of iptables also its form and variant, such as iptables:flat:legacy. Several, with commas
        between, are measured one after the other.
    services
        How many Services.
    backends
        How many backends each of them has.
    changes
        How many changes: a backend leaves, then comes back, at one Service after the other.
    pause
        Before each of these, so many seconds in which nothing happens. 0: it follows at once.
    rate
        Afterwards, so many changes a second for five seconds, none of which waits for another. 0: none.
    repeat
        So many whole runs; each figure is the median of theirs, and `each` has what they were. Several modes take
        turns.
    command
        Another proxy's command line. It and ours are then also measured by when the rules answer a client, which
        every proxy can be: `answering` has both. `{kubeconfig}` stands for the file that leads to the cluster,
        `{node}`, `{cluster-cidr}` and `{service-cidr}` for what else it may want to be told.
    output
        text or json; times in seconds, memory in bytes.
    """
    from fairway.bench import answering
    from fairway.bench.programming import measure
    from fairway.bench.repeated import in_turns
    from fairway.bench.shape import SLICE_ENDPOINTS, Shape

    wanted = programs(mode, command)
    ours = [one for one in wanted if not one.command]
    if command and backends > SLICE_ENDPOINTS:
        raise CommandError(f"--backends: with --command at most {SLICE_ENDPOINTS}", EXIT_USAGE)
    if changes < 1:
        raise CommandError("--changes: there must be at least one", EXIT_USAGE)
    if repeat < 1:
        raise CommandError("--repeat: at least one run", EXIT_USAGE)
    if rate < 0:
        raise CommandError("--rate: changes a second, or 0", EXIT_USAGE)
    if not 0 <= pause < _LONGEST_PAUSE:
        raise CommandError(f"--pause: at least 0 and less than {_LONGEST_PAUSE} seconds", EXIT_USAGE)
    try:
        shape = Shape(services, backends)
    except ValueError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    with measuring():
        runs = in_turns(ours, repeat, lambda one: measure(shape, changes, one, rate, pause), _EACH)
        others = wanted if command else []
        answers = in_turns(others, repeat, lambda one: answering.measure(shape, changes, one, tell), _EACH_ANSWERED)
    if output == "json":
        told = [{**one, "answering": answers} if answers else one for one in runs]
        print_json(told if told[1:] else told[0])
    else:
        for one in runs:
            _show(one)
        for each in answers:
            print(f"\nuntil a client is answered, {each['proxy']}")
            _show_answering(each)
    return 0


def _show(found: dict[str, Any]) -> None:
    shape = f"{found['services']} Services x {found['backends']} backends, {found['proxy']}"
    print(f"{shape}: {found['elements']} elements")
    cold, cpu = found["cold_seconds"], found["cold_cpu_seconds"]
    print(f"from the start of the process  {cold:.2f} s  ({cpu:.2f} s of a processor)")
    print(f"the first change, at once      {found['first_change_seconds'] * 1000:.2f} ms")
    times = "  ".join(f"{name} {seconds * 1000:.2f} ms" for name, seconds in found["change_seconds"].items())
    what = f"one change, after {found['pause_seconds']:g} s" if found["pause_seconds"] else "one change"
    print(f"{what:<30} {times}  ({found['cpu_seconds_per_change'] * 1000:.2f} ms of a processor)")
    _show_each(found)
    if kept := found.get("sustained"):
        share, behind = 100 * kept["cpu_share"], kept["behind_seconds"] * 1000
        pace = f"{kept['changes_per_second']} changes/s"
        print(f"{pace:<30} {share:.0f} % of a processor, {behind:.1f} ms behind at the end, {kept['commits']} commits")
    print(f"memory                         {found['rss_bytes'] / 2**20:.0f} MiB")
    print(sentence(found["machine"]))


def _show_answering(found: dict[str, Any]) -> None:
    cpu = f"{found['cold_cpu_seconds']:.2f} s of a processor"
    print(f"from the start of the process  {found['cold_seconds']:.2f} s  ({cpu})")
    times = "  ".join(f"{name} {seconds * 1000:.2f} ms" for name, seconds in found["change_seconds"].items())
    print(f"one change                     {times}  ({found['cpu_seconds_per_change'] * 1000:.2f} ms of a processor)")
    _show_each(found)
    print(f"memory                         {found['rss_bytes'] / 2**20:.0f} MiB")


def _show_each(found: dict[str, Any]) -> None:
    if runs := found.get("each"):
        times = ", ".join(f"{one['change_seconds']['p50'] * 1000:.2f}" for one in runs)
        print(f"p50 of each of {len(runs)} runs          {times} ms")
