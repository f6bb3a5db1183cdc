"""Healing: policies, the ladder of repairs, and the record of what was decided and why.

A *policy* says who recovers, what starts it and which repairs are tried in which order. A *decision* is what
came of looking at one VNF at one time. A *climb* is one rung tried on one VNFC. The *epoch* of a VNFC is its
incarnation: it only grows, and every actor refuses a lower one than it has seen.

Source: ETSI GS NFV-REL 001 (recovery, fencing); OPNFV Doctor (exactly one recoverer).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.alarm import PerceivedSeverity
from farsite.model.errors import Invalid
from farsite.model.ids import OperationId, ProjectId, VimId, VnfcId, VnfInstanceId


class Recoverer(StrEnum):
    """Who repairs. Exactly one does: two at once undo each other's work."""

    VNF = "VNF"
    FARSITE = "farsite"
    VIM = "VIM"
    NONE = "none"


class Rung(StrEnum):
    """What can be tried, gentlest first."""

    NOTIFY_VNF = "notify_vnf"
    """Tell the VNF's manager and wait: it may switch over, or mend itself."""
    REBOOT_SOFT = "reboot_soft"
    REBOOT_HARD = "reboot_hard"
    REBUILD = "rebuild"
    """The same host and ports, a fresh disk in the recorded initial state."""
    EVACUATE = "evacuate"
    """The same server on another host; its own host must be fenced."""
    RESPAWN = "respawn"
    """A new VNFC of the next epoch in the recorded initial state, wherever it fits."""


RISKS_TWO_ALIVE = frozenset({Rung.EVACUATE, Rung.RESPAWN})
"""Rungs after which the old one could serve beside the new one, so a fence comes first."""
LADDER_MOST_S = 3000.0
"""Longest that the gentler rungs of a ladder may take together."""


class Probe(StrEnum):
    """What counts as cured. Each asks for what the one before it asks for too."""

    ALIVE = "alive"
    """The VIM says that the VNFC and its ports are as they shall be."""
    ALARMS = "alarms"
    """No alarm of the VNFC stands that its being alive does not contradict."""
    HEALTH = "health"
    """The function answers GET /health on its management port with 200 and `ok`."""


class Fencing(StrEnum):
    """How sure we must be that the old one cannot serve, before another may."""

    REQUIRED = "required"
    """Only a confirmed fence will do; without one the operation rests and asks an operator."""
    BEST = "best"
    """Fence where the VIM can. Where it cannot, its own replacement (the old one away first) counts."""


class FenceResult(StrEnum):
    """Whether the old incarnation can still serve."""

    CONFIRMED = "CONFIRMED"
    ASSUMED = "ASSUMED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What a fence came to, and by what means."""

    result: FenceResult
    how: str

    def __str__(self) -> str:
        return f"{self.result}: {self.how}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRung:
    """One rung: what is tried, for how long (seconds) its probe may fail, and which probe."""

    kind: Rung
    deadline_s: float = 30.0
    probe: Probe = Probe.ALARMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Which alarms start healing. Empty means any; `hold_off_s` None: as the alarm's catalogue entry says."""

    fault_types: tuple[str, ...] = ()
    severities: tuple[PerceivedSeverity, ...] = ()
    hold_off_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much healing there may be. 0: as the settings say (`per_vnf`, `window_s`), or no limit."""

    per_vnf: int = 0
    per_host: int = 0
    per_site: int = 0
    window_s: float = 0.0
    """Seconds over which the three are counted."""
    parallel_per_host: int = 0
    parallel_per_site: int = 0
    cool_down_s: float = 0.0
    """Seconds between the end of one heal of a VNF and the start of the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a policy is about; empty fields match everything. The most specific policy wins."""

    vnf: str = ""
    """Id or name of a VNF instance."""
    ns: str = ""
    """Id of an NS instance."""
    vnfd: str = ""
    """VNFD id or product name."""
    vdu: str = ""


class Preempts(StrEnum):
    """From whom room may be taken, when a heal finds none."""

    NONE = "none"
    LOWER = "lower"
    """From VNFs of a lower class (a larger priority) on the same VIM that may be preempted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingPolicy:
    """How faults of what it covers are healed. Smaller `priority` is healed first; None: by the service
    availability level of the VNF (its metadata `service_availability_level`: 1, 2 or 3).

    Room is taken from a VNF for another only if the other's policy `preempts` and its own has it
    `is_preemptible`.
    """

    name: str
    project_id: ProjectId
    scope: Scope = Scope()
    handled_by: Recoverer = Recoverer.FARSITE
    triggers: tuple[Trigger, ...] = (Trigger(),)
    ladder: tuple[LadderRung, ...] = (LadderRung(kind=Rung.RESPAWN, deadline_s=300.0),)
    fencing: Fencing = Fencing.BEST
    budget: Budget = Budget()
    priority: int | None = None
    preempts: Preempts = Preempts.NONE
    is_preemptible: bool = True
    is_dry_run: bool = False
    created_at: datetime | None = None


DEFAULT_POLICY = "default"
"""Name of the policy that counts where no other covers a VNFC."""


