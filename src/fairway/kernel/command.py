"""Run another program and get its output; a failure keeps everything that is needed to understand it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from fairway.kernel.namespaces import NetworkNamespace

_SHOWN_LINES = 20


class CommandFailed(Exception):
    """A program that ended with a code other than 0, or did not end in time, or could not be started.

    ``exit_code`` is negative for a signal, ``None`` when the program never ran or was stopped because of its time.
    """

    def __init__(self, argv: Sequence[str], exit_code: int | None, stdout: str, stderr: str, reason: str = "") -> None:
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        self.reason = reason or f"exit code {exit_code}"
        super().__init__(self._text())

    def _text(self) -> str:
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()
        shown = "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])
        return f"{shlex.join(self.argv)}: {self.reason}" + (f"\n{shown}" if shown else "")


def run(
    argv: Sequence[str],
    *,
    namespace: NetworkNamespace | None = None,
    input: str | None = None,
    timeout: float = 30.0,
    environment: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> str:
    """What the program wrote to its standard output; raises `CommandFailed`.

    ``timeout`` is in seconds; ``environment`` is added to ours; descriptors that are ``inherited`` it has as well.
    """

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, **(environment or {})},
            pass_fds=inherited,
        )

    try:
        # A child belongs to the namespace of the thread that started it.
        done = namespace.run(call) if namespace else call()
    except FileNotFoundError as error:
        if namespace and not namespace.exists:
            raise
        raise CommandFailed(argv, None, "", "", f"cannot be started: {error.strerror}") from None
    except PermissionError as error:
        raise CommandFailed(argv, None, "", "", f"cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired as error:
        reason = f"did not end within {timeout:g} s"
        raise CommandFailed(argv, None, _text(error.stdout), _text(error.stderr), reason) from None
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, done.stdout, done.stderr)
    return done.stdout


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""
