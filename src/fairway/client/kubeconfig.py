"""Where the API server is and who we are: kubeconfig files, and the files of a pod (in-cluster configuration)."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml

from fairway.objects.codec import DecodeError, read_yaml, view

T = TypeVar("T")

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SPACE, _DELETE = 0x20, 0x7F


class KubeconfigError(ValueError):
    """A kubeconfig that does not say how to connect; names the file and the field."""

    def __init__(self, source: str, path: str, problem: str) -> None:
        super().__init__(f"{source}: {path}: {problem}" if path else f"{source}: {problem}")


@dataclass(frozen=True)
class Connection:
    """One server and the credentials for it. Certificates and keys are PEM; empty means: none.

    ``source`` is the file it came from, for error messages; ``namespace`` the one to use when the user names none.
    """

    server: str
    certificate_authority: bytes = b""
    client_certificate: bytes = field(default=b"", repr=False)
    client_key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    insecure: bool = False
    tls_server_name: str = ""
    namespace: str = "default"
    source: str = "kubeconfig"
    token_file: Path | None = None
    """Where ``token`` is from; whoever uses it long reads it again, because it is replaced before it expires."""
    others: tuple[str, ...] = ()
    """More servers of the same cluster, for when ``server`` does not answer."""

    @property
    def each(self) -> Sequence[Connection]:
        """One connection for each server."""
        return [replace(self, server=server, others=()) for server in (self.server, *self.others)]


def load_kubeconfig(files: Iterable[str | Path], context: str = "") -> Connection:
    """The connection that ``context`` names, or else the current context of the files.

    Several files are merged as kubectl does: what the first one says counts, and files that do not exist are left
    out, unless none exists. Raises `KubeconfigError`.
    """
    paths = [Path(file) for file in files]
    texts = [(path, text) for path in paths if (text := _read(path)) is not None]
    if not texts:
        raise KubeconfigError(", ".join(map(str, paths)) or "kubeconfig", "", "no such file")
    return _Kubeconfig([(path, _parse(path, text)) for path, text in texts]).connection(context)


def default_files(environment: Mapping[str, str]) -> list[Path]:
    """The files kubectl would read: those of ``KUBECONFIG``, or else ``~/.kube/config``."""
    if named := environment.get("KUBECONFIG", ""):
        return [Path(part) for part in named.split(os.pathsep) if part]
    return [Path(environment.get("HOME", "/")) / ".kube" / "config"]


def in_cluster(environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> Connection | None:
    """The connection of a pod, from its service account's files; None outside of a cluster."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    token, authority = _read(directory / "token"), _read(directory / "ca.crt")
    if not host or not port or token is None:
        return None
    namespace = (_read(directory / "namespace") or b"default").decode(errors="replace").strip()
    host = f"[{host}]" if ":" in host else host
    server = f"https://{host}:{port}"
    try:
        check_server(server)
    except ValueError as error:
        raise KubeconfigError("in-cluster", "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT", str(error)) from None
    return Connection(
        server,
        authority or b"",
        token=_checked("in-cluster", "token", token),
        namespace=namespace,
        source="in-cluster",
        token_file=directory / "token",
    )


def check_server(address: str) -> None:
    """Raises `ValueError` with words for what is no address of an API server."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"must be a URL such as https://10.0.0.1:6443 or http://127.0.0.1:8080, not {address!r}")


def _is_host(name: str) -> bool:
    try:
        return bool(name.encode("idna")) and name.isprintable() and " " not in name
    except UnicodeError:
        return False


def read_token(data: bytes) -> str:
    """The token that a file holds; raises `ValueError` with words for what no header of a request can carry."""
    found = data.strip()
    if not all(_SPACE < byte < _DELETE for byte in found):
        raise ValueError("holds no token: letters, digits and signs of ASCII, without spaces")
    return found.decode("ascii")


def find_connection(file: Path | None, environment: Mapping[str, str]) -> Connection:
    """The connection a program uses: the file its user names, else a pod's own, else where kubectl would look."""
    if file is not None:
        return load_kubeconfig([file])
    return in_cluster(environment) or load_kubeconfig(default_files(environment))


def write_kubeconfig(connection: Connection, *, name: str = "fairway") -> str:
    """A kubeconfig file for the connection, with certificates and keys inside it. The caller keeps it private."""
    cluster: dict[str, Any] = {"server": connection.server}
    user: dict[str, Any] = {}
    for owner, key, value in (
        (cluster, "certificate-authority-data", connection.certificate_authority),
        (user, "client-certificate-data", connection.client_certificate),
        (user, "client-key-data", connection.client_key),
    ):
        if value:
            owner[key] = base64.b64encode(value).decode()
    if connection.insecure:
        cluster["insecure-skip-tls-verify"] = True
    if connection.tls_server_name:
        cluster["tls-server-name"] = connection.tls_server_name
    if connection.token:
        user["token"] = connection.token
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": connection.namespace}}],
    }
    return yaml.safe_dump(document, sort_keys=False)


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    exec: Any = None
    auth_provider: Any = None
    username: str = ""
    password: str = ""


