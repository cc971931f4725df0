"""The gate every request passes: who it is, whether there is a place, and whether they may."""

from __future__ import annotations

from contextlib import AbstractContextManager

from fairway.apiserver.access.authorizer import Authorizer
from fairway.apiserver.access.limits import Limits
from fairway.apiserver.access.node import node_of
from fairway.apiserver.access.roles import ANONYMOUS, MASTERS
from fairway.apiserver.access.rules import Attributes, refusal
from fairway.apiserver.access.users import User
from fairway.apiserver.authentication import Authenticator
from fairway.apiserver.requests import Request, Target
from fairway.objects import resources
from fairway.objects.selectors import SelectorError, parse_field_selector
from fairway.objects.status import ApiError, bad_request, forbidden

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
_ACCOUNT = "system:serviceaccount:"


class Gate:
    """Lets a request in, or raises the `ApiError` that says why not."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer, limits: Limits) -> None:
        self._authenticator = authenticator
        self.authorizer = authorizer
        self._limits = limits

    async def identify(self, request: Request) -> User:
        """Who it is: the one who proves it, or the one they act for."""
        user = await self._authenticator.identify(request)
        if any(name.startswith(b"impersonate-") for name in request.headers):
            return self._impersonated(user, request)
        return user

    def place(self, user: User, request: Request, *, long: bool = False) -> AbstractContextManager[None]:
        """A place among the requests that are answered now; watches and what is ``long`` take none."""
        watch = long or (request.method == "GET" and "watch" in request.query and request.flag("watch"))
        return self._limits.place(user, request.address, watch=watch)

    def authorize(self, user: User, asked: Attributes) -> None:
        """Raises `ApiError` Forbidden when a user's roles do not allow it."""
        decision = self.authorizer.decide(user, asked)
        if not decision.allowed:
            raise forbidden_request(user, asked, decision.reason)

    async def authorize_target(self, user: User, request: Request, target: Target, asked: Attributes) -> None:
        """As `authorize`, for a request about objects; a node that writes has to write its own."""
        self.authorize(user, asked)
        if MASTERS in user.groups:
            return
        if request.method == "PUT" or (request.method == "PATCH" and request.content_type in _APPLY):
            creation = asked._replace(verb="create")
            decision = self.authorizer.decide(user, creation)
            if not decision.allowed:
                request.creation_refused = forbidden_request(user, creation, decision.reason)
        if node_of(user.name, user.groups) is not None:
            asked = await _with_name(request, target, asked)
            if denied := self.authorizer.refused_to_node(user, asked):
                raise _about(asked, denied)

    def _impersonated(self, user: User, request: Request) -> User:
        """The user that the headers name, when the asking one may act for them."""
        for header in request.headers:
            if header.startswith(b"impersonate-") and header not in (b"impersonate-user", b"impersonate-group"):
                raise bad_request(f"the header {header.decode('latin-1')} is not supported; a user and groups are")
        name, groups = request.header(b"impersonate-user"), tuple(request.values(b"impersonate-group"))
        if not name:
            raise bad_request("the header impersonate-group needs impersonate-user beside it")
        self.authorize(user, _acting_for(name))
        for group in groups:
            self.authorize(user, Attributes("impersonate", "", "groups", name=group))
        parts = name.removeprefix(_ACCOUNT).split(":")
        if name.startswith(_ACCOUNT) and len(parts) == 2 and not groups:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{parts[0]}")
        return User(name, groups) if name == ANONYMOUS else User(name, groups).known()


def attributes_of(request: Request, target: Target) -> Attributes:
    """What a request about objects wants; raises `ApiError` for a flag that is none."""
    verb, name, resource = _VERBS.get(request.method, request.method.lower()), target.name, target.kind.resource
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if verb in ("get", "list") and not target.subresource and request.flag("watch"):
        verb = "watch"
    # One namespace is about itself: a role in it can allow to read it.
    namespace = name if resource is resources.NAMESPACES else target.namespace
    if verb in ("list", "watch", "deletecollection") and not name:
        name = _selected_name(request.query.get("fieldSelector", ""))
    return Attributes(verb, resource.group, resource.plural, target.subresource, namespace, name)


def _selected_name(selector: str) -> str:
    """The one name that a field selector leaves: asking for it is asking for that object."""
    if "metadata.name" not in selector:
        return ""
    try:
        terms = parse_field_selector(selector)
    except SelectorError:
        return ""  # the verb will complain
    return next((term.value for term in terms if term.path == "metadata.name" and term.equals), "")


def _acting_for(name: str) -> Attributes:
    parts = name.removeprefix(_ACCOUNT).split(":")
    if name.startswith(_ACCOUNT) and len(parts) == 2:
        return Attributes("impersonate", "", "serviceaccounts", "", *parts)
    return Attributes("impersonate", "", "users", name=name)


async def _with_name(request: Request, target: Target, asked: Attributes) -> Attributes:
    """A creation says the name in its body."""
    if asked.name or asked.verb != "create":
        return asked
    metadata = (await request.document()).get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    namespace = metadata.get("namespace") if isinstance(metadata, dict) and not target.namespace else None
    asked = asked._replace(name=name if isinstance(name, str) else "")
    return asked._replace(namespace=namespace) if isinstance(namespace, str) and namespace else asked


def forbidden_request(user: User, asked: Attributes, reason: str = "") -> ApiError:
    """Forbidden, in Kubernetes' words."""
    words = refusal(user.name, asked, reason)
    return forbidden(f"forbidden: {words}") if asked.path else _about(asked, words)


def _about(asked: Attributes, words: str) -> ApiError:
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f'{qualified} "{asked.name}"' if asked.name else qualified
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    found = forbidden(f"{named} is forbidden: {words}")
    found.details = {name: value for name, value in details.items() if value}
    return found
