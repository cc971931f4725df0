"""Answers: what form the client asked for, and the bytes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from fairway.apiserver.requests import JSON, YAML, Request, Scope, Send
from fairway.objects.codec import encode
from fairway.objects.status import ApiError, not_acceptable

_PART = 256 * 1024
_HEADERS = b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-cache, private\r\n"
Form = Literal["object", "table", "metadata"]


class Wanted(msgspec.Struct, frozen=True):
    """How the client wants objects: as they are, as rows of a table, or their metadata only; JSON or YAML."""

    form: Form = "object"
    yaml: bool = False
    version: str = "v1"


class Response(msgspec.Struct, frozen=True):
    """An answer. After its ``body`` come ``pieces``: sent as the client takes them, without ever being put together."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    pieces: Sequence[bytes | memoryview] = ()

    def send_at_once(self, scope: Scope) -> bool:
        """Hand it to a server that takes whole answers; False when it does not take this one."""
        answer = scope.get("fairway.answer")
        if answer is None or self.headers or self.pieces:
            return False
        return bool(answer(self.status, _HEADERS % (self.content_type.encode("latin-1"), len(self.body)), self.body))

    async def send(self, send: Send) -> None:
        size = len(self.body) + sum(map(len, self.pieces))
        headers = [
            (b"content-type", self.content_type.encode("latin-1")),
            (b"content-length", str(size).encode()),
            *self.headers,
        ]
        if not any(name == b"cache-control" for name, _ in self.headers):
            headers.append((b"cache-control", b"no-cache, private"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": bool(self.pieces)})
        if self.pieces:
            for part in _parts(self.pieces):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def _parts(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The pieces put together to parts of a size that one write takes well."""
    part: list[bytes | memoryview] = []
    size = 0
    for piece in pieces:
        part.append(piece)
        size += len(piece)
        if size >= _PART:
            yield b"".join(part)
            part.clear()
            size = 0
    if part:
        yield b"".join(part)


def wanted(request: Request) -> Wanted:
    """The first form in the Accept header that we can give; raises `ApiError` NotAcceptable."""
    return _wanted(request.header(b"accept") or JSON)


@lru_cache(maxsize=256)
def _wanted(accept: str) -> Wanted:
    for one in accept.split(","):
        media, *parameters = (part.strip() for part in one.split(";"))
        options = dict(part.split("=", 1) for part in parameters if "=" in part)
        found = _form(media, options)
        if found is not None:
            return found
    raise not_acceptable((JSON, YAML))


def _form(media: str, options: dict[str, str]) -> Wanted | None:
    if media in ("*/*", "application/*"):
        return Wanted()
    if media not in (JSON, YAML):
        return None
    kind = options.get("as")
    if kind is None:
        return Wanted(yaml=media == YAML)
    if media == YAML or options.get("g") != "meta.k8s.io" or options.get("v") not in ("v1", "v1beta1"):
        return None
    forms: dict[str, Form] = {
        "Table": "table",
        "PartialObjectMetadata": "metadata",
        "PartialObjectMetadataList": "metadata",
    }
    return Wanted(forms[kind], version=options["v"]) if kind in forms else None


def error_response(error: ApiError) -> Response:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if "retryAfterSeconds" in error.details:
        headers = ((b"retry-after", str(error.details["retryAfterSeconds"]).encode()),)
    return Response(error.code, encode(error.status()), headers=headers)


def warning_headers(warnings: Iterable[str]) -> tuple[tuple[bytes, bytes], ...]:
    """What kubectl prints as ``Warning: …`` (RFC 7234 with the code that Kubernetes uses)."""
    return tuple((b"warning", b'299 - "%s"' % _quoted(text)) for text in dict.fromkeys(warnings))


def _quoted(text: str) -> bytes:
    """Text for a quoted string in a header: without control characters, in ASCII."""
    printable = "".join(one if one.isprintable() else " " for one in text)
    return printable.encode("ascii", "replace").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
