"""Tokens of ServiceAccounts: given out on request, and believed while what they are bound to exists.

The claims are those of Kubernetes::

    iss, aud      https://kubernetes.default.svc.cluster.local
    sub           system:serviceaccount:NAMESPACE:NAME
    iat nbf exp   seconds since 1970
    jti           a name for this token, so that logs can tell tokens apart without showing one
    kubernetes.io namespace, serviceaccount {name, uid}, and pod, secret or node {name, uid} when bound to one
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairway.apiserver.access.jws import Claims, InvalidToken, SigningKey
from fairway.apiserver.access.rules import service_account_name
from fairway.apiserver.access.users import User
from fairway.apiserver.registry import Registry
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.resources import Resource
from fairway.objects.status import FieldError, bad_request, conflict, invalid, invalid_object, not_supported
from fairway.runtime.clock import Clock, rfc3339

ISSUER = "https://kubernetes.default.svc.cluster.local"
_PRIVATE = "kubernetes.io"
_LIFETIME, _SHORTEST, _LONGEST = 3600, 600, 1 << 32
_BOUND: dict[tuple[str, str], Resource] = {
    ("v1", "Pod"): resources.PODS,
    ("v1", "Secret"): resources.SECRETS,
    ("v1", "Node"): resources.NODES,
}
# The signature of a token that comes with every request is checked once, not each time.
_REMEMBERED = 4096
_TOKEN_REQUEST = Resource("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", True, resources.SECRETS.type)


@dataclass(frozen=True)
class _Wish:
    """A TokenRequest's spec, checked. ``bound`` is the kind and name of what it ends with, None for the account."""

    audiences: tuple[str, ...]
    seconds: int
    bound: tuple[Resource, str, str] | None


