"""One scenario per registered verb (some verbs have two): how an instance comes to the state the verb starts
from, with which parameters it is called, and what must stand when it has completed.

A registered verb without a scenario fails `test_every_registered_verb_has_a_scenario`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fault_lab import SIDES, Lab, inject, vim_id

from farsite.lifecycle.change_vnf_connectivity import ChangeVnfConnectivity
from farsite.lifecycle.change_vnf_package import ChangeVnfPackage
from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_ns import InstantiateNs
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.operate_vnf import OperateVnf, StopType
from farsite.lifecycle.preempt_vnf import PreemptVnf
from farsite.lifecycle.scale_vnf import ScaleType, ScaleVnf
from farsite.lifecycle.terminate_ns import TerminateNs
from farsite.lifecycle.terminate_vnf import TerminateVnf, TerminationType
from farsite.lifecycle.verbs import VERBS
from farsite.model.deployment import ResourceKind
from farsite.model.ids import VnfInstanceId
from farsite.model.vnf import CpConfig, ExternalLink, InstantiationState, IpAddresses, IpType, VnfState
from farsite.store import instances
from farsite.vims.drivers.simulated.driver import SimulatedDriver
from farsite.workflow.saga import Step
from next_package import NEXT_INSPECTOR


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How a verb is driven."""

    name: str
    verb: str
    prepare: Callable[[Lab], Awaitable[str]]
    """Makes an instance and brings it to the state the verb starts from; its id."""
    parameters: object
    stands: Callable[[Lab, str], Awaitable[None]]
    """Asserts what must stand after COMPLETED, beyond what holds always."""
    methods: tuple[str, ...]
    """Calls of the driver that the verb makes."""
    may_renew: bool = False
    """A rollback cannot bring a replaced VNFC back, so its incarnation may have grown."""
    is_killed_everywhere: bool = True
    """Whether it is killed at each step and call: a verb that another scenario drives need not be."""
    is_on_postgresql: bool = True
    """Whether it is also killed on PostgreSQL: a verb that asks nothing new of the store need not be."""

    @property
    def steps(self) -> tuple[Step[object], ...]:
        return VERBS[self.verb].steps  # type: ignore[return-value]

    def step_names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.steps)

    def undo_names(self) -> tuple[str, ...]:
        """Steps with an undo, in the order in which a rollback from the last step walks."""
        return tuple(one.name for one in reversed(self.steps) if one.undo is not None)


# -- a function by itself


async def a_new_vnf(lab: Lab) -> str:
    return await lab.create_vnf()


async def a_running_vnf(lab: Lab) -> str:
    vnf_id = await lab.create_vnf()
    await lab.done("instantiate_vnf", vnf_id, InstantiateVnf(level_id="pair", vim="north"))
    return vnf_id


async def a_hurt_vnf(lab: Lab) -> str:
    """One of its two VNFCs is dead."""
    vnf_id = await a_running_vnf(lab)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    await inject(lab.settings, "north", "kill_vnfc", vnf.deployment.vnfcs[0].id)
    return vnf_id


async def it_runs(lab: Lab, vnf_id: str) -> None:
    vnf = await lab.vnf(vnf_id)
    assert vnf.state is InstantiationState.INSTANTIATED
    assert vnf.deployment is not None
    alive = {(one.vnfc_id, one.incarnation) for one in vnf.resources if one.vnfc_id and one.is_alive}
    assert alive == {(one.id, one.incarnation) for one in vnf.deployment.vnfcs}


async def it_is_gone(lab: Lab, vnf_id: str) -> None:
    vnf = await lab.vnf(vnf_id)
    assert vnf.state is InstantiationState.NOT_INSTANTIATED
    assert vnf.deployment is None
    assert vnf.resources == ()


async def it_is_preempted(lab: Lab, vnf_id: str) -> None:
    """Nothing of it stands, and all that it takes to bring it back is there."""
    vnf = await lab.vnf(vnf_id)
    assert (vnf.state, vnf.preempted_for) == (InstantiationState.INSTANTIATED, "another")
    assert vnf.deployment is not None
    assert len(vnf.deployment.vnfcs) == 2
    assert vnf.resources == ()


async def it_stopped_and_is_gone(lab: Lab, vnf_id: str) -> None:
    await it_is_gone(lab, vnf_id)
    driver = await lab.farsite.drivers.of(vim_id("north"))
    if not isinstance(driver, SimulatedDriver):
        return  # A site keeps no journal.
    told = await driver.world_journal()
    stopped = {one.key for one in told if one.kind == "vnfc.changed" and one.body["is_stopped"]}
    stood = {one.key for one in told if one.kind == "vnfc.created" and one.body["vnf_id"] == vnf_id}
    assert stood
    assert stood <= stopped


