"""VIMs, their sites, credentials and last read inventory."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import ProjectId, SiteId, VimId, new_id
from farsite.model.provider_network import overlap_of
from farsite.model.query import Ask, Page
from farsite.model.vim import (
    Capabilities,
    Evidence,
    ServiceHealth,
    Site,
    Vim,
    VimHealth,
    VimState,
    Zone,
    endpoint_of,
    is_registered_twice,
)
from farsite.store.capacity import Amount, release_pool
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import hold, insert_if_absent
from farsite.store.selection import select_page
from farsite.store.tables import (
    allocations,
    sites,
    vim_auth,
    vim_control_planes,
    vim_drills,
    vim_inventory,
    vims,
    vnf_instances,
)

ATTRIBUTES = {
    "id": vims.c.id,
    "name": vims.c.name,
    "type": vims.c.type,
    "site": vims.c.site,
    "state": vims.c.state,
    "isDefault": vims.c.is_default,
    "createdAt": vims.c.created_at,
}
SITE_ATTRIBUTES = {"id": sites.c.id, "name": sites.c.name, "createdAt": sites.c.created_at}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a VIM offered when it was last asked."""

    read_at: datetime
    zones: tuple[Zone, ...]
    capabilities: Capabilities
    others: Mapping[str, Amount] = field(default_factory=dict[str, Amount])
    """What was used per region and zone beside what our books held of it: by other tenants, or past us."""


def insert(connection: sa.Connection, vim: Vim, secret: bytes | None) -> None:
    """Register a VIM, with its encrypted credentials if it has any.

    Raises:
        Conflict: the name is taken, another VIM is the default, or the same project of the same VIM is
            registered already.
    """
    refuse_second_default(connection, vim)
    refuse_registered_twice(connection, vim)
    refuse_shared_addresses(connection, vim)
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(vims).values(**_columns(vim), created_at=vim.created_at))
    except IntegrityError as error:
        raise Conflict(
            f'A VIM named "{vim.name}" is registered already. Choose another name, or update that one.'
        ) from error
    if secret is not None:
        connection.execute(sa.insert(vim_auth).values(_auth_columns(vim, secret)))


def update(connection: sa.Connection, vim: Vim) -> None:
    """Write all but state; `set_state` owns that.

    Raises:
        Conflict: the name is taken, another VIM is the default, or the same project of the same VIM is
            registered already.
    """
    refuse_second_default(connection, vim)
    refuse_registered_twice(connection, vim)
    refuse_shared_addresses(connection, vim)
    columns = _columns(vim)
    for owned_elsewhere in ("state", "state_reason", "state_since"):
        del columns[owned_elsewhere]
    try:
        with connection.begin_nested():
            connection.execute(sa.update(vims).where(vims.c.id == vim.id).values(**columns))
    except IntegrityError as error:
        raise Conflict(f'A VIM named "{vim.name}" is registered already. Choose another name.') from error


def refuse_shared_addresses(connection: sa.Connection, vim: Vim) -> None:
    """Refuse a VIM that gives out addresses which another one in its layer-2 domain gives out too.

    Raises:
        Conflict: naming the other, both networks and the addresses.
    """
    if not vim.l2_domain or not vim.provider_networks:
        return
    hold(connection, f"VIMs of {vim.project_id}")
    for other in of_project(connection, vim.project_id):
        if other.id == vim.id or other.l2_domain != vim.l2_domain:
            continue
        overlap = overlap_of(vim.provider_networks, other.provider_networks)
        if overlap is not None:
            raise Conflict(
                f'VIM "{other.name}" shares the layer-2 domain "{vim.l2_domain}", and both give out '
                f"{overlap.first} to {overlap.last}: it on its network {overlap.other.name}, this one on "
                f"{overlap.one.name}. Part their allocation pools, or name a domain of its own for each.",
                about={"vim": other.id},
            )


def refuse_registered_twice(connection: sa.Connection, vim: Vim) -> None:
    """Refuse a registration that means what another one means; the project's others wait meanwhile.

    Raises:
        Conflict: naming the other.
    """
    if not vim.auth_url or not vim.identity:
        return
    hold(connection, f"VIMs of {vim.project_id}")
    for other in beside(connection, vim):
        if is_registered_twice(vim, other):
            raise Conflict(
                f'VIM "{other.name}" is this project at {other.auth_url} already. Use that one, or confine '
                f"both to regions of their own (setting `region`).",
                about={"vim": other.id},
            )


