"""Instantiate a VNF: from a record to running VNFCs on a chosen VIM.

Source: ETSI GS NFV-SOL 003 clause 5.4.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farsite.lifecycle import (
    binding,
    booting,
    deploying,
    elsewhere,
    placing,
    separating,
    sizing,
    substrate,
)
from farsite.lifecycle.addressing import Prefixes, with_addresses
from farsite.lifecycle.artefacts import with_artefacts
from farsite.lifecycle.world import Op, World
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import ExternalLink, InstantiationState, ManagedLink, Place, VnfInstance
from farsite.model.vnfd import DeploymentFlavour
from farsite.store import capacity, instances, packages, vims
from farsite.store.database import Connection
from farsite.store.encoding import decode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class InstantiateVnf:
    """`vim`, `region` and `zone` are the user's choice; empty: placement chooses. `configuration` is laid
    over the descriptor's initial configuration of every VDU; `images` (image name of the descriptor ->
    image of the VIM) and `compute_flavours` (VDU -> flavour of the VIM) over what the descriptor states."""

    flavour_id: str = ""
    level_id: str = ""
    vim: str = ""
    region: str = ""
    zone: str = ""
    features: tuple[str, ...] = ()
    external_links: tuple[ExternalLink, ...] = ()
    managed_links: tuple[ManagedLink, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict[str, str])
    compute_flavours: Mapping[str, str] = field(default_factory=dict[str, str])
    unbound_cps: tuple[str, ...] = ()
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    """Values for the package's own template, e.g. below `nfv`."""

    @property
    def place(self) -> Place:
        return Place(vim=self.vim, region=self.region, zone=self.zone)

    def at(self, place: Place) -> "InstantiateVnf":
        """The same, there."""
        return replace(self, vim=place.vim, region=place.region, zone=place.zone)


