"""The Service: a stable address, its ports, and the policies for who may use which backends."""

from __future__ import annotations

from fairway.objects.meta import Condition, KubernetesObject, Value

# Enumerations are plain strings here: a reader must survive a value of a later Kubernetes version.
# The API server's validation is what refuses a wrong one.
SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
IP_FAMILIES = ("IPv4", "IPv6")
TRAFFIC_POLICIES = ("Cluster", "Local")
NO_CLUSTER_IP = "None"

# What a user may ask of Fairway's proxy beyond Kubernetes.
OWN_ANNOTATIONS = "fairway.dev/"
BALANCING_ANNOTATION = "fairway.dev/balancing"
BALANCINGS = ("random", "hash", "round-robin", "least-connections")
WEIGHTS_ANNOTATION = "fairway.dev/weights"
MOST_WEIGHT = 100
SCHEDULER_ANNOTATION = "fairway.dev/ipvs-scheduler"
RELAY_ANNOTATION = "fairway.dev/relay"
ACCESS_LOG_ANNOTATION = "fairway.dev/access-log"
TLS_SECRET_ANNOTATION = "fairway.dev/tls-secret"
TLS_PORTS_ANNOTATION = "fairway.dev/tls-ports"
PROXY_PROTOCOL_ANNOTATION = "fairway.dev/proxy-protocol"
MAX_CONNECTIONS_ANNOTATION = "fairway.dev/max-connections"
MAX_CONNECTIONS_PER_CLIENT_ANNOTATION = "fairway.dev/max-connections-per-client"
CONNECTION_RATE_ANNOTATION = "fairway.dev/connection-rate"
CONNECTION_RATE_PER_CLIENT_ANNOTATION = "fairway.dev/connection-rate-per-client"
IDLE_TIMEOUT_ANNOTATION = "fairway.dev/idle-timeout"
HALF_CLOSED_TIMEOUT_ANNOTATION = "fairway.dev/half-closed-timeout"
STALE_CONNECTIONS_ANNOTATION = "fairway.dev/stale-connections"
STALE_CONNECTIONS = ("keep", "cut")
SERVICE_ANNOTATIONS = (
    BALANCING_ANNOTATION,
    WEIGHTS_ANNOTATION,
    SCHEDULER_ANNOTATION,
    RELAY_ANNOTATION,
    ACCESS_LOG_ANNOTATION,
    TLS_SECRET_ANNOTATION,
    TLS_PORTS_ANNOTATION,
    PROXY_PROTOCOL_ANNOTATION,
    MAX_CONNECTIONS_ANNOTATION,
    MAX_CONNECTIONS_PER_CLIENT_ANNOTATION,
    CONNECTION_RATE_ANNOTATION,
    CONNECTION_RATE_PER_CLIENT_ANNOTATION,
    IDLE_TIMEOUT_ANNOTATION,
    HALF_CLOSED_TIMEOUT_ANNOTATION,
    STALE_CONNECTIONS_ANNOTATION,
)

# A Service (or an EndpointSlice) that carries one of these labels, with any value, is none of our proxy's business.
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


class ServicePort(Value):
    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str | None = None
    node_port: int = 0
    app_protocol: str | None = None


class ClientIPConfig(Value):
    timeout_seconds: int | None = None


class SessionAffinityConfig(Value):
    client_ip: ClientIPConfig | None = None


class ServiceSpec(Value):
    type: str = "ClusterIP"
    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] | None = None
    cluster_ip: str = ""
    cluster_ips: tuple[str, ...] | None = None
    ip_families: tuple[str, ...] | None = None
    ip_family_policy: str | None = None
    external_ips: tuple[str, ...] | None = None
    external_name: str = ""
    external_traffic_policy: str = ""
    internal_traffic_policy: str | None = None
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    load_balancer_ip: str = ""
    load_balancer_class: str | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    allocate_load_balancer_node_ports: bool | None = None
    health_check_node_port: int = 0
    publish_not_ready_addresses: bool = False
    traffic_distribution: str | None = None


class LoadBalancerIngress(Value):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Value):
    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Value):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()
    conditions: tuple[Condition, ...] | None = None


class Service(KubernetesObject):
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its cluster IPs, primary first; none for a headless or ExternalName Service."""
        if self.spec.type == "ExternalName" or self.spec.cluster_ip in ("", NO_CLUSTER_IP):
            return ()
        return self.spec.cluster_ips or (self.spec.cluster_ip,)

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == NO_CLUSTER_IP

    @property
    def externally_accessible(self) -> bool:
        """Whether clients outside the cluster can reach it, so that an external traffic policy means something."""
        return self.spec.type in ("NodePort", "LoadBalancer") or (
            self.spec.type == "ClusterIP" and bool(self.spec.external_ips)
        )
