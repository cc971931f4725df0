"""Unit tests of `fairway.proxy.pages`."""

from __future__ import annotations

import pytest

from fairway.proxy.document import document_at
from fairway.proxy.flags import FLAG_OF
from fairway.proxy.pages import flag_page, status_page


def test_every_flag_is_there_with_the_value_that_counts() -> None:
    page = flag_page(document_at({"conntrack.tcpBeLiberal": True, "featureGates": {"A": False}}))
    lines = page.splitlines()
    assert {"conntrack-tcp-be-liberal=true", "feature-gates=A=false", "nodeport-addresses=primary"} <= set(lines)
    assert len([one for one in lines if "=" in one]) == len(FLAG_OF)


@pytest.mark.reference("7.4 TestConfigz, TestStatuszRegistryReceivesListedPaths")
def test_the_status_says_how_long_and_what_else_there_is() -> None:
    page = status_page(61.9, ["/metrics", "/healthz", "/healthz"])
    assert "Up: 61s\n" in page
    assert "Paths: /healthz /metrics\n" in page
