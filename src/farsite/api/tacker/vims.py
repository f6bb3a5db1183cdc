"""The VIM API as `openstack vim ...` speaks it.

The standard client sends JSON to paths with `.json` at their end, finds a VIM by `?id=` and then by `?name=`
with `fields=id`, and prints what it gets. Its configuration file has no place for a region, a site or an
application credential; those travel in `extra`. `status` is the real state of the VIM.

Source: python-tackerclient 2.6.0; the API reference of OpenStack Tacker 16, legacy VIM API.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from farsite.api import registering
from farsite.api.auth import Asker
from farsite.api.context import Context
from farsite.api.problem import Unusable
from farsite.api.tacker.dialect import PREFIX
from farsite.api.wire import Document, Here, Label, ObjectName, Text
from farsite.model.access import Caller
from farsite.model.errors import Forbidden
from farsite.model.ids import ProjectId
from farsite.model.vim import Site, Vim
from farsite.store import vims

router = APIRouter(tags=["VIM API of Tacker"])

_OF_PROJECT = ("id", "name", "project_domain_name", "project_domain_id")
_OURS = frozenset({"auth_url", "key_type", "secret_uuid"})
"""What the API itself adds to `auth_cred`; a client that sends back what it read sends these too."""

Value = SecretStr | bool | None
Project = dict[Literal["id", "name", "project_domain_name", "project_domain_id"], Label | None]
Shown = dict[str, object]


class Given(BaseModel):
    """A body of this API."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NewVim(Given):
    """A VIM as it is registered. `auth_cred` may name the project and its domain as well."""

    name: ObjectName
    auth_url: Text
    auth_cred: Annotated[dict[Label, Value], Field(min_length=1)]
    vim_project: Project | None = None
    type: Label = "openstack"
    description: Text | None = ""
    is_default: bool = False
    extra: Document | None = None
    tenant_id: Label | None = None
    project_id: Label | None = None


class ChangedVim(Given):
    """What is not given stays; `auth_cred` and `vim_project` are laid over what is known."""

    name: ObjectName | None = None
    description: Text | None = None
    is_default: bool | None = None
    auth_cred: dict[Label, Value] | None = None
    vim_project: Project | None = None
    extra: Document | None = None
    tenant_id: Label | None = None
    project_id: Label | None = None


class RegisterVim(Given):
    vim: NewVim


class UpdateVim(Given):
    vim: ChangedVim


def shown(vim: Vim, inventory: vims.Inventory | None, site: Site | None) -> Shown:
    """A VIM in Tacker's words. Secrets are `***`; zones of each region stand beside the regions."""
    regions = vims.regions_of(inventory)
    identity = vim.identity
    project = {key: identity.get(f"project_{key.removeprefix('project_')}", "") for key in _OF_PROJECT}
    secret = "application_credential_secret" if "application_credential_id" in identity else "password"
    credentials = {**identity, "auth_url": vim.auth_url, "key_type": "fernet_key"}
    if identity:
        credentials[secret] = registering.MASK
    return {
        "id": vim.id,
        "name": vim.name,
        "type": vim.type,
        "description": vim.description,
        "tenant_id": vim.project_id,
        "auth_url": vim.auth_url,
        "auth_cred": dict(credentials),
        "vim_project": {key: value for key, value in project.items() if value or key == "name"},
        "is_default": vim.is_default,
        "status": vim.state.value,
        "status_reason": vim.state_reason,
        "placement_attr": {
            "regions": list(regions) or sorted(vim.regions_asked),
            "availability_zones": {region: list(zones) for region, zones in regions.items()},
        },
        "extra": registering.extra_shown(vim, site),
        "created_at": _when(vim.created_at),
        "updated_at": None if vim.updated_at is None else _when(vim.updated_at),
    }


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _wish(body: NewVim | ChangedVim) -> registering.Wish:
    given: dict[str, str] = {}
    for key, value in (body.auth_cred or {}).items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        # What was masked on its way out has not changed on its way back.
        if text is not None and text not in ("", registering.MASK) and key not in _OURS:
            given[key] = str(text)
    for key, value in (body.vim_project or {}).items():
        if value:
            given[f"project_{key.removeprefix('project_')}"] = value
    return registering.Wish(
        name=body.name,
        description=body.description,
        credentials=given or None,
        is_over_known=True,
        extra=body.extra,
        is_default=body.is_default,
    )


