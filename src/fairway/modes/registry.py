"""The modes there are, by the name that flags and configuration use."""

from __future__ import annotations

from typing import Any

from fairway.modes.contract import Mode
from fairway.modes.iptables import IptablesMode
from fairway.modes.ipvs import IpvsMode
from fairway.modes.nftables import NftablesMode
from fairway.modes.userspace import UserspaceMode

USERSPACE = "userspace"
RELAYING_MODES = (USERSPACE,)
"""Those in which every Service is relayed; in the others, those that ask for it."""

MODES: dict[str, Mode[Any, Any, Any]] = {
    mode.name: mode
    for mode in (
        UserspaceMode(NftablesMode(), NftablesMode.name),
        UserspaceMode(IptablesMode(), IptablesMode.name),
        UserspaceMode(IpvsMode(), IpvsMode.name),
        UserspaceMode(NftablesMode(), USERSPACE),
    )
}
