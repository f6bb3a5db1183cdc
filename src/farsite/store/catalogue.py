"""Rows of the catalogue beside packages and NSDs: evidence, and which adapters came in bundles."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa

from farsite.model.catalogue import Evidence
from farsite.model.catalogue_rules import Candidate
from farsite.model.ids import ProjectId
from farsite.model.package import NsdInfo, OnboardingState, OperationalState, VnfPackage
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import insert_absent, put
from farsite.store.tables import evidence, imported_adapters, nsd_infos, vnf_packages


def put_evidence(connection: sa.Connection, project_id: ProjectId, found: Iterable[Evidence]) -> None:
    """Record evidence; what is known already is left as it is."""
    rows = [
        {"project_id": project_id, "id": one.id, "digest": one.digest, "body": encode(one), "at": one.at}
        for one in found
    ]
    insert_absent(connection, evidence, rows)


def evidence_of(connection: sa.Connection, project_id: ProjectId, digest: str = "") -> list[Evidence]:
    """All evidence of a project, or of one digest."""
    query = sa.select(evidence.c.body).where(evidence.c.project_id == project_id)
    if digest:
        query = query.where(evidence.c.digest == digest)
    return [decode(Evidence, body) for body in connection.execute(query.order_by(evidence.c.id)).scalars()]


def packages_of(connection: sa.Connection, project_id: ProjectId) -> list[VnfPackage]:
    """Every onboarded package of a project, by id."""
    query = sa.select(vnf_packages.c.body).where(
        vnf_packages.c.project_id == project_id, vnf_packages.c.state == OnboardingState.ONBOARDED
    )
    return [
        decode(VnfPackage, body) for body in connection.execute(query.order_by(vnf_packages.c.id)).scalars()
    ]


def nsds_of(connection: sa.Connection, project_id: ProjectId) -> list[NsdInfo]:
    """Every onboarded NSD of a project, by id."""
    query = sa.select(nsd_infos.c.body).where(
        nsd_infos.c.project_id == project_id, nsd_infos.c.state == OnboardingState.ONBOARDED
    )
    return [decode(NsdInfo, body) for body in connection.execute(query.order_by(nsd_infos.c.id)).scalars()]


def package_candidate(package: VnfPackage) -> Candidate:
    return Candidate(
        id=package.id,
        vendor=package.provider,
        name=package.product_name,
        version=package.software_version,
        descriptor_version=package.vnfd_version,
        is_enabled=package.operational_state is OperationalState.ENABLED,
        created_at=package.created_at,
    )


def nsd_candidate(info: NsdInfo) -> Candidate:
    return Candidate(
        id=info.id,
        vendor=info.designer,
        name=info.name,
        version=info.version,
        descriptor_version="",
        is_enabled=info.operational_state is OperationalState.ENABLED,
        created_at=info.created_at,
    )


def put_adapters(
    connection: sa.Connection,
    project_id: ProjectId,
    digests: Mapping[str, str],
    *,
    signed_by: str,
    at: datetime,
) -> None:
    """From now on these adapters (name -> digest of the folder) are the imported ones of their names."""
    if digests:
        rows = [
            {
                "name": name,
                "project_id": project_id,
                "digest": digest,
                "signed_by": signed_by,
                "imported_at": at,
            }
            for name, digest in sorted(digests.items())
        ]
        put(connection, imported_adapters, rows)


def adapters(connection: sa.Connection) -> dict[str, str]:
    """The imported adapters of the installation: name -> digest of the folder."""
    query = sa.select(imported_adapters.c.name, imported_adapters.c.digest)
    return {row.name: row.digest for row in connection.execute(query)}
