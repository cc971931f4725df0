"""Short ways to write the objects that controllers read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fairway.controllers.endpointslices import Changes, reconcile
from fairway.objects.cluster import Node, Pod
from fairway.objects.codec import view
from fairway.objects.endpointslice import Endpoint, EndpointSlice
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service

_READY = "2026-01-02T03:04:05Z"


def pod(name: str, *ips: str, ready: bool = True, node: str = "n1", uid: str = "", **more: Any) -> Pod:
    """A running Pod of the namespace ``shop``; ``more`` are ``meta``, ``spec`` and ``status`` to add."""
    labels = more.get("labels", {"app": "web"})
    return view(
        {
            "metadata": {
                "namespace": "shop",
                "name": name,
                "uid": uid or f"uid-{name}",
                "labels": labels,
                **more.get("meta", {}),
            },
            "spec": {"nodeName": node, **more.get("spec", {})},
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": ip} for ip in ips],
                "conditions": [
                    {
                        "type": "Ready",
                        "status": str(ready),
                        "lastTransitionTime": more.get("since", _READY),
                    }
                ],
                **more.get("status", {}),
            },
        },
        Pod,
    )


def node(name: str, zone: str = "", *, ready: bool = True, labels: dict[str, str] | None = None, **spec: Any) -> Node:
    zones = {"topology.kubernetes.io/zone": zone} if zone else {}
    return view(
        {
            "metadata": {"name": name, "labels": {**zones, **(labels or {})}},
            "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
        },
        Node,
    )


def nodes(*given: Node) -> dict[Key, Node]:
    return {one.key: one for one in given or (node("n1", "a"), node("n2", "b"))}


def service(*ports: dict[str, Any], meta: dict[str, Any] | None = None, **spec: Any) -> Service:
    """The Service ``shop/web``, which selects ``app: web``."""
    return view(
        {
            "metadata": {"namespace": "shop", "name": "web", "uid": "uid-web", **(meta or {})},
            "spec": {
                "clusterIP": "10.96.0.10",
                "ipFamilies": ["IPv4"],
                "selector": {"app": "web"},
                "ports": list(ports or ({"port": 80},)),
                **spec,
            },
        },
        Service,
    )


class SliceStore:
    """The slices of one Service, and what writing `Changes` makes of them."""

    def __init__(self) -> None:
        self.slices: dict[str, EndpointSlice] = {}
        self.writes = 0
        self._names = 0

    def write(self, changes: Changes) -> Changes:
        for one in changes.create:
            self._names += 1
            self.put(one, f"{one.metadata.generate_name}{self._names:05}")
        for one in changes.update:
            assert self.slices[one.metadata.name].address_type == one.address_type
            self.put(one, one.metadata.name)
        for one in changes.delete:
            del self.slices[one.metadata.name]
        self.writes += len(changes.create) + len(changes.update) + len(changes.delete)
        return changes

    def put(self, one: EndpointSlice, name: str) -> None:
        meta = one.metadata
        metadata = ObjectMeta(
            name=name,
            namespace=meta.namespace,
            labels=meta.labels,
            annotations=meta.annotations,
            owner_references=meta.owner_references,
        )
        self.slices[name] = EndpointSlice(
            metadata=metadata, address_type=one.address_type, endpoints=one.endpoints, ports=one.ports
        )

    def reconcile(
        self, given: Service, pods: Iterable[Pod], known: dict[Key, Node] | None = None, limit: int = 100
    ) -> Changes:
        """Reconcile, write, and check that doing it again would change nothing."""
        pods = list(pods)
        known = known if known is not None else nodes()
        changes = self.write(reconcile(given, pods, known, self.slices.values(), limit=limit))
        assert not reconcile(given, pods, known, self.slices.values(), limit=limit)
        return changes

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for one in self.slices.values() for endpoint in one.endpoints or ()]

    def addresses(self) -> list[str]:
        return sorted(address for endpoint in self.endpoints() for address in endpoint.addresses)

    def sizes(self) -> list[int]:
        return sorted(len(one.endpoints or ()) for one in self.slices.values())
