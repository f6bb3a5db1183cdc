"""Healing: open alarms that last become heal operations.

Level-triggered: the input is the open alarms, not the events that raised them, so it does not matter what
was missed meanwhile. Traffic was moved to survivors by the site agent before we hear of it; the heal
operation makes a replacement, and the agent puts that back into its chains.

What is done about a VNF is decided by `deciding` from what is read here, in one transaction with the start
of the operation and under a lock per VNF, so any number of processes may look at once. Every decision is
kept with its reasons and its evidence; one that only repeats the last one is not.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.assurance.deciding import (
    SPARED_S,
    Case,
    Limits,
    PastHeal,
    Vnfc,
    decide,
    is_news,
    urgency,
)
from farsite.assurance.evidence import Evidence, Finding, Seen, judge
from farsite.assurance.host_states import findings as host_findings
from farsite.assurance.room import amount_of, known_of
from farsite.lifecycle import placing, requests
from farsite.lifecycle.heal_vnf import HEAL_VNF, HealVnf
from farsite.lifecycle.preempt_vnf import PREEMPT_VNF, PreemptVnf
from farsite.lifecycle.sizing import held_per_zone
from farsite.model.alarm import Alarm
from farsite.model.clock import Clock
from farsite.model.control_plane import ControlPlane
from farsite.model.deployment import ResourceKind, VimEventKind
from farsite.model.errors import Conflict
from farsite.model.healing import HealingDecision, HealingPolicy, Outcome
from farsite.model.ids import VimId, new_id
from farsite.model.operation import Control, Operation
from farsite.model.priority import level_of, priority_of
from farsite.model.vim import Vim, VimState
from farsite.model.vnf import InstantiationState, VnfInstance
from farsite.settings import Settings
from farsite.store import alarms, capacity, control_planes, healing, instances, operations, turns, vims
from farsite.store.database import Connection, Database
from farsite.store.exclusion import hold

log = structlog.get_logger()

_PERIOD_S = 1.0
_HEALABLE = {
    name: kind.hold_off_s for name, kind in catalogue.CATALOGUE.items() if kind.hold_off_s is not None
}


class Healer:
    """Looks at the open alarms when one was raised, and once a second while any is open."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        begin: requests.Begin,
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._begin = begin
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def kick(self) -> None:
        self._kick.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._heal_for_ever(), name="healer")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _heal_for_ever(self) -> None:
        while True:
            try:
                await self.heal_what_is_open()
            except Exception:
                log.exception("healing.failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._kick.wait()
            self._kick.clear()

    async def heal_what_is_open(self) -> int:
        """One look: start a heal for every VNF that needs and may have one, most urgent first; how many."""
        round_ = await self._database.read(_read_round, self._clock.now())
        started = 0
        for vnf_id, found in self._in_order(round_):
            try:
                decision = await self._database.run(self._heal, vnf_id, found, round_)
                started += decision is not None and decision.outcome is Outcome.HEAL
                if decision is not None and decision.awaits:
                    # What is given back while we go on is its, and not of whoever is looked at next.
                    round_.awaited.add(decision.awaits)
            except Conflict as race:
                # Somebody else began an operation in between: the alarm stays open and we look again.
                log.info("healing.overtaken", vnf=vnf_id, reason=race.detail)
            except Exception:
                # One VNF that cannot be decided about must not keep the others from being healed.
                log.exception("healing.not_decided", vnf=vnf_id)
        return started

    def _in_order(self, round_: "Round") -> list[tuple[str, list[Alarm]]]:
        now = round_.at

        def key(entry: tuple[str, list[Alarm]]) -> tuple[float, str]:
            vnf_id, found = entry
            waited_s = max((now - one.raised_at).total_seconds() for one in found)
            return urgency(round_.priorities.get(vnf_id, 0), waited_s), vnf_id

        return sorted(round_.alarms.items(), key=key)

    def _heal(
        self, connection: Connection, vnf_id: str, found: list[Alarm], round_: "Round"
    ) -> HealingDecision | None:
        # Two processes may look at once. The site first: budgets are counted over it.
        hold(connection, f"healing on {round_.sites.get(vnf_id, '')}")
        hold(connection, f"healing of {vnf_id}")
        # One look has one time: what becomes due while it goes on is for the next, whoever is looked at last.
        now = round_.at
        vnf = instances.find_vnf(connection, vnf_id)
        if vnf is None or vnf.state is not InstantiationState.INSTANTIATED or vnf.vim_id is None:
            for alarm in found:
                alarms.clear(connection, object_id=vnf_id, specific_problem=alarm.specific_problem, at=now)
            return None
        # What was cleared since the look needs nothing any more.
        standing = {one.id for one in alarms.open_of(connection, vnf_id)}
        found = [one for one in found if one.id in standing]
        vim = vims.get_any(connection, vnf.vim_id)
        case, resting = self._case(connection, vnf, vim, found, round_)
        limits = Limits(
            per_vnf=self._settings.heal_budget,
            window_s=self._settings.heal_window_s,
            breaker=self._settings.heal_breaker,
            hold_off_s=_HEALABLE,
        )
        decision = decide(case, round_.policies, limits, now)
        if decision is None:
            return None
        if case.is_worked_on and case.short is None:
            self._ask_to_be_let_pass(connection, case, round_, limits)
        decision = replace(decision, at=self._clock.now())
        self._tell(connection, decision, case, vim, limits)
        if decision.outcome is Outcome.PREEMPT:
            return self._preempt(connection, decision, case, vim)
        if decision.outcome is Outcome.RETRY:
            assert resting is not None
            operations.ask_control(connection, resting, Control.RETRY)
            healing.insert_decision(connection, replace(decision, operation_id=resting.id))
            log.info("healing.retried", vnf=vnf.id, operation_id=resting.id)
            return decision
        if decision.outcome is not Outcome.HEAL:
            before = healing.decisions_of(connection, vnf_id, limit=1)
            if is_news(decision, before[0] if before else None):
                healing.insert_decision(connection, decision)
            return decision
        if vnf.preempted_for is not None and vnf.deployment is not None:
            # Of several that could come back, one has the room: the next is told that it is gone.
            held = held_per_zone(vnf.deployment)
            capacity.claim(connection, [placing.holding(connection, vnf.project_id, vnf.id, vim.id, held)])
        operation = requests.start(
            connection,
            self._begin,
            HEAL_VNF,
            instance_id=vnf.id,
            project_id=vnf.project_id,
            parameters=HealVnf(
                cause=", ".join(sorted({one.fault_type for one in found})),
                vnfc_ids=decision.vnfc_ids,
                ladder=decision.ladder,
                fencing=decision.fencing,
            ),
            clock=self._clock,
            requested_by="healing",
            is_automatic=True,
        )
        healing.insert_decision(connection, replace(decision, operation_id=operation.id))
        log.info(
            "healing.started",
            vnf=vnf.id,
            operation_id=operation.id,
            policy=decision.policy,
            vnfcs=len(decision.vnfc_ids),
        )
        telemetry.HEALS_STARTED.labels(vim.id).inc()
        return decision

    def _preempt(
        self, connection: Connection, decision: HealingDecision, case: Case, vim: Vim
    ) -> HealingDecision:
        """Take the room of another VNF, and have it say so, in its alarm and in its own record."""
        assert decision.takes_from is not None
        other = instances.get_vnf(connection, None, decision.takes_from)
        operation = requests.start(
            connection,
            self._begin,
            PREEMPT_VNF,
            instance_id=other.id,
            project_id=other.project_id,
            parameters=PreemptVnf(for_vnf=case.vnf_id),
            clock=self._clock,
            requested_by="healing",
            is_automatic=True,
        )
        winner = f"{case.name} ({case.vnf_id})" if case.name else case.vnf_id
        told = f"its room was given to VNF {winner} of class {decision.priority}"
        alarm = catalogue.raised(
            catalogue.VNF_PREEMPTED,
            project_id=other.project_id,
            object_id=other.id,
            location=f"{vim.site}/{vim.name}/{other.name or other.id}",
            at=decision.at,
            details=(told,),
        )
        alarms.raise_(connection, alarm)
        decision = replace(decision, operation_id=operation.id)
        healing.insert_decision(connection, decision)
        healing.insert_decision(
            connection,
            replace(
                decision,
                id=new_id(),
                vnf_id=other.id,
                outcome=Outcome.PREEMPTED,
                reasons=(told, *decision.reasons),
                vnfc_ids=(),
                hosts=tuple(sorted({one.host for one in decision.takes})),
                ladder=(),
                epochs={},
                awaits="",
                takes_from=None,
                takes=(),
            ),
        )
        log.info("healing.preempts", vnf=case.vnf_id, preempted=other.id, operation_id=operation.id)
        telemetry.VNFS_PREEMPTED.labels(vim.id).inc()
        return decision

    def _ask_to_be_let_pass(
        self, connection: Connection, case: Case, round_: "Round", limits: Limits
    ) -> None:
        """Changes of the inside of a VNF may wait in line for it, and its lock is handed on from one to the
        next: what would be healed now were it free goes before the rest of them."""
        were_it_free = decide(replace(case, is_worked_on=False), round_.policies, limits, round_.at)
        if were_it_free is not None and were_it_free.outcome is Outcome.HEAL:
            turns.let_healing_pass(connection, case.vnf_id)

    def _case(
        self, connection: Connection, vnf: VnfInstance, vim: Vim, found: list[Alarm], round_: "Round"
    ) -> tuple[Case, Operation | None]:
        now = round_.at
        assert vnf.deployment is not None
        hosts = {
            one.vnfc_id: one.host for one in vnf.resources if one.kind is ResourceKind.COMPUTE and one.vnfc_id
        }
        window_s = max(
            [self._settings.heal_window_s, SPARED_S, *(one.budget.window_s for one in round_.policies)]
        )
        past = healing.heals_since(connection, site=vim.site, since=now - timedelta(seconds=window_s))
        breaker_since = now - timedelta(seconds=self._settings.heal_breaker_window_s)
        holder = operations.lock_holder(connection, vnf.id)
        covering = [
            one for one in round_.policies if one.project_id == vnf.project_id and covers_vnf(one, vnf)
        ]
        room = known_of(connection, vnf, vim, holder, covering, round_.alarms, past, now)
        case = Case(
            vnf_id=vnf.id,
            name=vnf.name,
            project_id=vnf.project_id,
            vnfd_ids=frozenset({str(vnf.vnfd_id), vnf.product_name}),
            ns_id=vnf.ns_id,
            metadata=vnf.metadata,
            vim_id=vim.id,
            site=vim.site,
            vim_state=vim.state,
            vnfcs={
                one.id: Vnfc(
                    vdu=one.vdu,
                    host=hosts.get(one.id, ""),
                    epoch=one.incarnation,
                    is_stopped=one.is_stopped,
                    zone=one.zone,
                    amount=amount_of(one),
                    group=one.anti_affinity_group,
                    may_be_evacuated=one.may_be_evacuated,
                )
                for one in vnf.deployment.vnfcs
            },
            alarms=tuple(found),
            is_worked_on=holder is not None,
            history=tuple(
                PastHeal(
                    vnf_id=one.decision.vnf_id,
                    site=one.decision.site,
                    hosts=one.decision.hosts,
                    began_at=one.decision.at,
                    ended_at=one.ended_at,
                )
                for one in past
            ),
            deaths=alarms.deaths_since(
                connection, vim_id=vim.id, kind=VimEventKind.VNFC_DIED.value, since=breaker_since
            ),
            findings=round_.findings(vim),
            awaited=frozenset(round_.awaited),
            short=room.short,
            is_preempted=vnf.preempted_for is not None,
            has_room=room.has_room,
            room_is_for=room.room_is_for,
            neighbours=room.neighbours,
        )
        return case, room.resting

    def _tell(
        self, connection: Connection, decision: HealingDecision, case: Case, vim: Vim, limits: Limits
    ) -> None:
        """Raise or clear the alarms that say that healing is held back."""
        is_broken = case.deaths > limits.breaker
        is_spent = decision.outcome is Outcome.WITHHELD and any(
            one.startswith("budget of the VNF") for one in decision.reasons
        )
        if decision.outcome is Outcome.WITHHELD:
            kind = "breaker" if is_broken else "budget" if is_spent else "vim"
            telemetry.HEALS_WITHHELD.labels(kind).inc()
        now = decision.at
        if is_broken:
            mass = catalogue.raised(
                catalogue.MASS_FAILURE,
                project_id=vim.project_id,
                object_id=vim.id,
                location=f"{vim.site}/{vim.name}",
                at=now,
                details=(f"more than {limits.breaker} deaths in a short time",),
            )
            alarms.raise_(connection, mass)
        else:
            alarms.clear(connection, object_id=vim.id, specific_problem=catalogue.MASS_FAILURE.name, at=now)
        if is_spent:
            spent = catalogue.raised(
                catalogue.HEAL_BUDGET_SPENT,
                project_id=case.project_id,
                object_id=case.vnf_id,
                location=f"{vim.site}/{vim.name}/{case.name or case.vnf_id}",
                at=now,
                details=(f"budget of the VNF spent within {limits.window_s:g} s",),
            )
            alarms.raise_(connection, spent)
        elif decision.outcome is Outcome.HEAL:
            alarms.clear(
                connection, object_id=case.vnf_id, specific_problem=catalogue.HEAL_BUDGET_SPENT.name, at=now
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one look at the open alarms starts from."""

    at: datetime
    alarms: Mapping[str, list[Alarm]]
    policies: tuple[HealingPolicy, ...]
    priorities: Mapping[str, int]
    sites: Mapping[str, str]
    vims: tuple[Vim, ...]
    planes: Mapping[VimId, ControlPlane] = field(default_factory=dict[VimId, ControlPlane])
    awaited: set[str] = field(default_factory=set[str])
    """Budgets that a VNF was found to wait for, in the order of urgency."""

    def findings(self, vim: Vim) -> Mapping[str, Finding]:
        """What is concluded of the VIM as a whole, and of its hosts that do not report."""
        plane = self.planes.get(vim.id)
        return {**(host_findings(plane.hosts, plane.vim_time) if plane else {}), **self._of_the_whole(vim)}

    def _of_the_whole(self, vim: Vim) -> Mapping[str, Finding]:
        """What the heartbeats of all VIMs say about the one: when every VIM of several is silent at once, it
        is we who are cut off."""
        silent = (VimState.UNREACHABLE, VimState.ERROR)
        watched = [one for one in self.vims if one.state not in (VimState.PENDING, VimState.MAINTENANCE)]
        others = [one for one in watched if one.id != vim.id]
        if vim.state not in silent or not others:
            return {}
        is_alone = all(one.state in silent for one in others)
        evidence = Evidence(agent=Seen.DOWN, management=Seen.DOWN, others=Seen.DOWN if is_alone else Seen.UP)
        return {"": judge(evidence)}


def _read_round(connection: Connection, at: datetime) -> Round:
    policies = tuple(healing.policies(connection))
    named = {kind for one in policies for trigger in one.triggers for kind in trigger.fault_types}
    by_vnf: dict[str, list[Alarm]] = {}
    for alarm in alarms.open_of_types(connection, (*_HEALABLE, *(named - set(_HEALABLE)))):
        if alarm.object_kind == "vnf":
            by_vnf.setdefault(alarm.managed_object_id, []).append(alarm)
    if not by_vnf:
        return Round(at=at, alarms={}, policies=policies, priorities={}, sites={}, vims=())
    watched = tuple(vims.everywhere(connection))
    sites = {one.id: one.site for one in watched}
    priorities: dict[str, int] = {}
    where: dict[str, str] = {}
    for vnf_id in by_vnf:
        vnf = instances.find_vnf(connection, vnf_id)
        if vnf is not None and vnf.vim_id is not None:
            where[vnf_id] = sites.get(vnf.vim_id, "")
            stated = [
                priority_of(one, vnf.metadata)
                for one in policies
                if one.project_id == vnf.project_id and covers_vnf(one, vnf)
            ]
            priorities[vnf_id] = min(stated, default=level_of(vnf.metadata))
    return Round(
        at=at,
        alarms=by_vnf,
        policies=policies,
        priorities=priorities,
        sites=where,
        vims=watched,
        planes=control_planes.of_several(connection, [one.id for one in watched]),
    )


def covers_vnf(policy: HealingPolicy, vnf: VnfInstance) -> bool:
    """Whether a policy is about any VDU of a VNF."""
    scope = policy.scope
    return (
        scope.vnf in ("", vnf.id, vnf.name)
        and scope.ns in ("", vnf.ns_id)
        and scope.vnfd in ("", vnf.vnfd_id, vnf.product_name)
    )
