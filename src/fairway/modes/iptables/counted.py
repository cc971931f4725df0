"""New connections of each frontend, from the counters of the rules that lead to it.

The nat table sees the first packet of each connection and no other, so what a frontend's rule has counted is how many
there were. One that nobody is forwarded to has its rule in the filter table, which sees who is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fairway.model.address import ANY
from fairway.model.view import FrontendKey
from fairway.modes.iptables import names as n
from fairway.modes.iptables.rules import parse
from fairway.modes.xtables import NAME_OF, Family

_BY_ADDRESS = {
    "nat": (n.SERVICES, n.TREES["nat", n.SERVICES]),
    "filter": (n.SERVICES, n.TREES["filter", n.SERVICES], n.EXTERNAL, n.TREES["filter", n.EXTERNAL]),
}
_BY_PORT = {
    "nat": (n.NODE_PORTS, n.TREES["nat", n.NODE_PORTS]),
    "filter": (n.EXTERNAL_NODE_PORTS, n.TREES["filter", n.EXTERNAL_NODE_PORTS]),
}
_ENDS = {"nat": ("KUBE-SVC-", "KUBE-SVL-", "KUBE-INT-", "KUBE-EXT-", "KUBE-FW-"), "filter": ("REJECT", "DROP")}
"""Where a frontend's rule leads."""


def counted(saved: str, family: Family) -> dict[FrontendKey, int]:
    """What `iptables-save --counters` prints, as new connections since each rule was made."""
    forwarded: Counter[FrontendKey] = Counter()
    refused: Counter[FrontendKey] = Counter()
    for table, chain, packets, rule in _counters(saved):
        by_port = chain.startswith(_BY_PORT.get(table, ()))
        parsed = parse(rule)
        if parsed.ports is None or not (by_port or chain.startswith(_BY_ADDRESS.get(table, ()))):
            continue
        if not parsed.target.startswith(_ENDS.get(table, ())):
            continue
        one = None if by_port else parsed.destination
        address = str(one.network_address) if one else ANY[NAME_OF[family]]
        found = forwarded if table == "nat" else refused
        found[FrontendKey(address, parsed.protocol.upper(), parsed.ports[0])] += packets
    return {**refused, **forwarded}


def _counters(saved: str) -> Iterator[tuple[str, str, int, str]]:
    """Table, chain, packets and rule of each line that may be a frontend's."""
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("[") and " --dport " in line:
            counts, _, rest = line.partition("] -A ")
            chain, _, rule = rest.partition(" ")
            yield table, chain, int(counts[1:].partition(":")[0]), rule
