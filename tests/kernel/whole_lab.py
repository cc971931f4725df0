"""Things that the tests of a whole lab share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fairway.kernel import namespaces
from fairway.lab import remains
from fairway.lab.state import State
from fairway.lab.topology import prefix

FAIRWAY = [sys.executable, "-m", "fairway.cli.main"]
ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
MANIFESTS = Path(os.environ.get("FAIRWAY_MANIFESTS") or ROOT.parent / "shared" / "manifests")

WEB = """
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: NAMESPACE}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: NAMESPACE}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: at-least-one, namespace: NAMESPACE}
"""


def fairway(*arguments: str, timeout: float = 90, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FAIRWAY, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )


def nothing_is_left_of(name: str) -> bool:
    return not (namespaces.names(prefix(name)) or remains.processes(name) or State(name).exists)
