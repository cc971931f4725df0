"""The PROXY protocol: what a backend is told first, so that it knows the client behind the relay.

Versions 1 (a line of text) and 2 (binary), as haproxy's ``proxy-protocol.txt`` has them.
"""

from __future__ import annotations

import ipaddress
import struct

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_2_PROXY = 0x21
_STREAM = 0x01
_FAMILY = {4: 0x10, 6: 0x20}

Address = tuple[str, int]


def header(version: int, client: Address, destination: Address) -> bytes:
    """For a TCP connection of ``client`` to ``destination``; raises ValueError for another version than 1 and 2."""
    source, target = ipaddress.ip_address(client[0]), ipaddress.ip_address(destination[0])
    if version == 1:
        family = f"TCP{source.version}"
        return f"PROXY {family} {source} {target} {client[1]} {destination[1]}\r\n".encode()
    if version == 2:
        addresses = source.packed + target.packed + struct.pack("!HH", client[1], destination[1])
        kind = _FAMILY[source.version] | _STREAM
        return SIGNATURE + struct.pack("!BBH", _VERSION_2_PROXY, kind, len(addresses)) + addresses
    raise ValueError(f"there is no version {version} of the PROXY protocol")