def place(connection: Connection, op: Op) -> object:
    """Choose size, VIM, zones, names and addresses, and record them: everything later only carries out."""
    want = decode(InstantiateVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    if vnf.state is InstantiationState.INSTANTIATED:
        raise Conflict(f"VNF instance {vnf.id} is INSTANTIATED already.", about={"vnf": vnf.id})
    flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(want.flavour_id)
    level = flavour.level(want.level_id)
    check(want, flavour)
    port_of_cp = {cp.external: cp.id for cp in flavour.cps if cp.external}
    vnf = replace(
        vnf,
        flavour_id=flavour.id,
        level_id=level.id if level else "",
        scale_levels=flavour.scale_levels(want.level_id),
        external_links=want.external_links,
        managed_links=want.managed_links,
        images=want.images,
        compute_flavours=want.compute_flavours,
        unbound_cps=tuple(port_of_cp.get(cp, cp) for cp in want.unbound_cps),
        port_of_cp=port_of_cp,
        configuration=want.configuration,
    )
    substrate.check_links(vnf, flavour)
    remains = _take_over_remains(connection, vnf, want)
    package = packages.get_package(connection, vnf.project_id, vnf.package_id)
    vnfcs = sizing.wanted_vnfcs(vnf, package, flavour, flavour.vnfc_counts(want.level_id))
    demand = placing.demand_of(
        connection, vnf, vnfcs, flavour, vim=vnf.vim_id or want.vim, region=want.region, zone=want.zone,
        features=frozenset(want.features), apart=separating.apart_from(connection, vnf),
        links_apart=substrate.links_apart(vnf, flavour),
    )  # fmt: skip
    placing.check_place(connection, vnf.project_id, replace(want.place, vim=vnf.vim_id or want.vim))
    assignment = placing.decide(
        connection, op, (demand,), replacing=vnf.id, granted=want.vim if op.operation.parent_id else "",
        turned_away=elsewhere.turned_away(connection, op).keys(),
    ).of(demand.id)  # fmt: skip
    vnfcs = sizing.with_places(vnfcs, assignment.zones, assignment.racks)
    vnfcs = tuple(replace(one, incarnation=remains.get(one.id, 0)) for one in vnfcs)
    vnfcs = with_addresses(connection, vnfcs, owner=vnf, networks=prefixes_of(vnf, flavour))
    vnfcs = booting.placed(
        connection, op, vnf, vnfcs, flavour=flavour, vim_id=assignment.vim_id, region=assignment.region
    )
    deployment = sizing.deployment_of(vnf, flavour, vnfcs, revision=op.id, region=assignment.region)
    deployment = with_artefacts(
        substrate.chosen(connection, deployment, vnf, flavour, assignment.vim_id),
        vnf, package, flavour, images_dir=op.world.settings.images_dir, parameters=want.parameters,
    )  # fmt: skip
    instances.save_vnf(connection, replace(vnf, vim_id=assignment.vim_id, deployment=deployment))
    held = sizing.held_per_zone(deployment)
    capacity.claim(connection, [placing.holding(connection, vnf.project_id, vnf.id, assignment.vim_id, held)])
    return {"vim_id": assignment.vim_id, "vnfcs": len(vnfcs)}


def _take_over_remains(connection: Connection, vnf: VnfInstance, want: InstantiateVnf) -> dict[VnfcId, int]:
    """Incarnations that replace what an instantiation that failed for good left standing.

    It is replaced on the VIM it stands on; elsewhere it can only go after it was terminated there.

    Raises:
        Conflict: another VIM is asked for.
    """
    if vnf.deployment is None or vnf.vim_id is None:
        return {}
    if want.vim and vims.get(connection, vnf.project_id, want.vim).id != vnf.vim_id:
        raise Conflict(
            f"VNF instance {vnf.id} has remains of a failed instantiation on VIM {vnf.vim_id}. Terminate it "
            f"first (farsite vnf terminate {vnf.id}), or instantiate it there.",
            about={"vnf": vnf.id, "vim": vnf.vim_id},
        )
    instances.release_addresses(connection, vnf.id)
    return {one.id: one.incarnation + 1 for one in vnf.deployment.vnfcs}


def check(want: InstantiateVnf, flavour: DeploymentFlavour) -> None:
    """See that the request fits the flavour, as far as no VIM need be known.

    Raises:
        Invalid: names what the flavour has not.
    """
    flavour.vnfc_counts(want.level_id)
    binding.check_links(flavour, want.external_links, want.managed_links)
    unknown = sorted(want.compute_flavours.keys() - flavour.vdus.keys())
    if unknown:
        raise Invalid(
            f'Flavour "{flavour.id}" has no VDU "{unknown[0]}". VDUs: {", ".join(sorted(flavour.vdus))}.'
        )


def prefixes_of(vnf: VnfInstance, flavour: DeploymentFlavour) -> dict[str, Prefixes]:
    """Address ranges of the networks that this VNF's ports may be on."""
    internal = {
        network.id: Prefixes(cidr_v4=network.cidr_v4, cidr_v6=network.cidr_v6)
        for network in binding.internal_networks(vnf, flavour)
    }
    external = {
        link.network_id: Prefixes(cidr_v4=link.cidr_v4, cidr_v6=link.cidr_v6)
        for link in (*vnf.external_links, *vnf.managed_links)
    }
    return internal | external


def forget_placement(connection: Connection, op: Op) -> None:
    """Give back capacity and addresses; the instance is as it was when it was created."""
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    release(connection, vnf)


def release(connection: Connection, vnf: VnfInstance) -> None:
    """Record that nothing of the VNF stands any more."""
    if vnf.vim_id is not None:
        capacity.claim(connection, [placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id)])
    instances.release_addresses(connection, vnf.id)
    instances.save_vnf(
        connection,
        replace(
            vnf,
            state=InstantiationState.NOT_INSTANTIATED,
            vim_id=None,
            deployment=None,
            resources=(),
            preempted_for=None,
            flavour_id="",
            level_id="",
            scale_levels={},
            external_links=(),
            managed_links=(),
            images={},
            compute_flavours={},
            unbound_cps=(),
            port_of_cp={},
            configuration={},
        ),
    )


async def deploy(op: Op) -> None:
    """Ask the VIM for all VNFCs at once."""
    await deploying.deploy(op)


async def wait(op: Op) -> object:
    """Wait until all VNFCs run, on another VIM where the chosen one turns out to have no room."""
    return await elsewhere.wait_here_or_elsewhere(op, place, forget_placement)


def record(connection: Connection, op: Op) -> None:
    """Record what stands: from now on the instance is INSTANTIATED."""
    deploying.record_resources(connection, op, wait, before=None)


INSTANTIATE_VNF: Saga[World] = Saga(
    verb="instantiate_vnf",
    kind=InstanceKind.VNF,
    type="INSTANTIATE",
    parameters=InstantiateVnf,
    steps=(
        step("Choose size, VIM and addresses", place, undo=forget_placement),
        step("Deploy on the VIM", deploy, undo=deploying.undeploy_and_wait),
        step("Wait for the VIM", wait),
        step("Record what stands", record),
    ),
)
