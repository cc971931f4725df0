"""The proxy process that is measured: our own in one of its modes, or any other by its command line."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fairway.bench.shape import CLUSTER_NETWORK, NODE, SERVICE_NETWORK
from fairway.kernel.namespaces import NetworkNamespace
from fairway.modes.registry import MODES
from fairway.relay.process import stop_all

_COLD_SECONDS = 300.0
_END_SECONDS = 10.0
_QUIET_SECONDS, _QUIET_SHARE, _MOST_LOOKS = 0.25, 0.05, 40
"""Who has used no more than this share of a processor for so long is done with what it had to do."""
_TICKS = os.sysconf("SC_CLK_TCK")
# The clock of a process's time on processors: its number, negated, and what kind of clock (clock_getcpuclockid(3)).
_CPUCLOCK_SCHED = 2
_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: bench, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: bench, user: {{}}}}]
contexts: [{{name: bench, context: {{cluster: bench, user: bench}}}}]
current-context: bench
"""
PLACEHOLDERS = {"{node}": NODE, "{cluster-cidr}": CLUSTER_NETWORK, "{service-cidr}": SERVICE_NETWORK}
"""What a command line may name, beside ``{kubeconfig}``."""


class BenchFailed(Exception):
    """The proxy did not do what was to be measured."""


FORMS = {"flat": "--iptables-flat", "nft": "--iptables-variant=nft", "legacy": "--iptables-variant=legacy"}
"""What may be said of the iptables mode."""


@dataclass(frozen=True)
class Program:
    """Which proxy: a mode of ours, or a command line (``kube-proxy --kubeconfig {kubeconfig} …``)."""

    mode: str = ""
    command: str = ""
    flags: tuple[str, ...] = ()
    """Of ours, what it is told beside the mode."""

    @classmethod
    def named(cls, text: str) -> Program:
        """A mode of ours, perhaps with its form and variant: ``iptables:flat:legacy``. Raises ValueError."""
        mode, *forms = text.split(":")
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}; there is: {', '.join(MODES)}")
        known = FORMS if mode == "iptables" else {}
        if wrong := [one for one in forms if one not in known]:
            raise ValueError(f"{mode} has no form {wrong[0]!r}; there is: {', '.join(known) or 'none'}")
        return cls(mode=mode, flags=tuple(known[one] for one in forms))

    def __post_init__(self) -> None:
        if self.command and "{kubeconfig}" not in self.command:
            raise ValueError("the command must name {kubeconfig}: it is how the proxy finds the API server")

    def __str__(self) -> str:
        return self.command or " ".join(["fairway proxy", f"--proxy-mode={self.mode}", *self.flags])

    def arguments(self, kubeconfig: Path, ready_fd: int, receipts_fd: int | None = None) -> list[str]:
        if self.command:
            found = self.command
            for name, value in {"{kubeconfig}": str(kubeconfig), **PLACEHOLDERS}.items():
                found = found.replace(name, value)
            return shlex.split(found)
        return [
            *(sys.executable, "-m", "fairway", "proxy", f"--proxy-mode={self.mode}", f"--ready-fd={ready_fd}"),
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={NODE}",
            f"--cluster-cidr={CLUSTER_NETWORK}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--state-file=",
            *self.flags,
            *([] if receipts_fd is None else [f"--receipts-fd={receipts_fd}"]),
        ]


@dataclass
class ProxyProcess:
    """The process, from its start to its end."""

    process: subprocess.Popen[bytes]
    begun: float
    """By ``time.perf_counter``."""
    log: Path
    receipts: int
    """A pipe with a line for each round, if it was asked for and it is ours."""
    _ready: int

    @classmethod
    @contextmanager
    def started(
        cls, program: Program, namespace: NetworkNamespace, api_port: int, *, receipts: bool = False
    ) -> Iterator[ProxyProcess]:
        """Start it inside the namespace, where the API server listens on the loopback. Raises `BenchFailed`."""
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairway-bench-")))
            kubeconfig, log = directory / "kubeconfig", directory / "log"
            kubeconfig.write_text(_KUBECONFIG.format(port=api_port))
            (ready, told), (rounds, lines) = os.pipe(), os.pipe()
            for one in (ready, rounds):
                stack.callback(os.close, one)
            arguments = program.arguments(kubeconfig, told, lines if receipts else None)
            begun = time.perf_counter()
            try:
                process = _start(arguments, namespace, log, (told, lines))
            finally:
                os.close(told)
                os.close(lines)
            # What is relayed would be for ever: a relay outlives its proxy.
            stack.callback(namespace.run, stop_all)
            stack.callback(_end, process)
            yield cls(process, begun, log, rounds, ready)

    def wait_until_ready(self) -> float:
        """Seconds from the start of our own proxy until it says that the kernel has everything."""
        there, _, _ = select.select([self._ready], [], [], _COLD_SECONDS)
        if not there or not os.read(self._ready, 100):
            raise BenchFailed(f"the proxy did not get ready:\n{self.last_words()}")
        return time.perf_counter() - self.begun

    def wait_until_quiet(self) -> float:
        """Wait until it has done what a load leaves to do, or for ten seconds; returns `cpu_seconds` of then.

        Raises `BenchFailed` when it has ended.
        """
        before = self.cpu_seconds()
        for _ in range(_MOST_LOOKS):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_QUIET_SECONDS)
            self.check_alive()
            before, used = (now := self.cpu_seconds()), now - before
            if used < _QUIET_SHARE * _QUIET_SECONDS:
                break
        return before

    def check_alive(self) -> None:
        """Raises `BenchFailed` with what it said when it has ended."""
        if self.process.poll() is not None:
            raise BenchFailed(f"the proxy ended with code {self.process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").strip().splitlines()[-20:])

    def cpu_seconds(self) -> float:
        """User and system time so far, of the process and of those that it has started and that have ended."""
        return cpu_seconds(self.process.pid)

    def rss_bytes(self) -> int:
        return rss_bytes(self.process.pid)


def cpu_seconds(process: int) -> float:
    """User and system time of any process so far, with that of those that it has started and that have ended.

    Its own to the nanosecond; of the others the kernel tells only ticks of 10 ms.
    """
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(~process << 3 | _CPUCLOCK_SCHED) + sum(map(int, after_name[13:15])) / _TICKS


def rss_bytes(process: int) -> int:
    """What any process holds in memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _start(
    command: Sequence[str], namespace: NetworkNamespace, log: Path, pipes: Sequence[int]
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        try:
            return namespace.run(lambda: subprocess.Popen(command, pass_fds=pipes, stdout=output, stderr=output))
        except (FileNotFoundError, PermissionError) as error:
            raise BenchFailed(f"{command[0]} cannot be started: {error.strerror}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
