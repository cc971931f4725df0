"""What a lab looks like from outside: its nodes, and which of its programs run."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.kernel import namespaces
from fairway.lab.processes import Programs
from fairway.lab.state import State
from fairway.lab.topology import LabNode

DEFAULT_MODE = "nftables"


@dataclass(frozen=True)
class ProgramStatus:
    """``pid`` is None for a program that ended."""

    role: str
    pid: int | None
    log: str


@dataclass(frozen=True)
class NodeStatus:
    """``exists``: its network namespace is there."""

    node: LabNode
    exists: bool


@dataclass(frozen=True)
class Status:
    """``building`` is the process that brings the lab up now, if one does; ``complete``: an `up` came to its end."""

    name: str
    complete: bool
    building: int | None
    kubeconfig: str
    nodes: tuple[NodeStatus, ...]
    pods: tuple[str, ...]
    programs: tuple[ProgramStatus, ...]

    @property
    def healthy(self) -> bool:
        return self.complete and all(one.pid for one in self.programs) and all(node.exists for node in self.nodes)


def mode_of(state: State) -> str:
    """The mode that the proxies of a lab were started in."""
    flag = "--mode="
    arguments = (one for record in Programs(state).records() for one in record.start.arguments)
    return next((one.removeprefix(flag) for one in arguments if one.startswith(flag)), DEFAULT_MODE)


def read_status(name: str) -> Status:
    """The status of the lab of that name; raises `LabMissing`."""
    state = State(name)
    topology = state.topology()
    places = {place.removeprefix(topology.prefix) for place in namespaces.names(topology.prefix)}
    return Status(
        name=name,
        complete=not (state.path / "owner").exists(),
        building=state.owner(),
        kubeconfig=str(state.kubeconfig),
        nodes=tuple(NodeStatus(node, node.name in places) for node in topology.nodes),
        pods=tuple(sorted(place.replace(".", "/", 1) for place in places if "." in place)),
        programs=tuple(
            ProgramStatus(record.start.role, record.pid, str(state.logs / f"{record.start.role}.log"))
            for record in Programs(state).records()
        ),
    )
