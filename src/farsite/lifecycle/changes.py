"""What an operation changed: the wish from before and what stood then, compared with what stands now.

Source: ETSI GS NFV-SOL 003 clause 5.5.2.13 (VnfLcmOpOcc, resourceChanges).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from farsite.model.deployment import Deployment, NetworkSpec, Resource, ResourceKind, WantedVnfc
from farsite.model.operation import ChangeType, ResourceChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """A deployment and what the VIM said stands of it."""

    deployment: Deployment | None = None
    resources: tuple[Resource, ...] = ()


def between(before: Stand, after: Stand) -> tuple[ResourceChange, ...]:
    """The changes from one stand to another: VNFCs, internal virtual links, storage, ports."""
    return (
        *_vnfcs(before, after),
        *_networks(before, after),
        *_by_resource(ResourceKind.STORAGE, before, after),
        *_by_resource(ResourceKind.LINKPORT, before, after),
    )


def _vnfcs(before: Stand, after: Stand) -> Iterator[ResourceChange]:
    was = {one.id: one for one in before.deployment.vnfcs} if before.deployment else {}
    now = {one.id: one for one in after.deployment.vnfcs} if after.deployment else {}
    for key, vnfc in now.items():
        if key not in was:
            yield _vnfc(vnfc, ChangeType.ADDED, after.resources)
        elif was[key] != vnfc:
            yield _vnfc(vnfc, ChangeType.MODIFIED, after.resources)
    for key, vnfc in was.items():
        if key not in now:
            yield _vnfc(vnfc, ChangeType.REMOVED, before.resources)


def _vnfc(vnfc: WantedVnfc, change: ChangeType, resources: Iterable[Resource]) -> ResourceChange:
    found = [one for one in resources if one.kind is ResourceKind.COMPUTE and one.vnfc_id == vnfc.id]
    return ResourceChange(
        id=vnfc.id,
        kind=ResourceKind.COMPUTE,
        change=change,
        described_by=vnfc.vdu,
        resource_id=found[0].id if found else vnfc.id,
        zone=(found[0].zone if found else "") or vnfc.zone,
    )


def _networks(before: Stand, after: Stand) -> Iterator[ResourceChange]:
    was = {one.id: one for one in before.deployment.networks} if before.deployment else {}
    now = {one.id: one for one in after.deployment.networks} if after.deployment else {}
    for key, network in now.items():
        if key not in was:
            yield _network(network, ChangeType.ADDED, after.resources)
    for key, network in was.items():
        if key not in now:
            yield _network(network, ChangeType.REMOVED, before.resources)


def _network(network: NetworkSpec, change: ChangeType, resources: Iterable[Resource]) -> ResourceChange:
    names = {network.id, network.name}
    found = [one.id for one in resources if one.kind is ResourceKind.VL and {one.id, one.name} & names]
    return ResourceChange(
        id=network.id,
        kind=ResourceKind.VL,
        change=change,
        described_by=network.name or network.id,
        resource_id=found[0] if found else network.id,
    )


def _by_resource(kind: ResourceKind, before: Stand, after: Stand) -> Iterator[ResourceChange]:
    was = {one.id: one for one in before.resources if one.kind is kind}
    now = {one.id: one for one in after.resources if one.kind is kind}
    for key, resource in now.items():
        if key not in was:
            yield _resource(resource, ChangeType.ADDED)
        elif (was[key].addresses, was[key].mac) != (resource.addresses, resource.mac):
            yield _resource(resource, ChangeType.MODIFIED)
    for key, resource in was.items():
        if key not in now:
            yield _resource(resource, ChangeType.REMOVED)


def _resource(resource: Resource, change: ChangeType) -> ResourceChange:
    return ResourceChange(
        id=resource.id if resource.vnfc_id is None else f"{resource.vnfc_id}/{resource.name or resource.id}",
        kind=resource.kind,
        change=change,
        described_by=resource.name or resource.id,
        resource_id=resource.id,
        zone=resource.zone,
    )
