"""Who is asking: a client certificate of our own authority, a static token, or a ServiceAccount's token."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

from fairway.apiserver.access.roles import MASTERS
from fairway.apiserver.access.users import NOBODY, User
from fairway.apiserver.requests import Request
from fairway.objects.status import unauthorized


class Authenticator(Protocol):
    async def identify(self, request: Request) -> User:
        """The user behind a request, `NOBODY` for one who shows nothing; raises `ApiError` Unauthorized for a proof
        that does not hold.
        """


_ADMIN = User("system:admin", (MASTERS,))


class Everybody:
    """Lets anybody in, as one user: for tests that call the application in the process."""

    def __init__(self, user: User = _ADMIN) -> None:
        self._user = user.known()

    async def identify(self, request: Request) -> User:
        return self._user


class TokenAuthenticator(Protocol):
    async def user(self, token: str) -> User | None:
        """The user a bearer token proves, None when it proves nobody."""


class StaticTokens:
    """The tokens of a file, which do not end."""

    def __init__(self, tokens: Mapping[str, User]) -> None:
        # Looked up by hash, so that an answer's delay tells nothing about how much of a guess was right.
        self._users = {_hash(token): user.known() for token, user in tokens.items()}

    async def user(self, token: str) -> User | None:
        return self._users.get(_hash(token)) if self._users else None


class CertificatesAndTokens:
    """Trusts what the TLS handshake verified, and the tokens that one of the ``tokens`` knows."""

    def __init__(self, *tokens: TokenAuthenticator) -> None:
        self._tokens = tokens

    async def identify(self, request: Request) -> User:
        if request.peer:
            found = user_of(request.peer)
            if found is None:
                raise unauthorized()
            return found
        scheme, _, token = request.header(b"authorization").partition(" ")
        if not scheme:
            return NOBODY
        if scheme.lower() == "bearer" and (token := token.strip()):
            for one in self._tokens:
                if user := await one.user(token):
                    return user
        raise unauthorized()


def user_of(certificate: Mapping[str, Any]) -> User | None:
    """The subject of a verified certificate (in the form of `ssl.SSLSocket.getpeercert`); None for one without name."""
    return _user_of(certificate.get("subject", ()))


@lru_cache(maxsize=1024)
def _user_of(subject: tuple[tuple[tuple[str, str], ...], ...]) -> User | None:
    pairs = [pair for rdn in subject for pair in rdn]
    name = next((value for kind, value in pairs if kind == "commonName"), "")
    groups = tuple(value for kind, value in pairs if kind == "organizationName")
    return User(name, groups).known() if name else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
