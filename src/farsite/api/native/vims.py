"""VIMs and the sites they stand in."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, SecretStr

from farsite.api import registering
from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.filters import link_next, page_in_memory
from farsite.api.problem import Unusable
from farsite.api.wire import ROOT, Document, Here, Label, Name, ObjectName, OptionalName, Text, Wire, asks
from farsite.model.alarm import Event
from farsite.model.deployment import Resource
from farsite.model.errors import NotFound
from farsite.model.ids import ProjectId, VimId
from farsite.model.latency import Tally
from farsite.model.query import Ask, Comparison, Condition
from farsite.model.vim import Evidence, ServiceHealth, Site, Vim, VimState, Zone
from farsite.store import alarms, vim_statistics, vims
from farsite.store.database import Connection
from farsite.vims.driver import InjectsFaults, ability

router = APIRouter(prefix=ROOT, tags=["VIMs and sites"])

SPELLED: Mapping[str, str] = {
    "id": "id",
    "name": "name",
    "type": "type",
    "site": "site",
    "state": "state",
    "is_default": "isDefault",
    "created_at": "createdAt",
}
SITES_SPELLED: Mapping[str, str] = {"id": "id", "name": "name", "created_at": "createdAt"}


class RegisterVim(Wire):
    """`credentials` are stored encrypted and never shown again."""

    name: ObjectName
    type: Label
    site: OptionalName = ""
    """Name of the site it stands in; empty: a site of the VIM's own name."""
    description: Text = ""
    auth_url: Text = ""
    settings: Document = Field(default_factory=dict)
    credentials: dict[Label, SecretStr] = Field(default_factory=dict)
    extra: Document = Field(default_factory=dict)
    """Site name, coordinates, risk groups, jurisdiction and region; what else it holds is kept and shown."""
    is_default: bool = False


class ChangeVim(Wire):
    """What is not given stays. `settings` and `credentials` replace what was there; a key of `credentials`
    that starts no new pair of user and password is laid over what is known with `is_over_known`."""

    name: ObjectName | None = None
    site: ObjectName | None = None
    description: Text | None = None
    auth_url: Text | None = None
    settings: Document | None = None
    credentials: dict[Label, SecretStr] | None = None
    is_over_known: bool = False
    extra: Document | None = None
    is_default: bool | None = None
    maintenance: Text | None = None
    """Why it goes out of service: placement leaves it alone and its state stays MAINTENANCE."""
    is_in_service: Literal[True] | None = None
    """Ends maintenance."""


class VimView(Wire):
    """A registered VIM with what is known of it. `inventory_age_s` is null until it was asked once.

    `regions` maps each region to its availability zones. `identity` is as whom the VIM knows us.
    """

    id: str
    name: str
    type: str
    site: str
    description: str
    auth_url: str
    settings: dict[str, object]
    identity: dict[str, str]
    extra: dict[str, object]
    is_default: bool
    state: VimState
    state_reason: str
    state_since: datetime
    services: list[ServiceHealth]
    checked_at: datetime | None
    evidence: Evidence | None
    """What the state was concluded from when it changed last."""
    created_at: datetime
    regions: dict[str, list[str]]
    features: list[str]
    missing: dict[str, str]
    capability_details: dict[str, str]
    physical_networks: list[str]
    storage_back_ends: list[str]
    tunnel_endpoint: str
    zones: list[Zone]
    inventory_age_s: float | None
    availability: float | None
    """Share of the last days in which it served; null: it is not known for long enough."""
    functions_availability: float | None
    """Share of their time that its failures left the functions on it; null: none stood there, or as above."""


class SiteView(Wire):
    id: str
    name: str
    latitude: float | None
    longitude: float | None
    risk_groups: list[str]
    jurisdiction: str
    created_at: datetime


class ChangeSite(Wire):
    """Degrees, north and east positive. What is not given stays."""

    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    risk_groups: Annotated[list[Label], Field(max_length=100)] | None = None
    jurisdiction: Label | None = None


