"""The modes there are, by the name that flags and configuration use."""

from __future__ import annotations

from typing import Any

from fairway.modes.contract import Mode
from fairway.modes.nftables import NftablesMode

MODES: dict[str, Mode[Any, Any, Any]] = {mode.name: mode for mode in (NftablesMode(),)}
