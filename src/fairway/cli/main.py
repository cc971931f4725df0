"""The ``fairway`` command: a table of commands, each loaded only when it is called."""

from __future__ import annotations

import io
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from cyclopts import App, CycloptsError, Group

from fairway import __version__
from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, FLAGS, CommandError, complain
from fairway.client.kubeconfig import KubeconfigError
from fairway.client.transport import ServerUnreachable
from fairway.objects.codec import DecodeError
from fairway.objects.status import ApiError

_SERVE = Group("Serve", sort_key=1)
_EXPLAIN = Group("Explain", sort_key=2)
_MEASURE = Group("Prove and measure", sort_key=3)
_PARTS = Group("The parts, each its own process", sort_key=4)

# name, where it is, group; the help is the command's own docstring
COMMANDS = (
    ("up", "fairway.cli.up:up", _SERVE),
    ("lab", "fairway.cli.lab:app", _SERVE),
    ("trace", "fairway.cli.trace:trace", _EXPLAIN),
    ("program", "fairway.cli.program:program", _EXPLAIN),
    ("status", "fairway.cli.status:status", _EXPLAIN),
    ("advise", "fairway.cli.advise:advise", _EXPLAIN),
    ("switch", "fairway.cli.switch:switch", _SERVE),
    ("conform", "fairway.cli.conform:conform", _MEASURE),
    ("bench", "fairway.cli.bench:app", _MEASURE),
    ("apiserver", "fairway.cli.apiserver:apiserver", _PARTS),
    ("controllers", "fairway.cli.controllers:controllers", _PARTS),
    ("proxy", "fairway.cli.proxy:proxy", _PARTS),
    ("cleanup", "fairway.cli.cleanup:cleanup", _PARTS),
    ("kubeconfig", "fairway.cli.kubeconfig:kubeconfig", _PARTS),
    ("storage", "fairway.cli.storage:app", _PARTS),
)

app = App(
    name="fairway",
    help="Kubernetes Services, whole: stable virtual IPs, the pods behind them, and rules that explain themselves.",
    version=__version__,
    help_format="markdown",
    default_parameter=FLAGS,
)
for _name, _target, _group in COMMANDS:
    app.command(_target, name=_name, group=_group)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code and never lets a traceback through."""
    given = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Whoever reads our output through a pipe, a script or a log, gets each line when it is printed.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        if not given or given[0] in app.help_flags:
            _load_all()
        result = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return EXIT_USAGE
    except CommandError as error:
        complain(str(error))
        return error.code
    except (ApiError, ServerUnreachable, KubeconfigError, DecodeError) as error:
        complain(str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`fairway program | head`); point stdout elsewhere so that the exit stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _load_all() -> None:
    """Only a command that is loaded can say in the table of commands what it does."""
    for name, _, _ in COMMANDS:
        app[name]


def _unexpected(error: Exception) -> int:
    """The last resort: one line for the user, the whole story for whoever asks for it."""
    if os.environ.get("FAIRWAY_DEBUG"):
        traceback.print_exception(error)
    complain(f"{type(error).__name__}: {error}\nSet FAIRWAY_DEBUG=1 to see where, and please report it.")
    return EXIT_FAILED


def main() -> None:
    """The process: what `fairway.__main__` begins."""
    # What `nft list` calls the tables' owner, and `top` the process: not the interpreter's name.
    with suppress(OSError):
        Path("/proc/self/comm").write_text("fairway")
    sys.exit(run())


if __name__ == "__main__":
    main()
