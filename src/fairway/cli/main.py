"""The ``fairway`` command: a table of commands, each loaded only when it is called."""

from __future__ import annotations

import os
import sys
import traceback

from cyclopts import App, CycloptsError, Group

from fairway import __version__
from fairway.cli.output import EXIT_FAILED, EXIT_USAGE, CommandError, complain

_SERVE = Group("Serve", sort_key=1)
_EXPLAIN = Group("Explain", sort_key=2)
_PARTS = Group("The parts, each its own process", sort_key=3)

# name, where it is, group, one line of help
COMMANDS = (
    ("up", "fairway.cli.up:up", _SERVE, "Give Services to this machine: API, controllers and proxy in one process."),
    ("lab", "fairway.cli.lab:app", _SERVE, "A cluster of network namespaces on this machine: up, check, exec, down."),
    (
        "trace",
        "fairway.cli.trace:trace",
        _EXPLAIN,
        "Tell what happens to a packet: which Service, rule, backend, and why.",
    ),
    (
        "program",
        "fairway.cli.program:program",
        _EXPLAIN,
        "Print what the kernel of a node should hold, with the reason.",
    ),
    ("apiserver", "fairway.cli.apiserver:apiserver", _PARTS, "Serve the Kubernetes API for Services."),
    ("controllers", "fairway.cli.controllers:controllers", _PARTS, "Keep EndpointSlices and workloads true."),
    ("proxy", "fairway.cli.proxy:proxy", _PARTS, "Make this node's kernel deliver Services."),
)

app = App(
    name="fairway",
    help="Kubernetes Services, whole: stable virtual IPs, the pods behind them, and rules that explain themselves.",
    version=__version__,
    help_format="plaintext",
)
for _name, _target, _group, _help in COMMANDS:
    app.command(_target, name=_name, group=_group, help=_help)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code and never lets a traceback through."""
    try:
        result = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return EXIT_USAGE
    except CommandError as error:
        complain(str(error))
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`fairway program | head`); point stdout elsewhere so that the exit stays silent.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _unexpected(error: Exception) -> int:
    """The last resort: one line for the user, the whole story for whoever asks for it."""
    if os.environ.get("FAIRWAY_DEBUG"):
        traceback.print_exception(error)
    complain(f"{type(error).__name__}: {error}\nSet FAIRWAY_DEBUG=1 to see where, and please report it.")
    return EXIT_FAILED


def main() -> None:
    """The entry point of the installed script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
