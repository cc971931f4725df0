"""Unit tests of `fairway.apiserver.access.jws`: tokens that are ours, and every way to forge one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fairway.apiserver.access.jws import LONGEST, InvalidToken, SigningKey, SigningKeyError

CLAIMS = {"sub": "system:serviceaccount:shop:bot", "exp": 1}


def text(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write_key(path: Path, key: Any) -> Path:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem)
    return path


@pytest.fixture(scope="module")
def rsa_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    path = tmp_path_factory.mktemp("keys") / "sa.key"
    return SigningKey.open(write_key(path, rsa.generate_private_key(65537, 2048)))


def test_a_token_comes_back_as_what_was_signed(rsa_key: SigningKey) -> None:
    for key, algorithm in ((SigningKey.fresh(), "ES256"), (rsa_key, "RS256")):
        token = key.sign(CLAIMS)
        header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
        assert header == {"alg": algorithm, "kid": key.identifier}
        assert key.verify(token) == CLAIMS


def test_a_changed_claim_is_noticed(rsa_key: SigningKey) -> None:
    for key in (SigningKey.fresh(), rsa_key):
        header, _, signature = key.sign(CLAIMS).split(".")
        with pytest.raises(InvalidToken, match="signature is wrong"):
            key.verify(f"{header}.{text({**CLAIMS, 'exp': 9_999_999_999})}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "ES384", None])
def test_the_token_does_not_choose_the_algorithm(algorithm: str | None) -> None:
    key = SigningKey.fresh()
    message = f"{text({'alg': algorithm, 'kid': key.identifier})}.{text(CLAIMS)}"
    # What everybody can know, as the key of a MAC: the classic confusion.
    forged = hmac.new(key.identifier.encode(), message.encode(), hashlib.sha256).digest()
    for signature in ("", text(forged), text(bytes(64))):
        with pytest.raises(InvalidToken, match="algorithm"):
            key.verify(f"{message}.{signature}")


def test_another_keys_token_is_refused(rsa_key: SigningKey) -> None:
    key, other = SigningKey.fresh(), SigningKey.fresh()
    with pytest.raises(InvalidToken, match="another key"):
        key.verify(other.sign(CLAIMS))
    with pytest.raises(InvalidToken, match="algorithm"):
        key.verify(rsa_key.sign(CLAIMS))
    header = text({"alg": "ES256", "kid": key.identifier})
    _, claims, signature = other.sign(CLAIMS).split(".")
    with pytest.raises(InvalidToken, match="signature is wrong"):
        key.verify(f"{header}.{claims}.{signature}")


@pytest.mark.parametrize("r, s", [(0, 0), (1, 0), (0, 1), (2**256 - 1, 2**256 - 1)])
def test_degenerate_signatures_are_refused(r: int, s: int) -> None:
    key = SigningKey.fresh()
    header, claims, _ = key.sign(CLAIMS).split(".")
    with pytest.raises(InvalidToken):
        key.verify(f"{header}.{claims}.{text(r.to_bytes(32) + s.to_bytes(32))}")


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b", "a.b.c.d", "ü.ü.ü", "e30.e30.", "W10.W10.AA", "x" * (LONGEST + 1)]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        SigningKey.fresh().verify(token)


def test_one_token_has_one_text() -> None:
    key = SigningKey.fresh()
    token = key.sign(CLAIMS)
    for other in (token + "=", token.replace(".", ".\n", 1), token + "A"):
        with pytest.raises(InvalidToken):
            key.verify(other)


def test_a_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "pki" / "sa.key"
    token = SigningKey.open(path).sign(CLAIMS)
    assert SigningKey.open(path).verify(token) == CLAIMS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sa.key"
    path.write_text("not a key")
    with pytest.raises(SigningKeyError, match=r"sa\.key is damaged"):
        SigningKey.open(path)
    write_key(path, ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(SigningKeyError, match=r"sa\.key must be RSA of 2048 bits or more, or ECDSA P-256"):
        SigningKey.open(path)
