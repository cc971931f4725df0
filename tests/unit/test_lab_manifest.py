"""Manifests are read whole, and what is wrong is named with its file, object and field."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairway.lab.manifest import ManifestError, read_files, read_text

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 80}]}
"""
MANIFESTS = Path(os.environ.get("FAIRWAY_MANIFESTS") or Path(__file__).parents[2].parent / "shared" / "manifests")


def test_objects_keep_their_order_and_know_their_kind() -> None:
    text = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\n{SERVICE}"
    assert [str(entry) for entry in read_text(text)] == ["Namespace shop", "Service shop/cart"]


def test_an_object_without_a_namespace_goes_to_default() -> None:
    (entry,) = read_text("apiVersion: v1\nkind: Service\nmetadata: {name: cart}")
    assert entry.namespace == "default"


def test_a_kind_that_is_not_served_is_kept_to_be_named() -> None:
    (entry,) = read_text("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: robot}")
    assert entry.resource is None
    assert str(entry) == "CronJob robot"


@pytest.mark.parametrize(
    "text, words",
    [
        ("a: [", r"m\.yaml: line \d: "),
        ("kind: Service", "m.yaml: object 1: apiVersion: missing"),
        ("apiVersion: v1", "m.yaml: object 1: kind: missing"),
        ("apiVersion: v1\nkind: Service", r"m.yaml: object 1 \(Service\): metadata.name: missing"),
        ("- 1", "m.yaml: expected an object"),
        (
            SERVICE + "---\n" + SERVICE.replace("80", "eighty"),
            r"object 2 \(Service cart\): spec.ports\[0\]\.port: expected int",
        ),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: 7}", "metadata.name: missing"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        read_text(text, "m.yaml")


def test_files_and_directories_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(SERVICE)
    (tmp_path / "a.yml").write_text(SERVICE.replace("cart", "alpha"))
    (tmp_path / "notes.txt").write_text("not a manifest")
    assert [entry.name for entry in read_files([tmp_path, tmp_path / "b.yaml"])] == ["alpha", "cart", "cart"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"missing\.yaml: No such file"):
        read_files([tmp_path / "missing.yaml"])
    with pytest.raises(ManifestError, match=r"there is no \.yaml, \.yml or \.json file"):
        read_files([tmp_path])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match=r"binary\.yaml: "):
        read_files([tmp_path])


@pytest.mark.parametrize("name, services", [("online-boutique.yaml", 12), ("sock-shop.yaml", 14)])
def test_the_manifests_of_real_applications_are_understood(name: str, services: int) -> None:
    if not MANIFESTS.is_dir():
        pytest.skip(f"the manifests of real applications are not at {MANIFESTS}; set FAIRWAY_MANIFESTS")
    entries = read_files([MANIFESTS / name])
    assert sum(entry.kind == "Service" for entry in entries) == services
    assert all(entry.resource for entry in entries)
