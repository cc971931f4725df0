"""The log of a proxy: to stderr, a line each, as text for people or as JSON for collectors, as much as was asked for.

verbosity 0: what an operator should know      2: each round      4: everything, other libraries included
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from fairway.proxy.document import Logging, Module

_ROUNDS, _EVERYTHING = 2, 4


def configure_logging(verbosity: int, how: Logging | None = None) -> None:
    """For this process; ``verbosity`` counts where it is greater than the file's."""
    how = how or Logging()
    verbosity = max(verbosity, how.verbosity)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if how.format == "json" else logging.Formatter(_TEXT))
    handler.addFilter(Chosen(verbosity, how.vmodule))
    logging.basicConfig(level=logging.DEBUG if verbosity >= _EVERYTHING else logging.INFO, handlers=[handler])
    # Each round has a line for those who want it; nobody else pays for making it.
    wanted = verbosity >= _ROUNDS or how.vmodule
    logging.getLogger("fairway").setLevel(logging.DEBUG if wanted else logging.INFO)
    # uvicorn tells of its own comings and goings, which are ours.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


_TEXT = "%(asctime)s %(levelname).1s %(message)s"


class Chosen(logging.Filter):
    """Lets through what is worth a line; ``modules`` are the items of ``logging.vmodule``."""

    def __init__(self, verbosity: int, modules: Sequence[Module] = ()) -> None:
        super().__init__()
        self._verbosity = verbosity
        self._modules = [(one.file_pattern, one.verbosity) for one in modules]

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.INFO:
            return True
        said = next((n for pattern, n in self._modules if fnmatchcase(record.module, pattern)), self._verbosity)
        return said >= _ROUNDS


class JsonLines(logging.Formatter):
    """The reference's JSON: ``ts`` in milliseconds since 1970, where it was said, and the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": round(record.created * 1000, 3),
            "caller": f"{record.name}/{record.filename}:{record.lineno}",
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["err"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