class EventView(Wire):
    id: str
    at: datetime
    kind: str
    vim_id: str
    object_id: str
    detail: str
    details: dict[str, str]


def event_view(event: Event) -> EventView:
    return EventView(
        id=event.id,
        at=event.at,
        kind=event.kind,
        vim_id=event.vim_id,
        object_id=event.object_id,
        detail=event.detail,
        details=dict(event.details),
    )


def vim_view(vim: Vim, inventory: vims.Inventory | None, site: Site | None, now: datetime) -> VimView:
    found = inventory.capabilities if inventory else None
    return VimView(
        id=vim.id,
        name=vim.name,
        type=vim.type,
        site=vim.site,
        description=vim.description,
        auth_url=vim.auth_url,
        settings=dict(vim.settings),
        identity=dict(vim.identity),
        extra=registering.extra_shown(vim, site),
        is_default=vim.is_default,
        state=vim.state,
        state_reason=vim.state_reason,
        state_since=vim.state_since,
        services=list(vim.services),
        checked_at=vim.checked_at,
        evidence=vim.evidence,
        created_at=vim.created_at,
        regions=vims.regions_of(inventory),
        features=sorted(found.features) if found else [],
        missing=dict(found.missing) if found else {},
        capability_details=dict(found.details) if found else {},
        physical_networks=list(found.physical_networks) if found else [],
        storage_back_ends=list(found.storage_back_ends) if found else [],
        tunnel_endpoint=found.tunnel_endpoint if found else "",
        zones=list(inventory.zones) if inventory else [],
        inventory_age_s=max((now - inventory.read_at).total_seconds(), 0.0) if inventory else None,
        availability=vim.availability,
        functions_availability=vim.functions_availability,
    )


def site_view(site: Site) -> SiteView:
    return SiteView(
        id=site.id,
        name=site.name,
        latitude=site.latitude,
        longitude=site.longitude,
        risk_groups=list(site.risk_groups),
        jurisdiction=site.jurisdiction,
        created_at=site.created_at,
    )


@router.post("/vims", status_code=201)
async def register_vim(
    body: RegisterVim, context: Here, caller: Asker, request: Request, response: Response
) -> VimView:
    """Register a VIM: its driver checks credentials and reachability first; nothing is kept if it refuses."""
    vim = await registering.register(
        context,
        caller.project_id,
        registering.Wish(
            name=body.name,
            type=body.type,
            site=body.site,
            description=body.description,
            auth_url=body.auth_url,
            settings=body.settings,
            credentials=_revealed(body.credentials),
            extra=body.extra,
            is_default=body.is_default,
        ),
    )
    response.headers["Location"] = f"{request.url.path}/{vim.id}"
    return await asyncio.to_thread(_shown, context, vim.id)


def _revealed(credentials: Mapping[str, SecretStr]) -> dict[str, str]:
    return {key: value.get_secret_value() for key, value in credentials.items()}


def _shown(context: Context, vim_id: VimId) -> VimView:
    with context.database.transaction() as connection:
        return _view_of(connection, vims.get_any(connection, vim_id), context.clock.now())


def _view_of(connection: Connection, vim: Vim, now: datetime) -> VimView:
    site = vims.sites_of(connection, vim.project_id, [vim.site]).get(vim.site)
    return vim_view(vim, vims.inventory_of(connection, vim.id), site, now)


