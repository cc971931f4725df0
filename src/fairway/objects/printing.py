"""Text for people's eyes: whoever wrote an object may have put anything into its names."""

from __future__ import annotations


def one_line(text: str) -> str:
    """The same, with a question mark for each character that a terminal could obey, or take for the end of the line."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
