"""Unit tests of `fairway.relay.certificates`: Secrets that can be used, and those that cannot."""

from __future__ import annotations

import base64
import ssl

import pytest

from fairway.objects.meta import Key
from fairway.relay.certificates import Certificates
from tests.unit.certificate import pair

SECRET = Key("shop", "shop-tls")


def encoded(certificate: bytes, key: bytes) -> dict[str, str]:
    return {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}


def test_a_certificate_and_its_key_become_a_context() -> None:
    certificates = Certificates()
    certificates.put(SECRET, encoded(*pair("shop")))
    context = certificates.context(SECRET)
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert certificates.problems == {}


@pytest.mark.parametrize(
    "data, problem",
    [
        ({}, "data[tls.crt] is missing"),
        ({"tls.crt": "%%%", "tls.key": ""}, "data[tls.crt] is not base64"),
        (encoded(b"hello", b"world"), "data[tls.crt] holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        (encoded(pair("one")[0], b"world"), "data[tls.key] holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"),
        (encoded(pair("one")[0][:100], pair("one")[1]), "are not a certificate and its key in PEM"),
        (encoded(pair("one")[0], pair("two")[1]), "is not the key of the certificate"),
        (encoded(*pair("shop", password=b"secret")), "is encrypted"),
    ],
)
def test_what_cannot_be_used_is_said_and_the_one_before_stays(data: dict[str, str], problem: str) -> None:
    certificates = Certificates()
    certificates.put(SECRET, data)
    assert problem in certificates.problems[SECRET]
    assert certificates.context(SECRET) is None
    certificates.put(SECRET, encoded(*pair("shop")))
    before = certificates.context(SECRET)
    certificates.put(SECRET, data)
    assert certificates.context(SECRET) is before
    assert certificates.problems[SECRET].endswith("; the one before stays in use")


def test_a_secret_that_is_gone_serves_nobody() -> None:
    certificates = Certificates()
    certificates.put(SECRET, encoded(*pair("shop")))
    certificates.put(SECRET, None)
    assert certificates.context(SECRET) is None
    assert certificates.problems[SECRET] == "Secret shop/shop-tls does not exist"
    certificates.forget(SECRET)
    assert certificates.problems == {}
