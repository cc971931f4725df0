"""Where a command reads its cluster from: files, a kubeconfig, or whatever runs on this machine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter

from fairway.cli.output import EXIT_USAGE, CommandError
from fairway.client.kubeconfig import default_files, load_kubeconfig
from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.model.address import canonical, canonical_network, is_loopback
from fairway.objects.codec import DecodeError, Document, read_yaml

if TYPE_CHECKING:
    from fairway.diagnose.told import Told
    from fairway.lab.network import Network

DEFAULT_SERVICE_NETWORK = "10.96.0.0/16"
UP_KUBECONFIG = Path("/var/lib/fairway/admin.conf")


@Parameter(name="*")
@dataclass(frozen=True)
class Source:
    """Which cluster a command is about: the options that all explaining commands share."""

    filename: Annotated[list[Path] | None, Parameter(name=("--filename", "-f"), allow_leading_hyphen=True)] = None
    """Read the objects from YAML or JSON files instead of a cluster, - for standard input; may be repeated."""
    kubeconfig: Path | None = None
    """The cluster to read; by default $KUBECONFIG, then a running lab, then a running `fairway up`."""
    service_cluster_ip_range: str = DEFAULT_SERVICE_NETWORK
    """The network of the cluster IPs; one of each family, with a comma between them."""
    cluster_cidr: str = ""
    """The network of the pods; one of each family, with a comma between them. By default the Nodes' podCIDRs."""

    def read(self) -> Cluster:
        """The cluster. Raises `CommandError` when it cannot be read."""
        networks = Networks(
            services=_networks("--service-cluster-ip-range", self.service_cluster_ip_range),
            pods=_networks("--cluster-cidr", self.cluster_cidr),
        )
        if not self.filename:
            cluster = asyncio.run(_from_api(find_kubeconfigs(self.kubeconfig), networks))
            if self._nothing_said:
                for told in self._ask_proxies(cluster):
                    cluster.told[told.node.name], cluster.modes[told.node.name] = told.node, told.mode
            return cluster
        try:
            return from_documents([one for file in self.filename for one in read_manifest(file)], networks)
        except DecodeError as error:
            raise CommandError(str(error), EXIT_USAGE) from None

    @property
    def _nothing_said(self) -> bool:
        return self.service_cluster_ip_range == DEFAULT_SERVICE_NETWORK and not self.cluster_cidr

    def _ask_proxies(self, cluster: Cluster) -> Iterator[Told]:
        """What the proxies on this machine are set to, those of a lab or that of `fairway up`, if they can be asked."""
        from fairway.diagnose.told import ask
        from fairway.modes.registry import MODES

        lab = self.lab()
        # An API server on this machine is most likely that of `fairway up`; the proxy says which node it is for.
        server = urlsplit(load_kubeconfig(find_kubeconfigs(self.kubeconfig)).server).hostname or ""
        here = server == "localhost" or (canonical(server) is not None and is_loopback(server))
        for name in cluster.nodes if lab or here else ():
            place = lab.place(name) if lab and any(one.name == name for one in lab.topology.nodes) else None
            if (
                (place or here)
                and (found := ask(place)) is not None
                and found.node.name == name
                and found.mode in MODES
            ):
                yield found

    def lab(self) -> Network | None:
        """The lab on this machine that the cluster is, if it is one."""
        from fairway.lab.network import Network
        from fairway.lab.state import State, names

        used = [] if self.filename else find_kubeconfigs(self.kubeconfig)
        for name in names():
            state = State(name)
            if any(file.absolute() == state.kubeconfig for file in used):
                return Network(state.topology())
        return None


DEFAULT_SOURCE = Source()


def read_manifest(file: Path) -> list[Document]:
    """The documents of a YAML or JSON file, ``-`` being standard input. Raises `CommandError`."""
    try:
        text = Path("/dev/stdin").read_text() if str(file) == "-" else file.read_text()
        return read_yaml(text, once=True)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", EXIT_USAGE) from None
    except (DecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: {error}", EXIT_USAGE) from None


def find_kubeconfigs(given: Path | None) -> list[Path]:
    """The kubeconfig files to use: the one given, $KUBECONFIG, a running lab's, a running `fairway up`'s."""
    if given is not None:
        return [given]
    if os.environ.get("KUBECONFIG"):
        return default_files(os.environ)
    if running := _running():
        return [running]
    raise CommandError(
        "no cluster to read: no --kubeconfig, no $KUBECONFIG, and neither a lab nor `fairway up` runs here.\n"
        "Start one (fairway lab up), or read files (-f objects.yaml).",
        EXIT_USAGE,
    )


def _running() -> Path | None:
    """The kubeconfig of what runs here: the only lab (or the one called ``lab``), else `fairway up`."""
    from fairway.lab.state import State, names

    labs = {name: State(name).kubeconfig for name in names() if State(name).kubeconfig.exists()}
    if len(labs) > 1 and "lab" not in labs:
        listed = "\n".join(f"--kubeconfig {file}" for file in labs.values())
        raise CommandError(f"several labs run here; say which:\n{listed}", EXIT_USAGE)
    found = labs.get("lab", next(iter(labs.values()), UP_KUBECONFIG))
    return found if found.exists() else None


async def _from_api(kubeconfigs: list[Path], networks: Networks) -> Cluster:
    from fairway.client.http import Client
    from fairway.client.network import NetworkTransport
    from fairway.diagnose.read import from_api

    async with Client(NetworkTransport(load_kubeconfig(kubeconfigs))) as client:
        return await from_api(client, networks)


def _networks(flag: str, texts: str) -> tuple[str, ...]:
    found = []
    for text in (part for part in texts.split(",") if part):
        network = canonical_network(text)
        if network is None:
            raise CommandError(f"{flag}: {text!r} is not a network in CIDR form, such as 10.96.0.0/16", EXIT_USAGE)
        found.append(network)
    return tuple(found)
