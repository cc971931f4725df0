"""The modes there are, by the name that flags and configuration use.

A mode is loaded when somebody asks for it: a proxy runs one of them, and what it does not run would be a tenth of its
start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from fairway.modes.contract import Mode
from fairway.modes.userspace import UserspaceMode

_AnyMode = Mode[Any, Any, Any]

USERSPACE = "userspace"
RELAYING_MODES = (USERSPACE,)
"""Those in which every Service is relayed; in the others, those that ask for it."""


def _nftables() -> _AnyMode:
    from fairway.modes.nftables import NftablesMode

    return NftablesMode()


def _iptables() -> _AnyMode:
    from fairway.modes.iptables import IptablesMode

    return IptablesMode()


def _ipvs() -> _AnyMode:
    from fairway.modes.ipvs import IpvsMode

    return IpvsMode()


_CARRIERS: Mapping[str, Callable[[], _AnyMode]] = {
    "nftables": _nftables,
    "iptables": _iptables,
    "ipvs": _ipvs,
    USERSPACE: _nftables,
}


@cache
def _loaded(name: str) -> _AnyMode:
    return UserspaceMode(_CARRIERS[name](), name)


class _Modes(Mapping[str, _AnyMode]):
    def __getitem__(self, name: str) -> _AnyMode:
        return _loaded(name)

    def __contains__(self, name: object) -> bool:
        return name in _CARRIERS

    def __iter__(self) -> Iterator[str]:
        return iter(_CARRIERS)

    def __len__(self) -> int:
        return len(_CARRIERS)


MODES: Mapping[str, _AnyMode] = _Modes()
