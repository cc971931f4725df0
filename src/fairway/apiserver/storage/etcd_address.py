"""Where an etcd is, how to speak to it, and which of its keys are ours."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PREFIX = "/fairway"
DEFAULT_PORT = 2379
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")


@dataclass(frozen=True, kw_only=True)
class EtcdAddress:
    """``endpoints`` are URLs of the members of one etcd, any of which may be down; the files are PEM.

    ``certificate`` and ``key`` are what this client shows, for an etcd that asks for it; ``authority`` is what the
    members' certificates are checked against, for https. Raises `ValueError` for what makes no sense.
    """

    endpoints: tuple[str, ...]
    prefix: str = DEFAULT_PREFIX
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise ValueError("no etcd endpoint is given; expected URLs such as http://127.0.0.1:2379")
        for endpoint in self.endpoints:
            target_of(endpoint)
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"the etcd prefix {self.prefix!r} is not a path such as {DEFAULT_PREFIX}")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate for etcd needs its key, and the key its certificate")
        secure = [endpoint for endpoint in self.endpoints if is_secure(endpoint)]
        if self.authority and not secure:
            raise ValueError(f"a CA for etcd is given, but {self.endpoints[0]} is not https")

    def __str__(self) -> str:
        return ", ".join(self.endpoints)


def endpoints_of(text: str) -> tuple[str, ...]:
    """The endpoints of a list with commas between them."""
    return tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())


def is_secure(endpoint: str) -> bool:
    return endpoint.startswith("https://")


def target_of(endpoint: str) -> str:
    """An endpoint's host and port, as gRPC names it; raises `ValueError`."""
    wrong = ValueError(f"{endpoint!r} is not an etcd endpoint; expected a URL such as http://127.0.0.1:2379")
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname or "", url.port or DEFAULT_PORT
    except ValueError:
        raise wrong from None
    if url.scheme not in ("http", "https") or url.path or url.query or url.fragment or url.username:
        raise wrong
    if ":" in host:
        try:
            return f"ipv6:[{ipaddress.IPv6Address(host)}]:{port}"
        except ValueError:
            raise wrong from None
    if not _HOST.fullmatch(host):
        raise wrong
    return f"dns:///{host}:{port}"
