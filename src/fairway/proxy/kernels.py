"""How a machine is opened for each mode, by the mode's name: everybody who programs a kernel does it through this.

Everything belongs to the network namespace of the thread that opens it and calls it. A mode's kernel is loaded when it
is opened: see `fairway.modes.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from fairway.kernel.contract import Opened
from fairway.modes.registry import USERSPACE
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration, duration
from fairway.relay.kernel import Relays, add_addresses, relaying
from fairway.relay.relay import Relay

Open = Callable[[KubeProxyConfiguration], AbstractContextManager[Opened]]


def _nftables(document: KubeProxyConfiguration) -> AbstractContextManager[Opened]:
    from fairway.kernel.nftables_mode import open_nftables

    return open_nftables(document.nftables.own_tables)


def _iptables(document: KubeProxyConfiguration) -> AbstractContextManager[Opened]:
    from fairway.kernel.iptables_mode import open_iptables_mode
    from fairway.modes.iptables import Options

    written = document.iptables
    options = Options(flat=written.flat, masquerade_bit=written.masquerade_bit, count=True)
    return open_iptables_mode(options, written.variant)


def _ipvs(document: KubeProxyConfiguration) -> AbstractContextManager[Opened]:
    from fairway.kernel.ipvs_mode import Tuning, open_ipvs
    from fairway.modes.ipvs import Options

    told = document.ipvs
    options = Options(told.scheduler or "rr", masquerade_bit=document.iptables.masquerade_bit)
    seconds = (int(duration(one)) for one in (told.tcp_timeout, told.tcp_fin_timeout, told.udp_timeout))
    tcp, tcp_fin, udp = seconds
    tuning = Tuning(
        strict_arp=told.strict_arp, tcp=tcp, tcp_fin=tcp_fin, udp=udp, leave_alone=tuple(told.exclude_cidrs)
    )
    return open_ipvs(options, tuning)


KERNELS: Mapping[str, Open] = {
    "nftables": _nftables,
    "iptables": _iptables,
    "ipvs": _ipvs,
    USERSPACE: _nftables,
}
"""One for each mode of `fairway.modes.registry`; for the userspace mode, the one that leads clients to the relay."""


OURS_ALONE = "nftables"
"""The mode whose state nobody else could have made: the chains of the iptables mode have kube-proxy's names."""


@contextmanager
def open_mode(
    name: str, document: KubeProxyConfiguration = DEFAULTS, make_relay: Callable[..., Relays] = Relay
) -> Iterator[Opened]:
    """This thread's network namespace for a mode of `fairway.modes.registry`; the document says how the mode is to be.

    ``make_relay`` makes the relay, by default one in this process; ``prepare`` is what it does before the first
    listener. Raises `fairway.kernel.contract.Unsuitable` when the ``with`` block begins and this machine cannot do it.
    """
    with (
        KERNELS[name](document) as carrier,
        relaying(carrier, name, make_relay(prepare=add_addresses)) as opened,
    ):
        yield opened
