"""Laws of `fairway.model`: what holds for every cluster, node and packet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fairway.model.address import canonical, canonical_network, contains, family_of
from fairway.model.decide import client_of, decide
from fairway.model.packet import Verdict
from fairway.model.resolve import resolve, resolve_service
from fairway.model.view import ActionKind, Backend, Client, Frontend, FrontendKind, Pool
from fairway.objects.endpointslice import Endpoint, EndpointSlice
from fairway.objects.meta import Key
from tests.laws.strategies import Cluster, changes, clusters, packets


def _reordered(slices: Sequence[EndpointSlice], draw: st.DrawFn) -> tuple[EndpointSlice, ...]:
    return tuple(
        EndpointSlice(
            api_version=one.api_version,
            kind=one.kind,
            metadata=one.metadata,
            address_type=one.address_type,
            ports=tuple(draw(st.permutations(one.ports or ()))),
            endpoints=tuple(draw(st.permutations(one.endpoints or ()))),
        )
        for one in draw(st.permutations(slices))
    )


@st.composite
def _clusters_in_two_orders(draw: st.DrawFn) -> tuple[Cluster, Cluster]:
    cluster = draw(clusters())
    services = draw(st.permutations(list(cluster.services.items())))
    slices = {key: _reordered(some, draw) for key, some in cluster.slices.items()}
    return cluster, replace(cluster, services=dict(services), slices=slices)


@given(_clusters_in_two_orders())
def test_the_order_of_services_slices_ports_and_endpoints_does_not_matter(both: tuple[Cluster, Cluster]) -> None:
    one, other = both
    assert one.view() == other.view()


@given(clusters())
def test_a_service_has_the_frontends_it_would_have_alone(cluster: Cluster) -> None:
    whole = cluster.view()
    for key, service in cluster.services.items():
        alone = {one.key: one for one in resolve_service(service, cluster.slices[key], cluster.settings)}
        claimed = {k: one for k, one in alone.items() if whole.frontends[k].service == key}
        assert claimed == {k: one for k, one in whole.frontends.items() if one.service == key}
        for lost in alone.keys() - claimed.keys():
            assert whole.frontends[lost].service < key  # who comes first by name keeps it


@given(changes())
def test_a_change_of_one_service_leaves_the_frontends_of_the_others(change: tuple[Cluster, Cluster]) -> None:
    before, after = change
    touched = {key for key in {*before.services, *after.services} if _parts(before, key) != _parts(after, key)}
    for key in {*before.services} - touched:
        old = resolve_service(before.services[key], before.slices[key], before.settings)
        assert old == resolve_service(after.services[key], after.slices[key], after.settings)
    was, now = before.view(), after.view()
    for frontend_key in was.frontends.keys() | now.frontends.keys():
        old_one, new_one = was.frontends.get(frontend_key), now.frontends.get(frontend_key)
        owners = {one.service for one in (old_one, new_one) if one is not None}
        assert old_one == new_one or owners & touched


def _parts(cluster: Cluster, key: Key) -> tuple[object, object]:
    return cluster.services.get(key), cluster.slices.get(key)


@given(clusters())
def test_a_frontend_is_well_formed(cluster: Cluster) -> None:
    for key, frontend in cluster.view().frontends.items():
        assert key == frontend.key
        assert canonical(frontend.address) == frontend.address
        assert (frontend.port == 0) == (frontend.protocol == "") == (frontend.kind is FrontendKind.OTHER_PORTS)
        assert 0 <= frontend.affinity_seconds <= 86400
        for network in frontend.source_ranges:
            assert canonical_network(network) == network
            assert family_of(network) == frontend.family
        for pool in (frontend.cluster, frontend.local):
            assert list(pool) == sorted(pool, key=lambda one: (one.slice, str(one)))
            assert len({(one.address, one.port) for one in pool}) == len(pool)
            assert {family_of(one.address) for one in pool} <= {frontend.family}


@given(clusters())
def test_an_action_forwards_only_to_a_pool_with_somebody_in_it_and_no_pool_is_idle(cluster: Cluster) -> None:
    for frontend in cluster.view().frontends.values():
        actions = [frontend.action(client) for client in Client]
        used = {one.pool for one in actions if one.kind is ActionKind.FORWARD}
        assert used == {pool for pool in Pool if frontend.pool(pool)}
        assert all(one.because for one in actions)


@given(clusters())
def test_the_local_pool_runs_here(cluster: Cluster) -> None:
    for frontend in cluster.view().frontends.values():
        assert all(one.local for one in frontend.local)
        assert all(one.local == (one.node == cluster.settings.name) for one in (*frontend.cluster, *frontend.local))


@given(clusters())
def test_every_backend_is_ready_or_the_last_resort_of_its_pool(cluster: Cluster) -> None:
    for frontend in cluster.view().frontends.values():
        everybody = list(_endpoints(cluster, frontend))
        for pool in (frontend.cluster, frontend.local):
            kinds = {_kind(backend, everybody) for backend in pool}
            assert kinds <= {"ready", "last resort"}
            assert len(kinds) <= 1, "ready and terminating backends are never mixed"
        if "ready" not in {_kind(backend, everybody) for backend in frontend.cluster} and frontend.cluster:
            assert not any(one.ready and not one.terminating for _, _, one in everybody)


def _endpoints(cluster: Cluster, frontend: Frontend) -> Iterator[tuple[EndpointSlice, int, Endpoint]]:
    """Every endpoint that may stand behind the frontend, with its slice and port, by a way of its own."""
    for slice_ in cluster.slices[frontend.service]:
        for port in slice_.ports or ():
            if slice_.address_type != frontend.family or (port.name or "") != frontend.port_name:
                continue
            if port.protocol == frontend.protocol and port.port is not None:
                yield from ((slice_, port.port, endpoint) for endpoint in slice_.endpoints or ())


def _kind(backend: Backend, everybody: Sequence[tuple[EndpointSlice, int, Endpoint]]) -> str:
    same = [
        one
        for slice_, port, one in everybody
        if (slice_.metadata.name, port, one.addresses[0]) == (backend.slice, backend.port, backend.address)
        and (one.node_name or "") == backend.node
    ]
    assert same, f"{backend} stands in no slice"
    if any(one.ready for one in same):
        return "ready"
    return "last resort" if any(one.serving and one.terminating for one in same) else "unusable"


@given(clusters())
def test_no_backends_anywhere_refuses_every_client(cluster: Cluster) -> None:
    empty = replace(cluster, slices={})
    for frontend in empty.view().frontends.values():
        assert {frontend.action(client).kind for client in Client} == {ActionKind.REJECT}
        assert (frontend.cluster, frontend.local) == ((), ())


@given(st.data())
def test_decide_forwards_only_into_the_pool_of_the_packets_own_row(data: st.DataObject) -> None:
    cluster = data.draw(clusters())
    view = cluster.view()
    packet = data.draw(packets(view))
    outcome = decide(view, packet)
    assert outcome.because
    if outcome.verdict is not Verdict.DELIVER:
        assert outcome.choices == ()
        return
    assert outcome.frontend is not None
    frontend = view.frontends[outcome.frontend]
    action = frontend.action(client_of(packet, view.settings))
    assert action.kind is ActionKind.FORWARD
    assert tuple(choice.backend for choice in outcome.choices) == frontend.pool(action.pool)
    assert not frontend.source_ranges or contains(frontend.source_ranges, packet.source)
    for choice in outcome.choices:
        itself = choice.backend.may_be_here and choice.backend.address == packet.source
        assert choice.masquerade == (action.masquerade or itself)


@given(st.data())
def test_decide_knows_a_packet_by_its_address_protocol_and_port_alone(data: st.DataObject) -> None:
    """Whatever belongs to no frontend passes or is dropped, and takes nobody's place."""
    cluster = data.draw(clusters())
    view = cluster.view()
    packet = data.draw(packets(view))
    outcome = decide(view, packet)
    keys = {key.address for key in view.frontends}
    if outcome.frontend is None:
        assert packet.key not in view.frontends
        expected = Verdict.DROP if contains(view.settings.service_networks, packet.destination) else Verdict.PASS
        assert outcome.verdict is expected
        assert packet.destination not in keys or outcome.verdict is Verdict.PASS
    elif packet.key in view.frontends:
        assert outcome.frontend == packet.key
    else:
        assert view.settings.takes_node_ports(packet.destination) or packet.destination == outcome.frontend.address


