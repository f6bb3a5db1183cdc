"""How redundantly a VIM is built."""

from fastapi import APIRouter

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here, Wire
from farsite.assurance.redundancy import Check, Grade, Result, audit
from farsite.model.control_plane import ControlPlane
from farsite.store import control_planes, vims

router = APIRouter(prefix=ROOT, tags=["VIMs and sites"])


class CheckView(Wire):
    """One question about one part. `hosts` are those on which the `copies` stand, `working` of which work;
    `weight` is what it counts in the score."""

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


class AuditView(Wire):
    """`score`: share of weight that passed among what could be judged, 0 to 100, null where nothing could.
    `seen_share`: how much of all weight that was, 0 to 1. `age_s`: how old the reading is, null before the
    first."""

    score: int | None
    seen_share: float
    age_s: float | None
    single_points: list[str]
    checks: list[CheckView]


@router.get("/vims/{vim}/audit")
def audit_vim(vim: str, context: Here, caller: Asker) -> AuditView:
    """Single points of failure among what the VIM tells of itself and what its registration declares, with a
    score and the reason of each check. What cannot be seen is listed as such and counts neither way."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        known = control_planes.of(connection, found.id)
    now = context.clock.now()
    judged = audit(known or ControlPlane(read_at=now), found.type)
    return AuditView(
        score=judged.score,
        seen_share=round(judged.seen_share, 3),
        age_s=max(0.0, (now - known.read_at).total_seconds()) if known else None,
        single_points=list(judged.single_points),
        checks=[_view(one) for one in judged.checks],
    )


def _view(one: Check) -> CheckView:
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
    )
