"""nf_tables expressions ↔ netlink attributes: one row for each expression of the vocabulary, both directions.

Registers: word 0, 4, 8, 12 are the kernel's 16-byte registers 1 to 4, the others its 4-byte ones from 8 on, as nft
writes them; the verdict register is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fairway.kernel.attributes import attribute, attributes, be32, each_attribute, nested, number, string, text
from fairway.modes.nftables import expressions as e

_LIST_ELEMENT = 1
_NAME, _DATA = 1, 2
_VALUE, _VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_EQUAL, _NOT_EQUAL = 0, 1
_DNAT = 1
_ICMP, _TCP_RESET = 0, 1
_UPDATE, _DELETE = 1, 2
_JENKINS = 0
_NFPROTO = {"ip": 2, "ip6": 10}


def register(word: int) -> int:
    """The kernel's number of a register."""
    if word == e.VERDICT:
        return 0
    return 1 + word // 4 if word % 4 == 0 else 8 + word


def word_of(data: bytes) -> int:
    """The register a kernel's number stands for."""
    found = number(data)
    if found == 0:
        return e.VERDICT
    return (found - 1) * 4 if found <= 4 else found - 8


def _reg(kind: int, word: int) -> bytes:
    return be32(kind, register(word))


def value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(_VALUE, data))


def verdict(jump: e.Jump) -> bytes:
    """A verdict as data: of an immediate expression or of a map's element."""
    parts = [be32(_VERDICT_CODE, jump.code & 0xFFFFFFFF)]
    if jump.chain:
        parts.append(text(_VERDICT_CHAIN, jump.chain))
    return nested(_VERDICT, *parts)


def data_of(attribute_data: bytes) -> bytes | e.Jump:
    """The bytes or the verdict in a data attribute."""
    found = attributes(attribute_data)
    if _VALUE in found:
        return found[_VALUE]
    parts = attributes(found[_VERDICT])
    code = number(parts[_VERDICT_CODE])
    return e.Jump(code - (1 << 32) if code >> 31 else code, string(parts.get(_VERDICT_CHAIN, b"")))


def _bytes_of(attribute_data: bytes) -> bytes:
    return attributes(attribute_data)[_VALUE]


def encode(one: e.Expression, family: str) -> bytes:
    """One expression as a list element."""
    name, parts = _parts(one, family)
    return nested(_LIST_ELEMENT, text(_NAME, name), nested(_DATA, *parts))


def _parts(one: e.Expression, family: str) -> tuple[str, tuple[bytes, ...]]:
    match one:
        case e.Payload(base, offset, length, into):
            return "payload", (_reg(1, into), be32(2, base), be32(3, offset), be32(4, length))
        case e.Meta(key, into):
            return "meta", (be32(2, key), _reg(1, into))
        case e.SetMeta(key, source):
            return "meta", (be32(2, key), _reg(3, source))
        case e.Conntrack(key, into, original):
            direction = (attribute(3, b"\0"),) if original else ()
            return "ct", (_reg(1, into), be32(2, key), *direction)
        case e.Bitwise(source, into, mask, xor):
            return "bitwise", (_reg(1, source), _reg(2, into), be32(3, len(mask)), value(4, mask), value(5, xor))
        case e.Compare(source, against, equal):
            return "cmp", (_reg(1, source), be32(2, _EQUAL if equal else _NOT_EQUAL), value(3, against))
        case _:
            return _more_parts(one, family)


def _more_parts(one: e.Expression, family: str) -> tuple[str, tuple[bytes, ...]]:
    match one:
        case e.Constant(data, into):
            return "immediate", (_reg(1, into), value(2, data))
        case e.Verdict(jump):
            return "immediate", (be32(1, 0), nested(2, verdict(jump)))
        case e.Lookup(name, source, into, invert):
            loads = (_reg(3, into),) if into is not None else ()
            flags = (be32(5, 1),) if invert else ()
            return "lookup", (text(1, name), _reg(2, source), *loads, *flags)
        case e.Random(modulus, offset, into):
            return "numgen", (_reg(1, into), be32(2, modulus), be32(3, 1), be32(4, offset))
        case e.Hash(source, length, modulus, seed, offset, into):
            numbers = (be32(3, length), be32(4, modulus), be32(5, seed), be32(6, offset), be32(7, _JENKINS))
            return "hash", (_reg(1, source), _reg(2, into), *numbers)
        case e.Rewrite(address, port):
            to_port = (_reg(5, port),) if port is not None else ()
            return "nat", (be32(1, _DNAT), be32(2, _NFPROTO[family]), _reg(3, address), *to_port)
        case e.Remember(name, key, data, seconds, delete):
            timeout = (attribute(6, (seconds * 1000).to_bytes(8, "big")),) if seconds else ()
            operation = be32(3, _DELETE if delete else _UPDATE)
            return "dynset", (text(1, name), operation, _reg(4, key), _reg(5, data), *timeout)
        case e.Masquerade(flags):
            return "masq", ((be32(1, flags),) if flags else ())
        case e.Reject(code):
            how = _TCP_RESET if code is None else _ICMP
            return "reject", (be32(1, how), attribute(2, bytes((code or 0,))))
    raise ValueError(f"{one} cannot be sent to a kernel")


