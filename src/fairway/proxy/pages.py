"""Pages on the metrics port: /flagz and /statusz for people, in the reference's form, and the parts of /status."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fairway import __version__
from fairway.model.problems import Problem
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration, changed_fields
from fairway.proxy.flags import FLAG_OF
from fairway.proxy.receipts import Receipt, Round


def flag_page(document: KubeProxyConfiguration) -> str:
    """Every flag of kube-proxy's that has a field, one a line, with the value that counts."""
    values: dict[str, Any] = dict(changed_fields(document, all_of_them=True))
    lines = sorted(f"{flag.removeprefix('--')}={_text(values[path])}" for path, flag in FLAG_OF.items())
    return "\n".join(["fairway proxy flags", "Warning: this page is for people; its form may change.", "", *lines, ""])


def status_page(up_seconds: float, paths: Iterable[str]) -> str:
    """The version, how long it has been running, and what else there is to read."""
    return "\n".join(
        [
            "fairway proxy statusz",
            "Warning: this page is for people; its form may change.",
            "",
            f"Up: {int(up_seconds)}s",
            f"Python version: {platform.python_version()}",
            f"Binary version: {__version__}",
            f"Configuration: {DEFAULTS.api_version}",
            f"Paths: {' '.join(sorted(set(paths)))}",
            "",
        ]
    )


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={_text(one)}" for name, one in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def problem_document(one: Problem) -> dict[str, Any]:
    return {
        "service": str(one.service),
        "endpointSlice": one.slice or None,
        "field": one.field or None,
        "message": one.message,
    }


def round_document(one: Round) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "at": moment(one.at),
        "seconds": round(one.seconds, 6),
        "commands": one.commands,
        "frontends": one.frontends,
        **({"by": one.by} if one.by else {}),
    }


def receipt_document(one: Receipt) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "object": str(one.key),
        "resourceVersion": one.resource_version,
        "at": moment(one.at),
        "seconds": round(one.seconds, 6),
        "commands": one.commands,
    }


def moment(at: float) -> str:
    """With microseconds: several nodes' receipts are compared with each other."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
