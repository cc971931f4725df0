"""Walk a packet through the rules, as the kernel would: registers, lookups, verdicts, one expression after the other.

Where the kernel draws a random number, the walk is repeated for every number it could draw.

    prerouting | output ──▶ rewritten to a backend ──▶ postrouting (once for each backend)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from fairway.model.hashing import jhash
from fairway.model.packet import ICMP, Choice, Outcome, Packet, Step, Trace, Verdict
from fairway.model.view import Backend, FrontendKey, Origin
from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.program import Program
from fairway.modes.nftables.tables import (
    ADDRESS_BYTES,
    PROTOCOL_NUMBERS,
    Element,
    Rule,
    Set,
    address_bytes,
    backend_bytes,
    family_of_key,
    printed_element,
    read_address,
    read_backend,
    read_frontend,
)

_SOME_INTERFACE = 2
"""An interface index: which one does not matter, only that the packet came in by one."""


def evaluate(program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
    """What the Program does to the first packet of a connection, step by step.

    ``remembered`` is the backend in the kernel's memory of this client and frontend, which no Program holds.
    """
    hook = "output" if packet.local else "prerouting"
    walk = _Walk(program, packet, remembered=remembered)
    end = walk.hook(hook)
    if isinstance(end, bytes) and packet.protocol == ICMP:
        outcome = Outcome(verdict=Verdict.ANSWER, because=walk.steps[-1].what, frontend=walk.frontend)
        return Trace(packet=packet, steps=tuple(walk.steps), outcome=outcome)
    if isinstance(end, bytes):
        return _delivery(walk, packet, hook)
    because = walk.steps[-1].what if walk.steps else "no rule is for it"
    if end is None:
        because = "no rule is for it"
    verdict = (
        {e.DROP: Verdict.DROP, _REJECTED: Verdict.REJECT}.get(end, Verdict.PASS) if end is not None else Verdict.PASS
    )
    outcome = Outcome(verdict=verdict, because=because, frontend=walk.frontend if end is not None else None)
    return Trace(packet=packet, steps=tuple(walk.steps), outcome=outcome)


def _delivery(walk: _Walk, packet: Packet, hook: str) -> Trace:
    """Every number that can be drawn; a backend with several slots appears once."""
    choices: dict[bytes, Choice] = {}
    steps = list(walk.steps)
    for draw in range(walk.modulus):
        one = _Walk(walk.program, packet, draw, remembered=walk.remembered)
        target = one.hook(hook)
        if not isinstance(target, bytes):
            continue  # a hole in the slots: this draw is not rewritten, and the kernel test of the same would show it
        if known := choices.get(target):
            choices[target] = known._replace(share=known.share + 1)
            continue
        if draw:
            steps.append(one.steps[-1])
        after = _Walk(walk.program, packet, rewritten=target)
        masquerade = after.hook("postrouting") == _MASQUERADED
        steps += after.steps
        choices[target] = Choice(one.backend(target), masquerade)
    if walk.recalled:
        because = "the backend this client had before"
    elif walk.hashed:
        because = "the backend that the client's address leads to"
    elif len(choices) > 1:
        weighed = " by their weights" if len({one.share for one in choices.values()}) > 1 else ""
        because = f"one of {len(choices)} backends, drawn at random{weighed}"
    else:
        because = "the only backend"
    found = tuple(choices.values())
    outcome = Outcome(verdict=Verdict.DELIVER, because=because, choices=found, frontend=walk.frontend)
    return Trace(packet=packet, steps=tuple(steps), outcome=outcome)


_REJECTED, _MASQUERADED = 1000, 1001
_ENDINGS: dict[object, str] = {_REJECTED: "refused", _MASQUERADED: "gets this node's address"}
_End = bytes | int | None
"""How a walk ends: rewritten to these bytes, a verdict, or None when the last rule was passed."""


class _Mismatch(Exception):
    """The rule is not for this packet; the next one may be."""


@dataclass
class _Walk:
    program: Program
    packet: Packet
    draw: int = 0
    rewritten: bytes | None = None
    remembered: Backend | None = None
    hashed: bool = False
    recalled: bool = False
    """Whether what was remembered is what the walk ended with."""
    steps: list[Step] = field(default_factory=list)
    modulus: int = 1
    frontend: FrontendKey | None = None
    registers: bytearray = field(default_factory=lambda: bytearray(64))
    priority: bytes = bytes(4)
    found: Element | None = None
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.family = family_of_key(self.packet.key)
        self.table = self.program.base.get(self.family)

    def hook(self, name: str) -> _End:
        for chain in self.table.chains.values() if self.table else ():
            if chain.hook and chain.hook.hook == name:
                return self.chain(chain.name)
        return None

    def chain(self, name: str) -> _End:
        chain = self.program.chain(self.family, name)
        for rule in chain.rules if chain else ():
            if any(isinstance(one, e.Unknown) for one in rule.expressions):
                self.tell(name, rule, "somebody else's rule; what it does is not known here")
                continue
            try:
                jump = self.rule(name, rule)
            except _Mismatch:
                continue
            if not isinstance(jump, e.Jump):
                if jump is not None:
                    return jump
                continue
            if jump.code == e.RETURN:
                return None
            if jump.code not in (e.JUMP, e.GOTO):
                return jump.code
            end = self.chain(jump.chain)
            if end is not None or jump.code == e.GOTO:
                return end
        return None

    def rule(self, chain: str, rule: Rule) -> e.Jump | bytes | int | None:
        """What a rule does to the packet. Raises _Mismatch when it is not for it."""
        self.found, self.said = None, []
        end: e.Jump | bytes | int | None = None
        for expression in rule.expressions:
            end = self.step(expression)
            if end is not None:
                break
        self.record(chain, rule, end)
        return end

    def record(self, chain: str, rule: Rule, end: e.Jump | bytes | int | None) -> None:
        if end is not None:
            self.said.append(self.ending(end))
        origin = self.program.origin(self.family, self.found) if self.found else None
        self.tell(chain, rule, "; ".join(self.said), origin)

    def ending(self, end: e.Jump | bytes | int) -> str:
        if isinstance(end, bytes):
            ping = self.packet.protocol == ICMP
            return f"goes to {read_address(end)}, this node" if ping else f"goes to {self.backend(end)}"
        if end in _ENDINGS:
            return _ENDINGS[end]
        return str(end)

    def tell(self, chain: str, rule: Rule, effect: str, origin: Origin | None = None) -> None:
        """Put a rule into the story."""
        assert self.table is not None
        what = e.listing(rule.expressions, self.table.key_words)
        self.steps.append(
            Step(where=f"{self.family} {self.table.name} {chain}", what=what, effect=effect, origin=origin)
        )

    def step(self, one: e.Expression) -> e.Jump | bytes | int | None:
        match one:
            case e.Lookup():
                return self.look_up(one)
            case e.Compare(source, value, equal):
                if (self.load(source, len(value)) == value) is not equal:
                    raise _Mismatch
            case e.Remember():
                self.remember(one)
            case e.SetMeta(_, source):
                self.priority = self.load(source, 4)
            case e.Verdict(jump):
                return jump
            case e.Rewrite(address, port):
                size = (port - address) * 4 + 4 if port is not None else ADDRESS_BYTES[self.family]
                return self.load(address, size)
            case e.Masquerade():
                return _MASQUERADED
            case e.Reject():
                return _REJECTED
            case _:
                self.read(one)
        return None

    def read(self, one: e.Expression) -> None:
        """Expressions that load a register."""
        match one:
            case e.Payload(base, offset, length, into):
                self.store(into, self.payload(base, offset, length))
            case e.Meta(key, into):
                self.store(into, self.meta(key))
            case e.Conntrack(key, into, _):
                self.store(into, self.conntrack(key))
            case e.Constant(value, into):
                self.store(into, value)
            case e.Bitwise(source, into, mask, xor):
                data = self.load(source, len(mask))
                self.store(into, bytes(b & m ^ x for b, m, x in zip(data, mask, xor, strict=True)))
            case e.Random(modulus, offset, into):
                self.modulus = modulus
                self.store(into, (offset + self.draw % modulus).to_bytes(4, sys.byteorder))
            case e.Hash(source, length, modulus, seed, offset, into):
                place = jhash(self.load(source, length), seed) * modulus >> 32
                self.said.append(f"place {place} of {modulus}")
                self.hashed = True
                self.store(into, (offset + place).to_bytes(4, sys.byteorder))
            case _:
                raise _Mismatch  # an expression this program does not know: nobody can say what it does

    def look_up(self, one: e.Lookup) -> e.Jump | bytes | int | None:
        assert self.table is not None
        declared = self.table.sets[one.set]
        key = self.load(one.source, declared.key_words * 4)
        if declared.capacity:
            element = self.recall(declared, key)
        elif declared.interval:
            element = self.contains(declared, key)
        else:
            element = self.program.find(self.family, one.set, key)
        if (element is None) is not one.invert:
            raise _Mismatch
        if element is None:
            return None
        self.note(element, printed_element(declared, element))
        if one.into is None:
            return None
        if isinstance(element.data, e.Jump):
            return element.data
        self.store(one.into, element.data or b"")
        return None

    def recall(self, declared: Set, key: bytes) -> Element | None:
        """What packets before this one left in a map."""
        frontend = read_frontend(key[: -len(address_bytes(self.packet.source))])
        if self.remembered is None or frontend is None:
            return None
        backend = backend_bytes(self.remembered.address, self.remembered.port)
        self.recalled = True
        return Element(declared.name, key, self.program.identity(frontend, backend))

    def remember(self, one: e.Remember) -> None:
        if one.delete:
            self.recalled = False
            self.said.append(f"{one.set} forgets this client")
        else:
            self.said.append(f"{one.set} remembers this client for {e.duration(one.seconds)}")

    def contains(self, declared: Set, key: bytes) -> Element | None:
        """The interval that holds an address."""
        for element in self.program.base[self.family].elements.get(declared.name, {}).values():
            first, after = element.key[: len(key)], element.key[len(key) :]
            if first <= key and (not after or key < after):
                return element
        return None

    def note(self, element: Element, printed: str) -> None:
        self.found = element
        self.said.append(f"{element.set} has {printed}")
        if element.set == "frontends":
            self.frontend = read_frontend(element.key)
        elif element.set == "cluster-ips":
            self.frontend = FrontendKey(self.packet.destination, "", 0)
        elif element.set == "pinged":
            self.frontend = FrontendKey(self.packet.destination, ICMP, 0)

    def payload(self, base: int, offset: int, length: int) -> bytes:
        if base == e.TRANSPORT and offset == 0:
            return bytes((e.ECHO_REQUEST[self.family],))
        if base == e.TRANSPORT:
            return (self.rewritten[-4:-2] if self.rewritten else self.packet.port.to_bytes(2, "big"))[:length]
        is_source = (offset, length) in ((12, 4), (8, 16))
        if is_source:
            return address_bytes(self.packet.source)
        return self.rewritten[:length] if self.rewritten else address_bytes(self.packet.destination)

    def meta(self, key: int) -> bytes:
        if key == e.META_PRIORITY:
            return self.priority
        if key == e.META_IIF:
            return (0 if self.packet.local else _SOME_INTERFACE).to_bytes(4, sys.byteorder)
        if key == e.META_IIFNAME:
            return self.packet.interface.encode().ljust(e.INTERFACE_BYTES, b"\0")
        if self.packet.protocol == ICMP:
            return bytes((e.ICMP[self.family],))
        return bytes((PROTOCOL_NUMBERS[self.packet.protocol],))

    def conntrack(self, key: int) -> bytes:
        if key == e.CT_STATUS:
            return (e.STATUS_DNAT if self.rewritten else 0).to_bytes(4, sys.byteorder)
        if key == e.CT_PROTO_DST:
            return self.packet.port.to_bytes(2, "big")
        return address_bytes(self.packet.destination)

    def load(self, word: int, size: int) -> bytes:
        return bytes(self.registers[word * 4 : word * 4 + size])

    def store(self, word: int, data: bytes) -> None:
        padded = data + bytes(-len(data) % 4)
        self.registers[word * 4 : word * 4 + len(padded)] = padded

    def backend(self, target: bytes) -> Backend:
        """The backend a packet is rewritten to; of a Program that was read back only its address and port are known."""
        fragment = self.program.fragments.get(self.frontend) if self.frontend else None
        found = fragment.backend(target) if fragment else None
        if found is not None:
            return found
        address, port = read_backend(target)
        return Backend(address=address, port=port)


__all__ = ["backend_bytes", "evaluate"]
