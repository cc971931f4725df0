"""Whatever an API server may hold, nothing stops the sync of others: no error, no rule that nobody meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.kernel.nftables import requests
from fairway.model.problems import service_problems, slice_problems
from fairway.model.view import FrontendKey, Key, NodeSettings
from fairway.modes.nftables import NftablesMode
from fairway.objects.codec import view
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service
from fairway.proxy.cache import Cache, Cause

MODE = NftablesMode()
NODE = NodeSettings(
    name="node-1", addresses=("192.168.0.2", "127.0.0.1"), pod_networks=("10.0.0.0/8",), answers_ping=("192.168.0.2",)
)
GOOD = FrontendKey("10.96.0.200", "TCP", 80)

NASTY = [
    "",
    "0.0.0.0",
    "::",
    "127.0.0.1",
    "010.0.0.1",
    "1.2.3.4.5",
    "fe80::1%eth0",
    "::ffff:10.0.0.1",
    "10.0.0.0/33",
    "*",
]
_text = st.sampled_from(NASTY) | st.text(max_size=12) | st.ip_addresses().map(str)
_number = st.sampled_from([-(1 << 40), -1, 0, 1, 80, 65535, 65536, 1 << 40]) | st.integers(-5, 70000)
_list = st.lists(_text, max_size=3)
_port = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["", "http"]) | _text,
        "port": _number,
        "protocol": st.sampled_from(["TCP", "UDP", "ICMP"]) | _text,
    },
    optional={"nodePort": _number},
)
_labels = {"kubernetes.io/service-name": "web"}
_services = st.builds(
    lambda spec, ingress, annotations: view(
        {
            "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": ingress}},
        },
        Service,
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer", "Else"]),
            "clusterIP": st.just("10.96.0.1"),
            "clusterIPs": st.just(["10.96.0.1", "fd00:96::1"]) | _list,
            "ports": st.lists(_port, max_size=4),
            "externalIPs": _list,
            "loadBalancerSourceRanges": _list,
            "externalTrafficPolicy": st.sampled_from(["Local", "Cluster"]) | _text,
            "sessionAffinity": st.sampled_from(["None", "ClientIP"]) | _text,
            "sessionAffinityConfig": st.none() | _number.map(lambda n: {"clientIP": {"timeoutSeconds": n}}),
            "healthCheckNodePort": _number,
        }
    ),
    st.lists(st.fixed_dictionaries({"ip": _text, "ipMode": st.sampled_from([None, "VIP"]) | _text}), max_size=2),
    st.dictionaries(
        st.sampled_from(["fairway.dev/weights", "fairway.dev/balancing", "fairway.dev/ipvs-scheduler"]),
        st.sampled_from(["hash", "*=0", "10.0.0.0/8=3,web*=1", "a=b=c", "*" * 300]) | st.text(max_size=30),
    ),
)
_slices = st.builds(
    lambda endpoints, ports, family, weight: view(
        {
            "metadata": {
                "name": "web-1",
                "namespace": "shop",
                "labels": _labels,
                "annotations": {"fairway.dev/weight": weight},
            },
            "addressType": family,
            "endpoints": endpoints,
            "ports": ports,
        },
        EndpointSlice,
    ),
    st.lists(
        st.fixed_dictionaries(
            {"addresses": st.just(["10.0.0.1"]) | _list},
            optional={"nodeName": _text, "targetRef": st.fixed_dictionaries({"kind": _text, "name": _text})},
        ),
        max_size=4,
    ),
    st.lists(st.fixed_dictionaries({"name": st.sampled_from(["", "http"]), "port": _number}), max_size=3),
    st.sampled_from(["IPv4", "IPv6", "FQDN"]) | _text,
    _text,
)


def good() -> Service:
    """Somebody else's, whose clients notice nothing."""
    spec = {"clusterIP": "10.96.0.200", "ports": [{"name": "http", "port": 80}]}
    return view({"metadata": {"name": "good", "namespace": "zoo"}, "spec": spec}, Service)


@given(_services, _slices)
def test_hostile_objects_stop_nobody(service: Service, slice_: EndpointSlice) -> None:
    cache = Cache(NODE)
    cause = Cause("Service", service.key, "1", 0.0)
    cache.put_service(Key("zoo", "good"), good(), cause)
    cache.put_service(service.key, service, cause)
    cache.put_slice(slice_.key, slice_, cause)
    cache.take()
    assert GOOD in cache.frontends
    program = MODE.program(cache.view)
    for request in requests(MODE.plan(MODE.empty(), program)):
        assert len(request.body) < 1 << 16
    assert all(line.lstrip("\t").isprintable() for line in MODE.render(program).split("\n"))
    told = {*service_problems(service), *slice_problems(service.key, slice_)}
    assert {one for key in cache.troubles.services() for one in cache.troubles.of(key)} >= told
    assert all("\n" not in str(one) for one in told)


@given(_services, _slices)
def test_nobodys_service_takes_an_address_that_is_everybodys(service: Service, slice_: EndpointSlice) -> None:
    cache = Cache(NODE)
    cause = Cause("Service", service.key, "1", 0.0)
    cache.put_service(service.key, service, cause)
    cache.put_slice(slice_.key, slice_, cause)
    cache.take()
    taken = {key.address for key, one in cache.frontends.items() if one.kind.value != "node port"}
    assert not taken & {"0.0.0.0", "::", "127.0.0.1", "::1", "169.254.80.79"}
    assert all(0 < key.port < 65536 or key.protocol in ("", "ICMP") for key in cache.frontends)
