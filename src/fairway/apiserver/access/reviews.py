"""The kinds that are questions: who am I, whose token is this, may I, may they, what may I. Nothing of them is stored.

kubectl asks them: ``auth whoami``, ``auth can-i``, ``auth can-i --list``, ``create token``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fairway.apiserver.access.authorizer import Authorizer
from fairway.apiserver.access.jws import InvalidToken
from fairway.apiserver.access.roles import MASTERS
from fairway.apiserver.access.rules import Attributes, Rule
from fairway.apiserver.access.service_accounts import ISSUER, ServiceAccountTokens
from fairway.apiserver.access.users import User
from fairway.apiserver.authentication import StaticTokens
from fairway.apiserver.decoding import type_errors
from fairway.apiserver.kinds import Kind
from fairway.apiserver.requests import Request
from fairway.apiserver.respond import Response
from fairway.apiserver.strategy import Rules
from fairway.objects.codec import Document, encode
from fairway.objects.meta import KubernetesObject
from fairway.objects.resources import Resource
from fairway.objects.status import bad_request, method_not_allowed

AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"


def _question(group: str, kind: str, *, namespaced: bool = False) -> Kind:
    resource = Resource(group, "v1", kind, f"{kind.lower()}s", namespaced, KubernetesObject)
    return Kind(resource=resource, strategy=Rules(), columns=(), status="none", asked=True)


KINDS = (
    _question(AUTHENTICATION, "SelfSubjectReview"),
    _question(AUTHENTICATION, "TokenReview"),
    _question(AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
    _question(AUTHORIZATION, "SelfSubjectAccessReview"),
    _question(AUTHORIZATION, "SelfSubjectRulesReview"),
    _question(AUTHORIZATION, "SubjectAccessReview"),
)
_EVERYTHING = Rule(verbs=("*",), api_groups=("*",), resources=("*",))
_EVERY_PATH = Rule(verbs=("*",), non_resource_urls=("*",))


@dataclass(frozen=True)
class Question:
    """A request for a review: what it needs permission for, and which kind of document it brings."""

    asked: Attributes
    kind: str
    group: str

    @property
    def gives(self) -> bool:
        """Whether the answer is worth something by itself."""
        return self.kind == "TokenRequest"


class Reviews:
    """Answers the questions of one server."""

    def __init__(self, authorizer: Authorizer, accounts: ServiceAccountTokens, tokens: StaticTokens) -> None:
        self._authorizer = authorizer
        self._accounts = accounts
        self._tokens = tokens
        self._answers: dict[str, Callable[[Document, User, Question], Awaitable[Document]]] = {
            "SelfSubjectReview": self._who_am_i,
            "TokenReview": self._whose_token,
            "LocalSubjectAccessReview": self._may_they,
            "SelfSubjectAccessReview": self._may_i,
            "SelfSubjectRulesReview": self._what_may_i,
            "SubjectAccessReview": self._may_they,
            "TokenRequest": self._token,
        }

    async def answer(self, question: Question, request: Request, user: User) -> Response:
        """The document with its status filled in; raises `ApiError`."""
        if request.method != "POST":
            raise method_not_allowed()
        document = await request.document()
        api_version = f"{question.group}/v1"
        document.setdefault("apiVersion", api_version)
        document.setdefault("kind", question.kind)
        if (document["apiVersion"], document["kind"]) != (api_version, question.kind):
            raise bad_request(f"expected {api_version}, Kind={question.kind}")
        if errors := type_errors(api_version, question.kind, document):
            raise bad_request(errors[0])
        answered = await self._answers[question.kind](document, user, question)
        return Response(201, encode({"kind": question.kind, "apiVersion": api_version, **answered}))

    async def _who_am_i(self, document: Document, user: User, _: Question) -> Document:
        return {"metadata": {}, "status": {"userInfo": user_info(user)}}

    async def _token(self, document: Document, _: User, question: Question) -> Document:
        return await self._accounts.issue(question.asked.namespace, question.asked.name, document)

    async def _whose_token(self, document: Document, _: User, __: Question) -> Document:
        spec = document.get("spec") or {}
        token, audiences = spec.get("token") or "", tuple(spec.get("audiences") or (ISSUER,))
        meant: tuple[str, ...]
        if user := await self._tokens.user(token):
            meant = (ISSUER,) if ISSUER in audiences else ()
            error = "" if meant else "the token is for other audiences"
        else:
            try:
                user, meant = await self._accounts.review(token, audiences)
                error = ""
            except InvalidToken as problem:
                user, meant, error = None, (), str(problem)
        status: Document = {"authenticated": bool(user) and not error}
        if user and not error:
            status |= {"user": user_info(user), "audiences": list(meant)}
        if error:
            status["error"] = error
        # The token is not said back: answers are logged more often than questions.
        return {"metadata": {}, "spec": {"token": "", "audiences": list(audiences)}, "status": status}

    async def _may_i(self, document: Document, user: User, _: Question) -> Document:
        spec = document.get("spec") or {}
        return {"metadata": {}, "spec": spec, "status": self._decide(user, _attributes(spec))}

    async def _may_they(self, document: Document, _: User, question: Question) -> Document:
        spec = document.get("spec") or {}
        if not spec.get("user") and not spec.get("groups"):
            raise bad_request("spec.user: Required value: at least one of user or group must be specified")
        asked = _attributes(spec)
        if question.asked.namespace and question.asked.namespace != asked.namespace:
            raise bad_request("spec.resourceAttributes.namespace: must match the namespace of the request")
        user = User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")
        return {"metadata": {}, "spec": spec, "status": self._decide(user, asked)}

    def _decide(self, user: User, asked: Attributes) -> Document:
        decision = self._authorizer.decide(user, asked)
        if not decision.allowed:
            return {"allowed": False, **({"reason": decision.reason} if decision.reason else {})}
        # Whoever asks without a name asks about any object, which for a node is more than its own.
        if asked.name and (denied := self._authorizer.refused_to_node(user, asked)):
            return {"allowed": False, "denied": True, "reason": denied}
        return {"allowed": True, "reason": decision.reason}

    async def _what_may_i(self, document: Document, user: User, _: Question) -> Document:
        namespace = (document.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise bad_request("no namespace on request")
        rules = [grant.rule for grant in self._authorizer.grants(user, namespace)]
        if MASTERS in user.groups:
            rules = [_EVERYTHING, _EVERY_PATH, *(rule for rule in rules if "*" not in rule.verbs)]
        return {"metadata": {}, "spec": {"namespace": namespace}, "status": _listed(rules)}


def user_info(user: User) -> Document:
    """A user as reviews write one."""
    info: Document = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra}
    return info


def _attributes(spec: Document) -> Attributes:
    """What a review asks about; raises `ApiError` when it is nothing, or two things."""
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(about) == bool(path):
        raise bad_request(
            "spec: Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        )
    if path:
        return Attributes(path.get("verb") or "", path=path.get("path") or "")
    found: dict[str, Any] = about or {}
    return Attributes(
        *(str(found.get(part) or "") for part in ("verb", "group", "resource", "subresource", "namespace", "name"))
    )


def _listed(rules: Iterable[Rule]) -> Document:
    resources: list[Document] = []
    paths: list[Document] = []
    for rule in rules:
        if rule.non_resource_urls:
            paths.append({"verbs": list(rule.verbs), "nonResourceURLs": list(rule.non_resource_urls)})
        else:
            groups, names = list(rule.api_groups or ()), list(rule.resources or ())
            entry: Document = {"verbs": list(rule.verbs), "apiGroups": groups, "resources": names}
            if rule.resource_names:
                entry["resourceNames"] = list(rule.resource_names)
            resources.append(entry)
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def find_question(path: str) -> Question | None:
    """The review that a path asks for, None for another path."""
    parts = path.strip("/").split("/")
    match parts:
        case ["apis", group, "v1", plural]:
            found = _KINDS.get((group, plural, False))
            return Question(Attributes("create", group, plural), found, group) if found else None
        case ["apis", group, "v1", "namespaces", namespace, plural]:
            found = _KINDS.get((group, plural, True))
            return Question(Attributes("create", group, plural, "", namespace), found, group) if found else None
        case ["api", "v1", "namespaces", namespace, "serviceaccounts", name, "token"]:
            asked = Attributes("create", "", "serviceaccounts", "token", namespace, name)
            return Question(asked, "TokenRequest", AUTHENTICATION)
    return None


_KINDS = {(one.resource.group, one.resource.plural, one.resource.namespaced): one.name for one in KINDS}
