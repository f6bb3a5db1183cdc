"""VNF packages and NSD archives: their rows and parsed descriptors. The archives lie in the artefact
store of the catalogue, by digest."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import ProjectId
from farsite.model.nsd import Nsd
from farsite.model.operation import TERMINAL
from farsite.model.package import NsdInfo, OnboardingState, UsageState, VnfPackage
from farsite.model.query import Ask, Page
from farsite.model.vnfd import Vnfd
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import hold, put
from farsite.store.selection import select_page
from farsite.store.tables import (
    ns_instances,
    nsd_infos,
    onboarding_claims,
    operations,
    vnf_instances,
    vnf_packages,
)

PACKAGE_ATTRIBUTES = {
    "id": vnf_packages.c.id,
    "onboardingState": vnf_packages.c.state,
    "operationalState": vnf_packages.c.operational_state,
    "vnfdId": vnf_packages.c.vnfd_id,
    "vnfProvider": vnf_packages.c.provider,
    "vnfProductName": vnf_packages.c.product_name,
    "vnfSoftwareVersion": vnf_packages.c.software_version,
    "vnfdVersion": vnf_packages.c.vnfd_version,
    "createdAt": vnf_packages.c.created_at,
}
NSD_ATTRIBUTES = {
    "id": nsd_infos.c.id,
    "nsdOnboardingState": nsd_infos.c.state,
    "nsdOperationalState": nsd_infos.c.operational_state,
    "nsdId": nsd_infos.c.nsd_id,
    "nsdName": nsd_infos.c.name,
    "createdAt": nsd_infos.c.created_at,
}


def put_package(connection: sa.Connection, package: VnfPackage, vnfd: Vnfd | None = None) -> None:
    """Insert or replace a package; the descriptor stays as it is when none is given.

    Raises:
        Conflict: another package of the project holds the same VNFD id.
    """
    values: dict[str, Any] = {
        "project_id": package.project_id,
        "state": package.state.value,
        "operational_state": package.operational_state.value,
        "vnfd_id": package.vnfd_id,
        "provider": package.provider,
        "product_name": package.product_name,
        "software_version": package.software_version,
        "vnfd_version": package.vnfd_version,
        "digest": package.digest,
        "body": encode(package),
        "created_at": package.created_at,
    }
    if vnfd is not None:
        values["vnfd"] = encode(vnfd)
    try:
        with connection.begin_nested():
            _upsert(connection, vnf_packages, package.id, values)
    except IntegrityError as error:
        raise Conflict(
            f'VNFD "{package.vnfd_id}" is onboarded already in another package. Delete that package first '
            f"(farsite package list), or give the descriptor a new id.",
            about={"vnfd_id": str(package.vnfd_id)},
        ) from error


def _upsert(connection: sa.Connection, table: sa.Table, key: str, values: dict[str, Any]) -> None:
    if not connection.execute(sa.update(table).where(table.c.id == key).values(**values)).rowcount:
        connection.execute(sa.insert(table).values(id=key, **values))


def get_package(connection: sa.Connection, project_id: ProjectId, key: str) -> VnfPackage:
    """A package by id, VNFD id or product name (when only one has it).

    Raises:
        NotFound: none has it.
        Conflict: several products of that name.
    """
    rows = connection.execute(
        sa.select(vnf_packages.c.body).where(
            vnf_packages.c.project_id == project_id,
            sa.or_(
                vnf_packages.c.id == key, vnf_packages.c.vnfd_id == key, vnf_packages.c.product_name == key
            ),
        )
    ).all()
    if not rows:
        raise NotFound(f'No VNF package, VNFD or product "{key}". See farsite package list.')
    if len(rows) > 1:
        raise Conflict(f'{len(rows)} VNF packages match "{key}". Name one by its id.')
    return decode(VnfPackage, rows[0].body)


def by_id(connection: sa.Connection, project_id: ProjectId, key: str) -> VnfPackage | None:
    """A package by its id or VNFD id alone."""
    body = connection.execute(
        sa.select(vnf_packages.c.body).where(
            vnf_packages.c.project_id == project_id,
            sa.or_(vnf_packages.c.id == key, vnf_packages.c.vnfd_id == key),
        )
    ).scalar()
    return None if body is None else decode(VnfPackage, body)


def is_there(connection: sa.Connection, package: VnfPackage) -> bool:
    """Whether the project has onboarded the same archive."""
    return _is_there(connection, vnf_packages, package.project_id, package.digest)


def is_nsd_there(connection: sa.Connection, info: NsdInfo) -> bool:
    """Whether the project has onboarded the same archive."""
    return _is_there(connection, nsd_infos, info.project_id, info.digest)


def _is_there(connection: sa.Connection, table: sa.Table, project_id: ProjectId, digest: str) -> bool:
    found = connection.execute(
        sa.select(table.c.id).where(
            table.c.project_id == project_id,
            table.c.digest == digest,
            table.c.state == OnboardingState.ONBOARDED,
        )
    )
    return found.first() is not None


def lock_package(connection: sa.Connection, project_id: ProjectId, key: str) -> VnfPackage:
    """A package as `get_package` finds it, held until the transaction ends."""
    package = get_package(connection, project_id, key)
    row = connection.execute(
        sa.select(vnf_packages.c.body).where(vnf_packages.c.id == package.id).with_for_update()
    ).one()
    return decode(VnfPackage, row.body)


def claim_package(
    connection: sa.Connection, project_id: ProjectId, key: str, image_map: Mapping[str, str], by: str = ""
) -> VnfPackage:
    """Move a package that waits for content to UPLOADING, for one uploader alone, in the process `by`.

    Raises:
        NotFound: none has it.
        Conflict: it has content, or somebody else is uploading it.
    """
    package = lock_package(connection, project_id, key)
    if package.state not in (OnboardingState.CREATED, OnboardingState.ERROR):
        raise Conflict(f"Package {package.id} is {package.state}; content is taken once, when CREATED.")
    claimed = replace(package, state=OnboardingState.UPLOADING, failure=(), image_map=dict(image_map))
    put_package(connection, claimed)
    _claim(connection, package.id, project_id, by)
    return claimed


def _claim(connection: sa.Connection, object_id: str, project_id: ProjectId, by: str) -> None:
    put(
        connection,
        onboarding_claims,
        [{"object_id": object_id, "project_id": project_id, "executor_id": by}],
    )


def claim_nsd(connection: sa.Connection, project_id: ProjectId, key: str, by: str = "") -> NsdInfo:
    """Move an NSD that waits for content to UPLOADING; see `claim_package`."""
    info = get_nsd_info(connection, project_id, key)
    row = connection.execute(
        sa.select(nsd_infos.c.body).where(nsd_infos.c.id == info.id).with_for_update()
    ).one()
    info = decode(NsdInfo, row.body)
    if info.state not in (OnboardingState.CREATED, OnboardingState.ERROR):
        raise Conflict(f"NSD {info.id} is {info.state}; content is taken once, when CREATED.")
    claimed = replace(info, state=OnboardingState.UPLOADING, failure=())
    put_nsd_info(connection, claimed)
    _claim(connection, info.id, project_id, by)
    return claimed


def vnfd_of(connection: sa.Connection, project_id: ProjectId, key: str) -> Vnfd:
    """The descriptor of an onboarded package, by package id or VNFD id.

    Raises:
        NotFound: no onboarded package has it.
    """
    body = connection.execute(
        sa.select(vnf_packages.c.vnfd).where(
            vnf_packages.c.project_id == project_id,
            sa.or_(vnf_packages.c.id == key, vnf_packages.c.vnfd_id == key),
            vnf_packages.c.vnfd.is_not(None),
        )
    ).scalar()
    if body is None:
        raise NotFound(f'No onboarded VNF package with VNFD "{key}". See farsite package list.')
    return decode(Vnfd, body)


def package_page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[VnfPackage]:
    return select_page(
        connection,
        vnf_packages,
        ask=ask,
        attributes=PACKAGE_ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(VnfPackage, row.body),
    )


def package_usage(connection: sa.Connection, package_id: str) -> UsageState:
    used = connection.execute(
        sa.select(vnf_instances.c.id).where(vnf_instances.c.package_id == package_id).limit(1)
    ).first()
    # A change of package needs both packages until it has ended, for it may be rolled back.
    changing = connection.execute(
        sa.select(operations.c.id)
        .where(
            operations.c.state.not_in([state.value for state in TERMINAL]),
            operations.c.verb == "change_vnf_package",
            operations.c.parameters["package_id"].as_string() == package_id,
        )
        .limit(1)
    ).first()
    return UsageState.IN_USE if used or changing else UsageState.NOT_IN_USE


def delete_package(connection: sa.Connection, package: VnfPackage) -> None:
    """Raises:
    Conflict: VNF instances were made from it.
    """
    if package_usage(connection, package.id) is UsageState.IN_USE:
        raise Conflict(
            f"Package {package.id} ({package.product_name}) is in use by VNF instances. Delete those first."
        )
    connection.execute(sa.delete(vnf_packages).where(vnf_packages.c.id == package.id))


def digests(connection: sa.Connection) -> set[str]:
    """Digests of all archives that rows refer to."""
    found = set(connection.execute(sa.select(vnf_packages.c.digest)).scalars())
    return found | set(connection.execute(sa.select(nsd_infos.c.digest)).scalars())


def put_nsd_info(connection: sa.Connection, info: NsdInfo, nsd: Nsd | None = None) -> None:
    """Insert or replace an NSD.

    Raises:
        Conflict: another NSD archive of the project holds the same NSD id.
    """
    values: dict[str, Any] = {
        "project_id": info.project_id,
        "state": info.state.value,
        "operational_state": info.operational_state.value,
        "nsd_id": info.nsd_id,
        "name": info.name,
        "digest": info.digest,
        "body": encode(info),
        "created_at": info.created_at,
    }
    if nsd is not None:
        values["nsd"] = encode(nsd)
    try:
        with connection.begin_nested():
            _upsert(connection, nsd_infos, info.id, values)
    except IntegrityError as error:
        raise Conflict(
            f'NSD "{info.nsd_id}" is onboarded already. Delete that one first (farsite nsd list).',
            about={"nsd_id": str(info.nsd_id)},
        ) from error


def get_nsd_info(connection: sa.Connection, project_id: ProjectId, key: str) -> NsdInfo:
    """An NSD by its resource id, NSD id or name (when only one has it).

    Raises:
        NotFound: none has it.
        Conflict: several of that name.
    """
    rows = connection.execute(
        sa.select(nsd_infos.c.body).where(
            nsd_infos.c.project_id == project_id,
            sa.or_(nsd_infos.c.id == key, nsd_infos.c.nsd_id == key, nsd_infos.c.name == key),
        )
    ).all()
    if not rows:
        raise NotFound(f'No NSD "{key}". See farsite nsd list.')
    if len(rows) > 1:
        raise Conflict(f'{len(rows)} NSDs are named "{key}". Name one by its id.')
    return decode(NsdInfo, rows[0].body)


def nsd_by_id(connection: sa.Connection, project_id: ProjectId, key: str) -> NsdInfo | None:
    """An NSD by its resource id or NSD id alone."""
    body = connection.execute(
        sa.select(nsd_infos.c.body).where(
            nsd_infos.c.project_id == project_id, sa.or_(nsd_infos.c.id == key, nsd_infos.c.nsd_id == key)
        )
    ).scalar()
    return None if body is None else decode(NsdInfo, body)


def nsd_of(connection: sa.Connection, project_id: ProjectId, nsd_info_id: str) -> Nsd:
    """Raises:
    NotFound: not onboarded.
    """
    body = connection.execute(
        sa.select(nsd_infos.c.nsd).where(nsd_infos.c.project_id == project_id, nsd_infos.c.id == nsd_info_id)
    ).scalar()
    if body is None:
        raise NotFound(f"NSD {nsd_info_id} is not onboarded.")
    return decode(Nsd, body)


def nsd_page(connection: sa.Connection, project_id: ProjectId, ask: Ask) -> Page[NsdInfo]:
    return select_page(
        connection,
        nsd_infos,
        ask=ask,
        attributes=NSD_ATTRIBUTES,
        project_id=project_id,
        make=lambda row: decode(NsdInfo, row.body),
    )


def nsd_usage(connection: sa.Connection, nsd_info_id: str) -> UsageState:
    used = connection.execute(
        sa.select(ns_instances.c.id).where(ns_instances.c.nsd_info_id == nsd_info_id).limit(1)
    ).first()
    return UsageState.IN_USE if used else UsageState.NOT_IN_USE


def delete_nsd(connection: sa.Connection, info: NsdInfo) -> None:
    """Raises:
    Conflict: NS instances were made from it.
    """
    if nsd_usage(connection, info.id) is UsageState.IN_USE:
        raise Conflict(f"NSD {info.id} ({info.name}) is in use by NS instances. Delete those first.")
    connection.execute(sa.delete(nsd_infos).where(nsd_infos.c.id == info.id))


def take_unfinished_packages(
    connection: sa.Connection, *, alive: frozenset[str], by: str
) -> list[VnfPackage]:
    """Packages whose onboarding a dead process left half way: all but those of processes that are alive.

    They are the process `by`'s from then on, so of two who ask, each gets what the other has not.
    """
    return [
        decode(VnfPackage, body) for body in _take_unfinished(connection, vnf_packages, alive=alive, by=by)
    ]


def take_unfinished_nsds(connection: sa.Connection, *, alive: frozenset[str], by: str) -> list[NsdInfo]:
    """NSDs whose onboarding a dead process left half way; see `take_unfinished_packages`."""
    return [decode(NsdInfo, body) for body in _take_unfinished(connection, nsd_infos, alive=alive, by=by)]


def _take_unfinished(
    connection: sa.Connection, table: sa.Table, *, alive: frozenset[str], by: str
) -> list[Any]:
    hold(connection, "unfinished onboardings")
    rows = connection.execute(
        sa.select(table.c.id, table.c.project_id, table.c.body, onboarding_claims.c.executor_id)
        .select_from(table.outerjoin(onboarding_claims, onboarding_claims.c.object_id == table.c.id))
        .where(table.c.state.in_(["UPLOADING", "PROCESSING"]))
    ).all()
    taken: list[Any] = []
    for row in rows:
        if row.executor_id is not None and row.executor_id in alive:
            continue
        _claim(connection, row.id, ProjectId(row.project_id), by)
        taken.append(row.body)
    return taken
