"""Create and delete NS instances: records only, no operation occurrence (SOL005 clause 6.4.2)."""

from collections.abc import Mapping

from farsite.lifecycle import choosing
from farsite.model.clock import Clock
from farsite.model.errors import Conflict
from farsite.model.ids import NsInstanceId, ProjectId, new_id
from farsite.model.ns import NsInstance
from farsite.model.package import OnboardingState, OperationalState
from farsite.store import alarms, instances
from farsite.store.database import Connection


def create_ns(
    connection: Connection,
    *,
    project_id: ProjectId,
    nsd: str,
    clock: Clock,
    name: str = "",
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    certified_first: bool = False,
) -> NsInstance:
    """Record a new NS instance of an NSD: its resource id, NSD id or name, the latter with a range of
    versions behind it where several are there. Why it is that one is recorded with the instance.

    Raises:
        NotFound: no such NSD.
        Conflict: the NSD is not onboarded or disabled.
        Invalid: the range cannot be read.
    """
    info, reason = choosing.nsd_for(connection, project_id, nsd, certified_first=certified_first)
    if info.state is not OnboardingState.ONBOARDED or info.nsd_id is None:
        raise Conflict(f"NSD {info.id} is {info.state}; only an ONBOARDED one can be used.")
    if info.operational_state is not OperationalState.ENABLED:
        raise Conflict(f"NSD {info.id} ({info.name}) is DISABLED. Enable it: farsite nsd enable {info.id}.")
    ns = NsInstance(
        id=NsInstanceId(new_id()),
        project_id=project_id,
        name=name,
        description=description,
        nsd_info_id=info.id,
        nsd_id=info.nsd_id,
        metadata=dict(metadata or {}),
        nsd_choice=reason,
        created_at=clock.now(),
    )
    instances.insert_ns(connection, ns)
    return ns


def delete_ns(connection: Connection, ns: NsInstance, *, clock: Clock) -> None:
    """Forget an NS instance that is not instantiated.

    Raises:
        Conflict: it is instantiated, still holds functions, or an operation works on it.
    """
    if ns.vnfs:
        raise Conflict(
            f"NS instance {ns.id} still holds functions of an operation that failed. Terminate it first "
            f"(farsite ns terminate {ns.id}), which removes what is left."
        )
    instances.delete_ns(connection, ns)
    alarms.clear_all_of(connection, ns.id, clock.now())
