"""The kinds of guests there are, by name."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.lab.vm.kind import Kind
from fairway.lab.vm.qemu import Qemu
from fairway.lab.vm.uml import UserModeLinux

UML: Kind = UserModeLinux()
QEMU: Kind = Qemu()
KINDS: Mapping[str, Kind] = {"uml": UML, "qemu": QEMU}
