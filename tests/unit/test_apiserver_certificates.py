"""Unit tests of `fairway.apiserver.certificates`: the authority and what it signs."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from fairway.apiserver.certificates import Authority, CertificateError
from fairway.objects.codec import decode


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private_keys_are_private(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    _, key = authority.server(["localhost"])
    assert mode(tmp_path / "pki") == 0o700
    assert mode(tmp_path / "pki/ca.key") == 0o600
    assert mode(key) == 0o600
    assert sorted(path.name for path in (tmp_path / "pki").iterdir()) == [
        "ca.crt",
        "ca.key",
        "server.crt",
        "server.key",
    ]


def test_an_authority_is_made_once(tmp_path: Path) -> None:
    assert Authority(tmp_path).certificate == Authority(tmp_path).certificate


def test_a_server_certificate_is_kept_while_it_has_the_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.server(["localhost", "10.96.0.1"])
    first = certificate.read_bytes()
    authority.server(["10.96.0.1"])
    assert certificate.read_bytes() == first
    authority.server(["localhost", "2001:db8::1"])
    assert certificate.read_bytes() != first
    names = x509.load_pem_x509_certificate(certificate.read_bytes()).extensions
    found = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(one) for one in found.get_values_for_type(x509.IPAddress)] == ["2001:db8::1"]


def test_a_server_certificate_of_another_authority_is_replaced(tmp_path: Path) -> None:
    certificate, _ = Authority(tmp_path).server(["localhost"])
    first = certificate.read_bytes()
    (tmp_path / "ca.key").unlink()
    renewed = Authority(tmp_path)
    renewed.server(["localhost"])
    assert certificate.read_bytes() != first
    issuer = x509.load_pem_x509_certificate(renewed.certificate)
    x509.load_pem_x509_certificate(certificate.read_bytes()).verify_directly_issued_by(issuer)


def test_a_client_certificate_names_user_and_groups(tmp_path: Path) -> None:
    identity = Authority(tmp_path).client("ann", ["admins", "staff"])
    subject = x509.load_pem_x509_certificate(identity.certificate).subject
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["ann"]
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["admins", "staff"]


def test_a_kubeconfig_holds_everything(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    config = decode(authority.kubeconfig("https://127.0.0.1:6443", authority.client("ann")), dict)
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert config["contexts"][0]["context"] == {"cluster": "fairway", "user": "ann"}
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


@pytest.mark.parametrize("file", ["ca.crt", "ca.key"])
def test_a_damaged_authority_says_what_helps(tmp_path: Path, file: str) -> None:
    Authority(tmp_path)
    (tmp_path / file).write_text("nonsense")
    with pytest.raises(CertificateError, match=r"is damaged .*remove the directory"):
        Authority(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot use the certificate directory"):
        Authority(tmp_path / "file" / "pki")
