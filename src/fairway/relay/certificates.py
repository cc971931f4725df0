"""TLS contexts made of Secrets; one that cannot be used leaves the one before in its place, and says why."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from fairway.model.view import Key

CERTIFICATE, PRIVATE_KEY = "tls.crt", "tls.key"


class _Mark(NamedTuple):
    """What text in PEM has, of which it is said to be."""

    what: str
    pattern: bytes


_MARKS = (_Mark("certificate", b"-----BEGIN CERTIFICATE-----"), _Mark("private key", b"PRIVATE KEY-----"))


class Certificates:
    """By Secret. May be read and written in different threads.

    ``on_change`` hears of what counts from now on: the ``data`` of a usable Secret, or None of one that is gone.
    """

    def __init__(self, on_change: Callable[[Key, Mapping[str, str] | None], None] = lambda secret, data: None) -> None:
        self._on_change = on_change
        self._contexts: dict[Key, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.problems: dict[Key, str] = {}
        """What is wrong with a Secret, in a sentence."""

    def context(self, secret: Key) -> ssl.SSLContext | None:
        """For new connections; None while no usable one has been seen."""
        with self._lock:
            return self._contexts.get(secret)

    def put(self, secret: Key, data: Mapping[str, str] | None) -> None:
        """The Secret's ``data`` (base64), or None when it is gone: then nobody can connect, as nobody should."""
        if data is None:
            with self._lock:
                self._contexts.pop(secret, None)
            self.problems[secret] = f"Secret {secret} does not exist"
            self._on_change(secret, None)
            return
        try:
            made = _context(data)
        except ValueError as error:
            kept = "; the one before stays in use" if self.context(secret) else ""
            self.problems[secret] = f"Secret {secret}: {error}{kept}"
            return
        with self._lock:
            self._contexts[secret] = made
        self.problems.pop(secret, None)
        self._on_change(secret, data)

    def unreadable(self, secret: Key) -> None:
        """The API server does not show it."""
        wanted = "it needs a role with get, list and watch of this Secret"
        self.problems[secret] = f"Secret {secret} cannot be read by this node's proxy: {wanted}"

    def forget(self, secret: Key) -> None:
        """Nobody asks for it any more."""
        with self._lock:
            self._contexts.pop(secret, None)
        self.problems.pop(secret, None)
        self._on_change(secret, None)


def _context(data: Mapping[str, str]) -> ssl.SSLContext:
    """Raises ValueError with what is wrong."""
    pair = []
    for name in (CERTIFICATE, PRIVATE_KEY):
        if name not in data:
            raise ValueError(f"data[{name}] is missing; a Secret of type kubernetes.io/tls has it")
        try:
            pair.append(base64.b64decode(data[name], validate=True))
        except (binascii.Error, ValueError):
            raise ValueError(f"data[{name}] is not base64") from None
    for name, content, mark in zip((CERTIFICATE, PRIVATE_KEY), pair, _MARKS, strict=True):
        if mark.pattern not in content:
            raise ValueError(f"data[{name}] holds no {mark.what} in PEM (-----BEGIN {mark.what.upper()}-----)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The ssl module reads files only; these two live in memory.
    with _file(pair[0]) as certificate, _file(pair[1]) as key:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except ssl.SSLError as error:
            raise ValueError(_explain(error)) from None
    return context


def _no_password() -> str:
    raise ValueError(f"data[{PRIVATE_KEY}] is encrypted; nobody could tell its password")


def _explain(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"data[{PRIVATE_KEY}] is not the key of the certificate in data[{CERTIFICATE}]"
    reason = f" ({error.reason})" if error.reason else ""
    return f"data[{CERTIFICATE}] and data[{PRIVATE_KEY}] are not a certificate and its key in PEM{reason}"


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("secret", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
