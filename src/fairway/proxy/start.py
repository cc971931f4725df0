"""Which mode a proxy begins in: the one that has this node's clients, whatever the configuration says by now.

Choice on disk ── of this kernel ──▶ the mode that is there ──▶ then on to the one that is wanted, by a switch
               ╰─ none, or before the last boot ──▶ the wanted mode at once
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fairway.kernel.contract import Opened, Unsuitable
from fairway.proxy.choice import Choice, ChoiceFile, this_kernel
from fairway.proxy.kernels import OURS_ALONE
from fairway.proxy.site import Site, Target

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """The site open in the mode that ``choice`` says is here; ``wanted`` is where it is to go."""

    site: Site
    file: ChoiceFile
    choice: Choice
    opened: Opened
    wanted: Target


def begin(site: Site, file: ChoiceFile, said: Target) -> Start:
    """``said`` is the mode of the configuration. Raises `Unsuitable`."""
    kept, kernel = file.load(), this_kernel()
    wanted = kept.here if kept is not None and kept.said == said else said
    if kept is None or kept.kernel != kernel:
        here, opened = site.open(wanted)
        return Start(site, file, Choice(said=said, here=here, leaving=_ours_alone(here), kernel=kernel), opened, wanted)
    leaving = kept.leaving
    try:
        here, opened = site.open(kept.here)
    except Unsuitable as error:
        log.warning("this node was in mode %s, which is no more: %s", kept.here, error)
        leaving = (*leaving, kept.here)
        here, opened = site.open(wanted)
    leaving = (*(one for one in leaving if one.carrier != here.carrier),)
    known = {one.carrier for one in leaving}
    leaving += tuple(one for one in _ours_alone(here) if one not in known)
    return Start(site, file, Choice(said=said, here=here, leaving=leaving, kernel=kernel), opened, wanted)


def _ours_alone(here: Target) -> tuple[Target, ...]:
    """The mode whose rules are nobody else's: what is there of them is of a proxy before this one."""
    return () if here.carrier.mode == OURS_ALONE else (Target(OURS_ALONE),)
