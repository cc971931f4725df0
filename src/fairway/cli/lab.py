"""``fairway lab``: a cluster of network namespaces on this machine, with the real programs in it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, FLAGS, CommandError, Output, print_json

if TYPE_CHECKING:
    from fairway.lab.check import Report
    from fairway.lab.cluster import LabCluster, Plan

app = App(
    name="lab",
    help="A cluster of network namespaces on this machine: real packets, real programs, stand-ins for the pods.",
    default_parameter=FLAGS,
)

Name = Annotated[str, Parameter(name="--name", help="The lab's name; several labs do not disturb each other.")]
OutputFlag = Annotated[Output, Parameter(name=("--output", "-o"), help="text or json.")]


@app.command
def up(
    *,
    nodes: int = 3,
    mode: str = "nftables",
    manifest: Annotated[list[Path] | None, Parameter(name=("--manifest", "-f"))] = None,
    name: Name = "lab",
    replace: bool = False,
    patience: float = 60.0,
    output: OutputFlag = "text",
) -> int:
    """Bring up a cluster, run the pods of a manifest in it, and check every Service.

    Example: fairway lab up --nodes 3 --manifest shop.yaml

    The exit code is 0 when every check passed.

    Parameters
    ----------
    nodes
        How many nodes.
    mode
        The proxy mode of every node.
    manifest
        A manifest, or a directory of them; may be repeated. By default the example shop.
    replace
        Remove a lab of this name first, if there is one.
    patience
        How many seconds to wait for the pods; on an emulated processor they take minutes.
    """
    from fairway.cli.lab_output import Progress, print_report, print_skipped
    from fairway.lab import remains
    from fairway.lab.cluster import Plan
    from fairway.lab.manifest import read_files
    from fairway.lab.topology import cluster
    from fairway.modes.registry import MODES

    if mode not in MODES:
        raise CommandError(f"--mode: there is no mode {mode!r}; there is {', '.join(MODES)}", EXIT_USAGE)
    if not patience > 0:
        raise CommandError(f"--patience: {patience:g} is no time to wait; it must be more than 0 seconds", EXIT_USAGE)
    _check_kernel(mode)
    with _complaints(EXIT_USAGE):
        plan = Plan(cluster(name, nodes), tuple(read_files(manifest or [_example()])), mode, patience=patience)
    with _complaints(), Progress(quiet=output == "json") as progress:
        if replace:
            progress.say("removing what was there")
            remains.remove(name)
        made, report = asyncio.run(_up(plan, progress.say))
    if output == "json":
        skipped = [str(one.entry) for one in made.applied if one.result == "skipped"]
        print_json({"lab": name, "kubeconfig": str(made.state.kubeconfig), "skipped": skipped, "report": report})
    else:
        print_skipped(made.applied)
        print_report(report, made.state, progress.steps)
    return 0 if report.passed else EXIT_FAILED


@app.command
def check(*, name: Name = "lab", output: OutputFlag = "text") -> int:
    """Check every Service of the lab with real connections, against what the model says.

    Example: fairway lab check

    Asks each Service port from a client in each node's pod network, and each node port from the client outside, often
    enough to see every backend. The exit code is 0 when every answer was right.
    """
    from fairway.cli.lab_output import print_report
    from fairway.lab.state import State

    state = State(name)
    with _complaints():
        report = asyncio.run(_check(name))
    if output == "json":
        print_json({"lab": name, "report": report})
    else:
        print_report(report, state)
    return 0 if report.passed else EXIT_FAILED


@app.command
def status(*, name: Name = "lab", output: OutputFlag = "text") -> int:
    """Show a lab: its nodes, its programs, and how to reach it.

    Example: fairway lab status

    The exit code is 0 when every program runs.
    """
    from fairway.cli.lab_output import print_status
    from fairway.lab.status import read_status

    with _complaints():
        found = read_status(name)
    if output == "json":
        print_json(found)
    else:
        print_status(found)
    return 0 if found.healthy else EXIT_FAILED


@app.command(usage="Usage: fairway lab exec [--name NAME] POD|NODE|outside -- CMD [ARG...]")
def exec(
    place: Annotated[str, Parameter(name="PLACE")],
    /,
    *command: Annotated[str, Parameter(name="CMD", allow_leading_hyphen=True)],
    name: Name = "lab",
) -> int:
    """Run a program where a pod, a node or the client outside is.

    Example: fairway lab exec client-node-1 -- curl -s http://10.96.0.10

    Only the network is the pod's: files and programs are this machine's. A pod may be named shop/cart-6f7d or just
    cart-6f7d; client-NODE is a client in the place of a pod on that node. The exit code is the program's.

    Parameters
    ----------
    place
        A pod, a node, client-NODE, outside (the client that is not part of the cluster), or router.
    command
        The program and its arguments.
    """
    from fairway.lab.network import Network
    from fairway.lab.state import State

    if not command:
        raise CommandError("say what to run: fairway lab exec PLACE -- CMD", EXIT_USAGE)
    state = State(name)
    with _complaints():
        Network(state.topology()).place(place).enter()
    try:
        os.execvpe(command[0], list(command), {**os.environ, **state.environment, "KUBECONFIG": str(state.kubeconfig)})
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", 127) from None


@app.command(usage="Usage: fairway lab guest [--kernel uml|qemu] [--memory MIB] -- CMD [ARG...]")
def guest(
    *command: Annotated[str, Parameter(name="CMD", allow_leading_hyphen=True)],
    kernel: Literal["uml", "qemu"] = "uml",
    memory: int = 2048,
) -> int:
    """Run a program under a kernel of its own, which has IPVS, dummy devices and SCTP, without root.

    Example: fairway lab guest -- fairway lab up --mode ipvs

    Example: fairway lab guest -- sh -c 'fairway lab up --mode ipvs; fairway lab exec node-1 -- ipvsadm -Ln'

    The program has this machine's files, and what it writes is gone with the guest, which ends with it: so does a lab
    that it brought up. The exit code is the program's.

    Parameters
    ----------
    command
        The program and its arguments.
    kernel
        uml (User-Mode Linux: quick, without nf_tables) or qemu (Debian's on an emulated processor: all of it, slowly).
    memory
        What the guest gets, in MiB.
    """
    from fairway.cli.inguest import any_program

    if not command:
        raise CommandError("say what to run: fairway lab guest -- fairway lab up --mode ipvs", EXIT_USAGE)
    return any_program(kernel, command, memory)


@app.command(usage="Usage: fairway lab restart [OPTIONS] [PROGRAM...]")
def restart(*role: Annotated[str, Parameter(name="PROGRAM")], name: Name = "lab", output: OutputFlag = "text") -> int:
    """Start again the programs of a lab that have died.

    Example: fairway lab restart proxy-node-2

    Parameters
    ----------
    role
        Which programs, as `fairway lab status` calls them; by default all that do not run.
    """
    from fairway.lab.cluster import restart as again
    from fairway.lab.state import State

    with _complaints():
        state = State(name)
        state.topology()
        started = asyncio.run(again(state, role))
    if output == "json":
        print_json({"lab": name, "started": started})
    else:
        print(f"started again: {', '.join(started)}" if started else "every program of the lab runs")
    return 0


@app.command(usage="Usage: fairway lab logs [OPTIONS] [PROGRAM]")
def logs(role: Annotated[str, Parameter(name="PROGRAM")] = "", /, *, name: Name = "lab") -> int:
    """Print what a program of the lab said; without a name, which programs there are.

    Example: fairway lab logs proxy-node-1

    Parameters
    ----------
    role
        A program, as `fairway lab status` calls it.
    """
    from fairway.lab.state import State

    state = State(name)
    with _complaints():
        state.topology()
    found = {path.stem: path for path in sorted(state.logs.glob("*.log"))}
    if not role:
        print("\n".join(found))
        return 0
    if role not in found:
        raise CommandError(f"the lab has no program {role!r}; it has {', '.join(found)}", EXIT_USAGE)
    sys.stdout.write(found[role].read_text(errors="replace"))
    return 0


@app.command
def down(*, name: Name = "lab", output: OutputFlag = "text") -> int:
    """Remove a lab: its programs, its namespaces with all their links, its files.

    Example: fairway lab down

    Also removes what a killed `fairway lab up` left. It is no error if there is nothing.
    """
    from fairway.lab import remains

    with _complaints():
        removed = remains.remove(name)
    if output == "json":
        print_json({"lab": name, "namespaces": removed.namespaces, "processes": removed.processes})
    elif removed:
        what = f"{len(removed.processes)} processes and {len(removed.namespaces)} namespaces"
        print(f"The lab {name!r} is gone: {what}.")
    else:
        print(f"There is no lab called {name!r}, and nothing left of one.")
    return 0


async def _up(plan: Plan, say: Any) -> tuple[LabCluster, Report]:
    from fairway.lab.check import check as check_lab
    from fairway.lab.cluster import LabCluster, client_of

    made = LabCluster(plan, say)
    await made.up()
    say("check")
    async with client_of(made.state) as client:
        return made, await check_lab(client, made.network)


async def _check(name: str) -> Report:
    from fairway.lab.check import check as check_lab
    from fairway.lab.cluster import client_of
    from fairway.lab.network import Network
    from fairway.lab.state import State

    state = State(name)
    network = Network(state.topology())
    async with client_of(state) as client:
        return await check_lab(client, network)


def _example() -> Path:
    """The example shop, in the source tree."""
    import fairway

    found = Path(fairway.__file__).parents[2] / "examples" / "shop"
    if not found.is_dir():
        raise CommandError("the example shop is not installed; name a manifest: --manifest FILE", EXIT_USAGE)
    return found


def _check_kernel(mode: str) -> None:
    """Before anything is made, where that can be told at once."""
    from fairway.kernel.ipvs import Ipvs, NoIpvs

    if mode == "ipvs":
        try:
            Ipvs().close()
        except NoIpvs as error:
            again = f"fairway lab guest -- fairway lab up --mode {mode}"
            raise CommandError(f"{error.strerror}\nunder a kernel that has it: {again}") from None


@contextmanager
def _complaints(code: int = EXIT_FAILED) -> Iterator[None]:
    """What is wrong with a lab is said in its own words."""
    from fairway.lab.errors import LabError

    try:
        yield
    except LabError as error:
        raise CommandError(str(error), code) from None
    except PermissionError as error:
        raise CommandError(f"a lab needs root ({error.strerror}: {error.filename}): sudo fairway lab …", code) from None