@router.get("/vims")
def list_vims(
    ask: Annotated[Ask, Depends(asks(SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[VimView]:
    """All VIMs of the project."""
    now = context.clock.now()
    with context.database.transaction() as connection:
        page = vims.page(connection, caller.project_id, ask)
        sites = vims.sites_of(connection, caller.project_id, {one.site for one in page.items})
        items = [
            vim_view(one, vims.inventory_of(connection, one.id), sites.get(one.site), now)
            for one in page.items
        ]
    link_next(request, response, page)
    return items


@router.get("/vims/{vim}")
def get_vim(vim: str, context: Here, caller: Asker) -> VimView:
    """One VIM with its state and why, zones and capabilities."""
    with context.database.transaction() as connection:
        return _view_of(connection, vims.get(connection, caller.project_id, vim), context.clock.now())


@router.patch("/vims/{vim}")
async def change_vim(vim: str, body: ChangeVim, context: Here, caller: Asker) -> VimView:
    """Change a registration; what concerns the connection is checked by the driver first."""
    before = await asyncio.to_thread(_get, context, caller.project_id, vim)
    if body.maintenance is not None and body.is_in_service:
        raise Unusable("maintenance and is_in_service are opposites; give one of them.")
    wish = registering.Wish(
        name=body.name,
        site=body.site,
        description=body.description,
        auth_url=body.auth_url,
        settings=body.settings,
        credentials=None if body.credentials is None else _revealed(body.credentials),
        is_over_known=body.is_over_known,
        extra=body.extra,
        is_default=body.is_default,
    )
    if wish != registering.Wish(is_over_known=body.is_over_known):
        await registering.change(context, before, wish)
    if body.maintenance is not None or body.is_in_service:
        await registering.set_maintenance(context, before, body.maintenance)
    return await asyncio.to_thread(_shown, context, before.id)


def _get(context: Context, project_id: ProjectId, key: str) -> Vim:
    with context.database.transaction() as connection:
        return vims.get(connection, project_id, key)


@router.post("/vims/{vim}/rotate-key", status_code=204)
async def rotate_key(vim: str, context: Here, caller: Asker) -> None:
    """Encrypt the credentials of a VIM with a new key; the old one is forgotten once that is written."""
    found = await asyncio.to_thread(_get, context, caller.project_id, vim)
    await asyncio.to_thread(registering.rotate_key, context, found)


@router.delete("/vims/{vim}", status_code=204)
async def delete_vim(vim: str, context: Here, caller: Asker) -> None:
    """Forget a VIM on which nothing stands."""
    await registering.forget(context, await asyncio.to_thread(_get, context, caller.project_id, vim))


@router.get("/vims/{vim}/resources")
async def list_vim_resources(
    vim: str,
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[Resource]:
    """What of ours stands on the VIM, as the VIM itself says now."""
    found = await asyncio.to_thread(_get, context, caller.project_id, vim)
    driver = await context.drivers.of(found.id)
    resources = await driver.find("")
    page = page_in_memory(
        resources,
        ask,
        {
            "id": lambda one: one.id,
            "kind": lambda one: one.kind,
            "owner": lambda one: one.owner,
            "vnfc_id": lambda one: one.vnfc_id or "",
            "host": lambda one: one.host,
            "zone": lambda one: one.zone,
            "is_alive": lambda one: one.is_alive,
        },
        key=lambda one: f"{one.kind}/{one.id}",
    )
    link_next(request, response, page)
    return list(page.items)


EVENTS_SPELLED: Mapping[str, str] = {
    "id": "id",
    "at": "at",
    "kind": "kind",
    "vim_id": "vimId",
    "object_id": "objectId",
}


@router.get("/vims/{vim}/events")
def list_vim_events(
    vim: str,
    ask: Annotated[Ask, Depends(asks(EVENTS_SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[EventView]:
    """What the VIM told, newest first."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        of_vim = Condition(attribute="vimId", comparison=Comparison.EQ, values=(found.id,))
        page = alarms.event_page(
            connection, caller.project_id, replace(ask, conditions=(*ask.conditions, of_vim))
        )
    link_next(request, response, page)
    return [event_view(one) for one in page.items]


class HourView(Wire):
    """How one service answered in one hour; `service` is `vim` for checks that told of none. Latencies are
    null where nothing was answered; a percentile is at most a quarter too long."""

    hour: datetime
    """Its beginning."""
    service: str
    answers: int
    misses: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def hour_view(hour: datetime, service: str, tally: Tally) -> HourView:
    def latency(percent: float) -> float | None:
        found = tally.percentile_ms(percent)
        return None if found is None else round(found, 2)

    return HourView(
        hour=hour,
        service=service,
        answers=tally.answers,
        misses=tally.misses,
        p50_ms=latency(50),
        p95_ms=latency(95),
        p99_ms=latency(99),
        max_ms=latency(100),
    )


@router.get("/vims/{vim}/statistics")
def list_vim_statistics(
    vim: str,
    context: Here,
    caller: Asker,
    hours: Annotated[int, Query(ge=1, le=10_000, description="How many hours back, this one included.")] = 24,
) -> list[HourView]:
    """How the services of a VIM answered its health checks, hour by hour, the latest first. This hour's
    figures are some seconds old, a minute where thousands of VIMs are watched."""
    this_hour = context.clock.now().replace(minute=0, second=0, microsecond=0)
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        told = vim_statistics.since(connection, found.id, this_hour - timedelta(hours=hours - 1))
    return [
        hour_view(one.hour, service, tally) for one in told for service, tally in sorted(one.services.items())
    ]


class Fault(Wire):
    """A fault to inject: one of the driver's own kinds, and what it hits."""

    kind: Name
    target: Label = ""
    settings: Document = Field(default_factory=dict)


@router.get("/vims/{vim}/faults")
async def list_fault_kinds(vim: str, context: Here, caller: Asker) -> dict[str, str]:
    """What the VIM's driver can break on purpose: kind -> what it does."""
    return dict((await _injecting(context, caller.project_id, vim)).fault_kinds())


@router.post("/vims/{vim}/faults", status_code=204)
async def inject_fault(vim: str, body: Fault, context: Here, caller: Asker) -> None:
    """Break something on purpose, for tests and game days."""
    driver = await _injecting(context, caller.project_id, vim)
    if body.kind not in driver.fault_kinds():
        known = ", ".join(sorted(driver.fault_kinds()))
        raise Unusable(f'There is no fault "{body.kind}" on this VIM. Kinds: {known}.')
    await driver.inject(body.kind, body.target, body.settings)


@router.delete("/vims/{vim}/faults", status_code=204)
async def clear_faults(vim: str, context: Here, caller: Asker) -> None:
    """End every fault that was injected and still lasts."""
    await (await _injecting(context, caller.project_id, vim)).clear_faults()


async def _injecting(context: Context, project_id: ProjectId, key: str) -> InjectsFaults:
    found = await asyncio.to_thread(_get, context, project_id, key)
    return ability(await context.drivers.of(found.id), InjectsFaults, "faults")


@router.get("/sites")
def list_sites(
    ask: Annotated[Ask, Depends(asks(SITES_SPELLED))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[SiteView]:
    """All sites of the project."""
    with context.database.transaction() as connection:
        page = vims.site_page(connection, caller.project_id, ask)
    link_next(request, response, page)
    return [site_view(one) for one in page.items]


@router.get("/sites/{site}")
def get_site(site: str, context: Here, caller: Asker) -> SiteView:
    """One site by name or id."""
    with context.database.transaction() as connection:
        return site_view(_site(connection, caller.project_id, site))


@router.patch("/sites/{site}")
def change_site(site: str, body: ChangeSite, context: Here, caller: Asker) -> SiteView:
    """Say where a site is and with which others it shares a fate."""
    with context.database.transaction() as connection:
        before = _site(connection, caller.project_id, site)
        after = replace(
            before,
            latitude=before.latitude if body.latitude is None else body.latitude,
            longitude=before.longitude if body.longitude is None else body.longitude,
            risk_groups=before.risk_groups if body.risk_groups is None else tuple(body.risk_groups),
            jurisdiction=before.jurisdiction if body.jurisdiction is None else body.jurisdiction,
        )
        vims.put_site(connection, after)
        return site_view(after)


def _site(connection: Connection, project_id: ProjectId, key: str) -> Site:
    for attribute in ("name", "id"):
        named = Condition(attribute=attribute, comparison=Comparison.EQ, values=(key,))
        for site in vims.site_page(connection, project_id, Ask(conditions=(named,), limit=1)).items:
            return site
    raise NotFound(f'No site "{key}". A site is made with its first VIM (farsite vim register --site).')
