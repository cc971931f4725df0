"""Unit tests of `fairway.apiserver.access.token_file`: Kubernetes' CSV, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.apiserver.access.token_file import TokenFileError, parse_tokens, read_tokens
from fairway.apiserver.access.users import User


def test_a_line_is_a_user() -> None:
    text = 'abc,ann,7,"staff,builders"\n\n# nobody\ndef, bob, 8\nghi,eve,"",ops\n'
    assert parse_tokens(text, "tokens.csv") == {
        "abc": User("ann", ("staff", "builders"), "7"),
        "def": User("bob", (), "8"),
        "ghi": User("eve", ("ops",), ""),
    }


@pytest.mark.parametrize(
    "text, message",
    [
        ("abc,ann\n", "tokens.csv: line 1: expected token,user,uid and perhaps groups, found 2 fields"),
        ("abc,ann,1\n\n,bob,2\n", "tokens.csv: line 3: the token is empty"),
        ("abc,,1\n", "tokens.csv: line 1: the user is empty"),
        (
            "abc,ann,1,a,b\n",
            'tokens.csv: line 1: expected at most 4 fields; several groups are one field: "group1,group2"',
        ),
        ("abc,ann,1\nabc,bob,2\n", "tokens.csv: line 2: the token is there twice; each token is for one user"),
        ('abc,ann,1\n"def,bob,2\n', "tokens.csv: line 2: unexpected end of data"),
    ],
)
def test_an_error_names_the_line_and_no_token(text: str, message: str) -> None:
    with pytest.raises(TokenFileError) as error:
        parse_tokens(text, "tokens.csv")
    assert str(error.value) == message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"gone\.csv: cannot be read: no such file or directory"):
        read_tokens(tmp_path / "gone.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(TokenFileError, match=r"binary\.csv: is not UTF-8 text"):
        read_tokens(tmp_path / "binary.csv")
