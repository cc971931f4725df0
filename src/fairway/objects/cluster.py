"""Namespaces, Nodes and Pods: only the fields that Services, controllers and the lab read."""

from __future__ import annotations

from fairway.objects.meta import Condition, KubernetesObject, Value

ZONE_LABEL = "topology.kubernetes.io/zone"


class NamespaceStatus(Value):
    phase: str = ""


class Namespace(KubernetesObject):
    status: NamespaceStatus = NamespaceStatus()


class NodeAddress(Value):
    type: str = ""
    address: str = ""


class Taint(Value):
    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(Value):
    pod_cidr: str = ""
    pod_cidrs: tuple[str, ...] | None = None
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class NodeStatus(Value):
    addresses: tuple[NodeAddress, ...] | None = None
    allocatable: dict[str, str] | None = None
    conditions: tuple[Condition, ...] | None = None


class Node(KubernetesObject):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def zone(self) -> str:
        return self.metadata.label(ZONE_LABEL)

    @property
    def ready(self) -> bool:
        return is_true(self.status.conditions, "Ready")

    @property
    def internal_addresses(self) -> tuple[str, ...]:
        return tuple(a.address for a in self.status.addresses or () if a.type == "InternalIP")


class Secret(KubernetesObject):
    """``data`` by name, in base64."""

    data: dict[str, str] | None = None


class ContainerPort(Value):
    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"


class HTTPGetAction(Value):
    path: str = "/"
    port: int | str = 0


class TCPSocketAction(Value):
    port: int | str = 0


class GRPCAction(Value):
    port: int | str = 0


class Probe(Value, rename={"http_get": "httpGet", "tcp_socket": "tcpSocket", "grpc": "grpc"}):
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None


class Container(Value):
    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    restart_policy: str | None = None


class Toleration(Value):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class PodSpec(Value):
    node_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False
    service_account_name: str = ""
    scheduler_name: str = ""
    tolerations: tuple[Toleration, ...] | None = None
    node_selector: dict[str, str] | None = None
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodIP(Value):
    ip: str = ""


class PodStatus(Value):
    phase: str = ""
    pod_ip: str = ""
    pod_ips: tuple[PodIP, ...] | None = None
    host_ip: str = ""
    conditions: tuple[Condition, ...] | None = None


class Pod(KubernetesObject):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        return is_true(self.status.conditions, "Ready")

    @property
    def terminating(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(p.ip for p in self.status.pod_ips or ()) or tuple(ip for ip in (self.status.pod_ip,) if ip)


def is_true(conditions: tuple[Condition, ...] | None, type_: str) -> bool:
    """Whether the condition of that type is present and ``True``."""
    return any(c.type == type_ and c.status == "True" for c in conditions or ())
