"""VNF and NS instances, and the addresses and VXLAN ids they hold."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farsite.model import clock
from farsite.model.deployment import Resource, ResourceKind
from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import ProjectId, VimId, VnfInstanceId
from farsite.model.ns import NsInstance
from farsite.model.query import Ask, Page
from farsite.model.vnf import InstantiationState, VnfIdentity, VnfInstance
from farsite.store import outbox, tokens
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import hold
from farsite.store.selection import select_page
from farsite.store.tables import (
    addresses,
    ns_instances,
    operation_locks,
    operations,
    vims,
    vnf_instances,
    vni_blocks,
)

_IN_ONE_QUERY = 500

VNF_ATTRIBUTES = {
    "id": vnf_instances.c.id,
    "vnfInstanceName": vnf_instances.c.name,
    "vnfInstanceDescription": vnf_instances.c.description,
    "vnfdId": vnf_instances.c.vnfd_id,
    "vnfProvider": vnf_instances.c.provider,
    "vnfProductName": vnf_instances.c.product_name,
    "vnfSoftwareVersion": vnf_instances.c.software_version,
    "vnfdVersion": vnf_instances.c.vnfd_version,
    "vnfPkgId": vnf_instances.c.package_id,
    "instantiationState": vnf_instances.c.state,
    "vimId": vnf_instances.c.vim_id,
    "nsInstanceId": vnf_instances.c.ns_id,
    "instantiatedVnfInfo/flavourId": vnf_instances.c.flavour_id,
    "createdAt": vnf_instances.c.created_at,
}
NS_ATTRIBUTES = {
    "id": ns_instances.c.id,
    "nsInstanceName": ns_instances.c.name,
    "nsInstanceDescription": ns_instances.c.description,
    "nsdId": ns_instances.c.nsd_id,
    "nsdInfoId": ns_instances.c.nsd_info_id,
    "nsState": ns_instances.c.state,
    "flavourId": ns_instances.c.flavour_id,
    "createdAt": ns_instances.c.created_at,
}


# Statements of every step are made once: building one costs several times as much as carrying it out.
_CHANGE_VNF = sa.update(vnf_instances).where(
    vnf_instances.c.id == sa.bindparam("changed_id"),
    vnf_instances.c.version == sa.bindparam("changed_version"),
)
_VNF_BY_KEY = (
    sa.select(vnf_instances.c.body)
    .where(
        sa.or_(
            vnf_instances.c.id == sa.bindparam("asked"),
            sa.and_(vnf_instances.c.name == sa.bindparam("asked"), vnf_instances.c.name != ""),
        )
    )
    .limit(3)
)
_VNF_BY_KEY_IN_PROJECT = _VNF_BY_KEY.where(vnf_instances.c.project_id == sa.bindparam("asked_project"))


def insert_vnf(connection: sa.Connection, vnf: VnfInstance) -> None:
    """Keep a new instance, and tell of it."""
    insert_vnfs(connection, [vnf])
    outbox.tell(
        connection,
        project_id=vnf.project_id,
        kind="vnf-created",
        object_id=vnf.id,
        body=vnf.identity,
        at=vnf.created_at,
    )


def identities(connection: sa.Connection, vnf_ids: Collection[str]) -> dict[str, VnfIdentity]:
    """What instances are known by; of those that are gone, as they were at the last."""
    columns = [vnf_instances.c[name] for name in VnfIdentity.__dataclass_fields__]
    found = {
        row["id"]: VnfIdentity(**row)
        for row in connection.execute(sa.select(*columns).where(vnf_instances.c.id.in_(vnf_ids))).mappings()
    }
    gone = [one for one in vnf_ids if one not in found]
    for told in outbox.of_objects(connection, gone, kind="vnf-deleted") if gone else ():
        found[told.object_id] = decode(VnfIdentity, told.body)
    return found


def insert_vnfs(connection: sa.Connection, vnfs: Sequence[VnfInstance]) -> None:
    """Many at once."""
    rows = [{"id": vnf.id, "created_at": vnf.created_at, **_vnf_columns(vnf)} for vnf in vnfs]
    connection.execute(sa.insert(vnf_instances), rows)


def save_vnf(connection: sa.Connection, vnf: VnfInstance) -> VnfInstance:
    """Write a changed instance; its version grows by one.

    Raises:
        Conflict: it was changed since it was read.
    """
    newer = replace(vnf, version=vnf.version + 1)
    changed = connection.execute(
        _CHANGE_VNF, {"changed_id": vnf.id, "changed_version": vnf.version, **_vnf_columns(newer)}
    ).rowcount
    if not changed:
        raise Conflict(f"VNF instance {vnf.id} was changed by somebody else. Read it again.")
    return newer


def get_vnf(connection: sa.Connection, project_id: ProjectId | None, key: str) -> VnfInstance:
    """A VNF instance by id, or by name when only one has it; `project_id` None for the program itself.

    Raises:
        NotFound: none has it.
        Conflict: several of that name.
    """
    query = _VNF_BY_KEY if project_id is None else _VNF_BY_KEY_IN_PROJECT
    rows = connection.execute(query, {"asked": key, "asked_project": project_id}).all()
    if not rows:
        raise NotFound(f'No VNF instance "{key}". See farsite vnf list.', about={"vnf": key})
    if len(rows) > 1:
        raise Conflict(f'Several VNF instances are named "{key}". Name one by its id.')
    return decode(VnfInstance, rows[0].body)


def find_vnf(connection: sa.Connection, vnf_id: str) -> VnfInstance | None:
    """A VNF instance by id, None when it is gone."""
    body = connection.execute(sa.select(vnf_instances.c.body).where(vnf_instances.c.id == vnf_id)).scalar()
    return None if body is None else decode(VnfInstance, body)


def find_vnfs(connection: sa.Connection, vnf_ids: Iterable[str]) -> dict[VnfInstanceId, VnfInstance]:
    """VNF instances by their ids; those that are gone are missing."""
    found: dict[VnfInstanceId, VnfInstance] = {}
    wanted = sorted(vnf_ids)
    for first in range(0, len(wanted), _IN_ONE_QUERY):
        some = vnf_instances.c.id.in_(wanted[first : first + _IN_ONE_QUERY])
        for row in connection.execute(sa.select(vnf_instances.c.id, vnf_instances.c.body).where(some)):
            found[VnfInstanceId(row.id)] = decode(VnfInstance, row.body)
    return found


def vnf_page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[VnfInstance]:
    return select_page(
        connection,
        vnf_instances,
        ask=ask,
        attributes=VNF_ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(VnfInstance, row.body),
    )


def standing_on(connection: sa.Connection, vim_id: str) -> dict[VnfInstanceId, int]:
    """Instantiated VNFs of a VIM with the version of their record, without reading what they consist of:
    there may be thousands, and a look at all of them must cost little."""
    query = sa.select(vnf_instances.c.id, vnf_instances.c.version).where(
        vnf_instances.c.vim_id == vim_id,
        vnf_instances.c.state == InstantiationState.INSTANTIATED.value,
    )
    return {VnfInstanceId(row.id): row.version for row in connection.execute(query)}


def all_that_stand(connection: sa.Connection) -> list[tuple[VimId, str, datetime]]:
    """VIM, id and time of creation of every VNF that stands on a VIM, without reading what it consists of."""
    query = sa.select(vnf_instances.c.vim_id, vnf_instances.c.id, vnf_instances.c.created_at).where(
        vnf_instances.c.vim_id.is_not(None)
    )
    return [(VimId(row.vim_id), row.id, row.created_at) for row in connection.execute(query)]


def vims_stood_on(connection: sa.Connection) -> set[VimId]:
    """VIMs that an instantiated VNF stands on."""
    query = (
        sa.select(vnf_instances.c.vim_id)
        .where(
            vnf_instances.c.vim_id.is_not(None),
            vnf_instances.c.state == InstantiationState.INSTANTIATED.value,
        )
        .distinct()
    )
    return {VimId(vim_id) for vim_id in connection.execute(query).scalars()}


def vnfs_of_ns(connection: sa.Connection, ns_id: str) -> list[VnfInstance]:
    """Members of a service in order of profile and id, so that derived things come out the same."""
    query = (
        sa.select(vnf_instances.c.body)
        .where(vnf_instances.c.ns_id == ns_id)
        .order_by(vnf_instances.c.profile, vnf_instances.c.name, vnf_instances.c.id)
    )
    return [decode(VnfInstance, row.body) for row in connection.execute(query)]


def delete_vnf(connection: sa.Connection, vnf: VnfInstance, *, at: datetime | None = None) -> None:
    """Forget an instance, and tell of it; now if no time is given.

    Raises:
        Conflict: it is instantiated, or an operation works on it.
    """
    if vnf.state is InstantiationState.INSTANTIATED:
        raise Conflict(
            f"VNF instance {vnf.id} is INSTANTIATED. Terminate it first (farsite vnf terminate {vnf.id}).",
            about={"vnf": vnf.id},
        )
    refuse_if_locked(connection, vnf.id)
    connection.execute(sa.delete(vnf_instances).where(vnf_instances.c.id == vnf.id))
    tokens.revoke_of_vnf(connection, vnf.id)
    outbox.tell(
        connection,
        project_id=vnf.project_id,
        kind="vnf-deleted",
        object_id=vnf.id,
        body=vnf.identity,
        at=at or clock.now(),
    )


def refuse_if_locked(connection: sa.Connection, instance_id: str) -> None:
    """Raises:
    Conflict: an operation works on the instance, or waits for its turn on it.
    """
    holder = connection.execute(
        sa.select(operation_locks.c.operation_id).where(operation_locks.c.instance_id == instance_id)
    ).scalar()
    if holder:
        raise Conflict(
            f"Operation {holder} works on {instance_id}. Wait for it, or see what it waits for "
            f"(farsite op why {holder}).",
            about={"operation_id": holder},
        )
    waiting = connection.execute(
        sa.select(operations.c.id)
        .where(operations.c.instance_id == instance_id, operations.c.turn.is_not(None))
        .limit(1)
    ).scalar()
    if waiting:
        raise Conflict(
            f"Operation {waiting} waits for its turn on {instance_id}. Wait for it, or cancel it "
            f"(farsite op cancel {waiting}).",
            about={"operation_id": waiting},
        )


def insert_ns(connection: sa.Connection, ns: NsInstance) -> None:
    connection.execute(sa.insert(ns_instances).values(id=ns.id, created_at=ns.created_at, **_ns_columns(ns)))


def save_ns(connection: sa.Connection, ns: NsInstance) -> NsInstance:
    """Write a changed instance; its version grows by one.

    Raises:
        Conflict: it was changed since it was read.
    """
    newer = replace(ns, version=ns.version + 1)
    changed = connection.execute(
        sa.update(ns_instances)
        .where(ns_instances.c.id == ns.id, ns_instances.c.version == ns.version)
        .values(**_ns_columns(newer))
    ).rowcount
    if not changed:
        raise Conflict(f"NS instance {ns.id} was changed by somebody else. Read it again.")
    return newer


def get_ns(
    connection: sa.Connection, project_id: ProjectId | None, key: str, *, for_update: bool = False
) -> NsInstance:
    """An NS instance by id, or by name when only one has it.

    Raises:
        NotFound: none has it.
        Conflict: several of that name.
    """
    query = sa.select(ns_instances.c.body).where(
        sa.or_(ns_instances.c.id == key, sa.and_(ns_instances.c.name == key, ns_instances.c.name != ""))
    )
    if project_id is not None:
        query = query.where(ns_instances.c.project_id == project_id)
    if for_update:
        query = query.with_for_update()
    rows = connection.execute(query.limit(3)).all()
    if not rows:
        raise NotFound(f'No NS instance "{key}". See farsite ns list.', about={"ns": key})
    if len(rows) > 1:
        raise Conflict(f'Several NS instances are named "{key}". Name one by its id.')
    return decode(NsInstance, rows[0].body)


def ns_page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[NsInstance]:
    return select_page(
        connection,
        ns_instances,
        ask=ask,
        attributes=NS_ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(NsInstance, row.body),
    )


def delete_ns(connection: sa.Connection, ns: NsInstance) -> None:
    """Raises:
    Conflict: it is instantiated, or an operation works on it.
    """
    if ns.state is InstantiationState.INSTANTIATED:
        raise Conflict(
            f"NS instance {ns.id} is INSTANTIATED. Terminate it first (farsite ns terminate {ns.id}).",
            about={"ns": ns.id},
        )
    refuse_if_locked(connection, ns.id)
    connection.execute(sa.delete(ns_instances).where(ns_instances.c.id == ns.id))


def addresses_in(connection: sa.Connection, network_id: str) -> set[str]:
    """Addresses taken in a network; nobody else takes one there until the transaction ends."""
    hold(connection, f"addresses of {network_id}")
    query = sa.select(addresses.c.address).where(addresses.c.network_id == network_id)
    return set(connection.execute(query).scalars())


def take_address(
    connection: sa.Connection, *, project_id: ProjectId, network_id: str, address: str, owner: str, port: str
) -> None:
    connection.execute(
        sa.insert(addresses).values(
            network_id=network_id, address=address, project_id=project_id, owner=owner, port=port
        )
    )


def addresses_of(connection: sa.Connection, owner: str, ports: Sequence[str]) -> set[tuple[str, str]]:
    """Network and address of all that an instance holds under the named ports."""
    query = sa.select(addresses.c.network_id, addresses.c.address).where(
        addresses.c.owner == owner, addresses.c.port.in_(ports)
    )
    return {(row.network_id, row.address) for row in connection.execute(query)}


def release_addresses(connection: sa.Connection, owner: str, *, ports: Sequence[str] | None = None) -> None:
    """Give back what an instance holds: all, or that of the named ports only."""
    query = sa.delete(addresses).where(addresses.c.owner == owner)
    if ports is not None:
        query = query.where(addresses.c.port.in_(ports))
    connection.execute(query)


VNI_FIRST = 4096
VNI_LAST = 2**24 - 1


def take_vnis(connection: sa.Connection, *, project_id: ProjectId, owner: str, count: int) -> int:
    """Reserve a block of VXLAN ids; the same owner gets the same block again.

    Raises:
        Conflict: all 16 million are taken.
    """
    hold(connection, "vnis")
    held = connection.execute(sa.select(vni_blocks.c.first).where(vni_blocks.c.owner == owner)).scalar()
    if held is not None:
        return held
    last = connection.execute(sa.select(vni_blocks).order_by(vni_blocks.c.first.desc()).limit(1)).first()
    first = VNI_FIRST if last is None else last.first + last.count
    if first + count - 1 > VNI_LAST:
        first = _gap(connection, count)
    connection.execute(
        sa.insert(vni_blocks).values(first=first, project_id=project_id, count=count, owner=owner)
    )
    return first


def _gap(connection: sa.Connection, count: int) -> int:
    free_from = VNI_FIRST
    for row in connection.execute(sa.select(vni_blocks).order_by(vni_blocks.c.first)):
        if row.first - free_from >= count:
            return free_from
        free_from = row.first + row.count
    raise Conflict("All VXLAN network identifiers are taken. Terminate services that are not needed.")


def release_vnis(connection: sa.Connection, owner_prefix: str) -> None:
    connection.execute(
        sa.delete(vni_blocks).where(vni_blocks.c.owner.startswith(owner_prefix, autoescape=True))
    )


def _vnf_columns(vnf: VnfInstance) -> dict[str, Any]:
    return {
        "project_id": vnf.project_id,
        "name": vnf.name,
        "description": vnf.description,
        "package_id": vnf.package_id,
        "vnfd_id": vnf.vnfd_id,
        "provider": vnf.provider,
        "product_name": vnf.product_name,
        "software_version": vnf.software_version,
        "vnfd_version": vnf.vnfd_version,
        "state": vnf.state.value,
        "vim_id": vnf.vim_id,
        "flavour_id": vnf.flavour_id,
        "ns_id": vnf.ns_id,
        "profile": vnf.profile,
        "body": encode(vnf),
        "version": vnf.version,
    }


def _ns_columns(ns: NsInstance) -> dict[str, Any]:
    return {
        "project_id": ns.project_id,
        "name": ns.name,
        "description": ns.description,
        "nsd_info_id": ns.nsd_info_id,
        "nsd_id": ns.nsd_id,
        "state": ns.state.value,
        "flavour_id": ns.flavour_id,
        "body": encode(ns),
        "version": ns.version,
    }


def of_servers(
    connection: sa.Connection, project_id: ProjectId, server_ids: Collection[str]
) -> dict[str, tuple[VnfInstance, Resource]]:
    """Which VNF of a project each of these servers of a VIM belongs to, and what it is there; those of nobody
    are left out. Reads through all instances of the project once, so ask for many at a time."""
    found: dict[str, tuple[VnfInstance, Resource]] = {}
    asked = sorted({one for one in server_ids if one})
    for first in range(0, len(asked), _SERVERS_PER_LOOK):
        some = asked[first : first + _SERVERS_PER_LOOK]
        text = sa.cast(vnf_instances.c.body, sa.Text)
        query = sa.select(vnf_instances.c.body).where(
            vnf_instances.c.project_id == project_id,
            vnf_instances.c.state == InstantiationState.INSTANTIATED.value,
            sa.or_(*(text.contains(one, autoescape=True) for one in some)),
        )
        for row in connection.execute(query):
            vnf = decode(VnfInstance, row.body)
            found |= {
                one.id: (vnf, one)
                for one in vnf.resources
                if one.kind is ResourceKind.COMPUTE and one.id in some
            }
    return found


_SERVERS_PER_LOOK = 50


def places_of(connection: sa.Connection, project_id: ProjectId, vnf_ids: Sequence[str]) -> dict[str, str]:
    """Where VNF instances of a project stand, as alarms say it: `site/vim/name`; none for one that stands
    nowhere."""
    query = (
        sa.select(vnf_instances.c.id, vnf_instances.c.name, vims.c.site, vims.c.name.label("vim"))
        .join(vims, vims.c.id == vnf_instances.c.vim_id)
        .where(vnf_instances.c.project_id == project_id)
    )
    found: dict[str, str] = {}
    for first in range(0, len(vnf_ids), 500):
        for row in connection.execute(query.where(vnf_instances.c.id.in_(vnf_ids[first : first + 500]))):
            found[row.id] = f"{row.site}/{row.vim}/{row.name or row.id}"
    return found
