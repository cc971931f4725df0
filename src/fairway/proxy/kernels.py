"""How a machine is opened for each mode, by the mode's name: everybody who programs a kernel does it through this.

Everything belongs to the network namespace of the thread that opens it and calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from fairway.kernel.contract import Opened
from fairway.kernel.nftables_mode import open_nftables
from fairway.proxy.document import DEFAULTS, KubeProxyConfiguration

KERNELS: Mapping[str, Callable[[KubeProxyConfiguration], AbstractContextManager[Opened]]] = {
    "nftables": lambda _: open_nftables(),
}
"""One for each mode of `fairway.modes.registry`."""


def open_mode(name: str, document: KubeProxyConfiguration = DEFAULTS) -> AbstractContextManager[Opened]:
    """This thread's network namespace for a mode of `fairway.modes.registry`; the document says how the mode is to be.

    Raises `fairway.kernel.contract.Unsuitable` when the ``with`` block begins and this machine cannot do it.
    """
    return KERNELS[name](document)
