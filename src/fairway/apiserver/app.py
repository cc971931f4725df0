"""The ASGI application: who may come in, which part answers, and how a refusal looks."""

from __future__ import annotations

import logging
import platform
import random
from collections.abc import Callable, Coroutine
from typing import Any

from fairway import __version__
from fairway.apiserver import discovery
from fairway.apiserver.access import audit
from fairway.apiserver.access.audit import AuditLog
from fairway.apiserver.access.authorizer import Authorizer
from fairway.apiserver.access.gate import Gate, attributes_of
from fairway.apiserver.access.reviews import KINDS, Question, Reviews, find_question
from fairway.apiserver.access.rules import Attributes
from fairway.apiserver.access.users import User
from fairway.apiserver.changes import noting
from fairway.apiserver.forwarding import Forwarding, Way, find_way
from fairway.apiserver.health import PATHS as HEALTH_PATHS
from fairway.apiserver.health import Health
from fairway.apiserver.kinds import Kind, Kinds
from fairway.apiserver.openapi import PROTOBUF_V2, OpenApi
from fairway.apiserver.registry import Registry
from fairway.apiserver.relay import check_relayable, relay
from fairway.apiserver.requests import JSON, Receive, Request, Scope, Send, Target, find_target, unserved
from fairway.apiserver.respond import Response, error_response
from fairway.apiserver.storage.contract import StorageError
from fairway.apiserver.verbs import Verbs
from fairway.objects.codec import encode
from fairway.objects.status import ApiError, internal, method_not_allowed, unavailable, unknown_path
from fairway.runtime.clock import Clock

# The release of Kubernetes whose behaviour is followed; clients choose what they may ask for by it.
KUBERNETES_VERSION = ("1", "36")

log = logging.getLogger(__name__)


