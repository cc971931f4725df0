"""Manifest files: read whole before anything is applied, then applied in order through the API.

What a cluster has and this one does not serve (Roles, PodDisruptionBudgets …) is named and left out: the
stand-ins do not need it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairway.client.http import Client
from fairway.lab.errors import LabError
from fairway.objects.codec import DecodeError, Document, encode, read_yaml, view
from fairway.objects.resources import BY_KIND, Resource
from fairway.objects.status import ApiError

# What `kubectl apply` compares with later; without it it warns.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

Result = Literal["created", "configured", "skipped"]


class ManifestError(LabError):
    """A manifest that cannot be used: which file, which object in it, which field, and what is wrong."""


@dataclass(frozen=True)
class Entry:
    """One object of a manifest; ``resource`` is None for a kind that is not served."""

    source: str
    document: Document
    resource: Resource[Any] | None

    @property
    def kind(self) -> str:
        return str(self.document.get("kind"))

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Where it goes: ``default`` if it does not say, nowhere for a kind without namespaces."""
        if self.resource is None or not self.resource.namespaced:
            return ""
        return self.document["metadata"].get("namespace") or "default"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True)
class Applied:
    """What became of one object."""

    entry: Entry
    result: Result


def read_files(paths: Iterable[Path]) -> list[Entry]:
    """The objects of several files, in order; of a directory, those of its .yaml, .yml and .json files by name.

    Raises `ManifestError` for the first thing that is wrong.
    """
    return [entry for path in paths for file in _files(path) for entry in _read(file)]


def read_text(text: str | bytes, source: str = "manifest") -> list[Entry]:
    """The objects of a manifest that is at hand; raises `ManifestError`."""
    try:
        documents = read_yaml(text, once=True)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{source}: {error}") from None
    return [_entry(source, number, document) for number, document in enumerate(documents, start=1)]


async def apply(client: Client, entries: Iterable[Entry]) -> list[Applied]:
    """Create each object, or change it to what the manifest says; raises `ManifestError` for one that is refused."""
    return [Applied(entry, await _apply(client, entry)) for entry in entries]


async def _apply(client: Client, entry: Entry) -> Result:
    resource = entry.resource
    if resource is None:
        return "skipped"
    document = _remembered(entry)
    try:
        try:
            await client.create(resource, document)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await client.patch(resource, entry.name, document, entry.namespace)
            return "configured"
    except ApiError as error:
        raise ManifestError(f"{entry.source}: {entry}: {error.message}") from None
    return "created"


def _remembered(entry: Entry) -> Document:
    metadata = dict(entry.document["metadata"])
    if entry.namespace:
        metadata["namespace"] = entry.namespace
    whole = {**entry.document, "metadata": metadata}
    annotations = {**(metadata.get("annotations") or {}), _LAST_APPLIED: encode(whole).decode() + "\n"}
    return {**whole, "metadata": {**metadata, "annotations": annotations}}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml", ".json"))
    if not found:
        raise ManifestError(f"{path}: there is no .yaml, .yml or .json file in this directory")
    return found


def _read(path: Path) -> list[Entry]:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: {error.strerror}") from None
    return read_text(text, str(path))


def _entry(source: str, number: int, document: Document) -> Entry:
    at = f"{source}: object {number}"
    version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str) or not version or not kind:
        missing = "apiVersion" if not version else "kind"
        raise ManifestError(
            f"{at}: {missing}: missing; every object says what it is, such as apiVersion: v1, kind: Service"
        )
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise ManifestError(f"{at} ({kind}): metadata.name: missing; every object has a name")
    at = f"{at} ({kind} {metadata['name']})"
    resource = BY_KIND.get((version, kind))
    if resource is not None:
        try:
            view(document, resource.type)
        except DecodeError as error:
            raise ManifestError(f"{at}: {error}") from None
    return Entry(source, document, resource)
