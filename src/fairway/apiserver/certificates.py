"""The server's own authority: a CA in the data directory, the server's certificate, and client identities.

    pki/ca.crt ca.key          signs everything below; made once, valid for ten years
    pki/server.crt server.key  made again at a start when names are missing or it is about to end
    admin.conf                 a kubeconfig with a client certificate for system:masters

Private keys are created with mode 0600 in a directory of mode 0700; nothing else may read them at any moment.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairway.objects.codec import encode

_CA_LIFETIME = timedelta(days=3650)
_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)
# Clocks differ: a certificate is valid a little before it was made.
_EARLIER = timedelta(minutes=5)
_PRIVATE, _PUBLIC = 0o600, 0o644


class CertificateError(Exception):
    """A file of the authority cannot be read or written; the message names it and says what helps."""


@dataclass(frozen=True)
class ClientIdentity:
    """A client certificate and its key, PEM; ``name`` is the user, ``groups`` its groups."""

    name: str
    groups: tuple[str, ...]
    certificate: bytes
    key: bytes


class Authority:
    """The CA under a directory; raises `CertificateError` when its files are damaged or out of reach."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self.certificate_path.exists() or not self._path("ca.key").exists():
                self._create()
            self._certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            self._key = _load_key(self._path("ca.key"))
        except OSError as error:
            raise CertificateError(f"cannot use the certificate directory {directory}: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateError(
                f"a file of the certificate authority in {directory} is damaged ({error}); remove the directory to get "
                "a new authority (kubeconfigs made by the old one stop working)"
            ) from None

    @property
    def certificate_path(self) -> Path:
        return self._path("ca.crt")

    @property
    def certificate(self) -> bytes:
        """The CA's certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def server(self, names: Iterable[str]) -> tuple[Path, Path]:
        """Certificate and key files for a server under these names and addresses; kept while they are still good."""
        certificate, key = self._path("server.crt"), self._path("server.key")
        wanted = sorted(set(names))
        try:
            if not self._good(certificate, key, wanted):
                signed, private = self._sign("fairway-apiserver", (), ExtendedKeyUsageOID.SERVER_AUTH, wanted)
                _write(key, private, _PRIVATE)
                _write(certificate, signed, _PUBLIC)
        except OSError as error:
            raise CertificateError(f"cannot write the server certificate {certificate}: {error.strerror}") from None
        return certificate, key

    def client(self, name: str, groups: Sequence[str] = ()) -> ClientIdentity:
        """A new certificate for a user."""
        signed, private = self._sign(name, groups, ExtendedKeyUsageOID.CLIENT_AUTH, ())
        return ClientIdentity(name, tuple(groups), signed, private)

    def kubeconfig(self, server: str, identity: ClientIdentity, cluster: str = "fairway") -> bytes:
        """A kubeconfig (JSON, which every reader of YAML reads) with everything inside."""
        return encode(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": cluster,
                        "cluster": {"server": server, "certificate-authority-data": _base64(self.certificate)},
                    }
                ],
                "users": [
                    {
                        "name": identity.name,
                        "user": {
                            "client-certificate-data": _base64(identity.certificate),
                            "client-key-data": _base64(identity.key),
                        },
                    }
                ],
                "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": identity.name}}],
                "current-context": cluster,
            }
        )

    def _path(self, name: str) -> Path:
        return self._directory / name

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairway-ca")])
        builder = _builder(name, name, key.public_key(), _CA_LIFETIME)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(self._path("ca.key"), _pem(key), _PRIVATE)
        _write(self.certificate_path, certificate.public_bytes(serialization.Encoding.PEM), _PUBLIC)

    def _sign(
        self, name: str, groups: Sequence[str], usage: x509.ObjectIdentifier, names: Sequence[str]
    ) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, self._certificate.subject, key.public_key(), _LIFETIME)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([_alternative(one) for one in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key)

    def _good(self, certificate: Path, key: Path, wanted: list[str]) -> bool:
        """Whether the certificate on disk is ours, fits its key, lasts a while, and has all the names."""
        try:
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
            found.verify_directly_issued_by(self._certificate)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            fits = _load_key(key).public_key() == found.public_key()
        except Exception:
            # Whatever is wrong with it: it is ours to make again.
            return False
        lasts = found.not_valid_after_utc - _RENEW_BEFORE > datetime.now(UTC)
        return fits and lasts and all(_alternative(one) in names for one in wanted)


def write_private(path: Path, data: bytes) -> None:
    """A file that only its owner can read, replaced at once; raises `OSError`."""
    _write(path, data, _PRIVATE)


def _write(path: Path, data: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(fresh, path)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path.name} does not hold an elliptic-curve key")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
