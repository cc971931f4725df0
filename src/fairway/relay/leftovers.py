"""The relays that proxies have left in this thread's network namespace, as parts that can be removed."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.kernel.leftover_parts import Listed
from fairway.modes.iptables.leftovers import FAIRWAY
from fairway.relay.control import Ask, Channel, Figures, Hello, Welcome
from fairway.relay.process import PATIENCE_SECONDS, running, stop_all


def relays() -> Iterator[Listed]:
    """One part with all of them, if there is any; raises OSError."""
    found: dict[int, str] = {}
    for sock in running():
        channel = Channel(sock, PATIENCE_SECONDS)
        try:
            process = channel.ask(Hello(""), Welcome).process
            found[process] = _words(process, channel.ask(Ask(), Figures))
        finally:
            channel.close()
    if found:
        how = f"kill {' '.join(map(str, found))}"
        yield Listed("relay", (FAIRWAY,), "", "relay", tuple(found.values()), how, _stop, {})


def _words(process: int, figures: Figures) -> str:
    going_on = f"{figures.connections} connections, {figures.flows} UDP flows"
    return f"process {process} with {figures.listeners} listeners, {going_on}"


def _stop() -> None:
    stop_all()
