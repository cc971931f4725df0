"""The verbs over HTTP: from a request about a kind to its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import yaml

from fairway.apiserver.applying import APPLY_PATCH, author, serve_apply
from fairway.apiserver.field_validation import check_fields
from fairway.apiserver.filters import parse_filter
from fairway.apiserver.kinds import Kind
from fairway.apiserver.listing import Page, Selection, read_page
from fairway.apiserver.metadata import DeleteOptions
from fairway.apiserver.options import check_watch, exact_version, version_of
from fairway.apiserver.patch import PATCH_TYPES, Patch
from fairway.apiserver.registry import Registry
from fairway.apiserver.requests import JSON, YAML, Receive, Request, Send, Target, parse_document
from fairway.apiserver.respond import Response, Wanted, wanted, warning_headers
from fairway.apiserver.scale import scale_of, scaled
from fairway.apiserver.schema import shape
from fairway.apiserver.storage.contract import Compacted, FutureRevision
from fairway.apiserver.storage.contract import Watch as StorageWatch
from fairway.apiserver.stored import Stored, joined
from fairway.apiserver.strategies import warnings
from fairway.apiserver.tables import partial, table
from fairway.apiserver.watch import Lines, Start, Stream, Type, encode_line, send_error, timeout_seconds
from fairway.objects.codec import DecodeError, Document, decode, encode
from fairway.objects.status import (
    ApiError,
    FieldError,
    bad_request,
    expired,
    invalid,
    invalid_object,
    method_not_allowed,
    not_supported,
    success,
    unsupported_media_type,
)
from fairway.runtime.clock import Clock

_POLICIES = ("Foreground", "Background", "Orphan")


class Verbs:
    """Every verb on every kind, over one registry."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._lines = Lines()
        self._watches: set[StorageWatch] = set()

    async def answer(self, request: Request, target: Target) -> Response:
        """The answer to anything but a watch; raises `ApiError`."""
        on_object = {"GET": self._get, "PUT": self._put, "PATCH": self._patch, "DELETE": self._delete}
        on_collection = {"GET": self._list, "POST": self._create, "DELETE": self._delete_collection}
        verb = (on_object if target.name else on_collection).get(request.method)
        if verb is None or (target.subresource and request.method == "DELETE"):
            raise method_not_allowed()
        response = await verb(request, target)
        if target.kind.deprecated:
            notes = warning_headers([target.kind.deprecated])
            response = msgspec.structs.replace(response, headers=(*notes, *response.headers))
        return response

    async def _get(self, request: Request, target: Target) -> Response:
        stored = await self._registry.get(target.kind, target.namespace, target.name)
        if target.subresource == "scale":
            return _json(200, scale_of(stored.document()), wanted(request))
        return self._object(200, stored, request)

    async def _list(self, request: Request, target: Target) -> Response:
        if target.kind.resource.namespaced is False and target.namespace:
            raise method_not_allowed()
        form = wanted(request)
        asked, exact = version_of(request), exact_version(request)
        # A version that has not come yet is refused as such.
        revision = asked if asked > self._registry.storage.revision else exact
        page = await read_page(
            self._registry.storage,
            _selection(request, target),
            limit=request.number("limit") or 0,
            token=request.query.get("continue", ""),
            revision=revision,
        )
        return self._page(page, target.kind, request, form)

    async def _create(self, request: Request, target: Target) -> Response:
        form = wanted(request)
        document = await request.document()
        notes = check_fields(request, target.kind, document, await request.body())
        namespace = target.namespace or _namespace_of(target.kind, document)
        stored = await self._registry.create(
            target.kind, namespace, document, author=author(request, target), dry_run=request.dry_run
        )
        return self._written(201, stored, request, form, notes)

    async def _put(self, request: Request, target: Target) -> Response:
        form = wanted(request)
        document = await request.document()
        if target.subresource == "scale":
            return await self._change_scale(request, target, lambda _: document)
        notes = check_fields(request, target.kind, document, await request.body())
        try:
            stored = await self._update(request, target, lambda _: _replacement(target.kind, document))
            return self._written(200, stored, request, form, notes)
        except ApiError as error:
            creates = target.kind.put_creates and not target.subresource and error.reason == "NotFound"
            if not creates or await self._registry.find(target.kind, target.namespace, target.name):
                raise
        if request.creation_refused:
            raise request.creation_refused
        metadata = document.setdefault("metadata", {})
        if isinstance(metadata, dict):
            metadata.setdefault("name", target.name)
            metadata.pop("resourceVersion", None)
        stored = await self._registry.create(
            target.kind, target.namespace, document, author=author(request, target), dry_run=request.dry_run
        )
        return self._written(201, stored, request, form, notes)

    async def _patch(self, request: Request, target: Target) -> Response:
        form = wanted(request)
        if request.content_type == APPLY_PATCH:
            created, applied = await serve_apply(self._registry, request, target)
            if target.subresource == "scale":
                return _json(200, scale_of(applied.document()), form)
            return self._written(201 if created else 200, applied, request, form, [])
        if request.content_type not in PATCH_TYPES:
            raise unsupported_media_type(request.content_type, (*PATCH_TYPES, APPLY_PATCH))
        patch = Patch.parse(request.content_type, await request.body())
        if target.subresource == "scale":
            return await self._change_scale(request, target, lambda scale: patch.apply(_SCALE, scale))
        kind = target.kind
        notes: list[str] = []

        def change(old: Document) -> Document:
            patched = patch.apply(shape(kind.resource.api_version, kind.name), old)
            notes[:] = check_fields(request, kind, patched)
            return patched

        stored = await self._update(request, target, change)
        return self._written(200, stored, request, form, notes)

    async def _change_scale(self, request: Request, target: Target, change: Callable[[Document], Document]) -> Response:
        def workload(old: Document) -> Document:
            return scaled(old, change(scale_of(old)))

        stored = await self._update(request, target, workload)
        return _json(200, scale_of(stored.document()), wanted(request))

    async def _update(self, request: Request, target: Target, change: Callable[[Document], Document]) -> Stored:
        return await self._registry.update(
            target.kind,
            target.namespace,
            target.name,
            change,
            author=author(request, target),
            dry_run=request.dry_run,
        )

    async def _delete(self, request: Request, target: Target) -> Response:
        options, dry_run = await _delete_options(request)
        deleted = await self._registry.delete(target.kind, target.namespace, target.name, options, dry_run=dry_run)
        if deleted.gone and not target.kind.returns_deleted:
            uid = deleted.stored.document()["metadata"]["uid"]
            return _json(200, success(target.kind.resource, target.name, uid), wanted(request))
        return self._object(200, deleted.stored, request)

    async def _delete_collection(self, request: Request, target: Target) -> Response:
        options, dry_run = await _delete_options(request)
        page = await read_page(self._registry.storage, _selection(request, target))
        gone: list[Stored] = []
        for stored in page.objects:
            metadata = stored.document()["metadata"]
            try:
                deleted = await self._registry.delete(
                    target.kind, metadata.get("namespace", ""), metadata["name"], options, dry_run=dry_run
                )
            except ApiError as error:
                if error.reason != "NotFound":
                    raise
                continue
            gone.append(deleted.stored)
        return self._page(Page(gone, self._registry.storage.revision), target.kind, request, wanted(request))

    def _written(self, status: int, stored: Stored, request: Request, form: Wanted, notes: list[str]) -> Response:
        """The answer to a write, with what its author should know."""
        response = self._object(status, stored, request, form)
        found = [*notes, *warnings(stored.written or stored.document())]
        return msgspec.structs.replace(response, headers=warning_headers(found)) if found else response

    def _object(self, status: int, stored: Stored, request: Request, form: Wanted | None = None) -> Response:
        form = form or wanted(request)
        match form.form:
            case "object" if not form.yaml:
                return Response(status, stored.body)
            case "object":
                return _json(status, stored.document(), form)
            case "metadata":
                return _json(status, partial(stored.document(), form.version), form)
            case "table":
                metadata: Document = {"resourceVersion": str(stored.revision)}
                return _json(status, self._table([stored], stored.kind, metadata, request, form), form)

    def _page(self, page: Page, kind: Kind, request: Request, form: Wanted) -> Response:
        metadata: Document = {"resourceVersion": str(page.revision)}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        if form.form == "table":
            return _json(200, self._table(page.objects, kind, metadata, request, form), form)
        if form.form == "metadata":
            head: Document = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.version}"}
            items = [partial(stored.document(), form.version) for stored in page.objects]
            return _json(200, {**head, "metadata": metadata, "items": items}, form)
        head = {"kind": f"{kind.name}List", "apiVersion": kind.resource.api_version, "metadata": metadata}
        if form.yaml:
            return _json(200, {**head, "items": [stored.document() for stored in page.objects]}, form)
        return Response(200, encode(head)[:-1] + b',"items":[', pieces=[*joined(page.objects), b"]}"])

    def _table(
        self,
        objects: list[Stored],
        kind: Kind,
        metadata: Document,
        request: Request,
        form: Wanted,
        *,
        definitions: bool = True,
    ) -> Document:
        include = request.query.get("includeObject", "Metadata")
        if include not in ("Metadata", "Object", "None", ""):
            raise bad_request(f"unsupported includeObject value: {include!r}")
        now = self._clock.now()
        return table(
            objects, kind.columns, metadata, include=include, now=now, version=form.version, definitions=definitions
        )

    async def watch(self, request: Request, target: Target, receive: Receive, send: Send) -> None:
        """Serve a watch until it ends; raises `ApiError` before the answer has begun."""
        what = _selection(request, target)
        form = wanted(request)
        start = await self._start(request, what)
        if isinstance(start, ApiError):
            await send_error(start, send)
            return
        self._watches.add(start.changes)
        try:
            line = self._line_encoder(request, form)
            shared = self._lines if form.form == "object" else None
            await Stream(what.kind, what.filter, line, shared).serve(start, receive, send)
        finally:
            self._watches.discard(start.changes)

    def close_watches(self) -> None:
        """End every open watch as if its time were over."""
        for watch in tuple(self._watches):
            watch.close()

    async def _start(self, request: Request, what: Selection) -> Start | ApiError:
        version = request.query.get("resourceVersion", "")
        initial_events = request.query.get("sendInitialEvents")
        wants_initial = request.flag("sendInitialEvents") if initial_events else version in ("", "0")
        check_watch(request)
        storage = self._registry.storage
        asked = version_of(request)
        page = Page([], asked if asked and not wants_initial else storage.revision)
        try:
            if wants_initial:
                page = await read_page(storage, what)
                if asked > page.revision:  # only now: reading is what tells of the writes of other servers
                    raise FutureRevision(page.revision)
            changes = await storage.watch(what.kind.within(what.namespace), after=page.revision)
        except Compacted as error:
            return expired(f"too old resource version: {asked} ({error.oldest})")
        except FutureRevision as error:
            # A version of another life of this storage: only a new list can help.
            return expired(f"too large resource version: {asked} (newest: {error.newest})")
        bookmarks = request.flag("allowWatchBookmarks")
        return Start(
            initial=page.objects,
            changes=changes,
            initial_end=bool(initial_events) and wants_initial and bookmarks,
            bookmarks=bookmarks,
            timeout=timeout_seconds(request.number("timeoutSeconds")),
        )

    def _line_encoder(self, request: Request, form: Wanted) -> Callable[[Type, Stored], bytes]:
        if form.form == "object":
            return self._lines.line
        first = True

        def line(type_: Type, stored: Stored) -> bytes:
            nonlocal first
            if form.form == "metadata":
                return encode_line(type_, encode(partial(stored.document(), form.version)))
            metadata: Document = {"resourceVersion": str(stored.revision)}
            row = self._table([stored], stored.kind, metadata, request, form, definitions=first)
            first = False
            return encode_line(type_, encode(row))

        return line


