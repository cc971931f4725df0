"""User data: what nft prints beyond what the kernel needs, such as the field names of a key, and comments.

The kernel keeps these bytes and never reads them: little type-length-value lists whose numbers are in the machine's
order.
"""

from __future__ import annotations

import struct

from fairway.kernel.attributes import string
from fairway.modes.nftables.tables import IDENTITY, NUMBER, VERDICT_DATA, Set

_HOST_ORDER, _NETWORK_ORDER = 1, 2
_UD_KEY_ORDER, _UD_DATA_ORDER, _UD_KEY_TYPEOF, _UD_DATA_TYPEOF, _UD_SET_COMMENT = 0, 1, 3, 4, 7
_UD_COMMENT = 0
_EXPR_VERDICT, _EXPR_PAYLOAD, _EXPR_META, _EXPR_CONCAT, _EXPR_NUMGEN = 1, 7, 9, 13, 23


def _tlv(kind: int, data: bytes) -> bytes:
    return bytes((kind, len(data))) + data


def _host(kind: int, value: int) -> bytes:
    return _tlv(kind, struct.pack("=I", value))


def _tlvs(data: bytes) -> dict[int, bytes]:
    found, position = {}, 0
    while position + 2 <= len(data):
        size = data[position + 1]
        found[data[position]] = data[position + 2 : position + 2 + size]
        position += 2 + size
    return found


def _typeof(kind: int, *parts: tuple[int, int]) -> bytes:
    return _host(0, kind) + _tlv(1, b"".join(_host(index, number) for index, number in parts))


# protocol and field numbers as in nft's own tables of headers: ip 12, ip6 13, th 11
_TYPEOF = {
    "ip saddr": _typeof(_EXPR_PAYLOAD, (0, 12), (1, 11)),
    "ip daddr": _typeof(_EXPR_PAYLOAD, (0, 12), (1, 12)),
    "ip6 saddr": _typeof(_EXPR_PAYLOAD, (0, 13), (1, 8)),
    "ip6 daddr": _typeof(_EXPR_PAYLOAD, (0, 13), (1, 9)),
    "th dport": _typeof(_EXPR_PAYLOAD, (0, 11), (1, 2)),
    "meta l4proto": _typeof(_EXPR_META, (0, 16)),
    IDENTITY: _typeof(_EXPR_META, (0, 2)),
    NUMBER: _typeof(_EXPR_NUMGEN, (0, 1), (1, 65536), (2, 0)),
}
_FIELD_OF = {data: name for name, data in _TYPEOF.items()}


def _typeof_fields(fields: tuple[str, ...]) -> bytes:
    if fields == VERDICT_DATA:
        return _host(0, _EXPR_VERDICT) + _tlv(1, b"")
    if len(fields) == 1:
        return _TYPEOF[fields[0]]
    return _host(0, _EXPR_CONCAT) + _tlv(1, b"".join(_tlv(i, _TYPEOF[name]) for i, name in enumerate(fields)))


def _fields_of(data: bytes) -> tuple[str, ...]:
    """The field names in a typeof description; ``?`` for one that this program does not know."""
    parts = _tlvs(data)
    kind = struct.unpack("=I", parts.get(0, bytes(4)))[0]
    if kind == _EXPR_VERDICT:
        return VERDICT_DATA
    if kind == _EXPR_CONCAT:
        return tuple(_FIELD_OF.get(one, "?") for one in _tlvs(parts[1]).values())
    return (_FIELD_OF.get(data, "?"),)


def _order(fields: tuple[str, ...]) -> int:
    if len(fields) > 1:
        return 0
    return _HOST_ORDER if fields in ((NUMBER,), (IDENTITY,), VERDICT_DATA) else _NETWORK_ORDER


def comment(data: str) -> bytes:
    """Of a table, a rule or an element."""
    return _tlv(_UD_COMMENT, data.encode() + b"\0")


def comment_of(data: bytes, kind: int = _UD_COMMENT) -> str:
    return string(_tlvs(data).get(kind, b""))


def of_set(declared: Set) -> bytes:
    """A set's: how its keys and data are printed, and its comment."""
    found = [_host(_UD_KEY_ORDER, _order(declared.key))]
    if declared.data:
        found.append(_host(_UD_DATA_ORDER, _order(declared.data)))
    found.append(_tlv(_UD_KEY_TYPEOF, _typeof_fields(declared.key)))
    if declared.data:
        found.append(_tlv(_UD_DATA_TYPEOF, _typeof_fields(declared.data)))
    if declared.comment:
        found.append(_tlv(_UD_SET_COMMENT, declared.comment.encode() + b"\0"))
    return b"".join(found)


def fields_of_set(data: bytes) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """The names of the key's and of the data's fields, and the comment."""
    parts = _tlvs(data)
    key = _fields_of(parts[_UD_KEY_TYPEOF]) if _UD_KEY_TYPEOF in parts else ("?",)
    return key, _fields_of(parts.get(_UD_DATA_TYPEOF, b"")), comment_of(data, _UD_SET_COMMENT)
