"""The least that a proxy takes for an API server: whole lists, and watches that say what they are told to.

Everything is bytes that were made before, so that what is measured is the proxy.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

_NOT_FOUND = (
    b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,'
    b'"message":"the made-up cluster has nothing under this path"}'
)
# What a server without streaming lists says: clients list then, as they always did.
_NO_INITIAL_EVENTS = (
    b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,'
    b'"message":"sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch"}'
)

# Until Kubernetes 1.21 EndpointSlices were asked for like this; what a ClusterIP needs of them was the same.
_BEFORE_1_21 = "/discovery.k8s.io/v1beta1/"
_NEW, _OLD = b'"apiVersion":"discovery.k8s.io/v1"', b'"apiVersion":"discovery.k8s.io/v1beta1"'


@dataclass(frozen=True)
class _Watch:
    """Who is told of changes, and whether in the words of old."""

    connection: socket.socket
    old: bool

    def say(self, event: bytes) -> float:
        told = event.replace(_NEW, _OLD, 1) if self.old else event
        line = b"%x\r\n%b\r\n" % (len(told), told)
        # Not afterwards: who is woken by it may run before we do, and be done by then.
        moment = time.perf_counter()
        self.connection.sendall(line)
        return moment


@dataclass
class ListServer:
    """Answers on a socket that listens already, in threads of its own, inside a ``with`` block."""

    listener: socket.socket
    lists: Mapping[str, bytes]
    """The body of each list, by the last word of its path; of one object by the last two (``nodes/NAME``)."""
    _watches: dict[str, _Watch] = field(default_factory=dict)
    _connections: set[socket.socket] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> ListServer:
        threading.Thread(target=self._accept, name="list-server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self.listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def send(self, plural: str, event: bytes, timeout: float = 10.0) -> float:
        """Say one line on the watch of a kind. Raises TimeoutError when nobody watches it.

        Returns the moment, by ``time.perf_counter``, from which on it could be heard.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: plural in self._watches, timeout):
                raise TimeoutError(f"the proxy does not watch {plural}")
            watch = self._watches[plural]
        return watch.say(event)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections.add(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection.makefile("rb") as requests:
            while line := requests.readline():
                length = 0
                while header := requests.readline().strip():
                    # Who asks and what else would be accepted makes no difference.
                    name, _, value = header.lower().partition(b":")
                    length = int(value) if name == b"content-length" else length
                requests.read(length)
                method, target = line.split()[0], urlsplit(line.split()[1].decode())
                self._answer(connection, method, target.path, parse_qs(target.query))

    def _answer(self, connection: socket.socket, method: bytes, path: str, query: Mapping[str, Sequence[str]]) -> None:
        if method == b"GET" and "sendInitialEvents" in query:
            _say(connection, b"422 Unprocessable Entity", _NO_INITIAL_EVENTS)
            return
        if method == b"GET" and "watch" in query:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            with self._changed:
                self._watches[path.rpartition("/")[2]] = _Watch(connection, _BEFORE_1_21 in path)
                self._changed.notify_all()
            return
        body = self._body(path) if method == b"GET" else None
        _say(connection, b"404 Not Found" if body is None else b"200 OK", _NOT_FOUND if body is None else body)

    def _body(self, path: str) -> bytes | None:
        words = path.rsplit("/", 2)
        found = self.lists.get("/".join(words[-2:]), self.lists.get(words[-1]))
        return found.replace(_NEW, _OLD) if found and _BEFORE_1_21 in path else found


def _say(connection: socket.socket, status: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    connection.sendall(head + body)
