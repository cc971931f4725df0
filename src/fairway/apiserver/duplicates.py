"""Fields that a body says twice: of which decoders take the last one, and people mostly mean the first. Pure.

::

    {"spec": {"type": "NodePort", "type": "ClusterIP"}}     duplicate field "spec.type"
    type: NodePort
    type: ClusterIP                                         line 2: key "type" already set in map

Asked for only when a client says how it wants fields to be checked, for it takes a second look at the whole body.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fairway.objects.codec import repeated_fields


class _Object(dict[str, Any]):
    """A JSON object in which some keys came more than once."""

    twice: tuple[str, ...] = ()


def duplicates_in_json(data: bytes) -> list[str]:
    """What Kubernetes says of them; the body has been decoded before, so it is JSON and not nested too deeply."""
    found = False

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        found = True
        marked, seen, twice = _Object(plain), set(), []
        for key, _ in pairs:
            if key in seen:
                twice.append(key)
            seen.add(key)
        marked.twice = tuple(dict.fromkeys(twice))
        return marked

    # The values do not matter here, and Python refuses numbers of thousands of digits.
    document = json.loads(data, object_pairs_hook=read, parse_int=len, parse_float=len)
    return [f'duplicate field "{path}"' for path in _paths(document, "")] if found else []


def _paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value, _Object):
            yield from (_below(path, key) for key in value.twice)
        for key, one in value.items():
            yield from _paths(one, _below(path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _paths(one, f"{path}[{index}]")


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def duplicates_in_yaml(data: bytes) -> list[str]:
    """The same for YAML, by lines; the body has been read before, so it has no aliases."""
    return [f'line {line}: key "{name}" already set in map' for line, name in repeated_fields(data)]
