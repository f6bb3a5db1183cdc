"""Change the package of a VNF, rolling: batch after batch of its VNFCs is replaced by what the other package
says, and the next one begins when the last one runs and answers.

Traffic is steered away from a batch before it goes and to it after it came, so a hop with another instance
loses no packet. Until the end the instance is of the package from before; a rollback brings back every VNFC
that was replaced, in the same way.

Source: ETSI GS NFV-SOL 003 clause 5.4.11a.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farsite.lifecycle import (
    addressing,
    binding,
    booting,
    choosing,
    deploying,
    placing,
    rolling,
    sizing,
    substrate,
)
from farsite.lifecycle.artefacts import with_artefacts
from farsite.lifecycle.create_vnf import check_usable
from farsite.lifecycle.instantiate_vnf import prefixes_of
from farsite.lifecycle.rolling import Swap
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment, WantedVnfc
from farsite.model.errors import Conflict, Invalid
from farsite.model.operation import InstanceKind
from farsite.model.package import VnfPackage
from farsite.model.vnf import ExternalLink, InstantiationState, VnfInstance
from farsite.model.vnfd import DeploymentFlavour
from farsite.store import capacity, instances, packages
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVnfPackage:
    """`package_id` is an id once the change has begun (a name may get another package meanwhile). VDUs are
    the same by name, or as `vdus` says (VDU of the package from before -> VDU of the other one). `batch_size`
    VNFCs are replaced at a time; links and configuration are laid over those that the instance has."""

    package_id: str
    vdus: Mapping[str, str] = field(default_factory=dict[str, str])
    batch_size: int = 1
    external_links: tuple[ExternalLink, ...] = ()
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    certified_first: bool = False
    """Of several that are meant, the best certified goes before the newest."""
    package_choice: str = ""
    """Why it is this package, once that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is replaced by what, and the instance's record as it will be in the end."""

    before: Deployment
    after: VnfInstance
    """Only what the package determines counts; the rest is as it was when this was decided."""
    batches: tuple[tuple[Swap, ...], ...]
    ports: tuple[str, ...]
    """`VNFC/port` of all ports, from before and of the other package."""


def check(connection: Connection, vnf: VnfInstance, want: ChangeVnfPackage) -> VnfInstance:
    """The instance as the other package would have it, less its deployment.

    Raises:
        NotFound: no such package.
        Conflict: the VNF is not instantiated, is of this package already, or the package cannot be used.
        Invalid: the packages do not match; names the VDU, the aspect or the connection point.
    """
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None:
        raise Conflict(
            f"VNF instance {vnf.id} is not instantiated, so its package cannot be changed. Delete it and "
            f"create one of the other package.",
            about={"vnf": vnf.id},
        )
    vnf.check_stands()
    package, reason = choosing.package_for(
        connection, vnf.project_id, want.package_id, certified_first=want.certified_first
    )
    if package.id == vnf.package_id:
        raise Conflict(f"VNF instance {vnf.id} is of package {package.id} already.", about={"vnf": vnf.id})
    vnfd_id = check_usable(package)
    if want.batch_size < 1:
        raise Invalid(f"At least one VNFC is replaced at a time, not {want.batch_size}.")
    vnfd = packages.vnfd_of(connection, vnf.project_id, vnfd_id)
    flavour = vnfd.flavour(vnf.flavour_id if vnf.flavour_id in vnfd.flavours else "")
    binding.check_links(flavour, want.external_links)
    return replace(
        vnf,
        package_id=package.id,
        package_choice=want.package_choice or reason,
        vnfd_id=vnfd_id,
        provider=package.provider,
        product_name=package.product_name,
        software_version=package.software_version,
        vnfd_version=package.vnfd_version,
        flavour_id=flavour.id,
        level_id=vnf.level_id if vnf.level_id in flavour.levels else flavour.default_level,
        scale_levels=_scale_levels(vnf, flavour),
        external_links=_links(vnf, want.external_links),
        port_of_cp={cp.external: cp.id for cp in flavour.cps if cp.external},
        configuration={**vnf.configuration, **want.configuration},
        compute_flavours={want.vdus.get(vdu, vdu): name for vdu, name in vnf.compute_flavours.items()},
    )


def _scale_levels(vnf: VnfInstance, flavour: DeploymentFlavour) -> dict[str, int]:
    for aspect, level in vnf.scale_levels.items():
        most = flavour.aspects[aspect].max_scale_level if aspect in flavour.aspects else 0
        if level > most:
            raise Invalid(
                f'The VNF is at level {level} of aspect "{aspect}"; the other package allows {most}. '
                f"Scale in first (farsite vnf scale {vnf.name or vnf.id} --aspect {aspect} --direction in)."
            )
    return {aspect: vnf.scale_levels.get(aspect, 0) for aspect in flavour.aspects}


