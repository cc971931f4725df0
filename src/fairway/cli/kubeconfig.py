"""``fairway kubeconfig``: a way into the cluster for somebody else than the administrator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError


def kubeconfig(
    *,
    user: str = "",
    group: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    node: str = "",
    data_dir: Path = Path("/var/lib/fairway"),
    server: str = "",
    out: Annotated[Path | None, Parameter(name=("--out", "-o"))] = None,
) -> int:
    """Write a kubeconfig with a new client certificate for a user, signed by the API server's authority.

    Run it where the data directory is. The certificate is good for a year and cannot be taken back; what
    its user may do can, by changing the roles.

    Example: fairway kubeconfig --user ann --group fairway:viewers

    Parameters
    ----------
    user
        The user's name.
    group
        A group of the user; may be given several times. fairway:viewers reads everything but Secrets.
    node
        Instead of --user and --group: the proxy on the node of this name.
    data_dir
        The API server's data directory.
    server
        The URL of the API server; by default the one in admin.conf.
    out
        The file to write, readable only for its owner; standard output by default.
    """
    from fairway.apiserver.access.roles import NODE_PREFIX, NODES
    from fairway.apiserver.certificates import Authority, CertificateError, write_private
    from fairway.client.kubeconfig import Connection, load_kubeconfig, write_kubeconfig

    if bool(user) == bool(node) or (node and group):
        raise CommandError("give either --user, perhaps with --group, or --node alone", EXIT_USAGE)
    if not (data_dir / "pki" / "ca.key").exists():
        raise CommandError(f"there is no authority in {data_dir}; start `fairway up` or `fairway apiserver` once")
    name, groups = (f"{NODE_PREFIX}{node}", (NODES,)) if node else (user, tuple(group))
    try:
        authority = Authority(data_dir / "pki")
        url = server or load_kubeconfig([data_dir / "admin.conf"]).server
        identity = authority.client(name, groups)
        text = write_kubeconfig(Connection(url, authority.certificate, identity.certificate, identity.key))
        if out is None:
            print(text, end="")
        else:
            write_private(out, text.encode())
    except CertificateError as error:
        raise CommandError(str(error)) from None
    except ValueError as error:
        raise CommandError(f"no certificate can be made for {name!r}: {error}", EXIT_USAGE) from None
    except OSError as error:
        raise CommandError(f"cannot write {out}: {error.strerror}") from None
    return 0
