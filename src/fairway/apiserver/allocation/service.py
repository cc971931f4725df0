"""Giving a Service its addresses and node ports: the reference's sections 5.5 and 5.6."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

from fairway.apiserver.allocation.changes import (
    carry_over,
    drop_unused,
    may_have_node_ports,
    needs_addresses,
    normalize,
    wants_node_ports,
)
from fairway.apiserver.allocation.families import settle_families
from fairway.apiserver.allocation.networks import ServiceNetwork, current_ranges
from fairway.apiserver.allocation.ranges import Range, Ranges
from fairway.apiserver.strategy import Allocation, Exhausted, FieldErrors, Taken
from fairway.apiserver.validation import formats
from fairway.apiserver.validation.service import is_headless, needs_health_check
from fairway.objects.codec import Document
from fairway.objects.status import invalid


def claims_of(service: Document) -> frozenset[str]:
    """What a stored Service holds: ``ip/10.96.0.7``, ``port/30080``."""
    spec = service["spec"]
    claims: set[str] = set()
    if needs_addresses(spec) and not is_headless(spec):
        claims.update(f"ip/{formats.canonical(text)}" for text in spec.get("clusterIPs", []))
    if may_have_node_ports(spec):
        claims.update(f"port/{port['nodePort']}" for port in spec.get("ports", []) if port.get("nodePort"))
    if needs_health_check(spec) and spec.get("healthCheckNodePort"):
        claims.add(f"port/{spec['healthCheckNodePort']}")
    return frozenset(claims)


class ServiceAllocator:
    """The `Allocator` of Services. ``draw(n)`` is a random number below ``n``: chance is an argument.

    ``ranges`` are those of the configuration until `follow` is told of ServiceCIDRs. With ``sequential`` a cluster IP
    that nobody asked for is the first that is free, else one from a random place on.
    """

    def __init__(self, ranges: Ranges, draw: Callable[[int], int], *, sequential: bool = False) -> None:
        self.ranges = ranges
        self._configured = ranges
        self._draw = draw
        self._address_draw: Callable[[int], int] = (lambda below: 0) if sequential else draw

    @property
    def default_address(self) -> str:
        """The address of ``default/kubernetes``: the first of the primary family."""
        ranges = self.ranges if self.ranges.addresses[self.ranges.families[0]] else self._configured
        return ranges.first_address

    def follow(self, networks: Iterable[ServiceNetwork]) -> None:
        """Take addresses from these ServiceCIDRs from now on."""
        self.ranges = current_ranges(self._configured, networks)

    def allocate(self, old: Document | None, new: Document, taken: Taken) -> Allocation:
        """``new`` (changed in place) with families, addresses and ports, and what that claims and gives up.

        Raises `FieldErrors` for a request that cannot be met, `Exhausted` when a range is full.
        """
        before = old["spec"] if old is not None else None
        spec = new["spec"]
        held = claims_of(old) if old is not None else frozenset()
        if before is not None:
            carry_over(before, spec)
        normalize(before, spec)
        settle_families(before, spec, self.ranges.families)
        request = _Request(held, _named_ports(spec), taken, _holder(new))
        self._addresses(before, spec, request)
        if before is None:
            self._create_ports(spec, request)
        else:
            self._update_ports(spec, request)
        self._health_check(spec, request)
        if before is not None:
            drop_unused(before, spec)
        wanted = claims_of(new)
        return Allocation(new, wanted - held, held - wanted, request.relies)

    def held(self, document: Document) -> frozenset[str]:
        return claims_of(document)

    def _addresses(self, old: Document | None, spec: Document, request: _Request) -> None:
        """Address ``i`` is of family ``i``; a Service that has its primary already can only gain a second."""
        if not needs_addresses(spec) or is_headless(spec):
            return
        addresses = list(spec.get("clusterIPs", []))
        first = 0 if old is None or not needs_addresses(old) else len(old.get("clusterIPs", []))
        for index, family in enumerate(spec["ipFamilies"][first:], first):
            if index < len(addresses):
                self._ask_address(addresses, index, family, request)
            else:
                addresses.append(self._choose_address(family, request))
        spec["clusterIPs"], spec["clusterIP"] = addresses, addresses[0]

    def _ask_address(self, addresses: list[str], index: int, family: str, request: _Request) -> None:
        address = ip_address(str(formats.parse_address(addresses[index])))
        ranges = self._ready(family, addresses)
        inside = [one for one in ranges if int(address) in one]
        problem = ""
        if not inside:
            problem = f"the provided IP ({address}) is not in the valid range. "
            problem += f"The range of valid IPs is {', '.join(one.name for one in ranges)}"
        elif not request.ask(f"ip/{address}", inside[0]):
            until = request.rest(str(address))
            problem = f"provided IP rests until {until}" if until else "provided IP is already allocated"
        if problem:
            message = f"failed to allocate IP {addresses[index]}: {problem}"
            raise FieldErrors([invalid("spec.clusterIPs", addresses, message)])

    def _choose_address(self, family: str, request: _Request) -> str:
        ranges = self._ready(family, [])
        # The upper band of every network before the lower band of any.
        bands = [
            (one, band) for upper in (True, False) for one in ranges for band in one.bands if _is(one, band, upper)
        ]
        for range_, band in bands:
            number = request.choose(family, (band,), self._address_draw)
            if number is not None:
                # The number of an IPv6 address can be small enough to look like one of IPv4.
                text = str(formats.address_of(family, number))
                request.ask(f"ip/{text}", range_)
                return text
        raise Exhausted(f"failed to allocate a serviceIP: range is full ({', '.join(one.name for one in ranges)})")

    def _ready(self, family: str, addresses: list[str]) -> tuple[Range, ...]:
        ranges = self.ranges.addresses[family]
        if not ranges:
            message = f"failed to allocate IP: no ServiceCIDR of family {family} is ready"
            raise FieldErrors([invalid("spec.clusterIPs", addresses, message)])
        return ranges

    def _create_ports(self, spec: Document, request: _Request) -> None:
        """Ports with the same number and different protocols share a node port."""
        if not may_have_node_ports(spec):
            return
        ports = spec.get("ports", [])
        shared: dict[int, int] = {}
        for index, port in enumerate(ports):
            asked = port.get("nodePort", 0)
            if not asked and not wants_node_ports(spec):
                continue
            number = port.get("port", 0)
            if number not in shared:
                first = next((p["nodePort"] for p in ports if p.get("port", 0) == number and p.get("nodePort")), 0)
                shared[number] = self._node_port(index, first, request)
                port["nodePort"] = shared[number]
            elif not asked:
                port["nodePort"] = shared[number]
            elif asked != shared[number]:
                self._node_port(index, asked, request)

    def _update_ports(self, spec: Document, request: _Request) -> None:
        """A port without a node port gets one of its own; one that is asked for twice is asked for once."""
        if not may_have_node_ports(spec):
            return
        asked: set[int] = set()
        for index, port in enumerate(spec.get("ports", [])):
            number = port.get("nodePort", 0)
            if (number or wants_node_ports(spec)) and number not in asked:
                port["nodePort"] = self._node_port(index, number, request)
                asked.add(port["nodePort"])

    def _node_port(self, index: int, asked: int, request: _Request) -> int:
        if not asked:
            return self._choose_port(request, "failed to allocate a nodePort")
        problem = self._port_problem(asked, request)
        if problem:
            raise FieldErrors([invalid(f"spec.ports[{index}].nodePort", asked, problem)])
        return asked

    def _choose_port(self, request: _Request, failure: str) -> int:
        number = request.choose("port", self.ranges.ports.bands, self._draw)
        if number is None:
            raise Exhausted(f"{failure}: range is full ({self.ranges.ports.name})")
        request.ask(f"port/{number}")
        return number

    def _port_problem(self, port: int, request: _Request) -> str:
        if port not in self.ranges.ports and f"port/{port}" not in request.held:
            name = self.ranges.ports.name
            return f"provided port is not in the valid range. The range of valid ports is {name}"
        return "" if request.ask(f"port/{port}") else "provided port is already allocated"

    def _health_check(self, spec: Document, request: _Request) -> None:
        if not needs_health_check(spec):
            return
        asked = spec.get("healthCheckNodePort", 0)
        if not asked:
            spec["healthCheckNodePort"] = self._choose_port(request, "failed to allocate a HealthCheck NodePort")
        elif f"port/{asked}" not in request.held:
            problem = self._port_problem(asked, request)
            if problem:
                message = f"failed to allocate requested HealthCheck NodePort {asked}: {problem}"
                raise FieldErrors([invalid("spec.healthCheckNodePort", asked, message)])


def _holder(service: Document) -> str:
    metadata = service.get("metadata", {})
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _is(range_: Range, band: tuple[int, int], upper: bool) -> bool:
    return (band[1] == range_.last) is upper


def _named_ports(spec: Document) -> set[int]:
    named = {port.get("nodePort", 0) for port in spec.get("ports", [])}
    return (named | {spec.get("healthCheckNodePort", 0)}) - {0}


class _Request:
    """What one request has been given so far, beside what the Service held before.

    ``named`` are the ports it asks for itself: they are not chosen for another port of it. ``asker`` is the Service
    as ``namespace/name``.
    """

    def __init__(self, held: frozenset[str], named: set[int], taken: Taken, asker: str) -> None:
        self.held = held
        self.relies: dict[str, int] = {}
        self._named = named
        self._taken = taken
        self._asker = asker
        self._given: set[str] = set()

    def ask(self, claim: str, source: Range | None = None) -> bool:
        """Whether the Service may have this very address or port; from now on it has, out of ``source``."""
        if claim in self._given or (claim not in self.held and self._is_taken(claim)):
            return False
        self._given.add(claim)
        if source is not None and source.key and claim not in self.held:
            self.relies[source.key] = source.revision
        return True

    def rest(self, address: str) -> str:
        return self._taken.rest(address)

    def _is_taken(self, claim: str) -> bool:
        kind, _, value = claim.partition("/")
        return self._taken.port(int(value)) if kind == "port" else self._taken.address(value, self._asker)

    def choose(self, space: str, bands: tuple[tuple[int, int], ...], draw: Callable[[int], int]) -> int | None:
        """A free number, the first band first, from a random place on."""
        for first, last in bands:
            start = first + draw(last - first + 1)
            # What this request was given already is not in the ledger yet: step over it.
            for _ in range(len(self._given) + len(self._named) + 1):
                number = self._taken.free(space, first, last, start)
                if number is None:
                    break
                if space != "port" or not (number in self._named or f"port/{number}" in self._given):
                    return number
                start = number + 1 if number < last else first
        return None