class _Context(msgspec.Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User | None = None


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _File(msgspec.Struct, frozen=True, rename="kebab"):
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


class _Kubeconfig:
    """Parsed files, the first of which counts most; each entry remembers the file it is from."""

    def __init__(self, files: list[tuple[Path, _File]]) -> None:
        self._files = files
        self._clusters = {c.name: (path, c.cluster) for path, file in reversed(files) for c in file.clusters or ()}
        self._users = {u.name: (path, u.user or _User()) for path, file in reversed(files) for u in file.users or ()}
        self._contexts = {c.name: (path, c.context) for path, file in reversed(files) for c in file.contexts or ()}

    def connection(self, name: str) -> Connection:
        first = self._files[0][0]
        name = name or next((file.current_context for _, file in self._files if file.current_context), "")
        if not name:
            raise KubeconfigError(str(first), "current-context", "is not set")
        path, context = _entry(self._contexts, name, first, "contexts")
        cluster_path, cluster = _entry(self._clusters, context.cluster, path, "clusters")
        user_path, user = _entry(self._users, context.user, path, "users") if context.user else (path, _User())
        at_cluster, at_user = f"clusters[{context.cluster}]", f"users[{context.user}]"
        _refuse_unsupported(cluster_path, at_cluster, cluster, user_path, at_user, user)
        cluster_data = _Data(cluster_path, at_cluster)
        user_data = _Data(user_path, at_user)
        certificate = user_data.read("client-certificate", user.client_certificate_data, user.client_certificate)
        key = user_data.read("client-key", user.client_key_data, user.client_key)
        if bool(certificate) != bool(key):
            missing = "client-key" if certificate else "client-certificate"
            raise KubeconfigError(str(user_path), f"{at_user}.{missing}", "is missing; a certificate needs its key")
        written = user.token.encode() or user_data.read("tokenFile", "", user.token_file)
        token = _checked(str(user_path), f"{at_user}.{'token' if user.token else 'tokenFile'}", written)
        return Connection(
            cluster.server,
            cluster_data.read(
                "certificate-authority", cluster.certificate_authority_data, cluster.certificate_authority
            ),
            certificate,
            key,
            token,
            cluster.insecure_skip_tls_verify,
            cluster.tls_server_name,
            context.namespace or "default",
            str(path),
            user_path.parent / user.token_file if user.token_file and not user.token else None,
        )


def _checked(source: str, path: str, token: bytes) -> str:
    try:
        return read_token(token)
    except ValueError as error:
        raise KubeconfigError(source, path, str(error)) from None


@dataclass(frozen=True)
class _Data:
    """Reads what may be inline (base64) or in another file, relative to this one."""

    path: Path
    at: str

    def read(self, name: str, inline: str, file: str) -> bytes:
        if inline:
            try:
                return base64.b64decode("".join(inline.split()), validate=True)
            except binascii.Error as error:
                raise KubeconfigError(str(self.path), f"{self.at}.{name}-data", f"not base64: {error}") from None
        if not file:
            return b""
        target = self.path.parent / file
        found = _read(target)
        if found is None:
            raise KubeconfigError(str(self.path), f"{self.at}.{name}", f"{target}: no such file")
        return found


def _entry(entries: Mapping[str, tuple[Path, T]], name: str, path: Path, where: str) -> tuple[Path, T]:
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise KubeconfigError(str(path), where, f"there is no entry {name!r}; there are: {known}")
    return entries[name]


def _refuse_unsupported(
    cluster_path: Path, at_cluster: str, cluster: _Cluster, user_path: Path, at_user: str, user: _User
) -> None:
    try:
        check_server(cluster.server)
    except ValueError as error:
        raise KubeconfigError(str(cluster_path), f"{at_cluster}.server", str(error)) from None
    if cluster.tls_server_name and not _is_host(cluster.tls_server_name):
        problem = f"must be the name of a host, not {cluster.tls_server_name!r}"
        raise KubeconfigError(str(cluster_path), f"{at_cluster}.tls-server-name", problem)
    if cluster.proxy_url:
        raise KubeconfigError(str(cluster_path), f"{at_cluster}.proxy-url", "is not supported")
    unsupported = {
        "exec": user.exec,
        "auth-provider": user.auth_provider,
        "username": user.username,
        "password": user.password,
    }
    for name, value in unsupported.items():
        if value:
            problem = "is not supported; use a client certificate or a token"
            raise KubeconfigError(str(user_path), f"{at_user}.{name}", problem)


def _parse(path: Path, text: bytes) -> _File:
    try:
        documents = read_yaml(text)
    except DecodeError as error:
        raise KubeconfigError(str(path), error.path, error.problem) from None
    if len(documents) != 1:
        raise KubeconfigError(str(path), "", f"expected one YAML document, found {len(documents)}")
    try:
        return view(documents[0], _File)
    except DecodeError as error:
        raise KubeconfigError(str(path), error.path, error.problem) from None


def _read(path: Path) -> bytes | None:
    """The file's contents; None when there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KubeconfigError(str(path), "", f"cannot be read: {(error.strerror or str(error)).lower()}") from None
