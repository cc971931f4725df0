"""What a lab writes down about itself, before it makes anything: so that another process can use it, or clear it away.

/run/fairway/lab/NAME/
    topology.json     its shape
    owner             the process that builds it, while it builds: "pid start-time"
    kubeconfig        for kubectl, once the API server runs
    logs/ROLE.log     what each process said
    …                 whatever its processes keep
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairway.lab.errors import LabError, LabExists, LabMissing
from fairway.lab.topology import Topology, check_name

ROOT = Path("/run/fairway/lab")
MARK = "FAIRWAY_LAB"


@dataclass(frozen=True)
class State:
    """The state directory of one lab."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    def kubeconfig_of(self, user: str) -> Path:
        """That of one of the lab's own programs."""
        return self.path / f"{user.rpartition(':')[2]}.conf"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    @property
    def environment(self) -> dict[str, str]:
        """What every process of the lab carries in its environment, so that it can be found."""
        return {MARK: self.name}

    def claim(self, topology: Topology) -> None:
        """Take the name: make the directory and write the topology.

        Raises `LabExists` if the name is taken, `LabError` without the right to make the directory.
        """
        try:
            ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            again = "" if self.name == "lab" else f" --name {self.name}"
            raise LabExists(
                f"a lab called {self.name!r} {self._condition()}; "
                f"`fairway lab down{again}` removes it, `--name` brings up another beside it"
            ) from None
        except PermissionError:
            raise LabError(
                "a lab needs root, to make network namespaces and to program the kernel in them: sudo fairway lab up"
            ) from None
        (self.path / "owner").write_text(identity(os.getpid()))
        self.logs.mkdir()
        (self.path / "topology.json").write_bytes(msgspec.json.encode(topology))

    def finished(self) -> None:
        """The lab is complete: nobody is building it any more."""
        (self.path / "owner").unlink(missing_ok=True)

    def owner(self) -> int | None:
        """The process that is building the lab, if it still lives."""
        try:
            text = (self.path / "owner").read_text()
        except OSError:
            return None
        pid = text.partition(" ")[0]
        return int(pid) if pid.isdigit() and identity(int(pid)) == text else None

    def topology(self) -> Topology:
        """Raises `LabMissing` if there is no such lab, or not enough of it to use."""
        check_name(self.name)
        try:
            return msgspec.json.decode((self.path / "topology.json").read_bytes(), type=Topology)
        except FileNotFoundError:
            others = ", ".join(names()) or "none"
            raise LabMissing(
                f"there is no lab called {self.name!r} (labs: {others}); `fairway lab up` brings one up"
            ) from None
        except PermissionError:
            raise LabError("only root can see into a lab: sudo fairway lab …") from None
        except msgspec.DecodeError as error:
            raise LabMissing(
                f"the lab {self.name!r} was left half made ({error}); `fairway lab down` removes it"
            ) from None

    def remove(self) -> bool:
        """Remove the directory with all that is in it, and the parents that nobody uses. False: there was none."""
        if not self.exists:
            return False
        shutil.rmtree(self.path)
        for parent in (ROOT, ROOT.parent):
            try:
                parent.rmdir()
            except OSError:
                break  # somebody else's lab is in it
        return True

    def _condition(self) -> str:
        owner = self.owner()
        if owner:
            return f"is being brought up by process {owner}"
        return "was left half made" if (self.path / "owner").exists() else "is up already"


def names() -> list[str]:
    """The labs that have a state directory, sorted."""
    return sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir()) if ROOT.is_dir() else []


def identity(pid: int) -> str:
    """A process and when it started, because numbers are used again: ``"4711 88123"``.

    Empty if there is none, or if it has ended and only its parent has not asked how.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may itself contain parentheses and spaces; then come the state and, 22nd, the start.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else f"{pid} {fields[19]}"
