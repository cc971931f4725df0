"""Patches: JSON Patch (RFC 6902), JSON Merge Patch (RFC 7386), and Kubernetes' strategic merge. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairway.apiserver.schema import Shape
from fairway.apiserver.strategic import strategic_merge
from fairway.objects.codec import DecodeError, Document, check_nesting, decode_bounded, encode
from fairway.objects.status import ApiError, bad_request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH)
# One request must not keep the server busy for long.
_OPERATIONS_LIMIT = 10_000
# Bytes that the copies of one patch may come to: each can double what is there.
_COPY_LIMIT = 3 * 1024 * 1024


@dataclass(frozen=True)
class Patch:
    """A patch that has been read, to be applied any number of times."""

    type: str
    content: Any

    @classmethod
    def parse(cls, content_type: str, data: bytes) -> Patch:
        """Raises `ApiError` BadRequest."""
        expected = list if content_type == JSON_PATCH else dict
        try:
            content: Any = decode_bounded(data, expected)
        except DecodeError as error:
            raise bad_request(f"the patch cannot be read: {error}") from None
        if len(content) > _OPERATIONS_LIMIT:
            raise ApiError(413, "RequestEntityTooLarge", f"a patch may have {_OPERATIONS_LIMIT} operations at most")
        return cls(content_type, content)

    def apply(self, shape: Shape | None, document: Document) -> Document:
        """The patched document; the given one may be changed, ``shape`` is its kind's. Raises `ApiError`."""
        if self.type == JSON_PATCH:
            return json_patch(document, self.content)
        if self.type == MERGE_PATCH:
            return merge_patch(document, self.content)
        return strategic_merge(shape, document, self.content)


def merge_patch(document: Document, patch: Document) -> Document:
    """RFC 7386: maps merge, null removes, everything else replaces."""
    merged = dict(document)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            old = merged.get(name)
            merged[name] = merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def json_patch(document: Document, operations: list[Any]) -> Document:
    """RFC 6902; raises `ApiError` Invalid for an operation that cannot be done."""
    root: list[Any] = [document]
    copied = 0
    for index, operation in enumerate(operations):
        try:
            copied += _copied_bytes(root, operation)
            if copied > _COPY_LIMIT:
                problem = f"the copies of a patch may come to {_COPY_LIMIT} bytes at most"
                raise ApiError(413, "RequestEntityTooLarge", problem)
            _operate(root, operation)
        except _Impossible as error:
            raise ApiError(
                422,
                "Invalid",
                f"the server rejected our request due to an error in our request: operation {index}: {error}",
            ) from None
    if not isinstance(root[0], dict):
        raise bad_request("the patch replaces the object by something that is none")
    return root[0]


class _Impossible(Exception):
    """An operation of a JSON patch that cannot be done on this document."""


def _copied_bytes(root: list[Any], operation: Any) -> int:
    """How much a copy operation adds; 0 for every other."""
    if not isinstance(operation, dict) or operation.get("op") != "copy":
        return 0
    value = _read(root, _from(operation))
    try:
        check_nesting(value)
    except DecodeError as error:
        raise _Impossible(str(error)) from None
    return len(encode(value))


def _operate(root: list[Any], operation: Any) -> None:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise _Impossible('expected an object with "op" and "path"')
    do = _OPERATIONS.get(str(operation.get("op")))
    if do is None:
        raise _Impossible(f"unknown operation {operation.get('op')!r}")
    do(root, operation["path"], operation)


def _replace(root: list[Any], path: str, operation: dict[str, Any]) -> None:
    _read(root, path)
    if path:
        _remove(root, path)
    _add(root, path, _value(operation))


def _move(root: list[Any], path: str, operation: dict[str, Any]) -> None:
    source = _from(operation)
    if path.startswith(source + "/"):
        raise _Impossible("cannot move a value into itself")
    value = _read(root, source)
    _remove(root, source)
    _add(root, path, value)


def _test(root: list[Any], path: str, operation: dict[str, Any]) -> None:
    if _read(root, path) != _value(operation):
        raise _Impossible(f"testing value {path} failed")


_OPERATIONS: dict[str, Callable[[list[Any], str, dict[str, Any]], None]] = {
    "add": lambda root, path, operation: _add(root, path, _value(operation)),
    "remove": lambda root, path, operation: _remove(root, path),
    "replace": _replace,
    "move": _move,
    "copy": lambda root, path, operation: _add(root, path, _copy(_read(root, _from(operation)))),
    "test": _test,
}


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise _Impossible('the operation has no "value"')
    return _copy(operation["value"])


def _from(operation: dict[str, Any]) -> str:
    source = operation.get("from")
    if not isinstance(source, str):
        raise _Impossible('the operation has no "from"')
    return source


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_copy(one) for one in value]
    return value


def _parts(pointer: str) -> list[str]:
    if pointer and not pointer.startswith("/"):
        raise _Impossible(f"{pointer!r} is not a JSON pointer: it must start with a slash")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _read(root: list[Any], pointer: str) -> Any:
    found = root[0]
    for part in _parts(pointer):
        found = _child(found, part, pointer)
    return found


def _child(container: Any, part: str, pointer: str) -> Any:
    if isinstance(container, dict) and part in container:
        return container[part]
    if isinstance(container, list):
        return container[_index(part, len(container) - 1, pointer)]
    raise _Impossible(f"there is nothing at {pointer}")


def _index(part: str, last: int, pointer: str) -> int:
    if not part.isdecimal() or len(part) > 9 or (part != "0" and part.startswith("0")):
        raise _Impossible(f"{part!r} in {pointer} is not a list index")
    if int(part) > last:
        raise _Impossible(f"the list is too short for {pointer}")
    return int(part)


def _parent(root: list[Any], pointer: str) -> tuple[Any, str]:
    """The container of a place, and its name in there."""
    *way, last = _parts(pointer)
    found = root[0]
    for part in way:
        found = _child(found, part, pointer)
    return found, last


def _add(root: list[Any], pointer: str, value: Any) -> None:
    if not pointer:
        root[0] = value
        return
    container, last = _parent(root, pointer)
    if isinstance(container, dict):
        container[last] = value
    elif isinstance(container, list):
        container.insert(len(container) if last == "-" else _index(last, len(container), pointer), value)
    else:
        raise _Impossible(f"nothing can be added at {pointer}")


def _remove(root: list[Any], pointer: str) -> None:
    if not pointer:
        raise _Impossible("the whole object cannot be removed by a patch")
    container, last = _parent(root, pointer)
    _child(container, last, pointer)
    if isinstance(container, dict):
        del container[last]
    else:
        del container[int(last)]
