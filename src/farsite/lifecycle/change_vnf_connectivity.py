"""Change the external connectivity of a VNF: ports of external connection points go to other networks or
addresses, while the VNFCs they belong to stay.

What a VIM can do in place it does; only these ports of the wish change. A port on the same network keeps its
addresses unless others are asked for.

Source: ETSI GS NFV-SOL 003 clause 5.4.11.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from farsite.lifecycle import addressing, binding, booting, deploying, sizing
from farsite.lifecycle.instantiate_vnf import prefixes_of
from farsite.lifecycle.world import Op, World
from farsite.model.deployment import Deployment, Port, WantedVnfc
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import VnfcId
from farsite.model.operation import InstanceKind
from farsite.model.vnf import ExternalLink, InstantiationState, VnfInstance
from farsite.model.vnfd import DeploymentFlavour
from farsite.store import instances, packages
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVnfConnectivity:
    """The links that change; connection points that are not named stay as they are."""

    external_links: tuple[ExternalLink, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What changes, and how it was before."""

    before: Deployment
    links_before: tuple[ExternalLink, ...]
    changed: tuple[VnfcId, ...]
    ports: tuple[str, ...]
    """`VNFC/port` of each port that changes: under these its addresses are taken."""


def check(vnf: VnfInstance, flavour: DeploymentFlavour, want: ChangeVnfConnectivity) -> Deployment:
    """The deployment whose ports change.

    Raises:
        Conflict: the VNF is not instantiated.
        Invalid: no link is named, or one that the flavour has not or that only a chain feeds.
    """
    if vnf.state is not InstantiationState.INSTANTIATED or vnf.deployment is None:
        raise Conflict(
            f"VNF instance {vnf.id} is not instantiated, so no connectivity of it can be changed.",
            about={"vnf": vnf.id},
        )
    vnf.check_stands()
    if not want.external_links:
        raise Invalid("No external link is named, so there is nothing to change.")
    binding.check_links(flavour, want.external_links)
    for link in want.external_links:
        name = vnf.port_of_cp.get(link.cp, link.cp)
        if name in vnf.unbound_cps:
            raise Invalid(
                f'Connection point "{link.cp}" is fed by a chain of NS instance {vnf.ns_id}, so no network '
                f"can be bound to it."
            )
    return vnf.deployment


def decide(connection: Connection, op: Op) -> object:
    """Derive the new ports, take their addresses, record the wish. The old addresses stay taken meanwhile."""
    want = decode(ChangeVnfConnectivity, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    flavour = packages.vnfd_of(connection, vnf.project_id, vnf.vnfd_id).flavour(vnf.flavour_id)
    before = check(vnf, flavour, want)
    assert vnf.vim_id is not None
    newer = replace(vnf, external_links=_merged(vnf, want.external_links))
    names = {vnf.port_of_cp.get(link.cp, link.cp) for link in want.external_links}
    held = {(one.id, port.name): port for one in before.vnfcs for port in one.ports}
    moved = tuple(_moved(newer, flavour, one, names) for one in before.vnfcs)
    addressed = addressing.with_addresses(
        connection,
        tuple(replace(one, ports=tuple(p for p in one.ports if p != held[one.id, p.name])) for one in moved),
        owner=newer,
        networks=prefixes_of(newer, flavour),
        held=held,
    )
    ports = {(one.id, port.name): port for one in addressed for port in one.ports}
    vnfcs = tuple(
        replace(one, ports=tuple(ports.get((one.id, port.name), port) for port in one.ports)) for one in moved
    )
    changed = [(one.id, port.name) for one in vnfcs for port in one.ports if port != held[one.id, port.name]]
    others = {vnfc_id for vnfc_id, _ in changed}
    again = booting.moved(
        connection, op, newer, tuple(one for one in vnfcs if one.id in others),
        flavour=flavour, vim_id=vnf.vim_id, region=before.region,
    )  # fmt: skip
    vnfcs = sizing.merged(again, vnfcs)
    instances.save_vnf(connection, replace(newer, deployment=replace(before, vnfcs=vnfcs, revision=op.id)))
    return encode(
        Decision(
            before=before,
            links_before=vnf.external_links,
            changed=tuple(sorted({vnfc_id for vnfc_id, _ in changed})),
            ports=tuple(f"{vnfc_id}/{name}" for vnfc_id, name in changed),
        )
    )


def _merged(vnf: VnfInstance, wanted: tuple[ExternalLink, ...]) -> tuple[ExternalLink, ...]:
    """The links by the port they bind: those wanted in place of those of the same port."""
    found: Mapping[str, ExternalLink] = {
        vnf.port_of_cp.get(link.cp, link.cp): link for link in (*vnf.external_links, *wanted)
    }
    return tuple(found.values())


def _moved(vnf: VnfInstance, flavour: DeploymentFlavour, vnfc: WantedVnfc, names: set[str]) -> WantedVnfc:
    """The VNFC with the named ports derived anew, and what trunks nest; the other ports as they stand."""
    position = binding.position_of(vnfc.id)
    derived: dict[str, Port] = {
        port.name: port for port in binding.ports_of(vnf, flavour, vnfc.vdu, vnfc.id, position)
    }
    return replace(
        vnfc,
        ports=tuple(
            derived[port.name]
            if port.name in names and port.name in derived
            else replace(port, subports=derived[port.name].subports)
            if port.name in derived
            else port
            for port in vnfc.ports
        ),
    )


def forget(connection: Connection, op: Op) -> None:
    """Record links and wish from before; only their addresses stay taken."""
    decision = op.result_of(decide, Decision)
    deploying.wish_from_before(connection, op, decision.before)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    addressing.take_over(connection, vnf, decision.ports, decision.before.vnfcs)
    instances.save_vnf(connection, replace(vnf, external_links=decision.links_before))


async def deploy(op: Op) -> None:
    """Ask the VIM to move the ports."""
    await deploying.deploy(op)


async def deploy_before(op: Op) -> None:
    """Undo: move them back."""
    await deploying.previous_again(op, op.result_of(decide, Decision).before, may_lack=True)


async def wait(op: Op) -> object:
    """Wait until the VNFCs run with their new ports."""
    decision = op.result_of(decide, Decision)
    return await deploying.wait_until_ready(op, only=frozenset(decision.changed))


def record(connection: Connection, op: Op) -> None:
    """Record what stands; addresses that were left are free again."""
    decision = op.result_of(decide, Decision)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    assert vnf.deployment is not None
    addressing.take_over(connection, vnf, decision.ports, vnf.deployment.vnfcs)
    deploying.record_resources(connection, op, wait, before=decision.before)


CHANGE_VNF_CONNECTIVITY: Saga[World] = Saga(
    verb="change_vnf_connectivity",
    kind=InstanceKind.VNF,
    type="CHANGE_EXT_CONN",
    parameters=ChangeVnfConnectivity,
    steps=(
        step("Choose ports and addresses", decide, undo=forget),
        step("Deploy on the VIM", deploy, undo=deploy_before),
        step("Wait for the VIM", wait),
        step("Record what stands", record),
    ),
)
