"""The compute hosts of a VIM: how each is, since when, why, and what of ours stands there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from farsite.api.auth import Asker
from farsite.api.filters import link_next, page_in_memory
from farsite.api.native import stream
from farsite.api.native.stream import EVENT_STREAM, event_stream
from farsite.api.wire import ROOT, Here, Wire, asks
from farsite.assurance.graph import servers_of
from farsite.model.control_plane import ControlPlane, HostObservation
from farsite.model.errors import NotFound
from farsite.model.host_health import HostHealth, HostState
from farsite.model.ids import ProjectId
from farsite.model.query import Ask
from farsite.model.vim import Vim
from farsite.store import control_planes, instances, vims
from farsite.store.database import Connection

router = APIRouter(prefix=ROOT, tags=["VIMs and sites"])


class StandingVnf(Wire):
    """A VNF of the project with its VNFCs that stand on a host, by our records."""

    vnf_id: str
    name: str
    vnfc_ids: list[str]


class HostHealthView(Wire):
    """How a compute host is. `evidence` has what each observer said (`up`, `down`; who is missing said
    nothing), `permitted` what may be done about the host and what stands there. `seen_at` is when the VIM's
    own service there reported last, by the VIM's clock; `age_s` how old this view is."""

    vim_id: str
    host: str
    region: str
    zone: str
    state: HostState
    since: datetime
    age_s: float
    verdict: str
    confidence: float
    reason: str
    evidence: dict[str, str]
    permitted: list[str]
    is_disabled: bool
    is_forced_down: bool
    seen_at: datetime | None
    vnfs: list[StandingVnf]


Standing = Mapping[str, list[StandingVnf]]


def standing_by_host(connection: Connection, vim: Vim, project_id: ProjectId) -> Standing:
    """Host -> what of the project stands there."""
    found: dict[str, list[StandingVnf]] = {}
    recorded = instances.find_vnfs(connection, instances.standing_on(connection, vim.id))
    for vnf in sorted(recorded.values(), key=lambda one: (one.name, one.id)):
        if vnf.project_id != project_id:
            continue
        by_host: dict[str, list[str]] = {}
        for one in servers_of(vnf):
            by_host.setdefault(one.host, []).append(one.vnfc_id)
        for host, vnfc_ids in by_host.items():
            stands = StandingVnf(vnf_id=vnf.id, name=vnf.name, vnfc_ids=sorted(vnfc_ids))
            found.setdefault(host, []).append(stands)
    return found


def _views(known: ControlPlane | None, standing: Standing, now: datetime) -> list[HostHealthView]:
    if known is None:
        return []
    seen = {(one.region, one.host): one for one in known.hosts}
    age_s = max(0.0, (now - known.read_at).total_seconds())
    return [_view(one, seen.get((one.region, one.host)), standing, age_s) for one in known.health]


def _view(one: HostHealth, seen: HostObservation | None, standing: Standing, age_s: float) -> HostHealthView:
    return HostHealthView(
        vim_id=one.vim_id,
        host=one.host,
        region=one.region,
        zone=one.zone,
        state=one.state,
        since=one.since,
        age_s=age_s,
        verdict=one.verdict,
        confidence=one.confidence,
        reason=one.reason,
        evidence=dict(one.evidence),
        permitted=list(one.permitted),
        is_disabled=seen is not None and seen.is_disabled,
        is_forced_down=seen is not None and seen.is_forced_down,
        seen_at=seen.seen_at if seen else None,
        vnfs=standing.get(one.host, []),
    )


@router.get("/vims/{vim}/hosts")
def list_hosts(
    vim: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[HostHealthView]:
    """The compute hosts of a VIM with their health. Empty where these credentials may not see hosts."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        known = control_planes.of(connection, found.id)
        standing = standing_by_host(connection, found, caller.project_id)
    page = page_in_memory(
        _views(known, standing, context.clock.now()),
        ask,
        {
            "host": lambda one: one.host,
            "region": lambda one: one.region,
            "zone": lambda one: one.zone,
            "state": lambda one: one.state.value,
            "verdict": lambda one: one.verdict,
            "since": lambda one: one.since,
            "vnf_id": lambda one: tuple(each.vnf_id for each in one.vnfs),
        },
        key=lambda one: f"{one.region}/{one.host}",
    )
    link_next(request, response, page)
    return list(page.items)


@router.get("/vims/{vim}/hosts/stream", response_class=StreamingResponse, responses=EVENT_STREAM)
def stream_hosts(
    vim: str, context: Here, caller: Asker, last_event_id: Annotated[str, Header()] = ""
) -> StreamingResponse:
    """Every host of the VIM whose health changes (`host-changed`) or that the VIM names no more
    (`host-removed`), as it happens, for ever. `Last-Event-ID` resumes: everything after it is sent first."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
    told = stream.told(context, caller.project_id, last_event_id, about="host", under=f"{found.id}/")
    return event_stream(context, told)


@router.get("/vims/{vim}/hosts/{host}/health")
def get_host_health(
    vim: str,
    host: str,
    context: Here,
    caller: Asker,
    region: Annotated[str, Query(max_length=255, description="Where two regions have such a host.")] = "",
) -> HostHealthView:
    """How one host is: its state, since when, the evidence, and what of ours stands there."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        known = control_planes.of(connection, found.id)
        standing = standing_by_host(connection, found, caller.project_id)
    for one in _views(known, standing, context.clock.now()):
        if one.host == host and region in ("", one.region):
            return one
    where = f" in region {region}" if region else ""
    raise NotFound(
        f'VIM "{found.name}" tells of no host "{host}"{where}. The hosts that it tells of: farsite vim hosts '
        f"{found.name}."
    )
