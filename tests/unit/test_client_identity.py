"""Unit tests of `fairway.client.identity`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fairway.client.identity import outdated, why_unknown
from fairway.client.kubeconfig import Connection
from tests.unit.certificate import pair

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    "certificates, at, words",
    [
        (pair("ann")[0], NOW, ""),
        (pair("ann")[0], NOW + timedelta(days=2), "expired at "),
        (pair("ann")[0], NOW - timedelta(days=2), "is valid from "),
        (pair("ann")[0] + pair("authority")[0], NOW + timedelta(days=2), "expired at "),
        (b"", NOW, ""),
        (b"no certificate", NOW, ""),
    ],
)
def test_a_certificate_is_looked_at_for_its_time(certificates: bytes, at: datetime, words: str) -> None:
    found = outdated(certificates, at)
    assert found.startswith(words)
    assert bool(found) is bool(words)


@pytest.mark.parametrize(
    "connection, words",
    [
        (Connection("https://one"), "kubeconfig has neither a client certificate nor a token"),
        (Connection("https://one", token="x", source="node.conf"), "it does not take the token in node.conf"),
        (
            Connection("https://one", token="x", token_file=Path("/run/token")),
            "it does not take the token in /run/token",
        ),
        (
            Connection("https://one", client_certificate=pair("ann")[0]),
            "certificate in kubeconfig is of an authority that",
        ),
    ],
)
def test_why_a_server_may_not_know_us(connection: Connection, words: str) -> None:
    assert words in why_unknown(connection, NOW)
