"""Unit tests of `fairway.objects.printing`."""

from __future__ import annotations

import pytest

from fairway.objects.printing import one_line


@pytest.mark.parametrize(
    "text, shown",
    [
        ("shop/web-1", "shop/web-1"),
        ("", ""),
        ("Grüße an 漢", "Grüße an 漢"),
        ("web\nfake: line", "web?fake: line"),
        ("\x1b[2Jweb\r", "?[2Jweb?"),
        ("a\u202eb\u2028c\x9bd", "a?b?c?d"),
    ],
)
def test_nothing_in_a_text_is_left_that_a_terminal_obeys(text: str, shown: str) -> None:
    assert one_line(text) == shown