@given(st.data())
def test_a_source_of_an_outside_client_is_kept_only_by_the_local_policy(data: st.DataObject) -> None:
    cluster = data.draw(clusters())
    view = cluster.view()
    packet = data.draw(packets(view))
    outcome = decide(view, packet)
    if outcome.frontend is None or client_of(packet, view.settings) is not Client.OUTSIDE:
        return
    kept = [choice for choice in outcome.choices if not choice.masquerade]
    frontend = view.frontends[outcome.frontend]
    if kept and frontend.kind is not FrontendKind.CLUSTER_IP:
        assert cluster.services[frontend.service].spec.external_traffic_policy == "Local"
        assert all(choice.backend.local for choice in kept)


@given(clusters())
def test_resolving_is_a_function_of_its_arguments(cluster: Cluster) -> None:
    again = resolve(list(cluster.services.values()), cluster.slices, cluster.settings)
    assert again == cluster.view()


ADDRESS_LIKE = st.text(alphabet="0123456789abcdef:.%/ ;", max_size=24)


@given(st.ip_addresses().map(str) | ADDRESS_LIKE | st.text(max_size=12))
def test_a_canonical_address_holds_nothing_but_digits_dots_and_colons(text: str) -> None:
    address = canonical(text)
    if address is not None:
        assert set(address) <= set("0123456789abcdef.:")
        assert canonical(address) == address


@given(ADDRESS_LIKE | st.text(max_size=12) | st.ip_addresses(v=4).map(lambda one: f"{one}/24"))
def test_a_canonical_network_holds_nothing_but_an_address_and_a_length(text: str) -> None:
    network = canonical_network(text)
    if network is not None:
        assert set(network) <= set("0123456789abcdef.:/")
        assert canonical_network(network) == network
