"""Which address a pod of the lab gets: the next of its node's network that nobody has. Pure.

An address that has just become free is given out last, so that a packet for the old pod does not find a new one.
"""

from __future__ import annotations

from fairway.lab.errors import LabError
from fairway.lab.topology import LabNode, Topology


class PodAddresses:
    """The addresses in use, by node and by pod (``owner``: the pod's uid)."""

    def __init__(self, topology: Topology) -> None:
        self._nodes = {node.name: _NodeAddresses(node) for node in topology.nodes}

    def reserve(self, node: str, owner: str, address: str) -> bool:
        """Give a pod the address it had before; False if it is not this node's, or another pod has it."""
        return self._nodes[node].reserve(owner, address)

    def allocate(self, node: str, owner: str) -> str:
        """The pod's address, a new one if it has none; raises `LabError` when the node has none left."""
        return self._nodes[node].allocate(owner)

    def release(self, node: str, owner: str) -> None:
        self._nodes[node].release(owner)


class _NodeAddresses:
    def __init__(self, node: LabNode) -> None:
        self._node = node
        # In the order in which they became free.
        self._free: dict[str, None] = dict.fromkeys(node.pod_addresses)
        self._taken: dict[str, str] = {}

    def reserve(self, owner: str, address: str) -> bool:
        if self._taken.get(owner) == address:
            return True
        if owner in self._taken or address not in self._free:
            return False
        del self._free[address]
        self._taken[owner] = address
        return True

    def allocate(self, owner: str) -> str:
        if owner not in self._taken:
            if not self._free:
                raise LabError(
                    f"{self._node.name} has no address left for another pod: {len(self._taken)} pods "
                    f"fill its network {self._node.pod_cidr}"
                )
            self.reserve(owner, next(iter(self._free)))
        return self._taken[owner]

    def release(self, owner: str) -> None:
        address = self._taken.pop(owner, None)
        if address is not None:
            self._free[address] = None
