"""One node with a real `fairway proxy` process, a real API server beside it, and pods that answer.

API server (a thread of the test, in the node's namespace) ◀── https ── fairway proxy (a process in it) ──▶ kernel
pods web-1, web-2, shell                                                              outside
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fairway.apiserver.server import ApiServer
from fairway.apiserver.settings import Settings
from fairway.client.http import Client
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.kernel.command import run
from fairway.kernel.namespaces import NetworkNamespace
from fairway.kernel.nfnetlink import Netfilter
from fairway.objects.codec import Document
from fairway.objects.resources import ENDPOINT_SLICES, EVENTS_V1, NODES, SECRETS, SERVICE_CIDRS, SERVICES

NODE, NODE_ADDRESS = "node-1", "172.30.0.1"
VIP = "10.96.7.7"
PATIENCE = 30.0
_NFTABLES_GROUP = 7
OTHER_VERSION = "import fairway; fairway.__version__ = {!r}; from fairway.cli.main import main; main()"

T = TypeVar("T")


class Api:
    """An API server in a thread of the test, inside a namespace, with its state in memory or in a directory."""

    def __init__(self, place: NetworkNamespace, directory: Path, port: int = 6443) -> None:
        self._place = place
        self._settings = Settings(data_directory=directory, storage="memory", port=port)
        # A Runner, not a bare loop: whoever is just connecting when the server ends is let go in order, too.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._work, name="api")
        self._up = threading.Event()
        self._end = asyncio.Event()
        self._client: Client | None = None
        self.kubeconfig = directory / "admin.conf"

    def __enter__(self) -> Api:
        self._thread.start()
        assert self._up.wait(PATIENCE), "the API server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(PATIENCE)

    def call(self, work: Callable[[Client], Awaitable[T]]) -> T:
        async def answer() -> T:
            assert self._client is not None
            return await work(self._client)

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(PATIENCE)

    def node(self, **labels: str) -> None:
        """The Node object of the node under test."""
        addresses = [{"type": "InternalIP", "address": NODE_ADDRESS}]
        document = _object("v1", "Node", "", NODE, labels=labels)
        self.call(lambda client: client.create(NODES, document))
        self.call(lambda client: client.patch_status(NODES, NODE, {"status": {"addresses": addresses}}))

    def service(
        self,
        name: str,
        address: str = VIP,
        *,
        protocol: str = "TCP",
        node_port: int = 0,
        sticky: bool = False,
        external_ips: Sequence[str] = (),
        **annotations: str,
    ) -> None:
        port: Document = {"port": 80, "targetPort": 8080, "protocol": protocol}
        if node_port:
            port["nodePort"] = node_port
        affinity = "ClientIP" if sticky else "None"
        kind = "NodePort" if node_port else "ClusterIP"
        spec: Document = {"clusterIP": address, "type": kind, "ports": [port], "sessionAffinity": affinity}
        if external_ips:
            spec["externalIPs"] = list(external_ips)
        notes = {f"fairway.dev/{word.replace('_', '-')}": text for word, text in annotations.items()}
        document = {**_object("v1", "Service", "default", name, annotations=notes), "spec": spec}
        self.call(lambda client: client.create(SERVICES, document))

    def endpoints(self, service: str, *addresses: str, protocol: str = "TCP") -> None:
        """The one EndpointSlice of a Service, made or replaced."""
        document = {
            **_object("discovery.k8s.io/v1", "EndpointSlice", "default", f"{service}-1"),
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": protocol}],
            "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
        }
        document["metadata"]["labels"] = {"kubernetes.io/service-name": service}

        async def write(client: Client) -> None:
            found = await client.list(ENDPOINT_SLICES, "default")
            known = any(one.metadata.name == f"{service}-1" for one in found.items)
            await (client.replace if known else client.create)(ENDPOINT_SLICES, document)

        self.call(write)

    def annotate(self, service: str, **annotations: str | None) -> None:
        """What a Service asks of Fairway from now on; None takes an annotation away."""
        notes = {f"fairway.dev/{word.replace('_', '-')}": text for word, text in annotations.items()}
        patch = {"metadata": {"annotations": notes}}
        self.call(lambda client: client.patch(SERVICES, service, patch, "default"))

    def secret(self, name: str, data: dict[str, str], *, replace: bool = False) -> None:
        document = {**_object("v1", "Secret", "default", name), "type": "kubernetes.io/tls", "data": data}
        self.call(lambda client: (client.replace if replace else client.create)(SECRETS, document))

    def events(self) -> set[tuple[str, str, str]]:
        """What proxies have told: of whom, the reason, the sentence."""

        async def read(client: Client) -> set[tuple[str, str, str]]:
            names = [one.metadata.name for one in (await client.list(EVENTS_V1, "default")).items]
            events = [await client.get_document(EVENTS_V1, name, "default") for name in names]
            ours = [one for one in events if one["reportingController"] == "fairway-proxy"]
            return {(one["regarding"]["name"], one["reason"], one.get("note", "")) for one in ours}

        return self.call(read)

    def service_cidr(self, name: str, *cidrs: str) -> None:
        document = {**_object("networking.k8s.io/v1", "ServiceCIDR", "", name), "spec": {"cidrs": list(cidrs)}}
        self.call(lambda client: client.create(SERVICE_CIDRS, document))

    def delete(self, service: str) -> None:
        self.call(lambda client: client.delete(SERVICES, service, "default"))

    def _work(self) -> None:
        self._place.enter()
        with self._runner as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with ApiServer(self._settings) as server:
            connection = load_kubeconfig([server.kubeconfig])
            async with Client(NetworkTransport(connection)) as self._client:
                self._up.set()
                await self._end.wait()


def _object(version: str, kind: str, namespace: str, name: str, **metadata: Any) -> Document:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, **metadata}}


@dataclass
class Proxy:
    """A running `fairway proxy`."""

    process: subprocess.Popen[bytes]
    place: NetworkNamespace
    log: Path
    _ended: bool = field(default=False)

    def said(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As an init system does it; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if not self._ended:
            self._ended = True
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def get(self, path: str, port: int = 10249) -> tuple[int, str]:
        """Code and body of a page that it serves."""
        with self.place.socket() as made:
            made.settimeout(PATIENCE)
            made.connect(("127.0.0.1", port))
            made.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            answer = b"".join(iter(lambda: made.recv(65536), b"")).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/status")[1])
        return found


@contextmanager
def proxy(
    place: NetworkNamespace, kubeconfig: Path, log: Path, *flags: str, ready: bool = True, version: str = ""
) -> Iterator[Proxy]:
    """A proxy process in that place, which the kernel has obeyed once when ``ready``; by default of this version."""
    read, write = os.pipe()
    told = (f"--kubeconfig={kubeconfig}", f"--hostname-override={NODE}", f"--ready-fd={write}")
    nowhere = () if any(one.startswith("--state-file") for one in flags) else ("--state-file=",)
    arguments = ["proxy", *told, *nowhere, *flags]
    with log.open("ab") as output:
        begin = ["-c", OTHER_VERSION.format(version)] if version else ["-m", "fairway.cli.main"]
        command = [sys.executable, *begin, *arguments]
        process = place.run(lambda: subprocess.Popen(command, stdout=output, stderr=output, pass_fds=[write]))
    os.close(write)
    running = Proxy(process, place, log)
    try:
        with os.fdopen(read, "rb") as pipe:
            if ready:
                assert select.select([pipe], [], [], PATIENCE)[0], f"the proxy is not ready: {running.said()}"
                assert pipe.readline() == b"ready\n", running.said()
        yield running
    finally:
        running.kill()


def until(place: NetworkNamespace, true: Callable[[], bool], what: str) -> float:
    """Wait until it is so, looking again after every change of nf_tables there; returns the seconds it took."""
    started = time.monotonic()
    with place.run(lambda: Netfilter(groups=(_NFTABLES_GROUP,))) as changes:
        while not true():
            left = started + PATIENCE - time.monotonic()
            assert left > 0, f"still not so after {PATIENCE:g} s: {what}"
            try:
                changes.notifications(min(left, 0.2))
            except OSError as error:  # more news than the kernel keeps for us: look again
                if error.errno != errno.ENOBUFS:
                    raise
    return time.monotonic() - started


class Conversation:
    """A TCP connection from one place through an address to a server of the test's own in other places.

    It stays open for as long as the ``with`` block, and ``still_works`` sends a line forth and back.
    """

    def __init__(self, client: NetworkNamespace, address: tuple[str, int], servers: Iterable[NetworkNamespace]) -> None:
        self._listeners = [_listener(place) for place in servers]
        try:
            self._client = client.socket()
            self._client.settimeout(PATIENCE)
            self._client.connect(address)
            ready = select.select(self._listeners, [], [], PATIENCE)[0]
            self._server, _ = ready[0].accept()
            self._close(*self._listeners)
        except BaseException:
            self._close(*self._listeners, self._client)
            raise
        self._server.settimeout(PATIENCE)

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(self._client, self._server)

    def still_works(self) -> bool:
        for one, other in ((self._client, self._server), (self._server, self._client)):
            one.sendall(b"still there?")
            if other.recv(64) != b"still there?":
                return False
        return True

    def client_is_refused(self) -> bool:
        """Whether what the client sends is answered by a reset, not by silence."""
        self._client.sendall(b"still there?")
        try:
            return self._client.recv(64) == b""
        except ConnectionResetError:
            return True

    @staticmethod
    def _close(*sockets: socket.socket) -> None:
        for one in sockets:
            one.close()


def _listener(place: NetworkNamespace, port: int = 8080) -> socket.socket:
    made = place.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("0.0.0.0", port))
    made.listen()
    return made


def nft(place: NetworkNamespace, *arguments: str) -> str:
    return run(["nft", *arguments], namespace=place)
