"""How redundantly a VIM is built, and drills that prove it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.wire import ROOT, Here, Label, Name, OptionalName, Wire
from farsite.assurance import drill_guards, drilling
from farsite.assurance.drill_guards import CanStop, DrillWish
from farsite.assurance.redundancy import Audit, Check, Grade, Result, audit
from farsite.model.audit_rules import DECLARED_AS, AuditRules
from farsite.model.control_plane import ControlElement, ControlPlane, HostObservation
from farsite.model.drill import Drill, DrillFinding, DrillObservation, DrillOutcome, DrillState
from farsite.model.ids import ProjectId
from farsite.model.vim import Vim
from farsite.store import control_planes, drills, vims
from farsite.store.database import Connection
from farsite.vims.driver import ObservesHosts, StopsForDrills

router = APIRouter(prefix=ROOT, tags=["VIMs and sites"])


class CheckView(Wire):
    """One question about one part. `hosts` are those on which the `copies` stand, `working` of which work;
    `weight` is what it counts in the score. `drill_age_s` is how long ago the last drill of it ended that
    showed something, and `drill_outcome` what it showed; null: there was none."""

    name: str
    about: str
    region: str
    result: Result
    grade: Grade
    weight: int
    copies: int
    working: int
    hosts: list[str]
    reason: str
    drill_age_s: float | None
    drill_outcome: DrillOutcome | None


class AuditView(Wire):
    """`score`: share of weight that passed among what could be judged, 0 to 100, null where nothing could.
    `seen_share`: how much of all weight that was, 0 to 1; `proven_share`: how much drills have shown to be
    well. `rules` applied, for `rules_reason`. `age_s`: how old the reading is, null before the first."""

    score: int | None
    seen_share: float
    proven_share: float
    rules: AuditRules
    rules_reason: str
    age_s: float | None
    single_points: list[str]
    checks: list[CheckView]


class BeginDrill(Wire):
    """A drill loses one copy of what a check of the audit is `about`.

    `check` and `region` are needed where several checks are about it; without `host` one is chosen.
    `injected`: Farsite stops it, else you are asked to; left out: it does where the driver can. A copy stays
    lost for `hold_s`; for you it is waited `wait_s`. `confirm` is the name of the VIM; without it the answer
    says what would be stopped.
    """

    about: Name
    check: Label = ""
    region: Label = ""
    host: Label = ""
    injected: bool | None = None
    hold_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    wait_s: Annotated[float, Field(ge=10, le=7200)] = 900.0
    confirm: OptionalName = ""
    may_take_last_copy: bool = False
    may_hurt_functions: bool = False


class DrillView(Wire):
    """One drill. `service` and `host` are the copy that is lost; `is_host`: the whole host is. `instruction`
    is what you are asked to do now. The loss is undone at `ends_at` at the latest. `outage_s`: the longest
    time for which the VIM answered nobody; `told_at`: when the first alarm of it was raised."""

    id: str
    vim_id: str
    check: str
    about: str
    region: str
    service: str
    host: str
    is_host: bool
    is_injected: bool
    rules: AuditRules
    state: DrillState
    outcome: DrillOutcome | None
    why: str
    instruction: str
    asked_by: str
    begun_at: datetime
    ends_at: datetime
    lost_at: datetime | None
    mended_at: datetime | None
    back_at: datetime | None
    ended_at: datetime | None
    outage_s: float
    told_at: datetime | None
    findings: list[DrillFinding]
    observations: list[DrillObservation]


Rules = Annotated[
    AuditRules | None,
    Query(
        description="Judge by these rules, not by those that the registration declares or its size asks for."
    ),
]


@router.get("/vims/{vim}/audit")
def audit_vim(vim: str, context: Here, caller: Asker, rules: Rules = None) -> AuditView:
    """Single points of failure among what the VIM tells of itself, what its registration declares and what
    drills have shown, with a score and the reason of each check. What cannot be seen is listed as such and
    counts neither way. A large VIM is judged by other rules than a small one."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        known = control_planes.of(connection, found.id)
        judged = _audited(context, connection, found, known, rules)
    now = context.clock.now()
    return AuditView(
        score=judged.score,
        seen_share=round(judged.seen_share, 3),
        proven_share=round(judged.proven_share, 3),
        rules=judged.rules,
        rules_reason=judged.rules_reason,
        age_s=max(0.0, (now - known.read_at).total_seconds()) if known else None,
        single_points=list(judged.single_points),
        checks=[_view(one, now) for one in judged.checks],
    )


