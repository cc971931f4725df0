"""One proxy a network namespace: a claim that the kernel lets go of when its process ends, however it ends.

The claim is a name among the abstract UNIX sockets, which belong to the network namespace as the rules do: two proxies
in two namespaces do not see each other, two in one namespace would undo each other's work for ever.
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType

NAME = "\0fairway-proxy"
"""Of the socket, as `socket.connect` takes it."""
_ASKED = 4096
"""How often others can ask whose it is while nobody takes their connections up."""
_CREDENTIALS = struct.Struct("=iII")


class Taken(Exception):
    """Another process has it; ``process`` is its id, 0 when it cannot be seen from here."""

    def __init__(self, process: int) -> None:
        who = f"process {process}" if process else "a process of another container"
        super().__init__(f"another Fairway proxy works in this network namespace already: {who}")
        self.process = process


class Claim:
    """Taken when it is made (raises `Taken`), given back by `close` or at the end of a `with`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(NAME)
            self._socket.listen(_ASKED)
        except OSError:
            self._socket.close()
            raise Taken(_holder()) from None

    @property
    def socket(self) -> socket.socket:
        """Where others come to, who ask whose it is or give orders (`fairway.proxy.door`)."""
        return self._socket

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()


def _holder() -> int:
    """The process at the other end of the name; 0 when it has just left or lives in another PID namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(NAME)
            found: bytes = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
        return int(_CREDENTIALS.unpack(found)[0])