def decode(data: bytes) -> tuple[e.Expression, ...]:
    """The expressions of a rule. What this program never writes comes back as `Unknown`."""
    return tuple(_decode_one(item) for _, item in each_attribute(data))


def _decode_one(data: bytes) -> e.Expression:
    found = attributes(data)
    name, body = string(found[_NAME]), found.get(_DATA, b"")
    reader = _READERS.get(name)
    read = reader(attributes(body)) if reader else None
    return read if read is not None else e.Unknown(name, body)


_Attributes = dict[int, bytes]


def _read_meta(at: _Attributes) -> e.Expression:
    key = number(at[2])
    return e.Meta(key, word_of(at[1])) if 1 in at else e.SetMeta(key, word_of(at[3]))


def _read_conntrack(at: _Attributes) -> e.Expression | None:
    if 1 not in at or (3 in at and at[3] != b"\0"):
        return None
    return e.Conntrack(number(at[2]), word_of(at[1]), 3 in at)


def _read_bitwise(at: _Attributes) -> e.Expression | None:
    if number(at.get(6, b"\0")) or 4 not in at:
        return None  # a shift
    return e.Bitwise(word_of(at[1]), word_of(at[2]), _bytes_of(at[4]), _bytes_of(at[5]))


def _read_compare(at: _Attributes) -> e.Expression | None:
    operation = number(at[2])
    if operation not in (_EQUAL, _NOT_EQUAL):
        return None
    return e.Compare(word_of(at[1]), _bytes_of(at[3]), operation == _EQUAL)


def _read_immediate(at: _Attributes) -> e.Expression:
    data = data_of(at[2])
    return e.Verdict(data) if isinstance(data, e.Jump) else e.Constant(data, word_of(at[1]))


def _read_lookup(at: _Attributes) -> e.Expression:
    into = word_of(at[3]) if 3 in at else None
    return e.Lookup(string(at[1]), word_of(at[2]), into, bool(number(at.get(5, b"\0"))))


def _read_numgen(at: _Attributes) -> e.Expression | None:
    if number(at[3]) != 1:
        return None
    return e.Random(number(at[2]), number(at.get(4, b"\0")), word_of(at[1]))


def _read_hash(at: _Attributes) -> e.Expression | None:
    if number(at.get(7, b"\0")) != _JENKINS or 1 not in at or 5 not in at:
        return None
    offset = number(at.get(6, b"\0"))
    return e.Hash(word_of(at[1]), number(at[3]), number(at[4]), number(at[5]), offset, word_of(at[2]))


def _read_nat(at: _Attributes) -> e.Expression | None:
    if number(at[1]) != _DNAT or 3 not in at:
        return None
    return e.Rewrite(word_of(at[3]), word_of(at[5]) if 5 in at else None)


def _read_dynset(at: _Attributes) -> e.Expression | None:
    operation = number(at[3])
    if operation not in (_UPDATE, _DELETE) or 5 not in at or 7 in at:
        return None
    seconds, rest = divmod(int.from_bytes(at.get(6, b"\0"), "big"), 1000)
    if rest:
        return None
    return e.Remember(string(at[1]), word_of(at[4]), word_of(at[5]), seconds, operation == _DELETE)


def _read_reject(at: _Attributes) -> e.Expression | None:
    how = number(at[1])
    if how == _TCP_RESET:
        return e.Reject(None)
    return e.Reject(at[2][0]) if how == _ICMP and 2 in at else None


_READERS: dict[str, Callable[[_Attributes], Any]] = {
    "payload": lambda at: e.Payload(number(at[2]), number(at[3]), number(at[4]), word_of(at[1])) if 1 in at else None,
    "meta": _read_meta,
    "ct": _read_conntrack,
    "bitwise": _read_bitwise,
    "cmp": _read_compare,
    "immediate": _read_immediate,
    "lookup": _read_lookup,
    "numgen": _read_numgen,
    "hash": _read_hash,
    "nat": _read_nat,
    "dynset": _read_dynset,
    "masq": lambda at: e.Masquerade(number(at.get(1, b"\0"))),
    "reject": _read_reject,
}
