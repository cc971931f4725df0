"""``fairway status``: how the proxies of this machine are, what they did last, and what is wrong with whose Service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, Output, print_json
from fairway.objects.printing import one_line

if TYPE_CHECKING:
    from fairway.kernel.namespaces import NetworkNamespace
    from fairway.lab.network import Network

_LAST = 5
_AT = "127.0.0.1:10249"
_NO_NODE = "no lab on this machine has a node {!r}"


def status(
    node: Annotated[str | None, Parameter(name="NODE")] = None,
    /,
    *,
    name: str = "lab",
    metrics_address: str = _AT,
    output: Annotated[Output, Parameter(name=("--output", "-o"))] = "text",
) -> int:
    """Tell how a proxy is: its last rounds and receipts, the problems of Services, and notes about the node.

    Without a name: the proxy of this machine (`fairway up`, `fairway proxy`), else those of all nodes of the lab.

    Example: fairway status

    Exit code 0 when every proxy is ready and healthy, else 1.

    Parameters
    ----------
    node
        A node of a lab on this machine.
    name
        The lab's name; the only one that has the node will do without.
    metrics_address
        Where the proxy serves /status: its --metrics-bind-address.
    output
        text, or json with everything that /status says, under `proxies`.
    """
    found = list(_proxies(node, name, metrics_place(metrics_address)))
    if output == "json":
        print_json({"proxies": found})
    else:
        print("\n\n".join("\n".join(map(one_line, _words(one))) for one in found))
    return 0 if all(one["ready"] and one["healthy"] for one in found) else EXIT_FAILED


def _proxies(node: str | None, name: str, at: tuple[str, int]) -> Iterator[Mapping[str, Any]]:
    """What each of them says. Raises `CommandError` when one does not answer, or there is none."""
    from fairway.diagnose import told

    if node is None and (here := told.status(at=at)) is not None:
        yield here
        return
    lab = _lab(node, name)
    if lab is None and node is not None:
        raise CommandError(_NO_NODE.format(node), EXIT_USAGE)
    if lab is None:
        raise CommandError(
            f"no proxy answers at {at[0]}:{at[1]}, and no lab runs here.\n"
            "Start one (fairway up, fairway proxy), or say where it is (--metrics-address)."
        )
    for one in (node,) if node else [place.name for place in lab.topology.nodes]:
        found = told.status(lab.place(one), at)
        if found is None:
            raise CommandError(
                f"the proxy of node {one} does not answer at {at[0]}:{at[1]}; look at `fairway lab status`"
            )
        yield found


def place_of(node: str, name: str) -> NetworkNamespace:
    """A lab's node; raises `CommandError`."""
    lab = _lab(node, name)
    if lab is None:
        raise CommandError(_NO_NODE.format(node), EXIT_USAGE)
    return lab.place(node)


def _lab(node: str | None, wanted: str) -> Network | None:
    from fairway.lab.network import Network
    from fairway.lab.state import State, names

    labs = {name: State(name).topology() for name in names()}
    fitting = {name: one for name, one in labs.items() if node is None or node in [place.name for place in one.nodes]}
    if len(fitting) > 1 and wanted not in fitting:
        raise CommandError(f"several labs run here: {', '.join(fitting)}; say which with --name", EXIT_USAGE)
    found = fitting.get(wanted, next(iter(fitting.values()), None))
    return Network(found) if found else None


def metrics_place(text: str) -> tuple[str, int]:
    from fairway.model.address import canonical

    host, _, port = text.rpartition(":")
    address = canonical(host.removeprefix("[").removesuffix("]"))
    if address is None or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise CommandError(f"--metrics-address: {text!r} is no IP address and port, such as {_AT}", EXIT_USAGE)
    return address, int(port)


def _words(one: Mapping[str, Any]) -> Iterator[str]:
    health = "healthy" if one["healthy"] else "NOT healthy"
    ready = "" if one["ready"] else ", the kernel has not acknowledged everything yet"
    mode = f"{one['mode']} ({one['variant']})" if one.get("variant") else one["mode"]
    yield f"node {one['node']['name']}: {mode} mode, {health}{ready}"
    frontends = ", ".join(f"{count} {kind}" for kind, count in one["frontends"].items())
    yield f"  {one['services']} Services, {one['endpointSlices']} EndpointSlices; frontends: {frontends or 'none'}"
    if tables := one.get("tables"):
        owned = "owned: the kernel lets nobody else change them"
        yield f"  tables {owned}" if tables["owned"] else f"  tables not owned: {tables['why']}"
    if live := one.get("connections"):
        draining = f"; {live['draining']} backends are draining" if live["draining"] else ""
        yield f"  connections: {live['active']} active, {live['inactive']} inactive{draining}"
    if (relay := one.get("relay")) and relay["process"]:
        going_on = f"{relay['listeners']} listeners, {relay['connections']} connections, {relay['flows']} UDP flows"
        yield f"  relay: process {relay['process']}, {going_on}"
    if one["rememberedFrom"]:
        yield f"  the API server does not answer: this is what was known at {one['rememberedFrom']}"
    if switch := one.get("switch"):
        yield f"  last switch: {_switch(switch)}"
    yield from _section("last rounds", map(_round, one["rounds"][-_LAST:]))
    yield from _section("last receipts", map(_receipt, one["receipts"][-_LAST:]))
    yield from _section("problems", map(_problem, one["problems"]))
    yield from _section("notes", one["notes"])


def _switch(one: Mapping[str, Any]) -> str:
    left = f", {one['connections']} connections still need {one['from']}" if one["phase"] == "drain" else ""
    error = f": {one['error']}" if one["error"] else ""
    planned = " (only planned)" if one["planned"] else ""
    return f"{one['from']} to {one['to']} at {one['began']}, phase {one['phase']}{planned}{left}{error}"


def _section(title: str, lines: Iterator[str] | list[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield f"{title}:"
        yield from (f"  {line}" for line in found)


def _round(one: Mapping[str, Any]) -> str:
    changed = f"{one['commands']} commands, {one['frontends']} frontends"
    by = f", after {one['by']}" if one.get("by") else ""
    return f"{one['at']}  {one['kind']:<6}  {_milliseconds(one['seconds']):>10}  {changed}{by}"


def _receipt(one: Mapping[str, Any]) -> str:
    version = f" at {one['resourceVersion']}" if one["resourceVersion"] else ""
    return f"{one['at']}  {_milliseconds(one['seconds']):>10}  {one['kind']} {one['object']}{version}"


def _problem(one: Mapping[str, Any]) -> str:
    slice_ = f", EndpointSlice {one['endpointSlice']}" if one["endpointSlice"] else ""
    field = f"{one['field']}: " if one["field"] else ""
    return f"Service {one['service']}{slice_}: {field}{one['message']}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
