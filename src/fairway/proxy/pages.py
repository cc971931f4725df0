"""Two pages for people on the metrics port, in the reference's form: /flagz and /statusz."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Any

from fairway import __version__
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration, changed_fields
from fairway.proxy.flags import FLAG_OF


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
