"""Who is asking: a client certificate of our own authority, or a bearer token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from fairway.apiserver.requests import Request


@dataclass(frozen=True)
class User:
    """``name`` and ``groups`` as Kubernetes reads them from a certificate: its CN and its Os."""

    name: str
    groups: tuple[str, ...] = ()


class Authenticator(Protocol):
    def identify(self, request: Request) -> User | None:
        """The user behind a request, None when there is no proof of one."""


class Everybody:
    """Lets anybody in, as one user: for tests that call the application in the process."""

    def identify(self, request: Request) -> User | None:
        return User("system:admin", ("system:masters",))


class CertificatesAndTokens:
    """Trusts what the TLS handshake verified, and the tokens it was given."""

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens = {token.encode(): user for token, user in tokens.items()}

    def identify(self, request: Request) -> User | None:
        if request.peer:
            return user_of(request.peer)
        scheme, _, token = request.header(b"authorization").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = token.strip().encode("latin-1")
        # Compare with each in constant time, so that an answer's delay tells nothing about a token.
        return next((user for known, user in self._tokens.items() if hmac.compare_digest(known, given)), None)


def user_of(certificate: Mapping[str, Any]) -> User | None:
    """The subject of a verified certificate (in the form of `ssl.SSLSocket.getpeercert`)."""
    subject = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    name = next((value for kind, value in subject if kind == "commonName"), "")
    groups = tuple(value for kind, value in subject if kind == "organizationName")
    return User(name, groups) if name else None
