"""The Lease: who holds something, and until when; how a Node says that it lives and how controllers elect a leader."""

from __future__ import annotations

from fairway.objects.meta import KubernetesObject, Value


class LeaseSpec(Value):
    """The times are RFC 3339 with microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(KubernetesObject):
    spec: LeaseSpec = LeaseSpec()
