"""What can go wrong with a lab, in words for the person at the keyboard."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the text says what is wrong and what helps."""


class LabExists(LabError):
    """A lab of that name is up already, or is left over from an `up` that died."""


class LabMissing(LabError):
    """There is no lab of that name."""
