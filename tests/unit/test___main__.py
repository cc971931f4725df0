"""Unit tests of `fairway.__main__`."""

from __future__ import annotations

import subprocess
import sys

INTERRUPTED = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "fairway.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from fairway.__main__ import main
main()
"""


def test_an_interruption_while_it_is_loaded_is_the_end_without_a_word() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (130, "")


def test_it_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "fairway", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip()[0].isdigit()
