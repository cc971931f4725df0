"""What all tests share: the lab's fixtures, and how hard Hypothesis tries.

The lab's fixtures are a pytest plugin that users have too; see docs/guides/testing-with-the-lab.md.

By default Hypothesis tries the same cases each time, so that a red build can be repeated;
``--hypothesis-profile=thorough`` looks for new ones.
"""

from __future__ import annotations

import os
import signal

pytest_plugins = ["fairway.lab.pytest", "fairway.lab.vm.pytest"]

# Who is started in the background may ignore Ctrl-C, and so would the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "FAIRWAY_IN_GUEST" not in os.environ:  # No law runs in there, and the import takes seconds.
    from hypothesis import settings

    # No deadline: a case that is slow on a busy machine is not wrong.
    settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50, print_blob=True)
    settings.register_profile("thorough", deadline=None, max_examples=2000, print_blob=True)
    settings.load_profile("repeatable")