def check_policy(policy: HealingPolicy) -> None:
    """Refuse a policy that cannot be carried out.

    Raises:
        Invalid: naming the policy, what is wrong and what would be right.
    """
    about = f'Healing policy "{policy.name}"'
    if policy.handled_by is Recoverer.FARSITE and not policy.ladder:
        raise Invalid(f"{about} has no rung in its ladder. Name at least one: {', '.join(Rung)}.")
    check_ladder(policy.ladder, about)


def check_ladder(ladder: tuple[LadderRung, ...], about: str) -> None:
    """Refuse a ladder that cannot be climbed; `about` names whose it is.

    Raises:
        Invalid: its rungs are out of order, twice there, endless, or only words.
    """
    kinds = [one.kind for one in ladder]
    order = list(Rung)
    if len(set(kinds)) != len(kinds) or kinds != sorted(kinds, key=order.index):
        raise Invalid(
            f"{about} names its rungs as {', '.join(kinds)}. Each may be named once, gentlest first: "
            f"{', '.join(order)}."
        )
    if kinds == [Rung.NOTIFY_VNF]:
        raise Invalid(
            f"{about} only notifies. Say handled_by: VNF, or add a rung that Farsite does, such as respawn."
        )
    long_s = sum(one.deadline_s for one in ladder if one.kind is not Rung.RESPAWN)
    if long_s > LADDER_MOST_S:
        raise Invalid(
            f"{about} takes up to {long_s:g} s before it replaces anything; {LADDER_MOST_S:g} s is the most."
        )
    if any(one.deadline_s <= 0 for one in ladder):
        raise Invalid(f"{about} has a rung whose deadline_s is not above 0, so it could never succeed.")


class Outcome(StrEnum):
    """What came of a decision."""

    HEAL = "HEAL"
    DRY_RUN = "DRY_RUN"
    """It would have been healed; the policy says to try it dry."""
    WAIT = "WAIT"
    """The condition is younger than its hold-off, or the VNF cools down, or an operation works on it."""
    WITHHELD = "WITHHELD"
    """A budget, a breaker, the VIM's state or the evidence forbids it."""
    LEFT_TO_OTHERS = "LEFT_TO_OTHERS"
    """The policy names another recoverer, or none."""
    PREEMPT = "PREEMPT"
    """Its heal finds no room, and that of another VNF (`takes_from`) is taken for it."""
    PREEMPTED = "PREEMPTED"
    """Its own room is taken, for the VNF that its reason names."""
    RETRY = "RETRY"
    """Its heal rests for want of room, and is tried again because there is room now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a VNF holds on one host. Memory is MiB, disk GiB."""

    host: str
    zone: str = ""
    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __str__(self) -> str:
        return f"{self.vcpus} vCPUs, {self.memory_mib} MiB, {self.disk_gib} GiB on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingDecision:
    """What was decided about one VNF at one time, on which evidence. `epochs` are those after healing."""

    id: str
    project_id: ProjectId
    vnf_id: VnfInstanceId
    vim_id: VimId
    site: str
    at: datetime
    outcome: Outcome
    policy: str
    reasons: tuple[str, ...]
    vnfc_ids: tuple[VnfcId, ...] = ()
    hosts: tuple[str, ...] = ()
    priority: int = 0
    ladder: tuple[LadderRung, ...] = ()
    fencing: Fencing = Fencing.BEST
    epochs: Mapping[str, int] = field(default_factory=dict[str, int])
    evidence: Mapping[str, str] = field(default_factory=dict[str, str])
    awaits: str = ""
    """The budget, or the room, that it waits for where others draw on it too: it comes before the less
    urgent."""
    takes_from: VnfInstanceId | None = None
    """The VNF that is preempted for it, or that would be were this no dry run."""
    takes: tuple[Held, ...] = ()
    """What that one holds."""
    operation_id: OperationId | None = None
    """The operation that carries it out: the heal, or what takes the room of `takes_from`."""


class ClimbState(StrEnum):
    """How a rung came out."""

    TRYING = "TRYING"
    CURED = "CURED"
    NOT_CURED = "NOT_CURED"
    """Its deadline passed and the probe still failed."""
    IMPOSSIBLE = "IMPOSSIBLE"
    """The VIM cannot do it, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Climb:
    """One rung tried on one VNFC by one operation."""

    operation_id: OperationId
    vnfc_id: VnfcId
    position: int
    kind: Rung
    epoch: int
    began_at: datetime
    until: datetime
    is_asked: bool = False
    """The VIM took the request; after a crash it is not asked once more."""
    fence: str = ""
    """What the fence before it came to; empty where none is needed."""
    ended_at: datetime | None = None
    state: ClimbState = ClimbState.TRYING
    detail: str = ""
    lacks_room: bool = False
    """It was refused for want of room alone."""


def next_rung(ladder: tuple[LadderRung, ...], climbs: tuple[Climb, ...], now: datetime) -> int | None:
    """Position of the rung to be on now: that which is being tried, else the one above the highest tried;
    None when the VNFC is cured or the ladder ends. A rung whose deadline has passed is over. Pure."""
    if any(one.state is ClimbState.CURED for one in climbs):
        return None
    last = max(climbs, key=lambda one: one.position, default=None)
    if last is None:
        position = 0
    elif last.state is ClimbState.TRYING and now < last.until:
        position = last.position
    else:
        position = last.position + 1
    return position if position < len(ladder) else None