@router.post("/vims/{vim}/drills", status_code=201)
async def begin_drill(
    vim: str, body: BeginDrill, context: Here, caller: Asker, request: Request, response: Response
) -> DrillView:
    """Lose one copy on purpose and watch what comes of it. Refused unless it is confirmed, the VIM is whole,
    nobody works on it, and another copy is left; it ends by itself whatever happens."""
    wish = DrillWish(
        about=body.about,
        check=body.check,
        region=body.region,
        host=body.host,
        is_injected=body.injected,
        hold_s=body.hold_s,
        wait_s=body.wait_s,
        confirm=body.confirm,
        may_take_last_copy=body.may_take_last_copy,
        may_hurt_functions=body.may_hurt_functions,
        asked_by=caller.signature,
    )
    found = await context.database.run(vims.get, caller.project_id, vim)
    driver = await context.drivers.of(found.id)

    def can_stop(element: ControlElement, is_host: bool) -> str:
        if isinstance(driver, StopsForDrills):
            return driver.can_stop(element, is_host=is_host)
        return f"Farsite can stop nothing of a VIM of type {found.type}."

    # What was read last may be minutes old, and what has failed since is what must not be overlooked.
    elements = await driver.control_plane() if isinstance(driver, ObservesHosts) else ()
    hosts = (await driver.look()).hosts if isinstance(driver, ObservesHosts) else ()
    drill = await context.database.run(
        _begin, context, caller.project_id, vim, wish, can_stop, tuple(elements), hosts
    )
    response.headers["Location"] = f"{request.url.path}/{drill.id}"
    return drill_view(drill)


@router.get("/vims/{vim}/drills")
def list_drills(vim: str, context: Here, caller: Asker) -> list[DrillView]:
    """The drills of a VIM that are kept, the latest first."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        return [drill_view(one) for one in drills.of_vim(connection, found.id)]


@router.get("/vims/{vim}/drills/{drill}")
def get_drill(vim: str, drill: str, context: Here, caller: Asker) -> DrillView:
    """One drill with all that was seen in it."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        return drill_view(drills.get(connection, found.id, drill))


@router.post("/vims/{vim}/drills/{drill}/end", status_code=202)
def end_drill(vim: str, drill: str, context: Here, caller: Asker) -> DrillView:
    """Have what is lost work again now. What was seen until then is kept; that it survived is not
    concluded."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        return drill_view(drilling.ask_to_end(connection, found.id, drill))


def _audited(
    context: Context,
    connection: Connection,
    vim: Vim,
    known: ControlPlane | None,
    rules: AuditRules | None = None,
) -> Audit:
    now = context.clock.now()
    return audit(
        known or ControlPlane(read_at=now),
        vim.type,
        rules=rules,
        declared_rules=vim.extra.get(DECLARED_AS, ""),
        drills=drills.of_vim(connection, vim.id),
        now=now,
        drills_count_for=timedelta(days=context.settings.drill_days),
    )


def _begin(
    connection: Connection,
    context: Context,
    project_id: ProjectId,
    key: str,
    wish: DrillWish,
    can_stop: CanStop,
    elements: tuple[ControlElement, ...],
    hosts: tuple[HostObservation, ...],
) -> Drill:
    vim = vims.get(connection, project_id, key)
    known = control_planes.of(connection, vim.id) or ControlPlane(read_at=context.clock.now())
    plane = replace(known, elements=elements, hosts=hosts)
    audited = _audited(context, connection, vim, plane)
    return drill_guards.begin(
        connection,
        vim,
        plane,
        audited,
        wish,
        can_stop,
        settings=context.settings,
        now=context.clock.now(),
    )


def _view(one: Check, now: datetime) -> CheckView:
    return CheckView(
        name=one.name,
        about=one.about,
        region=one.region,
        result=one.result,
        grade=one.grade,
        weight=one.weight,
        copies=one.copies,
        working=one.working,
        hosts=list(one.hosts),
        reason=one.reason,
        drill_age_s=max(0.0, (now - one.drilled_at).total_seconds()) if one.drilled_at else None,
        drill_outcome=one.drill_outcome,
    )


def drill_view(one: Drill) -> DrillView:
    return DrillView(
        id=one.id,
        vim_id=one.vim_id,
        check=one.check,
        about=one.about,
        region=one.region,
        service=one.element.service,
        host=one.element.host,
        is_host=one.is_host,
        is_injected=one.is_injected,
        rules=one.rules,
        state=one.state,
        outcome=one.outcome,
        why=one.why,
        instruction=one.instruction,
        asked_by=one.asked_by,
        begun_at=one.begun_at,
        ends_at=one.ends_at,
        lost_at=one.lost_at,
        mended_at=one.mended_at,
        back_at=one.back_at,
        ended_at=one.ended_at,
        outage_s=round(one.outage_s, 3),
        told_at=one.told_at,
        findings=list(one.findings),
        observations=list(one.observations),
    )
