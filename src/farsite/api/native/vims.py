"""VIMs and the sites they stand in."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, SecretStr

from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.filters import link_next, page_in_memory
from farsite.api.problem import Unusable
from farsite.api.wire import ROOT, Document, Here, Label, Name, ObjectName, OptionalName, Text, Wire, asks
from farsite.model.alarm import Event
from farsite.model.deployment import Resource
from farsite.model.errors import Conflict, NotFound, VimUnreachable
from farsite.model.ids import ProjectId, VimId, new_id
from farsite.model.query import Ask, Comparison, Condition
from farsite.model.vim import Site, Vim, VimState, Zone
from farsite.store import alarms, vims
from farsite.store.database import Connection
from farsite.vims.driver import InjectsFaults, VimConnection, ability
from farsite.vims.registry import make_driver

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

_VALIDATE_TIMEOUT_S = 60.0


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
    is_default: bool = False


class ChangeVim(Wire):
    """What is not given stays. `settings` and `credentials` replace what was there."""

    name: ObjectName | None = None
    site: ObjectName | None = None
    description: Text | None = None
    auth_url: Text | None = None
    settings: Document | None = None
    credentials: dict[Label, SecretStr] | None = None
    is_default: bool | None = None


class VimView(Wire):
    """A registered VIM with what is known of it. `inventory_age_s` is null until it was asked once."""

    id: str
    name: str
    type: str
    site: str
    description: str
    auth_url: str
    settings: dict[str, object]
    is_default: bool
    state: VimState
    state_reason: str
    state_since: datetime
    created_at: datetime
    features: list[str]
    missing: dict[str, str]
    capability_details: dict[str, str]
    tunnel_endpoint: str
    zones: list[Zone]
    inventory_age_s: float | None


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


def vim_view(vim: Vim, inventory: vims.Inventory | None, now: datetime) -> VimView:
    found = inventory.capabilities if inventory else None
    return VimView(
        id=vim.id,
        name=vim.name,
        type=vim.type,
        site=vim.site,
        description=vim.description,
        auth_url=vim.auth_url,
        settings=dict(vim.settings),
        is_default=vim.is_default,
        state=vim.state,
        state_reason=vim.state_reason,
        state_since=vim.state_since,
        created_at=vim.created_at,
        features=sorted(found.features) if found else [],
        missing=dict(found.missing) if found else {},
        capability_details=dict(found.details) if found else {},
        tunnel_endpoint=found.tunnel_endpoint if found else "",
        zones=list(inventory.zones) if inventory else [],
        inventory_age_s=max((now - inventory.read_at).total_seconds(), 0.0) if inventory else None,
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
    now = context.clock.now()
    vim = Vim(
        id=VimId(new_id()),
        name=body.name,
        type=body.type,
        site=body.site or body.name,
        project_id=caller.project_id,
        description=body.description,
        auth_url=body.auth_url,
        settings=dict(body.settings),
        is_default=body.is_default,
        state_since=now,
        created_at=now,
    )
    await asyncio.to_thread(_refuse_taken_name, context, vim)
    credentials = _revealed(body.credentials)
    await _validate(context, vim, credentials)
    await asyncio.to_thread(_insert, context, vim, credentials)
    await context.watch_vim(vim.id)
    response.headers["Location"] = f"{request.url.path}/{vim.id}"
    return await asyncio.to_thread(_shown, context, vim.id)


def _revealed(credentials: Mapping[str, SecretStr]) -> dict[str, str]:
    return {key: value.get_secret_value() for key, value in credentials.items()}


def _refuse_taken_name(context: Context, vim: Vim) -> None:
    with context.database.transaction() as connection:
        try:
            other = vims.get(connection, vim.project_id, vim.name)
        except NotFound:
            return
    if other.id != vim.id:
        raise Conflict(
            f'A VIM named "{vim.name}" is registered already. Choose another name, or change that one '
            f"(farsite vim update {vim.name}).",
            about={"vim": other.id},
        )


async def _validate(context: Context, vim: Vim, credentials: Mapping[str, str]) -> None:
    """Have the driver check the registration over a connection of its own, which is closed again.

    Raises:
        NotSupported: no driver of that type, or settings it cannot serve.
        Invalid: settings that are wrong.
        VimFault: the VIM refuses us.
        VimUnreachable: it does not answer.
    """
    driver = make_driver(
        vim.type,
        VimConnection(
            vim_id=vim.id,
            name=vim.name,
            site=vim.site,
            auth_url=vim.auth_url,
            settings=vim.settings,
            credentials=credentials,
            run_dir=context.settings.run_dir,
        ),
    )
    try:
        await asyncio.wait_for(driver.validate(), _VALIDATE_TIMEOUT_S)
    except TimeoutError as silence:
        raise VimUnreachable(
            f'VIM "{vim.name}" did not answer within {_VALIDATE_TIMEOUT_S:.0f} s.'
        ) from silence
    finally:
        await driver.close()


def _insert(context: Context, vim: Vim, credentials: Mapping[str, str]) -> None:
    with context.database.transaction() as connection:
        secret = context.keys.encrypt(vim.id, credentials) if credentials else None
        vims.ensure_site(connection, vim.project_id, vim.site, vim.created_at)
        vims.insert(connection, vim, secret)


def _shown(context: Context, vim_id: VimId) -> VimView:
    with context.database.transaction() as connection:
        vim = vims.get_any(connection, vim_id)
        return vim_view(vim, vims.inventory_of(connection, vim.id), context.clock.now())


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
        items = [vim_view(one, vims.inventory_of(connection, one.id), now) for one in page.items]
    link_next(request, response, page)
    return items


@router.get("/vims/{vim}")
def get_vim(vim: str, context: Here, caller: Asker) -> VimView:
    """One VIM with its state and why, zones and capabilities."""
    with context.database.transaction() as connection:
        found = vims.get(connection, caller.project_id, vim)
        return vim_view(found, vims.inventory_of(connection, found.id), context.clock.now())


@router.patch("/vims/{vim}")
async def change_vim(vim: str, body: ChangeVim, context: Here, caller: Asker) -> VimView:
    """Change a registration; what concerns the connection is checked by the driver first."""
    before = await asyncio.to_thread(_get, context, caller.project_id, vim)
    given = {
        key: value
        for key in ("name", "site", "description", "auth_url", "settings", "is_default")
        if (value := getattr(body, key)) is not None
    }
    after = replace(before, **given)
    await asyncio.to_thread(_refuse_taken_name, context, after)
    credentials = None if body.credentials is None else _revealed(body.credentials)
    is_connection = body.settings is not None or body.auth_url is not None or credentials is not None
    if is_connection:
        known = credentials if credentials is not None else await asyncio.to_thread(_known, context, before)
        await _validate(context, after, known)
    await asyncio.to_thread(_update, context, after, credentials)
    await context.watch_vim(after.id)
    return await asyncio.to_thread(_shown, context, after.id)


def _get(context: Context, project_id: ProjectId, key: str) -> Vim:
    with context.database.transaction() as connection:
        return vims.get(connection, project_id, key)


def _known(context: Context, vim: Vim) -> dict[str, str]:
    with context.database.transaction() as connection:
        secret = vims.secret_of(connection, vim.id)
    return {} if secret is None else context.keys.decrypt(vim.id, secret)


def _update(context: Context, vim: Vim, credentials: Mapping[str, str] | None) -> None:
    with context.database.transaction() as connection:
        vims.ensure_site(connection, vim.project_id, vim.site, context.clock.now())
        vims.update(connection, vim)
        if credentials is not None:
            vims.set_secret(connection, vim, context.keys.encrypt(vim.id, credentials))


@router.delete("/vims/{vim}", status_code=204)
async def delete_vim(vim: str, context: Here, caller: Asker) -> None:
    """Forget a VIM on which nothing stands."""
    found = await asyncio.to_thread(_get, context, caller.project_id, vim)
    await asyncio.to_thread(_delete, context, found)
    await context.unwatch_vim(found.id)
    context.keys.forget(found.id)


def _delete(context: Context, vim: Vim) -> None:
    with context.database.transaction() as connection:
        vims.delete(connection, vim)


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
