"""How a storage lies in the keys of an etcd that may be shared. Pure.

::

    /fairway/clock                       written by every transaction: who, and the how manieth of its writes
    /fairway/writers/4f0c…               the fence of a writer that once missed an answer
    /fairway/data/objects/services/…     the storage's own keys

etcd counts the revisions of everybody who uses it. The *clock* makes them ours: the revision of the clock is the last
one that changed something under our prefix, so a reader that has followed our keys up to the clock has seen
everything, and two servers give the same state the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairway.apiserver.storage.contract import Entry
from fairway.apiserver.storage.etcd_messages import Row
from fairway.apiserver.storage.versions import end_of

_FORMAT = "1"


@dataclass(frozen=True)
class Tick:
    """One value of the clock: the ``number`` of a write among those of its ``writer``."""

    writer: str
    number: int

    def encode(self) -> bytes:
        return f"{_FORMAT} {self.writer} {self.number}".encode()

    @classmethod
    def decode(cls, value: bytes) -> Tick:
        """Raises `ValueError` for what another format wrote."""
        found = value.decode("ascii", "replace").split(" ")
        if found[0] != _FORMAT or len(found) != 3 or not found[2].isdecimal():
            raise ValueError(f"its clock says {value[:80]!r}, which this version of Fairway does not read")
        return cls(found[1], int(found[2]))


class Keys:
    """Names of the keys below ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self.all = (f"{prefix}/".encode(), f"{prefix}0".encode())
        self.clock = f"{prefix}/clock".encode()
        self._data = f"{prefix}/data".encode()
        self._writers = f"{prefix}/writers/"

    def data(self, key: str) -> bytes:
        return self._data + key.encode()

    def below(self, prefix: str, after: str = "") -> tuple[bytes, bytes]:
        """The range of the keys below a prefix of ours that lie behind the key ``after``."""
        first = self.data(prefix)
        return max(first, self.data(after) + b"\0") if after else first, self.data(end_of(prefix))

    def fence(self, writer: str) -> bytes:
        return (self._writers + writer).encode()

    def is_data(self, key: bytes) -> bool:
        return key.startswith(self._data + b"/")

    def name(self, key: bytes) -> str:
        """A key of etcd's as the storage's user knows it."""
        return key[len(self._data) :].decode()

    def entry(self, row: Row) -> Entry:
        return Entry(self.name(row.key), row.value, row.modified, row.created)
