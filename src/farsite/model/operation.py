"""Lifecycle management operation occurrences: the durable spine of everything that changes something.

Source: ETSI GS NFV-SOL 003 clause 5.6.2 and NFV-SOL 005 clause 6.6.2 (states of an occurrence).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.deployment import ResourceKind
from farsite.model.errors import ROOM, Conflict
from farsite.model.ids import OperationId, ProjectId


class OperationState(StrEnum):
    """LcmOperationStateType. NS operations never are in STARTING."""

    STARTING = "STARTING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED_TEMP = "FAILED_TEMP"
    FAILED = "FAILED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"


TERMINAL = frozenset({OperationState.COMPLETED, OperationState.FAILED, OperationState.ROLLED_BACK})

CONFIGURE = "CONFIGURE"
"""The type of operations that change the inside of a VNF. ETSI's lifecycle interfaces know no such type, so
they leave these out."""
UPGRADE = "UPGRADE"
"""The type of operations that change the software inside a VNF. ETSI's CHANGE_VNFPKG replaces the function's
package; of this it knows nothing either."""
INSIDE = frozenset({CONFIGURE, UPGRADE})
"""Types of operations that change the inside of a device. Of one VNF they wait for one another, where any
other operation is refused. ETSI's lifecycle interfaces leave them out."""

TRANSITIONS: Mapping[OperationState, frozenset[OperationState]] = {
    OperationState.STARTING: frozenset({OperationState.PROCESSING, OperationState.ROLLED_BACK}),
    OperationState.PROCESSING: frozenset(
        {
            OperationState.COMPLETED,
            OperationState.FAILED_TEMP,
            OperationState.ROLLING_BACK,
            OperationState.ROLLED_BACK,
        }
    ),
    OperationState.FAILED_TEMP: frozenset(
        {OperationState.PROCESSING, OperationState.ROLLING_BACK, OperationState.FAILED}
    ),
    OperationState.ROLLING_BACK: frozenset({OperationState.ROLLED_BACK, OperationState.FAILED_TEMP}),
    OperationState.COMPLETED: frozenset(),
    OperationState.FAILED: frozenset(),
    OperationState.ROLLED_BACK: frozenset(),
}
"""PROCESSING -> ROLLED_BACK is the NS form of a refused grant: NS occurrences start in PROCESSING.
PROCESSING -> ROLLING_BACK is that of verbs which roll back by themselves."""


class Control(StrEnum):
    """What a consumer may ask of an operation that rests or runs."""

    RETRY = "retry"
    ROLLBACK = "rollback"
    FAIL = "fail"
    CANCEL = "cancel"


CONTROLS: Mapping[Control, frozenset[OperationState]] = {
    Control.RETRY: frozenset({OperationState.FAILED_TEMP}),
    Control.ROLLBACK: frozenset({OperationState.FAILED_TEMP}),
    Control.FAIL: frozenset({OperationState.FAILED_TEMP}),
    Control.CANCEL: frozenset(
        {OperationState.STARTING, OperationState.PROCESSING, OperationState.ROLLING_BACK}
    ),
}
"""In which states each control is legal; anything else is 409."""


class CancelMode(StrEnum):
    """GRACEFUL ends the running step first, FORCEFUL cuts it."""

    GRACEFUL = "GRACEFUL"
    FORCEFUL = "FORCEFUL"


class InstanceKind(StrEnum):
    """What an operation works on."""

    VNF = "vnf"
    NS = "ns"
    GROUP = "group"
    """Several VNFs, by an operation that starts operations on each. The group has no record of its own: its
    id is that of the operation."""


class StepState(StrEnum):
    """Progress of one step, for people."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationError:
    """Why an operation failed, in the form a person can act on."""

    title: str
    detail: str
    step: str = ""
    about: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def lacks_room(self) -> bool:
        """Whether all that was missing was room on the VIM."""
        return self.about.get("lacks") == ROOM


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """How far a step is: what it waits for, since when, until when."""

    sequence: int
    title: str
    is_undo: bool = False
    attempt: int = 1
    state: StepState
    started_at: datetime
    ended_at: datetime | None = None
    deadline_at: datetime | None = None
    waits_for: str = ""
    detail: str = ""


class ChangeType(StrEnum):
    """Source: ETSI GS NFV-SOL 003, AffectedVnfc.changeType."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    MODIFIED = "MODIFIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceChange:
    """What an operation did to one resource. `id` is ours (the VNFC, the internal virtual link, a port by
    its VNFC and name), `resource_id` the VIM's."""

    id: str
    kind: ResourceKind
    change: ChangeType
    described_by: str = ""
    """VDU, virtual link, storage or connection point of the descriptor."""
    resource_id: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One lifecycle management operation occurrence."""

    id: OperationId
    project_id: ProjectId
    kind: InstanceKind
    instance_id: str
    verb: str
    """Name of the verb's file: `instantiate_vnf`, `heal_vnf`, `instantiate_ns` ..."""
    type: str
    """ETSI's word: INSTANTIATE, SCALE, HEAL, TERMINATE ..."""
    state: OperationState
    state_entered_at: datetime
    started_at: datetime
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    error: OperationError | None = None
    is_automatic: bool = False
    control: Control | None = None
    cancel: CancelMode | None = None
    parent_id: OperationId | None = None
    workflow_id: str
    requested_by: str = ""
    version: int = 1
    turn: int | None = None
    """Its number in the line of changes that wait for their instance, the smallest first; None: it waits for
    no other."""

    @property
    def is_ended(self) -> bool:
        return self.state in TERMINAL

    @property
    def is_waiting(self) -> bool:
        """Whether it was accepted and waits for its turn; nothing of it has begun."""
        return self.turn is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What an operation in line waits for. `holder` None: nobody works on the instance at this moment;
    `ahead`: how many in line come before it."""

    holder: Operation | None
    ahead: int

    @property
    def said(self) -> str:
        """In words."""
        more = f" {self.ahead} more in line before it." if self.ahead else ""
        if self.holder is None:
            return f"Its turn: nobody works on the instance now, so that healing may.{more}"
        name = f"Operation {self.holder.id} ({self.holder.verb})"
        if self.holder.state is OperationState.FAILED_TEMP and self.holder.control is None:
            return f"{name}, which rests in FAILED_TEMP and holds the instance until somebody decides.{more}"
        return f"{name}, which works on the instance, to end.{more}"


def check_transition(operation: Operation, to: OperationState) -> None:
    """Assert that ETSI's state machine allows the move; a wrong one is our own programming error."""
    assert to in TRANSITIONS[operation.state], f"{operation.id}: {operation.state} -> {to} is no transition"


def check_control(operation: Operation, control: Control) -> None:
    """Refuse a control that the operation's state does not allow.

    Raises:
        Conflict: with the state it is in and the states that would allow it.
    """
    allowed = CONTROLS[control]
    if operation.state not in allowed:
        raise Conflict(
            f"Operation {operation.id} is {operation.state}; {control} is possible in "
            f"{', '.join(sorted(allowed))} only.",
            about={"operation_id": operation.id},
        )
    if control is not Control.CANCEL and operation.control is not None:
        raise Conflict(
            f"Operation {operation.id} was already asked to {operation.control}.",
            about={"operation_id": operation.id},
        )
