"""Walk a packet through a Program as the kernel would: hooks in their order, rules one by one, then the virtual server.

from elsewhere   mangle, nat PREROUTING ─▶ to an address of this node? ─▶ filter INPUT ─▶ IPVS ─▶ nat POSTROUTING
from this node   mangle OUTPUT ─▶ nat OUTPUT ─▶ IPVS ─▶ nat POSTROUTING        (for no virtual server: filter)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairway.model.address import ANY, contains
from fairway.model.packet import ICMP, Choice, Outcome, Packet, Step, Trace, Verdict
from fairway.model.view import Backend, FrontendKey, FrontendKind
from fairway.modes.ipvs.parts import (
    DEVICE,
    Bound,
    Entry,
    Marked,
    Part,
    Real,
    Scheduling,
    Server,
    Value,
    Virtual,
    family_word,
)
from fairway.modes.ipvs.program import Fragment, Program
from fairway.modes.xtables import Place

_ENDS = {"ACCEPT": None, "DROP": Verdict.DROP, "REJECT": Verdict.REJECT}


def evaluate(program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
    """What the Program does to the first packet of a connection, step by step.

    ``remembered`` is the backend of the persistence template in the kernel, which no Program holds.
    """
    walk = _Walk(program, packet)
    verdict = walk.into_the_node()
    virtual = walk.virtual if verdict is None else None
    if virtual is not None:
        outcome = _deliver(walk, virtual, remembered)
    else:
        because = walk.steps[-1].what if verdict else "no virtual server and no rule is for it"
        frontend = walk.frontend.frontend.key if verdict and walk.frontend else None
        outcome = Outcome(verdict=verdict or Verdict.PASS, because=because, frontend=frontend)
    return Trace(packet=packet, steps=tuple(walk.steps), outcome=outcome)


def _deliver(walk: _Walk, virtual: Server, remembered: Backend | None) -> Outcome:
    scheduling, reals = walk.scheduled(virtual)
    frontend = walk.frontend
    key = frontend.frontend.key if frontend else walk.packet.key
    shown = f"{virtual.words} {scheduling.words}"
    if not reals:
        walk.tell("IPVS", shown, "refused: it has no real server")
        return Outcome(verdict=Verdict.REJECT, because="no real server", frontend=key)
    by_hash = isinstance(virtual, Marked) and scheduling.scheduler == "mh"  # finds the same again without remembering
    if remembered is not None and (scheduling.timeout or by_hash):
        same = (remembered.address, remembered.port)
        reals = [(one, weight) for one, weight in reals if (one.address, one.port) == same] or reals
    choices = []
    for real, weight in reals:
        backend = walk.backend(real)
        origin = frontend.origin(real) if frontend else None
        effect = f"to {real.words.partition('-r ')[2]}"
        walk.steps.append(Step(where="IPVS", what=shown, effect=effect, origin=origin))
        choices.append(Choice(backend, walk.leaves_masqueraded(real), weight))
    because = "the only real server" if len(choices) == 1 else f"one of {len(choices)}, by {scheduling.scheduler}"
    return Outcome(verdict=Verdict.DELIVER, because=because, choices=tuple(choices), frontend=key)


class _Returned(Exception):
    """The chain is left early."""


@dataclass
class _Walk:
    program: Program
    packet: Packet
    mark: int = 0
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        packet, settings = self.packet, self.program.settings
        self.family = family_word(packet.destination)
        self.rules = self.program.base.rules.get(self.family, {})
        self.destination, self.port = packet.destination, packet.port
        bound = self.holds(Bound(packet.destination))
        self.here = bound or packet.destination in settings.addresses
        # The kernel gives what it sends to an address of its own that same address as its source.
        self.source = packet.destination if packet.local and bound else packet.source
        self.frontend = self._fragment()

    @property
    def virtual(self) -> Server | None:
        """By the mark first, then by the address, as the kernel looks."""
        marked = Marked(self.family, self.mark)
        if self.mark and self.holds(marked):
            return marked
        found = Virtual(self.packet.protocol, self.packet.destination, self.packet.port)
        return found if self.holds(found) else None

    def into_the_node(self) -> Verdict | None:
        """Up to where IPVS would take it; None when nobody refuses it."""
        if not self.packet.local:
            self.hook("mangle", "PREROUTING")
            self.hook("nat", "PREROUTING")
            found = self.hook("filter", "INPUT" if self.here else "FORWARD")
            return found or (self.answered() if self.here else None)
        verdict = self.hook("mangle", "OUTPUT")
        if verdict is None:
            self.hook("nat", "OUTPUT")
            if self.virtual is None:
                verdict = self.hook("filter", "OUTPUT")
                if verdict is None and self.here:
                    verdict = self.hook("filter", "INPUT") or self.answered()
        return verdict

    def answered(self) -> Verdict | None:
        """The node answers pings of what is on its dummy device."""
        if self.packet.protocol != ICMP or not self.holds(Bound(self.packet.destination)):
            return None
        self.tell("this node", f"{self.packet.destination} is on {DEVICE}", "answered")
        return Verdict.ANSWER

    def leaves_masqueraded(self, real: Real) -> bool:
        after = _Walk(self.program, self.packet, self.mark)
        after.destination, after.port, after.source = real.address, real.port, self.source
        after.hook("nat", "POSTROUTING")
        self.steps += after.steps
        return any(step.effect.startswith("masquerade") for step in after.steps)

    def hook(self, table: str, hook: str) -> Verdict | None:
        try:
            return self.chain(table, hook)
        except _Returned:
            return None

    def chain(self, table: str, name: str) -> Verdict | None:
        for rule in self.rules.get(Place(table, name), ()):
            words = rule.split()
            if not self.matches(words):
                continue
            target = words[words.index("-j") + 1]
            if target == "RETURN":
                return None
            if target in _ENDS:
                self.tell(f"{table} {name}", rule, target.lower())
                if target == "ACCEPT":
                    raise _Returned
                return _ENDS[target]
            if target == "MARK":
                value, mask = _mark(words[words.index("--set-xmark") + 1])
                self.set_mark(self.mark & ~mask ^ value, f"{table} {name}", rule)
            elif target == "SET":
                entry = Entry(words[words.index("--map-set") + 1], self.service(self.destination))
                self.set_mark(self.mark_of(entry), f"{table} {name}", rule)
            elif target == "MASQUERADE":
                self.tell(f"{table} {name}", rule, "masquerade: gets this node's address")
                raise _Returned
            elif verdict := self.chain(table, target):
                return verdict
        return None

    def matches(self, words: Sequence[str]) -> bool:
        """Whether a rule of ours is for the packet."""
        negated = False
        for index, word in enumerate(words):
            if word in ("-j", '"'):
                break
            if word == "!":
                negated = True
            elif word in _QUESTIONS:
                if self.asks(word, words[index + 1 :]) == negated:
                    return False
                negated = False
        return True

    def asks(self, word: str, rest: Sequence[str]) -> bool:
        packet = self.packet
        match word:
            case "-s":
                return contains((rest[0],), self.source)
            case "-d":
                return contains((rest[0],), self.destination)
            case "-i":
                name = packet.interface
                inside = name.startswith(rest[0][:-1]) if rest[0].endswith("+") else name == rest[0]
                return inside and not packet.local
            case "-p":
                return packet.protocol == (ICMP if "icmp" in rest[0] else rest[0].upper())
            case "--match-set":
                return self.in_set(rest[0], rest[1].split(","))
            case "--src-type":
                return packet.local or packet.source in self.program.settings.addresses
            case "--dst-type":
                return self.here
            case "--mark":
                value, mask = _mark(rest[0])
                return self.mark & mask == value
            case "--ctstate":
                return rest[0] == "NEW"
        return not packet.local  # --physdev-is-in: what comes by a bridge, for all that is known here

    def in_set(self, name: str, directions: Sequence[str]) -> bool:
        """``dst,dst``: address and port; ``dst,dst,src``: and another address; ``dst``: one of the two."""
        kind = self.program.base.sets[name].kind
        if kind == "bitmap:port":
            return self.packet.protocol != ICMP and self.holds(Entry(name, str(self.port)))
        ends = {"src": self.source, "dst": self.destination}
        address = ends[directions[0]]
        if kind == "hash:ip":
            return self.holds(Entry(name, address))
        if self.packet.protocol == ICMP:
            return False
        service = self.service(address)
        if kind == "hash:ip,port":
            return self.holds(Entry(name, service))
        other = ends[directions[2]]
        if kind == "hash:ip,port,ip":
            return self.holds(Entry(name, f"{service},{other}"))
        return any(contains((network,), other) for network in self.networks(name, service))

    def service(self, address: str) -> str:
        return f"{address},{self.packet.protocol.lower()}:{self.port}"

    def set_mark(self, mark: int, where: str, rule: str) -> None:
        self.mark = mark
        self.tell(where, rule, f"marked {mark:#x}" if mark else "no longer marked")

    def mark_of(self, entry: Entry) -> int:
        """The mark that an entry gives."""
        value = self.parts().get(entry)
        return value if isinstance(value, int) else self.mark

    def parts(self) -> dict[Part, Value]:
        """What may be about the packet: of the kernel all, of a Program its frontend's."""
        return {**self.program.loose, **(self.frontend.parts if self.frontend else {})}

    def networks(self, name: str, service: str) -> list[str]:
        """The networks of a ``hash:ip,port,net`` behind an address and port."""
        texts = (one.text for one in self.parts() if isinstance(one, Entry) and one.set == name)
        found = (text.removeprefix(f"{service},") for text in texts if text.startswith(f"{service},"))
        return [one if "/" in one else f"{one}/{128 if ':' in one else 32}" for one in found]

    def holds(self, part: Server | Entry | Bound) -> bool:
        return part in self.program.owners.owners or part in self.program.loose

    def scheduled(self, virtual: Server) -> tuple[Scheduling, list[tuple[Real, int]]]:
        """How a virtual server chooses, and from whom: real servers with a weight."""
        parts = self.parts()
        scheduling = parts[virtual]
        assert isinstance(scheduling, Scheduling)
        reals = [
            (part, weight)
            for part, weight in parts.items()
            if isinstance(part, Real) and part.virtual == virtual and isinstance(weight, int) and weight
        ]
        return scheduling, reals

    def backend(self, real: Real) -> Backend:
        """The backend that a real server is; of a Program that was read back only its address and port are known."""
        pools = (*self.frontend.frontend.cluster, *self.frontend.frontend.local) if self.frontend else ()
        same = (one for one in pools if (one.address, one.port) == (real.address, real.port))
        return next(same, Backend(address=real.address, port=real.port))

    def tell(self, where: str, rule: str, effect: str) -> None:
        origin = self.frontend.frontend.origin if self.frontend else None
        self.steps.append(Step(where=where, what=rule, effect=effect, origin=origin))

    def _fragment(self) -> Fragment | None:
        """Whose frontend the packet is for: its own address, then a node port, then a known address."""
        fragments, packet = self.program.fragments, self.packet
        found = fragments.get(packet.key)
        if found is None and self.program.settings.takes_node_ports(packet.destination):
            found = fragments.get(FrontendKey(ANY[packet.family], packet.protocol, packet.port))
        if found is not None and found.frontend.kind is FrontendKind.PING:
            return found
        return found or fragments.get(FrontendKey(packet.destination, "", 0))


def _mark(words: str) -> tuple[int, int]:
    """``0x4000/0x4000``: value and mask."""
    value, mask = (int(one, 16) for one in words.split("/"))
    return value, mask


_QUESTIONS = frozenset(
    ("-s", "-d", "-i", "-p", "--match-set", "--src-type", "--dst-type", "--mark", "--ctstate", "--physdev-is-in")
)
