"""The last known state on disk, so that a node that boots while the API is away has its Services.

informers ──every minute, if something changed──▶ file ──at the start, when the API does not answer──▶ informers

What was remembered is replaced as soon as the API answers: the differences come out as changes.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairway.client.kubeconfig import Connection
from fairway.objects.cluster import Node
from fairway.objects.codec import DecodeError, decode
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service

log = logging.getLogger(__name__)

DIRECTORY = Path("/var/lib/fairway/proxy")


class Remembered(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``saved_at`` is in seconds since 1970; ``cluster`` says whose objects these are."""

    cluster: str
    saved_at: float
    services: list[Service]
    slices: list[EndpointSlice]
    nodes: list[Node]


def cluster_of(connection: Connection, node: str) -> str:
    """The same for the same server, authority and node: no other cluster's objects are taken for this one's."""
    parts = (connection.server.encode(), connection.certificate_authority, node.encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@dataclass
class LastState:
    """One file, for one cluster and node."""

    path: Path
    cluster: str
    _complained: bool = False

    def load(self) -> Remembered | None:
        """What was saved; None when there is nothing that can be used."""
        try:
            found = decode(self.path.read_bytes(), Remembered)
        except FileNotFoundError:
            return None
        except (OSError, DecodeError) as error:
            log.warning("%s cannot be used: %s", self.path, error)
            return None
        if found.cluster != self.cluster:
            log.info("%s is of another cluster or node, and is not used", self.path)
            return None
        return found

    def save(self, state: Remembered) -> None:
        """Whole or not at all; what goes wrong is told once, and nothing depends on it."""
        try:
            write_whole(self.path, msgspec.json.encode(state))
        except OSError as error:
            if not self._complained:
                log.warning("the last known state cannot be kept in %s: %s", self.path, error.strerror)
            self._complained = True


def write_whole(path: Path, data: bytes) -> None:
    """A file that holds what it held, or all of this, for its owner alone. Raises `OSError`."""
    beside = path.with_name(path.name + ".new")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