class App:
    """An ASGI application over one registry."""

    def __init__(
        self,
        registry: Registry,
        gate: Gate,
        reviews: Reviews,
        health: Health,
        clock: Clock,
        audit_log: AuditLog | None = None,
    ) -> None:
        self.registry = registry
        self._gate = gate
        self._reviews = reviews
        self._audit_log = audit_log
        self._clock = clock
        self._verbs = Verbs(registry, clock)
        self._forwarding = Forwarding(registry, random.SystemRandom().randrange)
        self._pages = _pages(registry.kinds)
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"this application speaks HTTP only, not {scope['type']}")
        started = False

        async def noting_send(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            response = await self._answer(Request(scope, receive), receive, noting_send)
        except ApiError as error:
            response = error_response(error)
        except StorageError as error:
            log.error("%s", error)
            response = error_response(internal(str(error)))
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            response = error_response(internal("an unexpected error; the server's log tells more"))
        if response is not None and not started and not response.send_at_once(scope):
            await response.send(send)

    @property
    def authorizer(self) -> Authorizer:
        return self._gate.authorizer

    def stop(self) -> None:
        """End the watches and refuse new ones; everything else is still answered."""
        self._health.stopping = True
        self._verbs.close_watches()

    async def _answer(self, request: Request, receive: Receive, send: Send) -> Response | None:
        """The response, None when it has been streamed."""
        path = request.path.rstrip("/") or "/"
        request.user = user = await self._gate.identify(request)
        if way := find_way(request.raw_path):
            with self._gate.place(user, request, long=True):
                asked, work = way.asked(request.method), self._forward(request, user, way, receive, send)
                return await (self._audited(request, user, asked, work) if asked.verb in audit.WRITES else work)
        with self._gate.place(user, request):
            page = self._pages.get(path)
            if page is not None or self._health.serves(path):
                self._gate.authorize(user, Attributes(request.method.lower().replace("head", "get"), path=path))
                if request.method not in ("GET", "HEAD"):
                    raise method_not_allowed()
                return page(request) if page else await self._health.answer(request, path)
            question = find_question(path)
            if question is not None:
                work = self._ask(request, user, question)
                # A question changes nothing; a token is given out for keeps.
                return await (self._audited(request, user, question.asked, work) if question.gives else work)
            target = find_target(self.registry.kinds, path)
            if target is None:
                self._gate.authorize(user, Attributes(request.method.lower(), path=path))
                raise unserved(path) or unknown_path()
            asked = attributes_of(request, target)
            if asked.verb in audit.WRITES:
                return await self._audited(request, user, asked, self._write(request, user, target, asked))
            await self._gate.authorize_target(user, request, target, asked)
            if request.method == "GET" and request.flag("watch") and not target.subresource:
                if self._health.stopping:
                    raise unavailable("the server is stopping")
                await self._verbs.watch(request, target, receive, send)
                return None
            return await self._verbs.answer(request, target)

    async def _forward(self, request: Request, user: User, way: Way, receive: Receive, send: Send) -> Response:
        """The answer of an endpoint, which has been sent already, or a redirect to its root."""
        self._gate.authorize(user, way.asked(request.method))
        check_relayable(request)
        place = await self._forwarding.place(way)
        if not way.rest and request.method in ("GET", "HEAD"):
            query = f"?{request.query_string}" if request.query_string else ""
            return Response(301, b"", headers=((b"location", f"{way.prefix}/{query}".encode("latin-1")),))
        return Response(await relay(request, way, place, receive, send), b"")

    async def _ask(self, request: Request, user: User, question: Question) -> Response:
        self._gate.authorize(user, question.asked)
        return await self._reviews.answer(question, request, user)

    async def _write(self, request: Request, user: User, target: Target, asked: Attributes) -> Response:
        await self._gate.authorize_target(user, request, target, asked)
        return await self._verbs.answer(request, target)

    async def _audited(
        self, request: Request, user: User, asked: Attributes, work: Coroutine[Any, Any, Response]
    ) -> Response:
        """Do a piece of work, and say in the audit log how it went."""
        if self._audit_log is None:
            return await work
        began, then, code = self._clock.now(), self._clock.monotonic(), 500
        with noting() as changes:
            try:
                response = await work
                code = response.status
                return response
            except ApiError as error:
                code = error.code
                raise
            finally:
                seconds = self._clock.monotonic() - then
                entry = audit.record(user, request.address, asked, changes, code=code, began=began, seconds=seconds)
                await self._audit_log.add(entry)


def _served(kinds: Kinds) -> dict[tuple[str, str], list[Kind]]:
    """Every kind by its group and version: those that are stored, and those that are questions."""
    groups = {key: list(rows) for key, rows in kinds.groups.items()}
    for kind in KINDS:
        groups.setdefault((kind.resource.group, kind.resource.version), []).append(kind)
    return groups


def _pages(kinds: Kinds) -> dict[str, Callable[[Request], Response]]:
    """Everything that is not about objects, by path."""
    major, minor = KUBERNETES_VERSION
    version = {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.0+fairway.{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": platform.python_implementation(),
        "platform": f"linux/{platform.machine()}",
    }
    pages: dict[str, Callable[[Request], Response]] = {"/version": _fixed(version)}
    groups = _served(kinds)
    pages["/api"] = _discovered(groups, discovery.versions(), core=True)
    pages["/apis"] = _discovered(groups, discovery.group_list(groups), core=False)
    for (group, served), rows in groups.items():
        if group:
            pages[f"/apis/{group}"] = _fixed(discovery.group(group, served))
        root = f"/apis/{group}/{served}" if group else f"/api/{served}"
        pages[root] = _fixed(discovery.resource_list(rows))
    pages.update(_openapi_pages(OpenApi(groups)))
    # kubectl asks about a kind that cannot be patched, before it creates one: a review of authorization.k8s.io.
    pages["/apis/apiextensions.k8s.io/v1/customresourcedefinitions"] = _fixed(
        {
            "kind": "CustomResourceDefinitionList",
            "apiVersion": "apiextensions.k8s.io/v1",
            "metadata": {"resourceVersion": "1"},
            "items": [],
        }
    )
    pages["/"] = _fixed({"paths": sorted([*pages, *HEALTH_PATHS])})
    return pages


def _fixed(document: dict[str, Any]) -> Callable[[Request], Response]:
    response = Response(200, encode(document))
    return lambda _: response


def _discovered(groups: discovery.Groups, legacy: dict[str, Any], *, core: bool) -> Callable[[Request], Response]:
    """The aggregated form for clients that ask for it, else the list that tells where to ask next."""

    def page(request: Request) -> Response:
        accept = request.header(b"accept").replace(" ", "")
        for one in accept.split(","):
            if "as=APIGroupDiscoveryList" in one and "g=apidiscovery.k8s.io" in one:
                version = "v2beta1" if "v=v2beta1" in one else "v2"
                media = f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                return Response(200, encode(discovery.aggregated(groups, version, core=core)), media)
            if one in (JSON, "*/*"):
                break
        return Response(200, encode(legacy))

    return page


def _openapi_pages(documents: OpenApi) -> dict[str, Callable[[Request], Response]]:
    def index(_: Request) -> Response:
        return Response(200, encode(documents.v3_index()))

    def version_2(request: Request) -> Response:
        if "protobuf" in request.header(b"accept"):
            return Response(200, documents.v2_protobuf(), PROTOBUF_V2)
        return Response(200, documents.v2())

    def version_3(root: str) -> Callable[[Request], Response]:
        # The URLs in the index carry a hash of the document: what was fetched once never has to be fetched again.
        forever = ((b"cache-control", b"public, max-age=31536000, immutable"),)
        return lambda request: Response(200, documents.v3(root), headers=forever if "hash" in request.query else ())

    pages = {f"/openapi/v3/{root}": version_3(root) for root in documents.roots}
    return {"/openapi/v3": index, "/openapi/v2": version_2, **pages}