def _refuse_other_tenant(body: NewVim | ChangedVim, caller: Caller) -> None:
    for asked in (body.tenant_id, body.project_id):
        if asked and asked != caller.project_id:
            raise Forbidden(
                f'A VIM is registered in the project that asks, "{caller.project_id}"; "{asked}" is another. '
                f"Ask with a token of that project."
            )


def _shown(context: Context, project_id: ProjectId, key: str) -> Shown:
    with context.database.transaction() as connection:
        vim = vims.get(connection, project_id, key)
        site = vims.sites_of(connection, project_id, [vim.site]).get(vim.site)
        return shown(vim, vims.inventory_of(connection, vim.id), site)


def _find(context: Context, project_id: ProjectId, key: str) -> Vim:
    with context.database.transaction() as connection:
        return vims.get(connection, project_id, key)


@router.post(f"{PREFIX}/vims", status_code=201)
async def create_vim(body: RegisterVim, context: Here, caller: Asker) -> Shown:
    """Register a VIM; its own identity service is asked first, and nothing is kept if it refuses."""
    _refuse_other_tenant(body.vim, caller)
    wish = _wish(body.vim)
    if body.vim.type == "openstack" and wish.credentials is None:
        raise Unusable("auth_cred: a user with a password, or an application credential, is needed.")
    wish = registering.Wish(
        name=wish.name,
        type=body.vim.type,
        description=wish.description or "",
        auth_url=body.vim.auth_url,
        credentials=wish.credentials,
        extra=wish.extra,
        is_default=wish.is_default,
    )
    vim = await registering.register(context, caller.project_id, wish)
    return {"vim": await asyncio.to_thread(_shown, context, caller.project_id, vim.id)}


Fields = Annotated[list[Label], Query(default_factory=list)]


@router.get(f"{PREFIX}/vims")
def list_vims(
    context: Here,
    caller: Asker,
    request: Request,
    fields: Fields,
) -> Shown:
    """All VIMs of the project. Any attribute may be asked for by its value, `fields` chooses what is told."""
    wanted = {key: request.query_params.getlist(key) for key in request.query_params if key != "fields"}
    with context.database.transaction() as connection:
        sites = vims.sites_of(connection, caller.project_id)
        found = [
            shown(vim, vims.inventory_of(connection, vim.id), sites.get(vim.site))
            for vim in vims.of_project(connection, caller.project_id)
        ]
    told = [_chosen(one, fields) for one in found if _fits(one, wanted)]
    return {"vims": told}


def _fits(one: Mapping[str, object], wanted: Mapping[str, list[str]]) -> bool:
    for key, values in wanted.items():
        value = one.get("tenant_id" if key == "project_id" else key)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if (key in one or key == "project_id") and text not in (
            [each.lower() for each in values] if isinstance(value, bool) else values
        ):
            return False
    return True


def _chosen(one: Shown, fields: list[str]) -> Shown:
    named = {name for field in fields for name in field.split(",")} & set(one)
    return {key: value for key, value in one.items() if key in named} if named else one


@router.get(PREFIX + "/vims/{vim}")
def show_vim(
    vim: str,
    context: Here,
    caller: Asker,
    fields: Fields,
) -> Shown:
    """One VIM by id or name."""
    return {"vim": _chosen(_shown(context, caller.project_id, vim), fields)}


@router.put(PREFIX + "/vims/{vim}")
async def update_vim(vim: str, body: UpdateVim, context: Here, caller: Asker) -> Shown:
    """Change a VIM. Its type and address stay; new credentials are tried before they replace the old ones."""
    before = await asyncio.to_thread(_find, context, caller.project_id, vim)
    _refuse_other_tenant(body.vim, caller)
    await registering.change(context, before, _wish(body.vim))
    return {"vim": await asyncio.to_thread(_shown, context, caller.project_id, before.id)}


@router.delete(PREFIX + "/vims/{vim}", status_code=204)
async def delete_vim(vim: str, context: Here, caller: Asker) -> None:
    """Forget a VIM on which nothing stands."""
    await registering.forget(context, await asyncio.to_thread(_find, context, caller.project_id, vim))
