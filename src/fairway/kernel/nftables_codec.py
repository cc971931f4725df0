"""Tables, chains, rules and sets ↔ nf_tables messages, both directions. Elements: `fairway.kernel.nftables_elements`.

What nft prints beyond what the kernel needs is *user data*: `fairway.kernel.nftables_userdata`.
"""

from __future__ import annotations

from fairway.kernel import nftables_expressions as expressions
from fairway.kernel import nftables_userdata as userdata
from fairway.kernel.attributes import (
    attribute,
    attributes,
    be32,
    nested,
    number,
    string,
    text,
)
from fairway.kernel.nfnetlink import F_APPEND, F_CREATE, F_EXCL, SUBSYSTEM_NFTABLES, Request
from fairway.modes.nftables.expressions import words
from fairway.modes.nftables.tables import (
    IDENTITY,
    VERDICT_DATA,
    Chain,
    Family,
    Hook,
    Rule,
    Set,
    field_bytes,
)

NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENTS, GET_ELEMENTS, DELETE_ELEMENTS = 12, 13, 14
NEW_GENERATION, GET_GENERATION = 15, 16

NFPROTO: dict[Family, int] = {"ip": 2, "ip6": 10}
FAMILY_OF: dict[int, Family] = {number: family for family, number in NFPROTO.items()}

_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_SET_ANONYMOUS, _SET_INTERVAL, _SET_MAP = 0x1, 0x4, 0x8
_SET_DYNAMIC = 0x10 | 0x20  # timeouts, and packets that add elements
_SET_EXPRESSION, _COUNTER = 17, "counter"
_VERDICT_TYPE, _VERDICT_BYTES = 0xFFFFFF00, 16
_DROP, _ACCEPT = 0, 1

_DATATYPES = {"ip": 7, "ip6": 8, "meta": 12, "th": 13, "numgen": 4, IDENTITY: 23}


def request(kind: int, family: Family, body: bytes, says: str, flags: int = 0) -> Request:
    return Request(SUBSYSTEM_NFTABLES, kind, body, says, flags, NFPROTO[family])


def new_table(family: Family, name: str, comment: str, flags: int = 0) -> Request:
    body = text(1, name) + (be32(2, flags) if flags else b"") + attribute(6, userdata.comment(comment))
    return request(NEW_TABLE, family, body, f"add table {family} {name}", F_CREATE)


def read_table(body: bytes) -> tuple[int, int]:
    """The flags, and the port of the owner's socket: 0 when there is no owner."""
    at = attributes(body)
    return number(at[2]), number(at.get(7, b""))


def delete_table(family: Family, name: str) -> Request:
    return request(DELETE_TABLE, family, text(1, name), f"delete table {family} {name}")


def new_chain(family: Family, table: str, chain: Chain) -> Request:
    parts = [text(1, table), text(3, chain.name)]
    if chain.hook:
        kind, hook, priority = chain.hook
        where = nested(4, be32(1, _HOOKS.index(hook)), be32(2, priority & 0xFFFFFFFF))
        parts += [where, be32(5, _DROP if chain.drops else _ACCEPT), text(7, kind)]
    says = f"add chain {family} {table} {chain.name}"
    return request(NEW_CHAIN, family, b"".join(parts), says, F_CREATE | F_EXCL)


def delete_chain(family: Family, table: str, name: str) -> Request:
    says = f"delete chain {family} {table} {name}"
    return request(DELETE_CHAIN, family, text(1, table) + text(3, name), says)


def flush_chain(family: Family, table: str, name: str) -> Request:
    says = f"flush chain {family} {table} {name}"
    return request(DELETE_RULE, family, text(1, table) + text(2, name), says)


def new_rule(family: Family, table: str, chain: str, rule: Rule, words_said: str) -> Request:
    parts = [
        text(1, table),
        text(2, chain),
        nested(4, *(expressions.encode(one, family) for one in rule.expressions)),
    ]
    if rule.comment:
        parts.append(attribute(7, userdata.comment(rule.comment)))
    says = f"add rule {family} {table} {chain} {words_said}"
    return request(NEW_RULE, family, b"".join(parts), says, F_CREATE | F_APPEND)


def _datatype(fields: tuple[str, ...]) -> int:
    found = 0
    for name in fields:
        found = found << 6 | _DATATYPES.get(name, _DATATYPES.get(name.split()[0], 0))
    return found


def length(fields: tuple[str, ...]) -> int:
    """Bytes of a key or of data with these fields."""
    if len(fields) == 1:
        return field_bytes(fields[0])
    return sum(words(field_bytes(name)) * 4 for name in fields)


def new_set(family: Family, table: str, declared: Set, identity: int) -> Request:
    """``identity`` must be unique within the batch."""
    flags = (_SET_INTERVAL if declared.interval else 0) | (_SET_MAP if declared.data else 0)
    flags |= _SET_DYNAMIC if declared.capacity else 0
    parts = [
        text(1, table),
        text(2, declared.name),
        be32(3, flags),
        be32(4, _datatype(declared.key)),
        be32(5, length(declared.key)),
        be32(10, identity),
    ]
    if declared.capacity:
        parts.append(nested(9, be32(1, declared.capacity)))
    if declared.data == VERDICT_DATA:
        parts += [be32(6, _VERDICT_TYPE), be32(7, _VERDICT_BYTES)]
    elif declared.data:
        parts += [be32(6, _datatype(declared.data)), be32(7, length(declared.data))]
    parts.append(attribute(13, userdata.of_set(declared)))
    if declared.counted:
        parts.append(nested(_SET_EXPRESSION, text(1, _COUNTER), nested(2)))
    says = f"add {'map' if declared.data else 'set'} {family} {table} {declared.name}"
    return request(NEW_SET, family, b"".join(parts), says, F_CREATE | F_EXCL)


def delete_set(family: Family, table: str, name: str) -> Request:
    says = f"delete set {family} {table} {name}"
    return request(DELETE_SET, family, text(1, table) + text(2, name), says)


def read_chain(body: bytes) -> tuple[str, Chain]:
    """The table's name and the chain, without its rules."""
    at = attributes(body)
    hook = None
    if 4 in at:
        where = attributes(at[4])
        priority = number(where[2])
        hook = Hook(string(at[7]), _HOOKS[number(where[1])], priority - (1 << 32) if priority >> 31 else priority)
    drops = 5 in at and number(at[5]) == _DROP
    return string(at[1]), Chain(string(at[3]), (), hook, drops)


def read_rule(body: bytes) -> tuple[str, str, Rule]:
    """The table's and the chain's name, and the rule."""
    at = attributes(body)
    return string(at[1]), string(at[2]), Rule(expressions.decode(at.get(4, b"")), userdata.comment_of(at.get(7, b"")))


def read_set(body: bytes) -> tuple[str, Set] | None:
    """The table's name and the set; None for an anonymous one, which belongs to its rule."""
    at = attributes(body)
    flags = number(at.get(3, b"\0"))
    if flags & _SET_ANONYMOUS:
        return None
    key, data, comment = userdata.fields_of_set(at.get(13, b""))
    other = flags & ~(_SET_MAP | _SET_INTERVAL | _SET_DYNAMIC)
    capacity = number(attributes(at.get(9, b"")).get(1, b"\0")) if flags & _SET_DYNAMIC else 0
    counted = string(attributes(at.get(_SET_EXPRESSION, b"")).get(1, b"")) == _COUNTER
    mapped = data if flags & _SET_MAP else None
    declared = Set(string(at[2]), key, mapped, bool(flags & _SET_INTERVAL), comment, capacity, counted)
    return string(at[1]), declared._replace(key=("?",)) if other else declared