class ServiceAccountTokens:
    """Gives out tokens and knows whose they are."""

    def __init__(self, key: SigningKey, registry: Registry, clock: Clock) -> None:
        self._key = key
        self._registry = registry
        self._clock = clock
        self._draw = random.SystemRandom()
        self._verified: dict[str, Claims] = {}

    async def issue(self, namespace: str, name: str, request: Document) -> Document:
        """Answer a TokenRequest: the same document with its status; raises `ApiError`."""
        wish = _wish(request.get("spec") or {}, name)
        account = (await self._find(resources.SERVICE_ACCOUNTS, namespace, name, must=True))["metadata"]
        private: Document = {"namespace": namespace, "serviceaccount": {"name": name, "uid": account["uid"]}}
        if wish.bound:
            resource, bound, uid = wish.bound
            found = await self._find(resource, namespace, bound, must=True)
            _check_bound(resource, found, name, uid)
            private[resource.singular] = {"name": bound, "uid": found["metadata"]["uid"]}
        now = int(self._clock.now())
        token = self._key.sign(
            {
                "aud": list(wish.audiences),
                "exp": now + wish.seconds,
                "iat": now,
                "iss": ISSUER,
                "jti": str(uuid.UUID(int=self._draw.getrandbits(128), version=4)),
                _PRIVATE: private,
                "nbf": now,
                "sub": service_account_name(namespace, name),
            }
        )
        spec = {"audiences": list(wish.audiences), "expirationSeconds": wish.seconds}
        spec["boundObjectRef"] = (request.get("spec") or {}).get("boundObjectRef")
        return {
            "kind": "TokenRequest",
            "apiVersion": _TOKEN_REQUEST.api_version,
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(now)},
            "spec": spec,
            "status": {"token": token, "expirationTimestamp": rfc3339(now + wish.seconds)},
        }

    async def user(self, token: str) -> User | None:
        """The user of a token for this server, None when it proves nobody."""
        try:
            return (await self.review(token, (ISSUER,)))[0]
        except InvalidToken:
            return None

    async def review(self, token: str, audiences: Sequence[str]) -> tuple[User, tuple[str, ...]]:
        """The user of a token, and which of the audiences it is for; raises `InvalidToken`."""
        claims = self._claims(token)
        given = claims.get("aud")
        meant = tuple(one for one in audiences if isinstance(given, list) and one in given)
        if not meant:
            raise InvalidToken("the token is for other audiences")
        self._check_times(claims)
        private = claims.get(_PRIVATE)
        if claims.get("iss") != ISSUER or not isinstance(private, dict):
            raise InvalidToken("the token is of another issuer")
        return await self._still_there(claims, private), meant

    def _claims(self, token: str) -> Claims:
        known = self._verified.get(token)
        if known is None:
            known = self._key.verify(token)
            if len(self._verified) >= _REMEMBERED:
                self._verified.clear()
            self._verified[token] = known
        return known

    def _check_times(self, claims: Claims) -> None:
        now, ends, begins = self._clock.now(), claims.get("exp"), claims.get("nbf")
        if not isinstance(ends, int) or not isinstance(begins, int):
            raise InvalidToken("the token does not say when it is valid")
        if now >= ends:
            raise InvalidToken("the token has expired")
        if now < begins:
            raise InvalidToken("the token is not valid yet")

    async def _still_there(self, claims: Claims, private: Document) -> User:
        """The user, if the account and what the token is bound to are the ones it was given for."""
        namespace = str(private.get("namespace", ""))
        account = await self._check_same(resources.SERVICE_ACCOUNTS, namespace, private.get("serviceaccount"))
        extra = [("credential-id", f"JTI={claims.get('jti', '')}")]
        for resource in _BOUND.values():
            if resource.singular in private:
                reference = await self._check_same(resource, namespace, private[resource.singular])
                extra += [(f"{resource.singular}-{part}", str(reference[part])) for part in ("name", "uid")]
        return User(
            service_account_name(namespace, account["name"]),
            ("system:serviceaccounts", f"system:serviceaccounts:{namespace}"),
            str(account["uid"]),
            tuple((f"authentication.kubernetes.io/{name}", (value,)) for name, value in extra),
        ).known()

    async def _check_same(self, resource: Resource, namespace: str, reference: Any) -> Document:
        if not isinstance(reference, dict) or not isinstance(reference.get("name"), str):
            raise InvalidToken(f"the token does not name its {resource.singular}")
        found = await self._find(resource, namespace, reference["name"])
        if found is None or found["metadata"]["uid"] != reference.get("uid"):
            raise InvalidToken(f"the token's {resource.singular} is gone")
        if found["metadata"].get("deletionTimestamp") and resource is not resources.PODS:
            raise InvalidToken(f"the token's {resource.singular} is being deleted")
        return reference

    async def _find(self, resource: Resource, namespace: str, name: str, *, must: bool = False) -> Any:
        kind = self._registry.kinds[resource]
        namespace = namespace if resource.namespaced else ""
        if must:
            return (await self._registry.get(kind, namespace, name)).document()
        found = await self._registry.find(kind, namespace, name)
        return found.document() if found else None


def _wish(spec: Document, name: str) -> _Wish:
    errors: list[FieldError] = []
    seconds = spec.get("expirationSeconds")
    seconds = _LIFETIME if seconds is None else seconds
    path = "spec.expirationSeconds"
    if seconds < _SHORTEST:
        errors.append(invalid(path, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > _LONGEST:
        errors.append(invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
    reference = spec.get("boundObjectRef") or {}
    resource = _BOUND.get((reference.get("apiVersion", ""), reference.get("kind", "")))
    if reference and resource is None:
        errors.append(not_supported("spec.boundObjectRef.kind", reference.get("kind", ""), ["Pod", "Secret", "Node"]))
    if errors:
        raise invalid_object(_TOKEN_REQUEST, name, errors)
    bound = (resource, str(reference.get("name", "")), str(reference.get("uid", ""))) if resource else None
    return _Wish(tuple(spec.get("audiences") or (ISSUER,)), seconds, bound)


def _check_bound(resource: Resource, found: Document, account: str, uid: str) -> None:
    meta = found["metadata"]
    if uid and uid != meta["uid"]:
        words = f"the UID in the bound object reference ({uid}) does not match the UID in record"
        raise conflict(resource, meta["name"], words)
    if resource is resources.PODS and found.get("spec", {}).get("serviceAccountName", "default") != account:
        raise bad_request(
            f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        )
