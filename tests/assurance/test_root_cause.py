"""Cause and symptoms: what a fault that was planted in a known world looks like to an operator."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from farsite.assurance.graph import Graph, Kind, Node, Server, build, host_node
from farsite.assurance.root_cause import Condition, conclude
from farsite.model.deployment import (
    Chain,
    ChainEnd,
    ChainHop,
    ChainInstance,
    Deployment,
    Resource,
    ResourceKind,
    WantedVnfc,
)
from farsite.model.ids import (
    DEFAULT_PROJECT,
    NsdId,
    NsdInfoId,
    NsInstanceId,
    VimId,
    VnfcId,
    VnfdId,
    VnfInstanceId,
    VnfPackageId,
)
from farsite.model.ns import NsInstance, NsVnf
from farsite.model.vim import VimState
from farsite.model.vnf import VnfInstance
from farsite.store.vims import Standing

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def vim(name: str, site: str) -> Standing:
    return Standing(
        vim_id=VimId(name),
        project_id=DEFAULT_PROJECT,
        name=name,
        site=site,
        state=VimState.ACTIVE,
        reason="",
    )


def vnf(name: str, vim_name: str, hosts: list[str]) -> VnfInstance:
    """A VNF with one VNFC on each of the hosts named `zone:host`."""
    ids = [VnfcId(f"{name}-{number}") for number in range(len(hosts))]
    return VnfInstance(
        id=VnfInstanceId(name),
        project_id=DEFAULT_PROJECT,
        package_id=VnfPackageId("p"),
        vnfd_id=VnfdId("d"),
        provider="x",
        product_name="x",
        software_version="1",
        vnfd_version="1",
        vim_id=VimId(vim_name),
        deployment=Deployment(
            name=name,
            vnf_id=VnfInstanceId(name),
            revision="1",
            vnfcs=tuple(WantedVnfc(id=one, vdu="v", image="i") for one in ids),
        ),
        resources=tuple(
            Resource(
                id=f"server-{one}",
                kind=ResourceKind.COMPUTE,
                owner=name,
                vnfc_id=one,
                zone=where.partition(":")[0],
                host=where.partition(":")[2],
            )
            for one, where in zip(ids, hosts, strict=True)
        ),
        created_at=AT,
    )


def world() -> tuple[Graph, dict[str, Server]]:
    """Two sites; north has two VIMs of two zones with three hosts each, on each host four functions."""
    vims = [vim("n1", "north"), vim("n2", "north"), vim("s1", "south")]
    hosts = [f"z{zone}:h{zone}{number}" for zone in (1, 2) for number in (1, 2, 3)]
    vnfs = [
        vnf(f"{one.vim_id}-f{number}", one.vim_id, [hosts[number % 6], hosts[(number + 1) % 6]])
        for one in vims
        for number in range(12)
    ]
    graph = build(vims, vnfs, [])
    return graph, {one.vnfc_id: one for one in graph.servers.values()}


def died(servers: list[Server]) -> list[Condition]:
    return [Condition(key=one.vnfc_id, node=one.node) for one in servers]


def on(graph: Graph, node: Node) -> list[Server]:
    return [graph.servers[one] for one in graph.under(node) if one in graph.servers]


def test_a_dead_host_is_one_cause_with_all_deaths_on_it_as_symptoms() -> None:
    """A hundred alarms that say the same hide the one that says why."""
    graph, _ = world()
    host = host_node("n1", "h12")
    conclusion = conclude(graph, died(on(graph, host)))
    (cause,) = conclusion.causes
    assert cause.node == host
    assert set(cause.symptoms) == {one.vnfc_id for one in on(graph, host)}
    assert len(cause.symptoms) == 4
    assert graph.location(host) == "north/n1/z1/h12"


def test_a_dead_site_is_one_cause_and_not_one_per_host_or_vim() -> None:
    """The outermost container explains the most."""
    graph, _ = world()
    site = Node(Kind.SITE, "north")
    conclusion = conclude(graph, died(on(graph, site)))
    assert [cause.node for cause in conclusion.causes] == [site]
    assert len(conclusion.causes[0].symptoms) == 48
    assert Node(Kind.VIM, "s1") not in conclusion.failed


def test_a_silent_vim_explains_what_died_in_it() -> None:
    """Its own alarm is the cause; what else is told of it is a symptom."""
    graph, _ = world()
    silent = Condition(key="unreachable", node=Node(Kind.VIM, "n1"))
    some = on(graph, Node(Kind.VIM, "n1"))[:5]
    (cause,) = conclude(graph, [silent, *died(some)]).causes
    assert (cause.node, cause.own) == (silent.node, ("unreachable",))
    assert set(cause.symptoms) == {one.vnfc_id for one in some}


def test_one_function_alone_is_its_own_cause() -> None:
    """Nothing tells it from a dead host, and to suspect the host would be to guess."""
    graph, servers = world()
    lonely = build([vim("n1", "north")], [vnf("f", "n1", ["z1:h1"])], [])
    for seen, server in ((graph, servers["n1-f0-0"]), (lonely, next(iter(lonely.servers.values())))):
        (cause,) = conclude(seen, died([server])).causes
        assert (cause.node, cause.symptoms) == (server.node, ())


def test_a_function_that_dies_again_where_it_stood_alone_is_still_one() -> None:
    """It was made anew in its place and died again: one function that crashes, and no word about its host."""
    (first,) = build([vim("n1", "north")], [vnf("f", "n1", ["z1:h1"])], []).servers.values()
    past = [replace(first, incarnation=number, is_alive=False) for number in range(3)]
    graph = build([vim("n1", "north")], [], [], past)
    assert {cause.node.kind for cause in conclude(graph, died(past)).causes} == {Kind.SERVER}
    other = replace(first, vnf_id="g", vnfc_id=VnfcId("g-0"), is_alive=False)
    graph = build([vim("n1", "north")], [], [], [*past, other])
    (cause,) = conclude(graph, died([*past, other])).causes
    assert cause.node == host_node("n1", "h1"), "with another it is the host"


def test_a_host_with_one_function_still_alive_has_not_failed() -> None:
    """One that lives is proof."""
    graph, _ = world()
    conclusion = conclude(graph, died(on(graph, host_node("n1", "h12"))[1:]))
    assert {cause.node.kind for cause in conclusion.causes} == {Kind.SERVER}


def test_what_died_a_moment_ago_counts_where_it_died_though_it_was_replaced() -> None:
    """Healing is quick; it must not hide what it heals."""
    past = [
        Server(
            vim_id=VimId("n1"),
            zone="z1",
            host="h1",
            vnf_id=f"f{number}",
            vnfc_id=VnfcId(f"f{number}-0"),
            incarnation=0,
            is_alive=False,
        )
        for number in range(3)
    ]
    replaced = [vnf(f"f{number}", "n1", ["z1:h2"]) for number in range(3)]
    graph = build([vim("n1", "north")], replaced, [], past)
    (cause,) = conclude(graph, died(past)).causes
    assert cause.node == host_node("n1", "h1")
    assert len(cause.symptoms) == 3


def service(*, fail_open: bool = False) -> tuple[Graph, dict[str, Server]]:
    vnfs = [vnf("src", "n1", ["z:h1"]), vnf("fw", "n1", ["z:h2", "z:h3"]), vnf("web", "n1", ["z:h4"])]

    def instance(name: str) -> ChainInstance:
        return ChainInstance(vnfc_id=VnfcId(name), vim_id=VimId("n1"), ingress_port="a", egress_port="b")

    chain = Chain(
        id="path",
        owner="ns",
        revision=1,
        source=ChainEnd(vnfc_id=VnfcId("src-0"), vim_id=VimId("n1"), port="p"),
        target=ChainEnd(vnfc_id=VnfcId("web-0"), vim_id=VimId("n1"), port="p"),
        hops=(ChainHop(name="fw", instances=(instance("fw-0"), instance("fw-1"))),),
        fail_open=fail_open,
    )
    ns = NsInstance(
        id=NsInstanceId("ns"),
        project_id=DEFAULT_PROJECT,
        nsd_info_id=NsdInfoId("i"),
        nsd_id=NsdId("d"),
        vnfs=tuple(NsVnf(vnf_id=one.id, profile=one.id, vim_id=VimId("n1")) for one in vnfs),
        chains=(chain,),
        created_at=AT,
    )
    graph = build([vim("n1", "north")], vnfs, [ns])
    return graph, {one.vnfc_id: one for one in graph.servers.values()}


def test_a_vnf_a_path_and_a_service_break_only_with_their_last_instance() -> None:
    """Redundancy is there to be used: one of two firewalls breaks nothing."""
    graph, servers = service()
    one = conclude(graph, died([servers["fw-0"]]))
    assert one.broken == frozenset()
    both = conclude(graph, died([servers["fw-0"], servers["fw-1"]]))
    assert both.broken == {Node(Kind.VNF, "fw"), Node(Kind.PATH, "path"), Node(Kind.NS, "ns")}


def test_a_path_that_fails_open_outlives_its_hop() -> None:
    """It passes traffic by the dead hop, as its owner chose; the VNF and so the service are down."""
    graph, servers = service(fail_open=True)
    both = conclude(graph, died([servers["fw-0"], servers["fw-1"]]))
    assert both.broken == {Node(Kind.VNF, "fw"), Node(Kind.NS, "ns")}


def test_a_derived_alarm_is_a_symptom_of_what_killed_what_it_needs() -> None:
    """The service's owner asks why, and the answer is a host and not `the service is down`."""
    graph, servers = service()
    down = Condition(key="ns-down", node=Node(Kind.NS, "ns"))
    conclusion = conclude(graph, [down, *died([servers["web-0"]])])
    (cause,) = conclusion.causes
    assert cause.node == servers["web-0"].node
    assert cause.symptoms == ("ns-down",)


@pytest.mark.parametrize("seed", range(100))
def test_planted_causes_are_found_whatever_the_order_of_the_alarms(seed: int) -> None:
    """Events come late and out of order; the conclusion must not depend on it."""
    dice = random.Random(seed)
    graph, _ = world()
    containers = sorted(node for node in graph.members if node.kind in (Kind.HOST, Kind.ZONE, Kind.VIM))
    planted = dice.choice(containers)
    inside = on(graph, planted)
    # Noise: single deaths elsewhere, never all of another container.
    elsewhere = [one for one in graph.servers.values() if one not in inside]
    by_host: dict[Node, Server] = {one.host_node: one for one in elsewhere}
    noise = dice.sample(sorted(by_host.values(), key=lambda one: one.vnfc_id), 2)
    conditions = died([*inside, *noise])
    dice.shuffle(conditions)
    conclusion = conclude(graph, conditions)
    by_node = {cause.node: cause for cause in conclusion.causes}
    assert set(by_node[planted].symptoms) == {one.vnfc_id for one in inside}
    assert set(by_node) == {planted, *(one.node for one in noise)}
    dice.shuffle(conditions)
    assert conclude(graph, conditions) == conclusion
