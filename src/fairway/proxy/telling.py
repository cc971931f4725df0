"""What is wrong with a Service becomes an Event of it: its owner need not read this node's log.

    problems that are new ────────────┐
    health-check ports that are taken ┼──▶ Recorder ──▶ events.k8s.io/v1
    Secrets that cannot be used ──────┤
    the start of this process ────────┘

A problem is told once for as long as it lasts (`fairway.proxy.complaints`). All nodes of a cluster tell the same of an
object that is wrong, so each has a budget: what does not fit is in the log and in `fairway status` all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from fairway.client.events import Bucket
from fairway.client.recorder import Recorder
from fairway.model.problems import Problem
from fairway.model.view import Key
from fairway.objects.cluster import Node
from fairway.objects.resources import NODES, SERVICES
from fairway.objects.service import Service
from fairway.proxy.complaints import NOT_SERVED
from fairway.proxy.listeners import Listener

COMPONENT = "fairway-proxy"
_BURST, _REFILL_SECONDS = 50.0, 10.0
"""Of one proxy: so many at once, and then one every ten seconds."""


def budget(now: float) -> Bucket:
    """What one proxy may tell."""
    return Bucket.full(_BURST, _REFILL_SECONDS, now)


class Telling(Listener):
    """Tells through ``recorder`` as soon as there is one; ``service`` is the object of a name, if it is there.

    ``unread`` has what is known of one that nobody can read.
    """

    def __init__(self, node: str, service: Callable[[Key], Service | None]) -> None:
        self._node, self._service = node, service
        self.unread: Callable[[Key], Service | None] = lambda key: None
        self.recorder: Recorder | None = None

    @property
    def instance(self) -> str:
        """What this process calls itself in its Events."""
        return f"{COMPONENT}-{self._node}"

    def started(self, node: Node) -> None:
        """This process serves its node from now on."""
        if self.recorder is not None:
            self.recorder.record(NODES, node, "Starting", "", action="StartKubeProxy")

    def noticed(self, reason: str, problem: Problem) -> None:
        self._tell(problem.service, reason, _sentence(problem))

    def unreadable(self, problem: Problem) -> None:
        """A Service, or a slice of it, is left out."""
        self.noticed(NOT_SERVED, problem)

    def check_port_failed(self, service: Key, sentence: str) -> None:
        """The reference's own reason: a load balancer would take this node for one without endpoints."""
        self._tell(service, "FailedToStartServiceHealthcheck", sentence)

    def secret_unusable(self, service: Key, sentence: str) -> None:
        """What the Service's relay should end TLS with."""
        self._tell(service, "SecretUnusable", sentence)

    def _tell(self, key: Key, reason: str, message: str) -> None:
        service = self._service(key) or self.unread(key)
        if self.recorder is not None and service is not None and key.name:
            text = f"node {self._node}: {message}"
            self.recorder.record(SERVICES, service, reason, text, type_="Warning", action="Serve")


def _sentence(problem: Problem) -> str:
    return ", ".join(chain([f"EndpointSlice {problem.slice}"] if problem.slice else [], [_without_slice(problem)]))


def _without_slice(problem: Problem) -> str:
    return f"{problem.field}: {problem.message}" if problem.field else problem.message
