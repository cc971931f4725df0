"""The ``fairway`` command, also as ``python -m fairway``."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the installed script."""
    try:
        from fairway.cli.main import main as begin
    except KeyboardInterrupt:  # Ctrl-C while it is still being loaded
        sys.exit(130)
    begin()


if __name__ == "__main__":
    main()
