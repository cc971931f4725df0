"""Which connection-tracking entries are stale after a change: UDP only, and only those of the frontends that changed.

The kernel translates the packets of a UDP flow as it did the first one, for as long as any arrive. A client that keeps
its port (DNS resolvers, syslog, QUIC) would talk to a backend that has gone, or past a Service that has come, for ever.
TCP needs no help: the peer resets or the client gives up, and connects anew (reference, section 1.J).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from fairway.model.address import ANY, family_of
from fairway.model.view import Frontend, FrontendKey, NodeSettings


class Flow(Protocol):
    """One entry of the connection-tracking table, as far as the decision needs it."""

    @property
    def destination(self) -> str:
        """Where the client sent to."""

    @property
    def port(self) -> int:
        """The port the client sent to."""

    @property
    def reply_source(self) -> str:
        """Who answers: the backend, or ``destination`` when nobody translated the flow."""

    @property
    def reply_port(self) -> int:
        """The port of who answers."""


FlowT = TypeVar("FlowT", bound=Flow)


class Suspect(NamedTuple):
    """A frontend some of whose flows may be stale: all but those that go to ``keep``."""

    frontend: FrontendKey
    keep: frozenset[tuple[str, int]]


def suspects(before: Mapping[FrontendKey, Frontend | None], now: Mapping[FrontendKey, Frontend]) -> list[Suspect]:
    """The UDP frontends whose change can have left stale flows behind.

    A backend that is new beside others leaves none. One that is gone does; so does the first backend of all, because
    flows from before it were not translated; and the last, and the frontend itself when it goes.
    """
    return [suspect for key, old in before.items() if (suspect := _suspect(key, old, now.get(key))) is not None]


def everything(now: Mapping[FrontendKey, Frontend]) -> list[Suspect]:
    """All UDP frontends: for the start of a process that cannot know what changed while there was none."""
    return [Suspect(key, _keep(frontend)) for key, frontend in now.items() if key.protocol == "UDP"]


def stale(flows: Iterable[FlowT], found: Iterable[Suspect], settings: NodeSettings) -> list[FlowT]:
    """Those of the UDP flows that must go. A node port counts only on this node's own addresses."""
    by_key = {suspect.frontend: suspect.keep for suspect in found}
    gone = []
    for flow in flows:
        keep = by_key.get(FrontendKey(flow.destination, "UDP", flow.port))
        if keep is None and settings.takes_node_ports(flow.destination):
            keep = by_key.get(FrontendKey(ANY[family_of(flow.destination)], "UDP", flow.port))
        if keep is not None and (flow.reply_source, flow.reply_port) not in keep:
            gone.append(flow)
    return gone


def _suspect(key: FrontendKey, old: Frontend | None, new: Frontend | None) -> Suspect | None:
    if key.protocol != "UDP":
        return None
    had, has = _keep(old), _keep(new)
    only_more = had and had <= has
    return None if only_more else Suspect(key, has)


def _keep(frontend: Frontend | None) -> frozenset[tuple[str, int]]:
    if frontend is None:
        return frozenset()
    return frozenset((one.address, one.port) for one in (*frontend.cluster, *frontend.local))