_SCALE = shape("autoscaling/v1", "Scale")


def _json(status: int, document: Document, form: Wanted) -> Response:
    if form.yaml:
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        return Response(status, text.encode(), YAML)
    return Response(status, encode(document), JSON)


def _copy(document: Document) -> Document:
    return decode(encode(document), dict)


def _selection(request: Request, target: Target) -> Selection:
    labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    if target.name:
        fields = f"metadata.name={target.name}" + (f",{fields}" if fields else "")
    return Selection(target.kind, target.namespace, parse_filter(target.kind, labels, fields))


def _namespace_of(kind: Kind, document: Document) -> str:
    """A namespaced object posted to the collection of all namespaces says itself where it belongs."""
    metadata = document.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    if kind.resource.namespaced and not isinstance(namespace, str):
        raise bad_request("an empty namespace may not be set during creation")
    return namespace if isinstance(namespace, str) and kind.resource.namespaced else ""


def _replacement(kind: Kind, document: Document) -> Document:
    """What a PUT puts in place; raises `ApiError` for a kind that is only replaced by those who have read it."""
    metadata = document.get("metadata")
    if kind.put_needs_version and isinstance(metadata, dict) and not metadata.get("resourceVersion"):
        problem = invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid_object(kind.resource, str(metadata.get("name", "")), [problem])
    return _copy(document)


