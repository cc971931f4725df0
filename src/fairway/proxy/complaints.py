"""What is not served as it was asked for: each thing in the log once, and by Service for whoever asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from fairway.model.problems import Problem
from fairway.model.view import Frontend, FrontendKey, Key
from fairway.modes.contract import Mode
from fairway.proxy.cache import Batch, Cache

log = logging.getLogger(__name__)


class Complaints:
    """``refused`` are frontends that the kernel did not take, and why: the loop's own, which changes."""

    def __init__(self, cache: Cache, refused: Mapping[FrontendKey, str]) -> None:
        self._cache, self._refused = cache, refused
        self._told: set[str] = set()
        self._unsupported: dict[FrontendKey, tuple[Problem, ...]] = {}

    def problems(self) -> Mapping[Key, Sequence[Problem]]:
        """By Service, what is not served as it was asked for: wrong objects, what this mode lacks, what was refused."""
        found: dict[Key, dict[Problem, None]] = {
            key: dict.fromkeys(problems) for key, problems in self._cache.troubles.all().items()
        }
        # Copies: another thread may be noting more while this one tells.
        unsupported, refused = tuple(self._unsupported.values()), dict(self._refused)
        for problem in (*chain.from_iterable(unsupported), *self._refusals(refused)):
            found.setdefault(problem.service, {})[problem] = None
        return {key: tuple(found[key]) for key in sorted(found)}

    def found_in(self, batch: Batch) -> Iterator[tuple[str, Problem]]:
        """What a round has found wrong, each with its reason in one word."""
        yield from (("NotServed", one) for one in chain.from_iterable(batch.problems.values()))
        lacking = (self._unsupported[key] for key in batch.before if key in self._unsupported)
        yield from (("NotSupported", one) for one in chain.from_iterable(lacking))
        refused = {key: self._refused[key] for key in batch.before if key in self._refused}
        yield from (("KernelRefused", one) for one in self._refusals(refused))

    def about(self, mode: Mode[Any, Any, Any], frontends: Mapping[FrontendKey, Frontend | None]) -> None:
        """What the mode does not do for these; None is a frontend that is gone."""
        for key, frontend in frontends.items():
            sentences = mode.unsupported(frontend) if frontend else ()
            for sentence in sentences:
                self.tell(sentence)
            if frontend and sentences:
                owner = f"Service {frontend.service}: "
                messages = (one.removeprefix(owner) for one in sentences)
                found = tuple(Problem(service=frontend.service, field="", message=one) for one in messages)
                self._unsupported[key] = found
            else:
                self._unsupported.pop(key, None)

    def tell(self, message: str) -> None:
        """In the log, once."""
        if message not in self._told:
            self._told.add(message)
            log.warning("%s", message)

    def _refusals(self, refused: Mapping[FrontendKey, str]) -> Iterator[Problem]:
        for key, reason in refused.items():
            frontend = self._cache.frontends.get(key)
            if frontend is not None:
                message = f"the kernel refused {key}: {reason}"
                yield Problem(service=frontend.service, field=frontend.field, message=message)
