"""JSON Web Tokens, as far as ServiceAccounts need them: signed with our one key, ES256 or RS256 by what it is.

::

    eyJhbGciOiJFUzI1NiIs…  .  eyJhdWQiOlsiaHR0cHM6…  .  3oBF…
    header: the algorithm     claims                    signature over the two before it

The algorithm follows from the key that verifies, never from the token: one that says ``none``, or names another
algorithm, is refused before anything else is looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

# Longer ones are not ours: a token with every claim we write stays under 2 KiB.
LONGEST = 8 * 1024
_COORDINATE = 32
_LEAST_RSA_BITS = 2048

Claims = dict[str, Any]


class InvalidToken(Exception):
    """A token that proves nothing; the message says why, and quotes nothing of it."""


class SigningKeyError(Exception):
    """The signing key cannot be used; the message names the file."""


class SigningKey:
    """One private key: signs claims, and verifies what it signed."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self._key = key
        self.algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.identifier = _base64(hashlib.sha256(public).digest())
        self._header = msgspec.json.encode({"alg": self.algorithm, "kid": self.identifier})

    @classmethod
    def fresh(cls) -> SigningKey:
        """A key that lives as long as this process."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def open(cls, path: Path) -> SigningKey:
        """The key of a PEM file, which is made (P-256) when it is not there; raises `SigningKeyError`."""
        try:
            if not path.exists():
                _create(path)
            key = serialization.load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise SigningKeyError(f"cannot use the signing key {path}: {error.strerror}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(f"the signing key {path} is damaged or has a password ({error})") from None
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise SigningKeyError(f"the signing key {path} must be RSA of {_LEAST_RSA_BITS} bits or more, or ECDSA P-256")

    def sign(self, claims: Claims) -> str:
        message = f"{_base64(self._header)}.{_base64(msgspec.json.encode(claims))}"
        return f"{message}.{_base64(self._signature(message.encode()))}"

    def verify(self, token: str) -> Claims:
        """The claims of a token that this key signed, whatever they say; raises `InvalidToken`."""
        parts = token.split(".")
        if len(token) > LONGEST or len(parts) != 3:
            raise InvalidToken("not a signed token")
        header = _object(parts[0])
        if header.get("alg") != self.algorithm:
            raise InvalidToken("signed with an algorithm that is not the key's")
        if header.get("kid") != self.identifier or "crit" in header:
            raise InvalidToken("signed with another key")
        self._check(f"{parts[0]}.{parts[1]}".encode("ascii", "replace"), _bytes(parts[2]))
        return _object(parts[1])

    def _signature(self, message: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE) + s.to_bytes(_COORDINATE)

    def _check(self, message: bytes, signature: bytes) -> None:
        try:
            if isinstance(self._key, rsa.RSAPrivateKey):
                self._key.public_key().verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
                return
            if len(signature) != 2 * _COORDINATE:
                raise InvalidToken("the signature has the wrong length")
            r, s = int.from_bytes(signature[:_COORDINATE]), int.from_bytes(signature[_COORDINATE:])
            self._key.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise InvalidToken("the signature is wrong") from None


def _create(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidToken("not a signed token") from None
    if _base64(found) != text:
        # Two texts for one token would be two entries in every list of tokens.
        raise InvalidToken("not a signed token")
    return found


def _object(text: str) -> Claims:
    try:
        return msgspec.json.decode(_bytes(text), type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidToken("not a signed token") from None
