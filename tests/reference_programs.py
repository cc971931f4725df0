"""The reference's own programs, for tests that have a folder with them: FAIRWAY_KUBE_BINARIES names it.

kube-apiserver runs on an etcd of its own, on the loopback of the machine or of a network namespace.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fairway.client.http import Client
from fairway.client.kubeconfig import load_kubeconfig
from fairway.client.network import NetworkTransport
from fairway.kernel.namespaces import NetworkNamespace
from tests.etcd_members import Member, etcd_members
from tests.free_ports import free_ports

VARIABLE = "FAIRWAY_KUBE_BINARIES"
SERVICE_NETWORK = "10.96.0.0/16"
_START_SECONDS = 60.0
_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: real, cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {certificate}}}}}]
users: [{{name: real, user: {{tokenFile: {token}}}}}]
contexts: [{{name: real, context: {{cluster: real, user: real}}}}]
current-context: real
"""


def program(name: str) -> Path:
    """The program of that name; skips the test where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with {name}")
    path = Path(folder) / name
    if not os.access(path, os.X_OK):
        pytest.skip(f"{VARIABLE}: there is no {name} in {folder}")
    return path


def version(path: Path) -> tuple[int, int]:
    """Major and minor version, as the program tells them."""
    told = subprocess.run([path, "--version"], capture_output=True, check=True, text=True, timeout=30).stdout
    found = re.search(r"v(\d+)\.(\d+)", told)
    assert found, told
    return int(found[1]), int(found[2])


T = TypeVar("T")


class Inside(Protocol):
    """Where something is done: in a namespace, or here."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


def _here(work: Callable[[], T], /) -> T:
    return work()


class KubeApiServer:
    """One kube-apiserver, which can be killed and started again with what its etcd holds.

    Its one user is the administrator, by the token in ``token``; a test may write another one into it.
    """

    def __init__(self, path: Path, directory: Path, member: Member, inside: Inside) -> None:
        self.version = version(path)
        self.token, self.kubeconfig = directory / "token", directory / "kubeconfig"
        self._path, self._directory, self._member, self._inside = path, directory, member, inside
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "kube-apiserver.log"
        self._key = directory / "accounts.key"
        _write_key(self._key)

    def start(self, token: str = "first") -> None:
        """Start it, and wait until it answers; ``token`` is the one that it takes."""
        users = self._directory / "users.csv"
        users.write_text(f"{token},admin,1,system:masters\n")
        flags = {
            "etcd-servers": self._member.url,
            "secure-port": self._port,
            "bind-address": "127.0.0.1",
            "cert-dir": self._directory / "certificates",
            "token-auth-file": users,
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": SERVICE_NETWORK,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._key,
            "service-account-signing-key-file": self._key,
            "allow-privileged": "true",
        }
        command = [str(self._path), *(f"--{name}={value}" for name, value in flags.items())]
        with self._log.open("ab") as log:
            self._process = self._inside(lambda: subprocess.Popen(command, stdout=log, stderr=log))
        self._inside(lambda: self._wait_until_ready(token))

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def client(self) -> Client:
        """A client whose token is read from the file again and again."""
        return Client(NetworkTransport(load_kubeconfig([self.kubeconfig])))

    @property
    def streams(self) -> bool:
        """Whether a list comes as a stream without anybody's doing: since 1.34, on an etcd that tells its progress."""
        with contextlib.closing(HTTPConnection(urlsplit(self._member.url).netloc, timeout=10)) as connection:
            connection.request("GET", "/version")
            told = msgspec.json.decode(connection.getresponse().read())["etcdserver"]
        etcd = tuple(map(int, told.split(".")))
        return self.version >= (1, 34) and (etcd >= (3, 5, 13) or (3, 4, 31) <= etcd < (3, 5))

    def forget(self) -> None:
        """Make its etcd forget every revision but the newest."""
        filled = self._etcd("put", key=_text("fairway/test"), value=_text("filled"))
        self._etcd("compaction", revision=filled["header"]["revision"])

    def remove(self, kind: str, name: str) -> None:
        """Remove an object of namespace ``default`` behind the server's back, and whatever is older than that."""
        for key in (f"/registry/{kind}/specs/default/{name}", f"/registry/{kind}/default/{name}"):
            self._etcd("deleterange", key=_text(key))
        self.forget()

    def _etcd(self, what: str, **request: Any) -> dict[str, Any]:
        with contextlib.closing(HTTPConnection(urlsplit(self._member.url).netloc, timeout=10)) as connection:
            connection.request("POST", f"/v3/kv/{what}", msgspec.json.encode(request))
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status == 200, body
        found: dict[str, Any] = msgspec.json.decode(body)
        return found

    def _wait_until_ready(self, token: str) -> None:
        give_up = time.monotonic() + _START_SECONDS
        pause = contextlib.suppress(subprocess.TimeoutExpired)
        while not self._answers("GET", "/readyz", token, (200,)):
            assert self._process
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < give_up, f"not ready after {_START_SECONDS:g} s: {self._log.read_text()[-3000:]}"
            with pause:
                self._process.wait(0.1)
        # Made soon by the server itself, or now.
        self._answers("POST", "/api/v1/namespaces", token, (201, 409), {"metadata": {"name": "default"}})
        if not self.token.exists():
            self.token.write_text(token)
        certificate = self._directory / "certificates" / "apiserver.crt"
        self.kubeconfig.write_text(_KUBECONFIG.format(port=self._port, certificate=certificate, token=self.token))

    def _answers(self, method: str, path: str, token: str, codes: tuple[int, ...], document: Any = None) -> bool:
        context = ssl._create_unverified_context()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = msgspec.json.encode(document) if document else b""
        with contextlib.closing(HTTPSConnection("127.0.0.1", self._port, timeout=5, context=context)) as connection:
            try:
                connection.request(method, path, body, headers)
                return connection.getresponse().status in codes
            except OSError:
                return False


@contextlib.contextmanager
def kube_apiserver(directory: Path, place: NetworkNamespace | None = None) -> Iterator[KubeApiServer]:
    """A kube-apiserver that answers, in that place or here; skips the test where there is none."""
    path, inside = program("kube-apiserver"), place.run if place else _here
    with contextlib.ExitStack() as stack:
        [member] = inside(lambda: stack.enter_context(etcd_members(directory / "etcd")))
        inside(member.wait_until_ready)
        server = KubeApiServer(path, directory, member, inside)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
