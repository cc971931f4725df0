"""JSON and YAML to values and back; an error carries the path to the field.

A *document* is an object as plain JSON data (``dict``). The API server stores documents, so that a field which no
struct knows survives; everybody else decodes straight into the struct, which drops what it does not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
import yaml

from fairway.objects.meta import KubernetesObject

Document = dict[str, Any]
T = TypeVar("T")

_PATH = re.compile(r"^(?P<what>.*?)(?: - at (?:key in )?`\$?\.?(?P<path>[^`]*)`)?$", re.DOTALL)


class DecodeError(ValueError):
    """Input that is not the object it claims to be.

    ``path`` is the field (``spec.ports[0].port``), empty when the text itself cannot be read; ``problem`` says what
    is wrong with it.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem = problem
        self.path = path
        super().__init__(f"{path}: {problem}" if path else problem)


# No object comes near it, and whoever walks a document may do so by recursion.
NESTING_LIMIT = 100
_TOO_DEEP = f"nested too deeply: there may be {NESTING_LIMIT} levels"

_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(type_: type) -> msgspec.json.Decoder[Any]:
    if type_ not in _decoders:
        _decoders[type_] = msgspec.json.Decoder(type_)
    return _decoders[type_]


def decode(data: bytes | str, type_: type[T]) -> T:
    """JSON text as a value of ``type_``; raises `DecodeError`."""
    try:
        decoder: msgspec.json.Decoder[T] = _decoder(type_)
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise _decode_error(error) from None
    except UnicodeDecodeError as error:
        raise DecodeError(f"text that is not UTF-8: byte 0x{error.object[error.start]:02x}") from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None


def decode_bounded(data: bytes, type_: type[T]) -> T:
    """JSON that a stranger sent: as `decode`, and `DecodeError` as well when it is nested too deeply."""
    found = decode(data, type_)
    if data.count(b"{") + data.count(b"[") > NESTING_LIMIT:
        check_nesting(found)
    return found


def view(document: Document, type_: type[T]) -> T:
    """A document as a value of ``type_``; raises `DecodeError`."""
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise _decode_error(error) from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None


def decode_document(data: bytes | str) -> Document:
    """JSON text as a document; raises `DecodeError` for anything but a JSON object."""
    return decode(data, dict)


def check_nesting(value: Any) -> None:
    """Raises `DecodeError` for data that is nested deeper than anything that makes sense."""
    level = [value]
    for _ in range(NESTING_LIMIT):
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, dict) else one)
            if isinstance(below, (dict, list))
        ]
        if not level:
            return
    raise DecodeError(_TOO_DEEP)


def encode(value: Any) -> bytes:
    """A value or a document as compact JSON."""
    return msgspec.json.encode(value)


def document(value: KubernetesObject) -> Document:
    """A value as a document, without the fields that hold their default."""
    built: Document = msgspec.to_builtins(value)
    return built


def read_yaml(text: str | bytes, *, once: bool = False) -> list[Document]:
    """Every document of a YAML (or JSON) text, in order, with the items of ``List`` kinds taken out.

    Raises `DecodeError` naming the line. Aliases are refused: no manifest needs them, and a few lines of them can
    unfold to gigabytes. Of a field that is there twice the last one counts; with ``once`` it is refused, for nobody
    knows which one was meant.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise DecodeError("YAML aliases (*name) are not supported", _line(event.start_mark))
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > NESTING_LIMIT:
                raise DecodeError(_TOO_DEEP, _line(event.start_mark))
        for line, name in repeated_fields(text) if once else ():
            raise DecodeError(f"{name} is there twice", f"line {line}")
        loaded = list(yaml.load_all(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or error
        raise DecodeError(str(problem), _line(getattr(error, "problem_mark", None))) from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None
    return [item for one in loaded if one is not None for item in _items(one)]


def repeated_fields(text: str | bytes) -> Iterator[tuple[int, str]]:
    """Line and name of each field that its object has already, of YAML that is not nested too deeply."""
    for document in yaml.compose_all(text, Loader=_LOADER):
        yield from _repeated(document)


def _repeated(node: Any) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key.start_mark.line + 1, key.value
                seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from _repeated(one)


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}" if mark else ""


def _items(loaded: Any) -> list[Document]:
    if not isinstance(loaded, dict):
        raise DecodeError(f"expected an object with apiVersion and kind, got {type(loaded).__name__}")
    if str(loaded.get("kind", "")).endswith("List") and isinstance(loaded.get("items"), list):
        return [item for one in loaded["items"] for item in _items(one)]
    return [loaded]


def _decode_error(error: msgspec.DecodeError) -> DecodeError:
    match = _PATH.match(str(error))
    assert match is not None
    problem = match["what"].replace("Object contains", "contains").replace("`", "")
    first = problem[:1] if problem[:4] == "JSON" else problem[:1].lower()
    return DecodeError(first + problem[1:], match["path"] or "")


class _JsonTypes(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: only the types of JSON, so that a date stays the text that was written."""


_JsonTypes.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _JsonTypes.yaml_implicit_resolvers.items()
}
_LOADER = _JsonTypes
