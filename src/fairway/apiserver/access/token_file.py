"""Static tokens, in Kubernetes' file format: ``token,user,uid[,"group1,group2"]``, one a line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from fairway.apiserver.access.users import User


class TokenFileError(Exception):
    """A file of tokens cannot be read; the message names the file and the line, never a token."""


def read_tokens(path: Path) -> dict[str, User]:
    """The users by their tokens; raises `TokenFileError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise TokenFileError(f"{path}: is not UTF-8 text") from None
    except OSError as error:
        raise TokenFileError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    return parse_tokens(text, str(path))


def parse_tokens(text: str, source: str) -> dict[str, User]:
    """The users by their tokens; ``source`` is the name for errors. Raises `TokenFileError`."""
    found: dict[str, User] = {}
    reader = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            if not fields or fields[0].startswith("#"):
                continue
            where = f"{source}: line {reader.line_num}"
            token, user = _user(fields, where)
            if token in found:
                raise TokenFileError(f"{where}: the token is there twice; each token is for one user")
            found[token] = user
    except csv.Error as error:
        raise TokenFileError(f"{source}: line {reader.line_num}: {error}") from None
    return found


def _user(fields: list[str], where: str) -> tuple[str, User]:
    if len(fields) < 3:
        raise TokenFileError(f"{where}: expected token,user,uid and perhaps groups, found {len(fields)} fields")
    if len(fields) > 4:
        raise TokenFileError(f'{where}: expected at most 4 fields; several groups are one field: "group1,group2"')
    token, name, uid = (field.strip() for field in fields[:3])
    if not token:
        raise TokenFileError(f"{where}: the token is empty")
    if not name:
        raise TokenFileError(f"{where}: the user is empty")
    groups = tuple(group.strip() for group in ",".join(fields[3:]).split(",") if group.strip())
    return token, User(name, groups, uid)