def beside(connection: sa.Connection, vim: Vim) -> list[Vim]:
    """The other registrations of a VIM's project at the same address."""
    if not vim.auth_url:
        return []
    others = connection.execute(
        sa.select(vims).where(
            vims.c.project_id == vim.project_id,
            vims.c.endpoint == _endpoint(vim),
            vims.c.type == vim.type,
            vims.c.id != vim.id,
        )
    )
    return [_vim(one) for one in others]


def refuse_second_default(connection: sa.Connection, vim: Vim) -> None:
    """Refuse a default VIM beside the one that the project has.

    Raises:
        Conflict: naming the other.
    """
    if not vim.is_default:
        return
    hold(connection, f"default VIM of {vim.project_id}")
    other = connection.execute(
        sa.select(vims.c.name).where(
            vims.c.project_id == vim.project_id, vims.c.is_default, vims.c.id != vim.id
        )
    ).scalar()
    if other:
        raise Conflict(
            f'VIM "{other}" is the default already. There is one default VIM per project; have that one be '
            f"it no longer first (farsite vim update {other} --no-default)."
        )


def set_state(connection: sa.Connection, vim_id: VimId, state: VimState, reason: str, at: datetime) -> bool:
    """Record a state; `at` counts only when the state itself changed. Whether anything changed."""
    row = connection.execute(
        sa.select(vims.c.state, vims.c.state_reason).where(vims.c.id == vim_id).with_for_update()
    ).first()
    if row is None or (row.state == state and row.state_reason == reason):
        return False
    values: dict[str, object] = {"state": state.value, "state_reason": reason}
    if row.state != state:
        values["state_since"] = at
    connection.execute(sa.update(vims).where(vims.c.id == vim_id).values(**values))
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is recorded of a VIM's state, with what an alarm about it names."""

    vim_id: VimId
    project_id: ProjectId
    name: str
    site: str
    state: VimState
    reason: str


_STANDING = (vims.c.id, vims.c.project_id, vims.c.name, vims.c.site, vims.c.state, vims.c.state_reason)


def standing_of(
    connection: sa.Connection, vim_ids: Collection[VimId], *, for_update: bool = False
) -> dict[VimId, Standing]:
    """What is recorded of some VIMs, without those that were deleted. Held in one order by all, so that none
    waits for another for ever."""
    query = sa.select(*_STANDING).where(vims.c.id.in_(vim_ids)).order_by(vims.c.id)
    return _standing(connection.execute(query.with_for_update() if for_update else query))


def standing_everywhere(connection: sa.Connection) -> dict[VimId, Standing]:
    """What is recorded of every VIM."""
    return _standing(connection.execute(sa.select(*_STANDING)))