async def _delete_options(request: Request) -> tuple[DeleteOptions, bool]:
    """The options of a DELETE, from its body or its query, and whether it is only a rehearsal."""
    body = await request.body()
    options = DeleteOptions()
    try:
        if body.strip():
            document = parse_document(body, request.content_type)
            options = msgspec.convert(document, DeleteOptions)
        elif policy := request.query.get("propagationPolicy"):
            options = msgspec.convert({"propagationPolicy": policy}, DeleteOptions)
    except (msgspec.ValidationError, DecodeError) as error:
        raise bad_request(f"the delete options cannot be read: {error}") from None
    grace = request.number("gracePeriodSeconds")
    if grace is not None:
        options = msgspec.structs.replace(options, gracePeriodSeconds=grace)
    if problems := [*_delete_problems(options)]:
        raise request.options_error(*problems)
    return options, request.dry_run or bool(options.dryRun)


def _delete_problems(options: DeleteOptions) -> Iterator[FieldError]:
    policy = options.propagationPolicy
    if policy is not None and options.orphanDependents is not None:
        yield invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
    if policy not in (None, *_POLICIES):
        yield not_supported("propagationPolicy", policy, (*_POLICIES, "nil"))
    if options.dryRun and set(options.dryRun) != {"All"}:
        yield not_supported("dryRun", options.dryRun, ("All",))
