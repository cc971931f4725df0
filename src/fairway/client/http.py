"""The verbs of the API, typed: a `Resource` goes in, values of its class come out.

Answers decode straight from bytes into the class; what is written is a value or a *document* (plain JSON data, for
whoever must not lose fields). An answer other than success raises `ApiError`, no answer `ServerUnreachable`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast
from urllib.parse import quote

import msgspec

from fairway import __version__
from fairway.client.transport import Lines, Request, ServerUnreachable, Transport
from fairway.objects.codec import DecodeError, Document, decode, encode, view
from fairway.objects.meta import KubernetesObject, ObjectMeta
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError

T = TypeVar("T", bound=KubernetesObject)
PatchType = Literal["merge", "strategic", "json"]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

_PATCH_MEDIA_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}
# A watch ends after this many seconds at the latest, so that the load moves on when servers come and go.
WATCH_SECONDS = 480
_ABOUT_OBJECTS = tuple(b'{"type":"%s",' % kind for kind in (b"ADDED", b"MODIFIED", b"DELETED"))
log = logging.getLogger(__name__)


class Unreadable(msgspec.Struct, frozen=True):
    """An object that is left out because it is not what its kind is: who it is, which field it is, and what is wrong.

    ``metadata`` is as much as can be read; ``field`` is empty when it is the whole.
    """

    metadata: ObjectMeta
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ListMeta(msgspec.Struct, frozen=True, rename={"resource_version": "resourceVersion", "next": "continue"}):
    resource_version: str = ""
    next: str = ""


class ObjectList(msgspec.Struct, Generic[T], frozen=True):
    """The objects of one list, and the revision at which they were so."""

    items: list[T] = []
    metadata: ListMeta = ListMeta()
    unreadable: tuple[Unreadable, ...] = ()


class _RawList(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw] = []
    metadata: ListMeta = ListMeta()


class _RawEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _OnlyMeta(KubernetesObject):
    """What bookmarks and unreadable objects are decoded as."""


class Event(NamedTuple, Generic[T]):
    """One line of a watch. ``object`` is None for a bookmark; for DELETED it is the last state of the object.

    An object that cannot be read any more is DELETED for us, with ``unreadable`` saying why.
    """

    type: EventType
    metadata: ObjectMeta
    object: T | None
    unreadable: Unreadable | None = None

    @property
    def ends_initial(self) -> bool:
        """Whether this is the bookmark after the last of the objects that there were at the beginning."""
        return self.type == "BOOKMARK" and self.metadata.annotation("k8s.io/initial-events-end") == "true"


class Client:
    """Speaks to one API server over a `Transport`, which it closes at the end (``async with``)."""

    def __init__(
        self, transport: Transport, *, user_agent: str = f"fairway/{__version__}", timeout: float = 30.0
    ) -> None:
        self._transport = transport
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        self._timeout = timeout
        self._away = False

    @property
    def server(self) -> str:
        return self._transport.server

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    def note_away(self, error: ServerUnreachable) -> None:
        """Those who follow the server tell that it is away: the log gets one line, however many they are."""
        if not self._away:
            log.warning("%s; retrying", error)
        self._away = True

    def note_back(self) -> None:
        """Those who follow the server tell that it answers."""
        if self._away:
            log.info("the API server at %s answers again", self.server)
        self._away = False

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T:
        return decode(await self._call("GET", _path(resource, namespace, name)), resource.type)

    async def get_document(self, resource: Resource[T], name: str, namespace: str = "") -> Document:
        """The whole object, with the fields that no class of ours knows."""
        return decode(await self._call("GET", _path(resource, namespace, name)), dict)

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> ObjectList[T]:
        """All objects, of one namespace or of all; an object that cannot be read is left out, with a warning."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, resourceVersion=resource_version)
        return _decode_list(await self._call("GET", _path(resource, namespace), query), resource)

    async def create(self, resource: Resource[T], given: T | Document) -> T:
        """Create the object in the namespace that its metadata names."""
        namespace = _meta(given).namespace
        answer = await self._call("POST", _path(resource, namespace), body=_body(resource, given))
        return decode(answer, resource.type)

    async def replace(self, resource: Resource[T], given: T | Document, *, subresource: str = "") -> T:
        """Write the whole object; refused with a conflict if its resourceVersion is set and not the newest."""
        meta = _meta(given)
        path = _path(resource, meta.namespace, meta.name, subresource)
        return decode(await self._call("PUT", path, body=_body(resource, given)), resource.type)

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        kind: PatchType = "merge",
        subresource: str = "",
    ) -> T:
        """Change parts of an object: ``patch`` is a document, or a list of operations when ``kind`` is ``json``."""
        path = _path(resource, namespace, name, subresource)
        media = _PATCH_MEDIA_TYPES[kind]
        return decode(await self._call("PATCH", path, body=encode(patch), media=media), resource.type)

    async def patch_status(
        self, resource: Resource[T], name: str, patch: Document, namespace: str = "", *, kind: PatchType = "merge"
    ) -> T:
        """Change the status alone: ``patch`` is the document ``{"status": …}``."""
        return await self.patch(resource, name, patch, namespace, kind=kind, subresource="status")

    async def delete(
        self,
        resource: Resource[T],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete the object; with ``uid`` only if it still is that very one, else a conflict."""
        options: Document = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        await self._call("DELETE", _path(resource, namespace, name), body=encode(options))

    async def delete_if_there(self, resource: Resource[T], name: str, namespace: str = "", *, uid: str) -> None:
        """Delete that very object, if it is still there."""
        try:
            await self.delete(resource, name, namespace, uid=uid)
        except ApiError as error:
            # Gone, or another one has its name by now.
            if error.code not in (404, 409):
                raise

    async def watch(
        self,
        resource: Resource[T],
        resource_version: str,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        seconds: int = WATCH_SECONDS,
        initial: bool = False,
    ) -> AsyncGenerator[Sequence[Event[T]], None]:
        """What happens after ``resource_version``, in batches as they arrive, until the server ends the watch.

        The first batch is empty: the server has said yes, and may have nothing else to say for a long time.

        With ``initial`` and no revision, it begins with all objects as ADDED and a bookmark that `Event.ends_initial`
        (KEP-3157); servers may refuse that, as invalid.

        Raises `ApiError` when the server says no, at once or in between: 410 means that the revision is too old.
        """
        query = _query(
            watch="true",
            resourceVersion=resource_version,
            allowWatchBookmarks="true",
            sendInitialEvents="true" if initial else "",
            resourceVersionMatch="NotOlderThan" if initial else "",
            timeoutSeconds=str(seconds),
            labelSelector=label_selector,
            fieldSelector=field_selector,
        )
        request = Request("GET", _path(resource, namespace), query, self._headers)
        async with self._transport.stream(request, timeout=self._timeout) as stream:
            if stream.status != 200:
                raise _error(await stream.body(), stream.status)
            yield []
            lines = Lines()
            while chunk := await stream.chunk():
                if complete := lines.feed(chunk):
                    yield [_decode_event(line, resource) for line in complete]

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes = b"",
        media: str = "application/json",
    ) -> bytes:
        headers = {**self._headers, "Content-Type": media} if body else self._headers
        request = Request(method, path, query or {}, headers, body)
        answer = await self._transport.request(request, timeout=self._timeout)
        if not 200 <= answer.status < 300:
            raise _error(answer.body, answer.status)
        return answer.body


def _path(resource: Resource[T], namespace: str, name: str = "", subresource: str = "") -> str:
    path = resource.path(quote(namespace, safe=""), quote(name, safe=""))
    return f"{path}/{subresource}" if subresource else path


def _query(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def _meta(given: KubernetesObject | Document) -> ObjectMeta:
    if isinstance(given, KubernetesObject):
        return given.metadata
    found = given.get("metadata") or {}
    return ObjectMeta(name=found.get("name", ""), namespace=found.get("namespace", ""))


def _body(resource: Resource[T], given: T | Document) -> bytes:
    if isinstance(given, KubernetesObject):
        given = msgspec.structs.replace(given, api_version=resource.api_version, kind=resource.kind)
    return encode(given)


def _error(body: bytes, code: int) -> ApiError:
    try:
        return ApiError.from_status(decode(body, dict), code)
    except DecodeError:
        words = body[:200].decode("utf-8", "replace").strip()
        return ApiError(
            code, "Unknown", f"the server answered {code}: {words}" if words else f"the server answered {code}"
        )


@functools.cache
def _list_type(type_: type[KubernetesObject]) -> type[ObjectList[Any]]:
    return cast("type[ObjectList[Any]]", ObjectList[type_])  # type: ignore[valid-type]


def _decode_list(body: bytes, resource: Resource[T]) -> ObjectList[T]:
    try:
        if resource.shrink is None:
            return cast("ObjectList[T]", decode(body, _list_type(resource.type)))
    except DecodeError:
        pass
    # One by one: one that cannot be read is left out, and never are all there before they are shrunk.
    raw = decode(body, _RawList)
    read = [_read(bytes(one), resource) for one in raw.items]
    items = [one for one in read if not isinstance(one, Unreadable)]
    return ObjectList(items, raw.metadata, tuple(one for one in read if isinstance(one, Unreadable)))


def _read(data: bytes, resource: Resource[T]) -> T | Unreadable:
    """One unreadable object must not hide the others from us, so it counts as absent."""
    try:
        return _shrunk(decode(data, resource.type), resource)
    except DecodeError as error:
        found = Unreadable(_lenient_meta(data), error.path, error.problem)
        name = found.metadata.key if found.metadata.name else "without a name"
        log.warning("%s %s cannot be read and is ignored: %s", resource.kind, name, found)
        return found


def _lenient_meta(data: bytes) -> ObjectMeta:
    """Who an object is whose metadata may be what is wrong with it; what is no text there is left out."""
    try:
        return decode(data, _OnlyMeta).metadata
    except DecodeError:
        pass
    try:
        found = decode(data.decode("utf-8", "replace"), dict).get("metadata")
    except DecodeError:
        found = None
    said = found if isinstance(found, dict) else {}
    words = ("name", "namespace", "uid", "resourceVersion")
    return view({word: said[word] for word in words if isinstance(said.get(word), str)}, ObjectMeta)


def _shrunk(found: T, resource: Resource[T]) -> T:
    return found if resource.shrink is None else cast(T, resource.shrink(found, resource.known(found.metadata.key)))


class _TypedEvent(msgspec.Struct, Generic[T], frozen=True):
    type: str
    object: T


@functools.cache
def _event_type(type_: type[KubernetesObject]) -> type[_TypedEvent[Any]]:
    return cast("type[_TypedEvent[Any]]", _TypedEvent[type_])  # type: ignore[valid-type]


def _decode_event(line: bytes, resource: Resource[T]) -> Event[T]:
    """Nearly every line is an object that can be read: that one is decoded in one go."""
    if line.startswith(_ABOUT_OBJECTS):
        try:
            found = decode(line, _event_type(resource.type))
        except DecodeError:
            return _decode_any_event(line, resource)
        kept = _shrunk(found.object, resource)
        return Event(cast(EventType, found.type), kept.metadata, kept)
    return _decode_any_event(line, resource)


def _decode_any_event(line: bytes, resource: Resource[T]) -> Event[T]:
    event = decode(line, _RawEvent)
    data = bytes(event.object)
    match event.type:
        case "ADDED" | "MODIFIED" | "DELETED":
            found = _read(data, resource)
            if isinstance(found, Unreadable):
                gone = event.type == "DELETED"
                return Event("DELETED", found.metadata, None, None if gone else found)
            return Event(cast(EventType, event.type), found.metadata, found)
        case "BOOKMARK":
            return Event("BOOKMARK", decode(data, _OnlyMeta).metadata, None)
        case "ERROR":
            raise _error(data, 500)
        case _:
            raise DecodeError(f"a watch event of unknown type {event.type!r}")
