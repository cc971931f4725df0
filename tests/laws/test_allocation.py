"""Whatever happens to Services, in whatever order: nothing is held twice, nothing leaks, deletion frees all."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fairway.apiserver import defaults
from fairway.apiserver.allocation import Ledger, Ranges, ServiceAllocator, claims_of
from fairway.apiserver.allocation.ledger import Numbers
from fairway.apiserver.strategy import Exhausted, FieldErrors
from fairway.apiserver.validation import service as rules
from fairway.objects.codec import Document

# Small ranges, so that they run full and requests collide.
RANGES = Ranges.parse("10.96.0.0/28,fd00::/124", "30000-30011")

port = st.fixed_dictionaries(
    {"name": st.sampled_from("abc"), "port": st.integers(1, 3)},
    optional={"protocol": st.sampled_from(["TCP", "UDP"]), "nodePort": st.integers(29999, 30012)},
)
always: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]),
    "ports": st.lists(port, min_size=1, max_size=3, unique_by=lambda one: one["name"]),
    "externalName": st.just("a.example"),
}
sometimes: dict[str, st.SearchStrategy[Any]] = {
    "clusterIP": st.sampled_from(["None", "10.96.0.1", "10.96.0.2", "10.96.0.15", "fd00::1", "nonsense"]),
    "ipFamilyPolicy": st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"]),
    "ipFamilies": st.lists(st.sampled_from(["IPv4", "IPv6"]), min_size=1, max_size=2, unique=True),
    "externalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
    "healthCheckNodePort": st.integers(30000, 30011),
    "allocateLoadBalancerNodePorts": st.booleans(),
    "selector": st.just({"app": "a"}),
}
spec = st.fixed_dictionaries(always, optional=sometimes)


class Services(RuleBasedStateMachine):
    """A cluster as the API server keeps it: stored Services, and a ledger that is told what was committed."""

    stored = Bundle("stored")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.allocator = ServiceAllocator(RANGES, random.Random(7).randrange)
        self.documents: dict[int, Document] = {}
        self.next = 0

    @rule(target=stored, spec=spec)
    def create(self, spec: dict[str, Any]) -> int:
        self.next += 1
        document = {"metadata": {"name": f"s{self.next}", "namespace": "x"}, "spec": copy.deepcopy(spec)}
        self.commit(self.next, None, document)
        return self.next

    @rule(key=stored, spec=spec, merge=st.booleans())
    def update(self, key: int, spec: dict[str, Any], merge: bool) -> None:
        """Like ``kubectl replace`` (only what the user wrote), or like a patch (on top of what is stored)."""
        old = self.documents.get(key)
        if old is not None:
            document = copy.deepcopy(old)
            document["spec"] = {**(document["spec"] if merge else {}), **copy.deepcopy(spec)}
            self.commit(key, old, document)

    @rule(key=consumes(stored))
    def delete(self, key: int) -> None:
        gone = self.documents.pop(key, None)
        if gone is not None:
            self.ledger.release(claims_of(gone))

    def commit(self, key: int, old: Document | None, new: Document) -> None:
        before = copy.deepcopy(old)
        try:
            found = self.allocator.allocate(old, defaults.service(new), self.ledger)
        except (FieldErrors, Exhausted):
            assert old == before
            return
        assert old == before
        errors = rules.validate(found.document)
        if old is not None:
            errors += rules.validate_update(found.document, old)
        if not errors:
            assert not any(claim in self.ledger for claim in found.claims)
            self.ledger.claim(found.claims)
            self.ledger.release(found.releases)
            self.documents[key] = found.document

    @invariant()
    def nothing_is_held_twice(self) -> None:
        held = [claim for document in self.documents.values() for claim in claims_of(document)]
        assert len(held) == len(set(held))

    @invariant()
    def the_ledger_is_what_the_services_hold(self) -> None:
        held = {claim for document in self.documents.values() for claim in claims_of(document)}
        assert all(claim in self.ledger for claim in held)
        assert len(self.ledger) == len(held)

    @invariant()
    def everything_is_in_range(self) -> None:
        for document in self.documents.values():
            for claim in claims_of(document):
                kind, _, value = claim.partition("/")
                assert kind == "ip" or int(value) in RANGES.ports

    def teardown(self) -> None:
        for document in self.documents.values():
            self.ledger.release(claims_of(document))
        assert len(self.ledger) == 0


TestServices = Services.TestCase
TestServices.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Sets(RuleBasedStateMachine):
    """`Numbers` against a plain set."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = Numbers()
        self.model: set[int] = set()

    @rule(number=st.integers(1000, 3100))
    def add(self, number: int) -> None:
        self.numbers.add(number)
        self.model.add(number)

    @rule(first=st.integers(1000, 3100), size=st.integers(0, 1100))
    def fill(self, first: int, size: int) -> None:
        for number in range(first, first + size):
            self.add(number)

    @rule(number=st.integers(1000, 3100))
    def discard(self, number: int) -> None:
        self.numbers.discard(number)
        self.model.discard(number)

    @rule(first=st.integers(1000, 3100), size=st.integers(-1, 2200))
    def gap(self, first: int, size: int) -> None:
        last = first + size
        expected = next((number for number in range(first, last + 1) if number not in self.model), None)
        assert self.numbers.first_gap(first, last) == expected

    @invariant()
    def same_members(self) -> None:
        assert len(self.numbers) == len(self.model)


TestSets = Sets.TestCase
TestSets.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
