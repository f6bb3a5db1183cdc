"""Create and delete VNF instances: records only, no operation occurrence (SOL003 clause 5.4.2)."""

from collections.abc import Mapping
from dataclasses import replace

from farsite.lifecycle import choosing
from farsite.lifecycle.placing import check_place
from farsite.model.clock import Clock
from farsite.model.errors import Conflict
from farsite.model.ids import ProjectId, VnfdId, VnfInstanceId, new_id
from farsite.model.package import OnboardingState, OperationalState, VnfPackage
from farsite.model.vnf import InstantiationState, Place, VnfInstance
from farsite.store import alarms, instances
from farsite.store.database import Connection


def create_vnf(
    connection: Connection,
    *,
    project_id: ProjectId,
    package: str,
    clock: Clock,
    name: str = "",
    description: str = "",
    place: Place | None = None,
    metadata: Mapping[str, str] | None = None,
    certified_first: bool = False,
) -> VnfInstance:
    """Record a new VNF instance of a package: its id, VNFD id or product name, the latter with a range of
    versions behind it where several are there. Why it is that one is recorded with the instance.

    Raises:
        NotFound: no such package, or no such VIM.
        Conflict: the package is not onboarded or disabled.
        Invalid: the VIM has no such region or zone, or the range cannot be read.
    """
    place = place or Place()
    check_place(connection, project_id, place)
    source, reason = choosing.package_for(connection, project_id, package, certified_first=certified_first)
    vnf = instance_of(source, VnfInstanceId(new_id()), clock=clock, name=name, description=description)
    vnf = replace(vnf, place=place, metadata=dict(metadata or {}), package_choice=reason)
    instances.insert_vnf(connection, vnf)
    return vnf


def instance_of(
    package: VnfPackage, vnf_id: VnfInstanceId, *, clock: Clock, name: str = "", description: str = ""
) -> VnfInstance:
    """A fresh instance of an onboarded, enabled package.

    Raises:
        Conflict: the package is in no state to be used.
    """
    vnfd_id = check_usable(package)
    return VnfInstance(
        id=vnf_id,
        project_id=package.project_id,
        name=name,
        description=description,
        package_id=package.id,
        vnfd_id=vnfd_id,
        provider=package.provider,
        product_name=package.product_name,
        software_version=package.software_version,
        vnfd_version=package.vnfd_version,
        created_at=clock.now(),
    )


def check_usable(package: VnfPackage) -> VnfdId:
    """The VNFD of a package that instances may be of.

    Raises:
        Conflict: the package is in no state to be used.
    """
    if package.state is not OnboardingState.ONBOARDED or package.vnfd_id is None:
        raise Conflict(f"Package {package.id} is {package.state}; only an ONBOARDED one can be used.")
    if package.operational_state is not OperationalState.ENABLED:
        raise Conflict(
            f"Package {package.id} ({package.product_name}) is DISABLED. Enable it: "
            f"farsite package enable {package.id}."
        )
    return package.vnfd_id


def delete_vnf(connection: Connection, vnf: VnfInstance, *, clock: Clock) -> None:
    """Forget a VNF instance that is not instantiated.

    Raises:
        Conflict: it is instantiated, belongs to a service, holds what a failed instantiation left, or an
            operation works on it.
    """
    if vnf.ns_id is not None:
        raise Conflict(
            f"VNF instance {vnf.id} belongs to NS instance {vnf.ns_id}, whose termination deletes it."
        )
    instances.refuse_if_locked(connection, vnf.id)
    if vnf.state is InstantiationState.NOT_INSTANTIATED and vnf.deployment is not None:
        raise Conflict(
            f"VNF instance {vnf.id} still holds what a failed instantiation left. Terminate it first "
            f"(farsite vnf terminate {vnf.id}), which removes it.",
            about={"vnf": vnf.id},
        )
    alarms.clear_all_of(connection, vnf.id, clock.now())
    instances.delete_vnf(connection, vnf, at=clock.now())