async def it_is_healed(lab: Lab, vnf_id: str) -> None:
    await it_runs(lab, vnf_id)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    assert {one.incarnation for one in vnf.deployment.vnfcs} != {0}


async def a_connected_vnf(lab: Lab) -> str:
    vnf_id = await lab.create_vnf("Farsite web server")
    link = ExternalLink(cp="data", network_id=SIDES[0], cidr_v4="192.0.2.0/24")
    want = InstantiateVnf(level_id="pair", vim="north", external_links=(link,))
    await lab.done("instantiate_vnf", vnf_id, want)
    return vnf_id


MOVED = ChangeVnfConnectivity(
    external_links=(
        ExternalLink(
            cp="data",
            network_id=SIDES[1],
            cidr_v4="198.51.100.0/24",
            cidr_v6="2001:db8::/64",
            configs=(
                CpConfig(
                    mac="02:00:00:00:00:77",
                    ips=(
                        IpAddresses(first="198.51.100.64", last="198.51.100.191"),
                        IpAddresses(dynamic_count=2),
                        IpAddresses(type=IpType.IPV6, first="2001:db8::2000", last="2001:db8::2fff"),
                    ),
                ),
            ),
        ),
    )
)


async def it_is_moved(lab: Lab, vnf_id: str) -> None:
    await it_runs(lab, vnf_id)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    first, second = (one.ports[0] for one in vnf.deployment.vnfcs)
    assert (first.network_id, second.network_id) == (SIDES[1], SIDES[1])
    assert first.mac == "02:00:00:00:00:77" != second.mac
    assert [one.rpartition("/")[2] for one in first.addresses] == ["24", "24", "24", "64"]
    assert 64 <= int(first.addresses[0].rpartition("/")[0].rpartition(".")[2]) < 192
    assert len({*first.addresses, *second.addresses}) == 8
    assert {one.incarnation for one in vnf.deployment.vnfcs} == {0}
    said = {one.mac: one.addresses for one in vnf.resources if one.kind is ResourceKind.LINKPORT}
    plain = {one.partition("/")[0] for one in said[first.mac]}
    assert plain == {one.partition("/")[0] for one in first.addresses}


# -- a service


async def a_new_ns(lab: Lab) -> str:
    return await lab.create_ns()


async def a_running_ns(lab: Lab) -> str:
    ns_id = await lab.create_ns()
    await lab.done("instantiate_ns", ns_id, InstantiateNs(vims={"client": "north", "server": "south"}))
    return ns_id


async def a_chained_vnf(lab: Lab) -> str:
    """One of the inspectors in the chain of a service."""
    ns_id = await a_running_ns(lab)
    vnfs = await lab.database.run(instances.vnfs_of_ns, ns_id)
    return next(one.id for one in vnfs if one.profile == "inspector")


async def a_chained_pair(lab: Lab) -> str:
    vnf_id = await a_chained_vnf(lab)
    await lab.done("scale_vnf", vnf_id, ScaleVnf(type=ScaleType.SCALE_OUT, aspect_id="workers"))
    return vnf_id


async def a_stopped_pair(lab: Lab) -> str:
    vnf_id = await a_chained_pair(lab)
    await lab.done("operate_vnf", vnf_id, OperateVnf(state=VnfState.STOPPED))
    return vnf_id


async def it_is_stopped(lab: Lab, vnf_id: str) -> None:
    await it_runs(lab, vnf_id)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    assert vnf.vnf_state is VnfState.STOPPED
    assert {one.is_stopped for one in vnf.resources if one.vnfc_id} == {True}
    ns = await lab.database.run(instances.get_ns, None, str(vnf.ns_id))
    chained = {one.vnfc_id for chain in ns.chains for hop in chain.hops for one in hop.instances}
    assert not {one.id for one in vnf.deployment.vnfcs} & chained


async def it_is_of_the_next_package(lab: Lab, vnf_id: str) -> None:
    await it_is_chained(2)(lab, vnf_id)
    vnf = await lab.vnf(vnf_id)
    assert vnf.deployment is not None
    assert (vnf.vnfd_id, vnf.software_version) == (NEXT_INSPECTOR, "2.0")
    assert 0 not in {one.incarnation for one in vnf.deployment.vnfcs}
    for one in vnf.deployment.vnfcs:
        assert "eicar-next" in str(one.configuration)


def it_is_chained(count: int) -> Callable[[Lab, str], Awaitable[None]]:
    async def stands(lab: Lab, vnf_id: str) -> None:
        await it_runs(lab, vnf_id)
        vnf = await lab.vnf(vnf_id)
        assert vnf.deployment is not None
        assert len(vnf.deployment.vnfcs) == count
        assert vnf.scale_levels == {"workers": count - 1}
        ns = await lab.database.run(instances.get_ns, None, str(vnf.ns_id))
        chained = {one.vnfc_id for chain in ns.chains for hop in chain.hops for one in hop.instances}
        assert {one.id for one in vnf.deployment.vnfcs} <= chained

    return stands