def _links(vnf: VnfInstance, wanted: tuple[ExternalLink, ...]) -> tuple[ExternalLink, ...]:
    return tuple(
        ({link.cp: link for link in vnf.external_links} | {link.cp: link for link in wanted}).values()
    )


def decide(connection: Connection, op: Op) -> object:
    """Derive what each VNFC shall become. The wish stays as it is: each batch records its own part."""
    want = decode(ChangeVnfPackage, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    after = check(connection, vnf, want)
    before = vnf.deployment
    assert before is not None
    package = packages.get_package(connection, vnf.project_id, after.package_id)
    flavour = packages.vnfd_of(connection, vnf.project_id, after.vnfd_id).flavour(after.flavour_id)
    substrate.check_standing(vnf, flavour)
    derived = _derived(after, package, flavour, before, want)
    _check_room(connection, op, vnf, flavour, before, derived)
    newest = addressing.with_addresses(
        connection,
        derived,
        owner=after,
        networks=prefixes_of(after, flavour),
        held={(one.id, port.name): port for one in before.vnfcs for port in one.ports},
    )
    vim_id = after.vim_id
    assert vim_id is not None
    newest = booting.placed(
        connection, op, after, newest, flavour=flavour, vim_id=vim_id, region=before.region
    )
    swaps = [Swap(old=older.id, new=newer) for older, newer in zip(before.vnfcs, newest, strict=True)]
    deployment = sizing.deployment_of(after, flavour, newest, revision=op.id, region=before.region)
    after = replace(after, deployment=with_artefacts(
        substrate.chosen(
            connection, deployment, vnf, flavour, vim_id, anew={one.id for one in before.vnfcs}
        ),
        after, package, flavour, images_dir=op.world.settings.images_dir,
        parameters=before.template.parameters if before.template else {},
    ))  # fmt: skip
    most = sizing.held_per_zone(replace(before, vnfcs=tuple(map(_larger, before.vnfcs, newest))))
    capacity.claim(connection, [placing.holding(connection, vnf.project_id, vnf.id, vim_id, most)])
    return encode(
        Decision(
            before=before,
            after=replace(after, resources=()),
            batches=rolling.batches_of(swaps, want.batch_size),
            ports=tuple(
                sorted({f"{one.id}/{p.name}" for one in (*before.vnfcs, *newest) for p in one.ports})
            ),
        )
    )


def _derived(
    after: VnfInstance,
    package: VnfPackage,
    flavour: DeploymentFlavour,
    before: Deployment,
    want: ChangeVnfPackage,
) -> tuple[WantedVnfc, ...]:
    """What each standing VNFC becomes, in their order; it stays in its zone, and stopped if it was."""
    counts: dict[str, int] = {}
    for one in before.vnfcs:
        vdu = want.vdus.get(one.vdu, one.vdu)
        if vdu not in flavour.vdus:
            raise Invalid(
                f'The other package has no VDU "{vdu}" for VDU "{one.vdu}". It has: '
                f"{', '.join(sorted(flavour.vdus))}. Say which is which: --vdu {one.vdu}=NAME."
            )
        counts[vdu] = max(counts.get(vdu, 0), binding.position_of(one.id) + 1)
    missing = sorted(
        vdu for vdu, count in flavour.counts_at(after.scale_levels).items() if count and vdu not in counts
    )
    if missing:
        raise Invalid(
            f'The other package has VDU "{missing[0]}", which no VDU of this VNF becomes. Say which does: '
            f"--vdu NAME={missing[0]}."
        )
    wanted = {one.id: one for one in sizing.wanted_vnfcs(after, package, flavour, counts)}
    found: list[WantedVnfc] = []
    for one in before.vnfcs:
        vdu = want.vdus.get(one.vdu, one.vdu)
        newer = wanted[sizing.vnfc_id(after, vdu, binding.position_of(one.id))]
        found.append(
            replace(
                newer,
                zone=one.zone,
                rack=one.rack,
                is_stopped=one.is_stopped,
                incarnation=one.incarnation + 1 if newer.id == one.id else 0,
            )
        )
    if len({one.id for one in found}) < len(found):
        raise Invalid("Two VDUs of this VNF would become the same one. Map each to a VDU of its own.")
    return tuple(found)


def _check_room(
    connection: Connection,
    op: Op,
    vnf: VnfInstance,
    flavour: DeploymentFlavour,
    before: Deployment,
    derived: tuple[WantedVnfc, ...],
) -> None:
    """See that the VIM offers what the other package asks for, and has room for what it asks more.

    Raises:
        NotEnough: it does not; names the feature or the capacity.
    """
    grown = tuple(
        replace(
            newer,
            vcpus=max(newer.vcpus - older.vcpus, 0),
            memory_mib=max(newer.memory_mib - older.memory_mib, 0),
            disk_gib=max(newer.disk_gib - older.disk_gib, 0),
            anti_affinity_group="",
            affinity_group="",
        )
        for older, newer in zip(before.vnfcs, derived, strict=True)
    )
    demand = placing.demand_of(
        connection, vnf, grown, flavour, vim=vnf.vim_id or "", region=before.region, is_growth=True,
        links_apart=substrate.links_apart(vnf, flavour),
    )  # fmt: skip
    placing.decide(connection, op, (demand,))


def _larger(older: WantedVnfc, newer: WantedVnfc) -> WantedVnfc:
    """What a VNFC holds until the change is over: each batch may be replaced and brought back at any time."""
    return replace(
        older,
        vcpus=max(older.vcpus, newer.vcpus),
        memory_mib=max(older.memory_mib, newer.memory_mib),
        disk_gib=max(older.disk_gib, newer.disk_gib),
    )


def _hold(connection: Connection, vnf: VnfInstance, deployment: Deployment) -> None:
    """From now on the VNF holds what it stands with and no more."""
    assert vnf.vim_id is not None
    held = sizing.held_per_zone(deployment)
    capacity.claim(connection, [placing.unchecked(vnf.project_id, vnf.id, vnf.vim_id, held)])


def forget(connection: Connection, op: Op) -> None:
    """Give back the addresses and the room that only the other package needs."""
    decision = op.result_of(decide, Decision)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    addressing.take_over(connection, vnf, decision.ports, decision.before.vnfcs)
    _hold(connection, vnf, decision.before)


async def replace_all(op: Op) -> None:
    """Replace the VNFCs, batch after batch."""
    decision = op.result_of(decide, Decision)
    target = decision.after.deployment
    assert target is not None
    await rolling.roll(op, decision.batches, way="forward", target=target)


async def bring_back(op: Op) -> None:
    """Undo: bring back those that were replaced, the last batch first."""
    decision = op.result_of(decide, Decision)
    begun = await op.world.database.run(_begun, op, decision)
    standing = {one.id: one for one in decision.before.vnfcs}
    backwards = tuple(
        tuple(Swap(old=swap.new.id, new=standing[swap.old]) for swap in batch) for batch in reversed(begun)
    )
    await rolling.roll(op, backwards, way="back", target=decision.before)
    await deploying.previous_again(op, decision.before, may_lack=True)


def _begun(connection: Connection, op: Op, decision: Decision) -> tuple[tuple[Swap, ...], ...]:
    return tuple(
        batch
        for number, batch in enumerate(decision.batches, start=1)
        if rolling.has_begun(connection, op, "forward", number)
    )


async def wait(op: Op) -> object:
    """Wait until the VIM holds the whole of it."""
    decision = op.result_of(decide, Decision)
    return await deploying.wait_until_ready(
        op, only=frozenset(swap.new.id for batch in decision.batches for swap in batch)
    )


def record(connection: Connection, op: Op) -> None:
    """Record what stands; from now on the instance is of the other package."""
    decision = op.result_of(decide, Decision)
    after = decision.after
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    assert vnf.deployment is not None
    addressing.take_over(connection, vnf, decision.ports, vnf.deployment.vnfcs)
    _hold(connection, vnf, vnf.deployment)
    instances.save_vnf(
        connection,
        replace(
            vnf,
            package_id=after.package_id,
            package_choice=after.package_choice,
            vnfd_id=after.vnfd_id,
            provider=after.provider,
            product_name=after.product_name,
            software_version=after.software_version,
            vnfd_version=after.vnfd_version,
            flavour_id=after.flavour_id,
            level_id=after.level_id,
            scale_levels=after.scale_levels,
            external_links=after.external_links,
            port_of_cp=after.port_of_cp,
            configuration=after.configuration,
            compute_flavours=after.compute_flavours,
        ),
    )
    deploying.record_resources(connection, op, wait, before=decision.before)


CHANGE_VNF_PACKAGE: Saga[World] = Saga(
    verb="change_vnf_package",
    kind=InstanceKind.VNF,
    type="CHANGE_VNFPKG",
    parameters=ChangeVnfPackage,
    steps=(
        step("Choose what each VNFC becomes", decide, undo=forget),
        step(
            "Replace the VNFCs, batch after batch",
            replace_all,
            undo=bring_back,
            undo_title="Bring back the VNFCs of the package from before",
            deadline_s=rolling.DEADLINE_S,
        ),
        step("Wait for the VIM", wait),
        step("Record what stands", record),
    ),
)
