"""What a VIM consists of, and how its compute hosts are."""

from datetime import datetime

from fastapi import APIRouter

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here, Wire
from farsite.assurance.host_states import findings
from farsite.model.control_plane import (
    ControlPlane,
    ElementKind,
    ElementState,
    copies,
    working,
)
from farsite.store import control_planes, vims

router = APIRouter(prefix=ROOT, tags=["VIMs and sites"])


class ElementView(Wire):
    """One copy of one service. `copies` are those of the same service, this one among them; `working` of them
    work. The state of an API is not told here but by `services` of the VIM."""

    service: str
    kind: ElementKind
    region: str
    host: str
    zone: str
    state: ElementState
    detail: str
    seen_at: datetime | None
    """When it reported last, by the clock of the VIM."""
    copies: int
    working: int


class HostView(Wire):
    """A compute host as its VIM and what looks at it tell of it; null: nobody looked."""

    host: str
    region: str
    zone: str
    service: bool | None
    agent: bool | None
    management: bool | None
    is_forced_down: bool
    is_disabled: bool
    seen_at: datetime | None
    verdict: str
    reason: str
    is_dead: bool
    """It was concluded to be dead: nothing that stands there is relied on."""


class ControlPlaneView(Wire):
    """`age_s` is null where the VIM was not read yet, or its driver cannot."""

    age_s: float | None
    elements: list[ElementView]
    hosts: list[HostView]


def control_plane_view(known: ControlPlane | None, now: datetime) -> ControlPlaneView:
    if known is None:
        return ControlPlaneView(age_s=None, elements=[], hosts=[])
    groups = copies(known.elements)
    found = findings(known.hosts, known.vim_time)
    return ControlPlaneView(
        age_s=max(0.0, (now - known.read_at).total_seconds()),
        elements=[
            ElementView(
                **{name: getattr(one, name) for name in _OF_AN_ELEMENT},
                copies=groups[one.group],
                working=working(known.elements, one.group),
            )
            for one in known.elements
        ],
        hosts=[
            HostView(
                **{name: getattr(one, name) for name in _OF_A_HOST},
                verdict=found[one.host].verdict if one.host in found else "up",
                reason=found[one.host].reason if one.host in found else "",
                is_dead=one.host in known.dead,
            )
            for one in known.hosts
        ],
    )


_OF_AN_ELEMENT = ("service", "kind", "region", "host", "zone", "state", "detail", "seen_at")
_OF_A_HOST = (
    "host",
    "region",
    "zone",
    "service",
    "agent",
    "management",
    "is_forced_down",
    "is_disabled",
    "seen_at",
)


@router.get("/vims/{vim}/control-plane")
def get_control_plane(vim: str, context: Here, caller: Asker) -> ControlPlaneView:
    """What the VIM consists of, copy by copy, and what it says of its compute hosts; with its age."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        known = control_planes.of(connection, found.id)
    return control_plane_view(known, context.clock.now())