async def the_service_runs(lab: Lab, ns_id: str) -> None:
    ns = await lab.database.run(instances.get_ns, None, ns_id)
    assert ns.state is InstantiationState.INSTANTIATED
    assert len(ns.vnfs) == 5
    assert {one.vim_id for one in ns.vnfs} == {vim_id("north"), vim_id("south")}
    assert len(ns.chains) == 1
    for one in ns.vnfs:
        await it_runs(lab, one.vnf_id)


async def the_service_is_gone(lab: Lab, ns_id: str) -> None:
    ns = await lab.database.run(instances.get_ns, None, ns_id)
    assert ns.state is InstantiationState.NOT_INSTANTIATED
    assert (ns.vnfs, ns.networks, ns.chains) == ((), (), ())


SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        Scenario(
            name="instantiate_vnf", verb="instantiate_vnf", prepare=a_new_vnf,
            parameters=InstantiateVnf(level_id="pair"), stands=it_runs, methods=("deploy", "watch"),
        ),
        Scenario(
            name="scale_out", verb="scale_vnf", prepare=a_chained_vnf,
            parameters=ScaleVnf(type=ScaleType.SCALE_OUT, aspect_id="workers"), stands=it_is_chained(2),
            methods=("deploy", "watch", "apply_chain"),
        ),
        Scenario(
            name="scale_in", verb="scale_vnf", prepare=a_chained_pair,
            parameters=ScaleVnf(type=ScaleType.SCALE_IN, aspect_id="workers"), stands=it_is_chained(1),
            methods=("apply_chain", "deploy"),
        ),
        Scenario(
            name="heal_vnf", verb="heal_vnf", prepare=a_hurt_vnf, parameters=HealVnf(), stands=it_is_healed,
            methods=("deploy", "watch"), may_renew=True,
        ),
        Scenario(
            name="stop_vnf", verb="operate_vnf", prepare=a_chained_pair,
            parameters=OperateVnf(
                state=VnfState.STOPPED, stop_type=StopType.GRACEFUL, graceful_timeout_s=5
            ),
            stands=it_is_stopped, methods=("deploy", "watch", "apply_chain"), is_on_postgresql=False,
        ),
        Scenario(
            name="start_vnf", verb="operate_vnf", prepare=a_stopped_pair,
            parameters=OperateVnf(state=VnfState.STARTED), stands=it_is_chained(2), methods=("deploy",),
            is_killed_everywhere=False, is_on_postgresql=False,
        ),
        Scenario(
            name="preempt_vnf", verb="preempt_vnf", prepare=a_running_vnf,
            parameters=PreemptVnf(for_vnf=VnfInstanceId("another")), stands=it_is_preempted,
            methods=("undeploy", "watch"), is_on_postgresql=False,
        ),
        Scenario(
            name="change_vnf_connectivity", verb="change_vnf_connectivity", prepare=a_connected_vnf,
            parameters=MOVED, stands=it_is_moved, methods=("deploy", "watch"), is_on_postgresql=False,
        ),
        Scenario(
            name="change_vnf_package", verb="change_vnf_package", prepare=a_chained_pair,
            parameters=ChangeVnfPackage(package_id=NEXT_INSPECTOR), stands=it_is_of_the_next_package,
            methods=("deploy", "watch", "reach", "apply_chain"), may_renew=True, is_on_postgresql=False,
        ),
        Scenario(
            name="terminate_vnf", verb="terminate_vnf", prepare=a_running_vnf, parameters=TerminateVnf(),
            stands=it_is_gone, methods=("undeploy", "watch"),
        ),
        Scenario(
            name="terminate_vnf_gracefully", verb="terminate_vnf", prepare=a_running_vnf,
            parameters=TerminateVnf(type=TerminationType.GRACEFUL, graceful_timeout_s=5),
            stands=it_stopped_and_is_gone, methods=("deploy", "undeploy"), is_on_postgresql=False,
        ),
        Scenario(
            name="instantiate_ns", verb="instantiate_ns", prepare=a_new_ns,
            parameters=InstantiateNs(vims={"client": "north", "server": "south"}), stands=the_service_runs,
            methods=("ensure_network", "deploy", "watch", "apply_chain"),
        ),
        Scenario(
            name="terminate_ns", verb="terminate_ns", prepare=a_running_ns, parameters=TerminateNs(),
            stands=the_service_is_gone, methods=("delete_chain", "undeploy", "watch", "delete_network"),
        ),
    )
}  # fmt: skip


async def prepare(lab: Lab, scenario: str) -> str:
    """Bring a scenario's instance to the state it starts from, in a process of its own.

    Here and not in a conftest: processes find it by its module's name, and there are several conftests.
    """
    await lab.watched()
    return await SCENARIOS[scenario].prepare(lab)
