"""Relaying: what only a process between client and backend can do, as a Service's annotations ask for it.

    fairway.dev/relay: "true"                          relayed, and nothing else
    fairway.dev/access-log: "true"                     a line for every connection
    fairway.dev/tls-secret: shop-tls                   TLS ends here, with this Secret of the Service's namespace
    fairway.dev/tls-ports: "https, 8443"               on these ports only; without it on all
    fairway.dev/proxy-protocol: v2                     the backend is told who the client is
    fairway.dev/max-connections: "1000"                at one time; and …-per-client
    fairway.dev/connection-rate: "50/s"                new ones; "600/m" is ten a second; and …-per-client
    fairway.dev/idle-timeout: 10m                      who is silent for so long is done; TCP: never, UDP: 60s
    fairway.dev/half-closed-timeout: 30s               the same when one side has said all; 10m
    fairway.dev/balancing: least-connections           or round-robin

Any of them makes the node's proxy relay the Service, whatever the node's mode is. A word that means nothing never
takes effect in part: the annotation counts as absent, and a sentence says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from fairway.model.view import LEAST_CONNECTIONS, ROUND_ROBIN, Relaying
from fairway.objects.meta import Key
from fairway.objects.service import (
    ACCESS_LOG_ANNOTATION,
    BALANCING_ANNOTATION,
    CONNECTION_RATE_ANNOTATION,
    CONNECTION_RATE_PER_CLIENT_ANNOTATION,
    HALF_CLOSED_TIMEOUT_ANNOTATION,
    IDLE_TIMEOUT_ANNOTATION,
    MAX_CONNECTIONS_ANNOTATION,
    MAX_CONNECTIONS_PER_CLIENT_ANNOTATION,
    OWN_ANNOTATIONS,
    PROXY_PROTOCOL_ANNOTATION,
    RELAY_ANNOTATION,
    TLS_PORTS_ANNOTATION,
    TLS_SECRET_ANNOTATION,
    Service,
    ServicePort,
)

RELAYED = ("TCP", "UDP")
"""The protocols that can be relayed; others go their way in the kernel."""
MOST_CONNECTIONS = 1_000_000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_COUNT = re.compile(r"[1-9][0-9]{0,6}", re.ASCII)
_RATE = re.compile(r"(?P<count>[1-9][0-9]{0,6})(?:/(?P<unit>[smh]))?", re.ASCII)
_TIME = re.compile(r"(?=.)(?:(?P<h>[0-9]{1,3})h)?(?:(?P<m>[0-9]{1,5})m)?(?:(?P<s>[0-9]{1,6})s)?", re.ASCII)
LONGEST_SECONDS = 7 * 24 * 3600
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}
_VERSIONS = {"v1": 1, "v2": 2}

T = TypeVar("T")


def relaying(service: Service, port: ServicePort) -> Relaying | None:
    """What one port of the Service asks of the relay; None when it may go its way in the kernel."""
    annotations = service.metadata.annotations
    if not annotations:
        return None
    found = _Reader(annotations).read(service.key.namespace)
    if found is None:
        return None
    ports = _ports(annotations.get(TLS_PORTS_ANNOTATION, ""))
    if ports and not {port.name, str(port.port)} & ports:
        found = msgspec.structs.replace(found, tls=None)
    return found


class Mistake(NamedTuple):
    """An annotation that does not count, and why."""

    annotation: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.annotation}: {self.value[:63]!r} {self.why}"


def mistakes(service: Service) -> list[Mistake]:
    """All that is wrong with what a Service asks of the relay."""
    annotations = service.metadata.annotations
    if not annotations or not any(one.startswith(OWN_ANNOTATIONS) for one in annotations):
        return []
    reader = _Reader(annotations)
    found = reader.read(service.key.namespace)
    ports = service.spec.ports or ()
    written = reader.annotations.get(TLS_PORTS_ANNOTATION, "")
    known = {text for one in ports for text in (one.name, str(one.port)) if text}
    reader.mistakes += [
        Mistake(TLS_PORTS_ANNOTATION, unknown, "is the name or number of no port of the Service")
        for unknown in sorted(_ports(written) - known)
    ]
    streams = any(one.protocol == "TCP" for one in ports)
    for annotation in (TLS_SECRET_ANNOTATION, PROXY_PROTOCOL_ANNOTATION):
        if annotation in reader.annotations and found is not None and not streams:
            why = "is for TCP, and the Service has no TCP port"
            reader.mistakes.append(Mistake(annotation, reader.annotations[annotation], why))
    return reader.mistakes


def kept(service: Service, before: Service | None) -> Service:
    """The Service with what it asked for before in the place of annotations that do not count, so that a slip of the
    pen does not open what was closed; without any of them when there was nothing before."""
    wrong = {one.annotation for one in mistakes(service)}
    if not wrong:
        return service
    annotations = dict(service.metadata.annotations or {})
    old = (before.metadata.annotations or {}) if before else {}
    for name in wrong:
        annotations.pop(name, None)
        if name in old:
            annotations[name] = old[name]
    metadata = msgspec.structs.replace(service.metadata, annotations=annotations)
    return msgspec.structs.replace(service, metadata=metadata)


class _Reader:
    """The annotations, and what was wrong with them."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self.annotations = annotations
        self.mistakes: list[Mistake] = []

    def read(self, namespace: str) -> Relaying | None:
        """None when nothing is asked for."""
        wanted = self._one(RELAY_ANNOTATION, _boolean, "must be true or false")
        secret = self._one(TLS_SECRET_ANNOTATION, _name, "must be the name of a Secret in the Service's namespace")
        count = f"must be a number from 1 to {MOST_CONNECTIONS}"
        rate = "must be new connections in a time, such as 50/s, 600/m or 100/h"
        time = f"must be a time from 1s to {LONGEST_SECONDS // 3600}h, such as 90s or 1h30m"
        balancing = self.annotations.get(BALANCING_ANNOTATION, "")
        found = Relaying(
            access_log=self._one(ACCESS_LOG_ANNOTATION, _boolean, "must be true or false") or False,
            tls=Key(namespace, secret) if secret else None,
            proxy_protocol=self._one(PROXY_PROTOCOL_ANNOTATION, _VERSIONS.get, "must be v1 or v2") or 0,
            most=self._one(MAX_CONNECTIONS_ANNOTATION, _count, count) or 0,
            most_per_client=self._one(MAX_CONNECTIONS_PER_CLIENT_ANNOTATION, _count, count) or 0,
            rate=self._one(CONNECTION_RATE_ANNOTATION, _rate, rate) or 0.0,
            rate_per_client=self._one(CONNECTION_RATE_PER_CLIENT_ANNOTATION, _rate, rate) or 0.0,
            idle=self._one(IDLE_TIMEOUT_ANNOTATION, _time, time) or 0,
            half_closed=self._one(HALF_CLOSED_TIMEOUT_ANNOTATION, _time, time) or 0,
        )
        asks = wanted or found != Relaying() or balancing in (ROUND_ROBIN, LEAST_CONNECTIONS)
        return found if asks else None

    def _one(self, name: str, read: Callable[[str], T | None], rule: str) -> T | None:
        text = self.annotations.get(name)
        if text is None:
            return None
        value = read(text.strip())
        if value is None:
            self.mistakes.append(Mistake(name, text, rule))
        return value


def _boolean(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _name(text: str) -> str | None:
    return text if _NAME.fullmatch(text) else None


def _count(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) and int(text) <= MOST_CONNECTIONS else None


def _rate(text: str) -> float | None:
    """New connections a second."""
    match = _RATE.fullmatch(text)
    if match is None:
        return None
    rate = int(match["count"]) / _SECONDS[match["unit"]]
    return rate if math.isfinite(rate) else None


def _time(text: str) -> int | None:
    """Seconds."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    seconds = sum(int(match[unit] or 0) * _SECONDS[unit] for unit in "hms")
    return seconds if 0 < seconds <= LONGEST_SECONDS else None


def _ports(text: str) -> set[str]:
    return {one.strip() for one in text.split(",") if one.strip()}
