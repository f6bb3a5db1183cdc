"""Change what is said about a VNF instance. Nothing on a VIM changes, so the occurrence is over as soon as
it is recorded, in the transaction that makes the change.

Source: ETSI GS NFV-SOL 003 clause 5.4.2.3.4 (MODIFY_INFO, which takes no grant).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from farsite.model.clock import Clock
from farsite.model.ids import OperationId, new_id
from farsite.model.operation import InstanceKind, Operation, OperationState
from farsite.model.vnf import VnfInstance
from farsite.store import instances, operations
from farsite.store.database import Connection
from farsite.store.encoding import encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyVnf:
    """What is None stays. In `metadata`, a value of None removes the key."""

    name: str | None = None
    description: str | None = None
    metadata: Mapping[str, str | None] | None = None


def modify_vnf(
    connection: Connection, vnf: VnfInstance, want: ModifyVnf, *, clock: Clock, requested_by: str
) -> Operation:
    """Change the record; the occurrence comes back COMPLETED.

    Raises:
        Conflict: an operation works on the instance.
    """
    now = clock.now()
    operation_id = OperationId(new_id())
    operation = Operation(
        id=operation_id,
        project_id=vnf.project_id,
        kind=InstanceKind.VNF,
        instance_id=vnf.id,
        verb="modify_vnf",
        type="MODIFY_INFO",
        state=OperationState.STARTING,
        state_entered_at=now,
        started_at=now,
        parameters=encode(want),
        workflow_id=operation_id,
        requested_by=requested_by,
    )
    operations.insert(connection, operation)
    operations.enter(connection, operation_id, OperationState.PROCESSING, at=now)
    metadata = {**vnf.metadata, **(want.metadata or {})}
    instances.save_vnf(
        connection,
        replace(
            vnf,
            name=vnf.name if want.name is None else want.name,
            description=vnf.description if want.description is None else want.description,
            metadata={key: value for key, value in metadata.items() if value is not None},
        ),
    )
    return operations.enter(connection, operation_id, OperationState.COMPLETED, at=now)
