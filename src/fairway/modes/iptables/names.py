"""Names of chains, exactly as kube-proxy makes them, because operators and their tools know them (reference, 4.1)."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from fairway.model.view import Backend, Frontend
from fairway.modes.xtables import KUBE_SERVICES, Family

SERVICES, NODE_PORTS = KUBE_SERVICES, "KUBE-NODEPORTS"
EXTERNAL, EXTERNAL_NODE_PORTS = "KUBE-EXTERNAL-SERVICES", "KUBE-EXTERNAL-NODEPORTS"
OTHER_PORTS, PROXY_FIREWALL = "KUBE-OTHER-PORTS", "KUBE-PROXY-FIREWALL"
MARK, MARK_NOT_PODS, POSTROUTING = "KUBE-MARK-MASQ", "KUBE-MARK-NOT-PODS", "KUBE-POSTROUTING"
FORWARD, CANARY = "KUBE-FORWARD", "KUBE-PROXY-CANARY"
FIREWALL, LOCALHOST = "KUBE-FIREWALL", "KUBE-LOCALHOST"

CONSTANT = frozenset(
    (SERVICES, NODE_PORTS, EXTERNAL, EXTERNAL_NODE_PORTS, OTHER_PORTS, PROXY_FIREWALL)
    + (MARK, MARK_NOT_PODS, POSTROUTING, FORWARD, FIREWALL, LOCALHOST, CANARY)
)
"""The chains that a node without Services has."""
TREES = {
    ("nat", SERVICES): "KUBE-IP-",
    ("nat", NODE_PORTS): "KUBE-NP-",
    ("filter", SERVICES): "KUBE-IP-",
    ("filter", EXTERNAL): "KUBE-EIP-",
    ("filter", EXTERNAL_NODE_PORTS): "KUBE-ENP-",
    ("filter", OTHER_PORTS): "KUBE-OIP-",
    ("filter", PROXY_FIREWALL): "KUBE-FIP-",
    ("filter", NODE_PORTS): "KUBE-HC-",
}
"""How the names of a dispatch tree's inner chains begin."""
_OURS = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-INT-", "KUBE-FW-", "KUBE-SEP-", *sorted(set(TREES.values())))


def is_ours(chain: str) -> bool:
    """Whether a chain is one that this mode, or kube-proxy's, makes; the kubelet's and everybody else's are not."""
    return chain in CONSTANT or chain.startswith(_OURS)


@lru_cache(maxsize=65536)
def hash16(text: str) -> str:
    """The first 16 characters of the base32 form of the SHA-256 digest."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


def service_hash(frontend: Frontend) -> str:
    """What the chains of one Service port end with, all of them alike."""
    return hash16(frontend.service_port + frontend.protocol.lower())


def endpoint_chain(frontend: Frontend, backend: Backend) -> str:
    """The chain that rewrites to one backend of one Service port."""
    return "KUBE-SEP-" + hash16(f"{frontend.service_port}{frontend.protocol.lower()}{backend}")


def family_of_frontend(frontend: Frontend) -> Family:
    return "ip6" if ":" in frontend.address else "ip"
