"""Whether this proxy keeps up, and whether the node should get new connections (reference, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fairway.model.address import FAMILIES
from fairway.objects.cluster import Node
from fairway.proxy.cache import Batch
from fairway.proxy.canary import Canary
from fairway.proxy.listeners import Listener
from fairway.proxy.receipts import Receipt, Round
from fairway.proxy.web import Answer
from fairway.runtime.clock import Clock, rfc3339

TO_BE_DELETED_TAINT = "ToBeDeletedByClusterAutoscaler"
PATIENCE_SECONDS = 60.0
"""How long a change may wait for the kernel, usually: twice the reference's default syncPeriod."""


class Health(Listener):
    """``on_probe(path, code)`` is told of every answer; a change may wait ``patience`` seconds."""

    def __init__(self, clock: Clock, on_probe: Callable[[str, int], None], patience: float = PATIENCE_SECONDS) -> None:
        self._clock, self._on_probe, self._patience = clock, on_probe, patience
        self._waiting_since: float | None = None
        self._updated = clock.now()
        self._eligible = True
        self.canary: Canary | None = None
        """Whose word counts too, if there is one."""

    @property
    def healthy(self) -> bool:
        """No change has waited too long, and packets arrive; a failed round does not end the waiting."""
        waiting = self._waiting_since
        if self.canary is not None and self.canary.broken:
            return False
        return waiting is None or self._clock.monotonic() - waiting < self._patience

    def pending(self) -> None:
        if self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        self._waiting_since, self._updated = None, done.at

    def node_changed(self, node: Node | None) -> None:
        """A node that is unknown, being deleted or about to be removed should get no new connections."""
        leaving = node is None or node.metadata.deletion_timestamp is not None
        self._eligible = not leaving and all(
            one.key != TO_BE_DELETED_TAINT for one in (node and node.spec.taints) or ()
        )

    def healthz(self) -> Answer:
        """For load balancers: also whether the node should get traffic at all."""
        return self._answer("healthz", {"nodeEligible": self._eligible}, self.healthy and self._eligible)

    def livez(self) -> Answer:
        """For whoever would restart this process."""
        return self._answer("livez", {}, self.healthy)

    def _answer(self, path: str, extra: dict[str, Any], good: bool) -> Answer:
        code = 200 if good else 503
        self._on_probe(path, code)
        now, updated = rfc3339(self._clock.now()), rfc3339(self._updated)
        body = {
            "lastUpdated": now if good else updated,
            "currentTime": now,
            **extra,
            "healthy": self.healthy,
            # One transaction carries both families, so they cannot differ.
            "status": {family: {"lastUpdated": updated, "healthy": self.healthy} for family in FAMILIES},
            **({"canary": self.canary.report()} if self.canary else {}),
        }
        return Answer(code, "application/json", msgspec.json.encode(body))