def _standing(rows: Iterable[Any]) -> dict[VimId, Standing]:
    return {
        VimId(row.id): Standing(
            vim_id=VimId(row.id),
            project_id=ProjectId(row.project_id),
            name=row.name,
            site=row.site,
            state=VimState(row.state),
            reason=row.state_reason,
        )
        for row in rows
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A state with its reason and what it was concluded from."""

    vim_id: VimId
    state: VimState
    reason: str
    evidence: Evidence
    at: datetime


def set_verdicts(
    connection: sa.Connection, verdicts: Sequence[Verdict], known: Mapping[VimId, Standing]
) -> None:
    """Record states of VIMs that were read for update; `at` counts where the state itself changed."""
    for is_new in (True, False):
        rows = [
            {
                "b_id": one.vim_id,
                "b_state": one.state.value,
                "b_reason": one.reason,
                "b_evidence": encode(one.evidence),
                **({"b_since": one.at} if is_new else {}),
            }
            for one in verdicts
            if (known[one.vim_id].state is not one.state) == is_new
        ]
        if rows:
            values: dict[str, Any] = {
                "state": sa.bindparam("b_state"),
                "state_reason": sa.bindparam("b_reason"),
                "evidence": sa.bindparam("b_evidence"),
            }
            if is_new:
                values["state_since"] = sa.bindparam("b_since")
            connection.execute(sa.update(vims).where(vims.c.id == sa.bindparam("b_id")).values(values), rows)


def set_services(
    connection: sa.Connection, found: Mapping[VimId, tuple[ServiceHealth, ...]], at: datetime
) -> None:
    """Record what checks found of each service of some VIMs."""
    if not found:
        return
    rows = [
        {"b_id": vim_id, "b_services": encode(VimHealth(services=services))["services"], "b_at": at}
        for vim_id, services in found.items()
    ]
    query = sa.update(vims).where(vims.c.id == sa.bindparam("b_id"))
    connection.execute(
        query.values(services=sa.bindparam("b_services"), checked_at=sa.bindparam("b_at")), rows
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How available a VIM was, and what its failures left its functions; None: not known."""

    own: float | None = None
    functions: float | None = None


def set_availability(connection: sa.Connection, found: Mapping[VimId, Measured]) -> None:
    """Record how available VIMs were."""
    rows = [
        {"b_id": vim_id, "b_own": one.own, "b_functions": one.functions}
        for vim_id, one in sorted(found.items())
    ]
    if rows:
        query = sa.update(vims).where(vims.c.id == sa.bindparam("b_id"))
        values: dict[str, Any] = {
            "availability": sa.bindparam("b_own"),
            "functions_availability": sa.bindparam("b_functions"),
        }
        connection.execute(query.values(values), rows)


def _services(stored: object) -> tuple[ServiceHealth, ...]:
    return decode(VimHealth, {"services": stored or []}).services


def get(connection: sa.Connection, project_id: ProjectId, key: str) -> Vim:
    """A VIM by id or name.

    Raises:
        NotFound: no such VIM in this project.
    """
    row = connection.execute(
        sa.select(vims).where(vims.c.project_id == project_id, sa.or_(vims.c.id == key, vims.c.name == key))
    ).first()
    if row is None:
        names = connection.execute(
            sa.select(vims.c.name).where(vims.c.project_id == project_id).order_by(vims.c.name).limit(20)
        ).scalars()
        known = ", ".join(names) or "none yet (farsite vim register)"
        raise NotFound(f'No VIM "{key}". Registered: {known}.', about={"vim": key})
    return _vim(row)


def get_any(connection: sa.Connection, vim_id: VimId) -> Vim:
    """A VIM by id whatever its project, for the program itself.

    Raises:
        NotFound: it was deleted.
    """
    vim = find(connection, vim_id)
    if vim is None:
        raise NotFound(f"VIM {vim_id} is no longer registered.", about={"vim": vim_id})
    return vim


def find(connection: sa.Connection, vim_id: VimId) -> Vim | None:
    """A VIM by id whatever its project, None if it was deleted."""
    row = connection.execute(sa.select(vims).where(vims.c.id == vim_id)).first()
    return None if row is None else _vim(row)


def everywhere(connection: sa.Connection) -> list[Vim]:
    """All VIMs of all projects."""
    return [_vim(row) for row in connection.execute(sa.select(vims).order_by(vims.c.id))]


def of_project(connection: sa.Connection, project_id: ProjectId) -> list[Vim]:
    """All VIMs of a project by name."""
    query = sa.select(vims).where(vims.c.project_id == project_id).order_by(vims.c.name)
    return [_vim(row) for row in connection.execute(query)]


def page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[Vim]:
    return select_page(connection, vims, ask=ask, attributes=ATTRIBUTES, project_id=project_id, make=_vim)


def secret_of(connection: sa.Connection, vim_id: VimId) -> bytes | None:
    return connection.execute(sa.select(vim_auth.c.secret).where(vim_auth.c.vim_id == vim_id)).scalar()


def hold_secret(connection: sa.Connection, vim_id: VimId) -> bytes | None:
    """The encrypted credentials, which nobody else changes or encrypts anew until the transaction ends."""
    hold(connection, f"credentials of {vim_id}")
    return secret_of(connection, vim_id)


def set_secret(connection: sa.Connection, vim: Vim, secret: bytes) -> None:
    connection.execute(sa.delete(vim_auth).where(vim_auth.c.vim_id == vim.id))
    connection.execute(sa.insert(vim_auth).values(_auth_columns(vim, secret)))


def _auth_columns(vim: Vim, secret: bytes) -> dict[str, object]:
    return {"vim_id": vim.id, "project_id": vim.project_id, "secret": secret}


def delete(connection: sa.Connection, vim: Vim) -> None:
    """Forget a VIM.

    Raises:
        Conflict: VNF instances stand on it.
    """
    # First of all, so that a placement that is claiming room here has ended and its instance is counted.
    release_pool(connection, vim.id)
    users = connection.execute(
        sa.select(sa.func.count()).select_from(vnf_instances).where(vnf_instances.c.vim_id == vim.id)
    ).scalar_one()
    if users:
        raise Conflict(
            f'VIM "{vim.name}" is in use by {users} VNF instance(s). Terminate or move them first '
            f"(farsite vnf list --vim {vim.name}).",
            about={"vim": vim.id},
        )
    for table in (vim_auth, vim_inventory, vim_control_planes, vim_drills, allocations):
        connection.execute(sa.delete(table).where(table.c.vim_id == vim.id))
    connection.execute(sa.delete(vims).where(vims.c.id == vim.id))


def put_inventory(connection: sa.Connection, vim: Vim, inventory: Inventory) -> None:
    values = {"read_at": inventory.read_at, "body": encode(inventory)}
    changed = connection.execute(
        sa.update(vim_inventory).where(vim_inventory.c.vim_id == vim.id).values(**values)
    ).rowcount
    if not changed:
        connection.execute(
            sa.insert(vim_inventory).values(vim_id=vim.id, project_id=vim.project_id, **values)
        )


def inventory_of(connection: sa.Connection, vim_id: VimId) -> Inventory | None:
    body = connection.execute(
        sa.select(vim_inventory.c.body).where(vim_inventory.c.vim_id == vim_id)
    ).scalar()
    return None if body is None else decode(Inventory, body)


def regions_of(inventory: Inventory | None) -> dict[str, list[str]]:
    """Regions with their availability zones, as the VIM told them last."""
    found: dict[str, list[str]] = {}
    for zone in inventory.zones if inventory else ():
        found.setdefault(zone.region, []).append(zone.name)
    return {region: sorted(found[region]) for region in sorted(found)}


def ensure_site(connection: sa.Connection, project_id: ProjectId, name: str, at: datetime) -> Site:
    """The site of that name, made with nothing but its name if it is new."""
    known = sa.select(sites.c.body).where(sites.c.project_id == project_id, sites.c.name == name)
    body = connection.execute(known).scalar()
    if body is not None:
        return decode(Site, body)
    site = Site(id=SiteId(new_id()), name=name, project_id=project_id, created_at=at)
    if insert_if_absent(connection, sites, **_site_columns(site)):
        return site
    return decode(Site, connection.execute(known).scalar_one())


def sites_of(
    connection: sa.Connection, project_id: ProjectId, names: Collection[str] | None = None
) -> dict[str, Site]:
    """The named sites of a project by name, those that there are; None: all."""
    query = sa.select(sites.c.name, sites.c.body).where(sites.c.project_id == project_id)
    rows = connection.execute(query if names is None else query.where(sites.c.name.in_(names)))
    return {row.name: decode(Site, row.body) for row in rows}


def put_site(connection: sa.Connection, site: Site) -> None:
    connection.execute(
        sa.delete(sites).where(sites.c.project_id == site.project_id, sites.c.name == site.name)
    )
    connection.execute(sa.insert(sites).values(**_site_columns(site)))


def site_page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[Site]:
    return select_page(
        connection,
        sites,
        ask=ask,
        attributes=SITE_ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(Site, row.body),
    )


def _site_columns(site: Site) -> dict[str, Any]:
    return {
        "id": site.id,
        "project_id": site.project_id,
        "name": site.name,
        "body": encode(site),
        "created_at": site.created_at,
    }


def _columns(vim: Vim) -> dict[str, Any]:
    return {
        "id": vim.id,
        "project_id": vim.project_id,
        "name": vim.name,
        "type": vim.type,
        "site": vim.site,
        "is_default": vim.is_default,
        "state": vim.state.value,
        "state_reason": vim.state_reason,
        "state_since": vim.state_since,
        "body": encode(vim),
        "endpoint": _endpoint(vim),
    }


def _endpoint(vim: Vim) -> str:
    """Where a VIM is, as far as it is compared; longer ones agree in what is kept of them."""
    return endpoint_of(vim.auth_url)[:512] if vim.auth_url else ""


def _vim(row: sa.Row[Any]) -> Vim:
    return replace(
        decode(Vim, row.body),
        state=VimState(row.state),
        state_reason=row.state_reason,
        state_since=row.state_since,
        services=_services(row.services),
        checked_at=row.checked_at,
        evidence=None if row.evidence is None else decode(Evidence, row.evidence),
        availability=row.availability,
        functions_availability=row.functions_availability,
    )
