"""Drills: one part of a VIM is stopped on purpose, and it is written down what came of it.

A drill is of one check of an audit and loses one copy on one host. It has an end whatever happens: the loss
is undone after `hold_s`, at once when more is hurt than may be or when somebody asks for it, and at
`ends_at`.

Source: OPNFV Dovetail, high availability tests (attacker, monitor, service level).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farsite.model.audit_rules import AuditRules, Demands
from farsite.model.control_plane import ControlElement
from farsite.model.ids import ProjectId, VimId


class DrillState(StrEnum):
    """Where a drill is."""

    WAITING = "WAITING"
    """Nothing is lost yet: it is about to be stopped, or whoever was asked to stop it has not done so."""
    LOST = "LOST"
    """The copy is lost, and what comes of that is watched."""
    MENDING = "MENDING"
    """The loss is being undone, and it is waited for what was lost."""
    ENDED = "ENDED"


class DrillOutcome(StrEnum):
    """What a drill says of its check."""

    PROVEN = "PROVEN"
    """All demands were met."""
    PARTLY = "PARTLY"
    """Nobody was hurt, and something that helps to notice and mend was not as demanded."""
    FAILED = "FAILED"
    """Somebody was hurt: the VIM answered nobody for too long, or functions were."""
    NOT_SHOWN = "NOT_SHOWN"
    """No loss was seen, so nothing was learnt."""
    STOPPED = "STOPPED"
    """It was ended before its time; nothing is concluded."""


SAYS_SOMETHING = frozenset({DrillOutcome.PROVEN, DrillOutcome.PARTLY, DrillOutcome.FAILED})
"""Outcomes that an audit counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillFinding:
    """One demand: whether it was met, None where it could not be judged; and what was measured."""

    demand: str
    """`outage`, `other copies`, `functions`, `told`, `back` or `recovered`."""
    is_met: bool | None
    measured: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillObservation:
    """Something that happened in a drill."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill. Times are by our clock, durations seconds.

    `check`, `about` and `region` name the check that it is of. It is judged by the `demands` of the `rules`
    that applied when it began. `runner` is who runs it: a process that ends takes it with it, and whoever
    comes next undoes the loss and ends it.
    """

    id: str
    vim_id: VimId
    project_id: ProjectId
    check: str
    about: str
    region: str = ""
    element: ControlElement
    """The copy that is lost."""
    is_host: bool = False
    """Whether a whole compute host is lost, with all that stands there."""
    is_injected: bool
    """Whether we stop it; else whoever has begun the drill is asked to."""
    rules: AuditRules
    demands: Demands
    hold_s: float
    asked_by: str = ""
    runner: str = ""
    state: DrillState = DrillState.WAITING
    outcome: DrillOutcome | None = None
    instruction: str = ""
    """What is asked of whoever has begun it, now."""
    begun_at: datetime
    ends_at: datetime
    """When the loss is undone at the latest. The drill ends within `demands.back_s` after it."""
    lost_at: datetime | None = None
    mended_at: datetime | None = None
    """When the loss was undone, or its undoing was asked for."""
    back_at: datetime | None = None
    ended_at: datetime | None = None
    is_end_asked: bool = False
    was_back_by_itself: bool = False
    was_seen_lost: bool = False
    """Whether the VIM itself has said that the copy does not work."""
    outage_s: float = 0.0
    """The longest time for which the VIM answered nobody."""
    least_others: int | None = None
    """How many other copies worked, at the worst; None: nobody told."""
    told_at: datetime | None = None
    """When the first alarm of it was raised."""
    hurt: tuple[str, ...] = ()
    """What of ours was hurt that should not have been."""
    unrecovered: tuple[str, ...] = ()
    """What stood on a host that was lost and does not work yet."""
    findings: tuple[DrillFinding, ...] = ()
    observations: tuple[DrillObservation, ...] = ()

    @property
    def why(self) -> str:
        """In one line, what its outcome was concluded from."""
        told: Sequence[DrillFinding] = [one for one in self.findings if one.is_met is False] or self.findings
        if told:
            return "; ".join(one.measured for one in told)
        return self.observations[-1].what if self.observations else ""
