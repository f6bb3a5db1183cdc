"""How important VNFs are, by the policies that stand now."""

from collections.abc import Iterable

import sqlalchemy as sa

from farsite.model.ids import NsInstanceId, ProjectId, VnfInstanceId
from farsite.model.priority import Subject, class_of, subject_of
from farsite.model.vnf import VnfInstance
from farsite.store import healing
from farsite.store.tables import vnf_instances

_IN_ONE_QUERY = 500


def class_of_vnf(connection: sa.Connection, vnf: VnfInstance, vdus: Iterable[str]) -> int:
    """The class of a VNF that has or shall have these VDUs. Smaller is more important."""
    return class_of(healing.policies(connection, vnf.project_id), subject_of(vnf, vdus))


def classes_of(connection: sa.Connection, object_ids: Iterable[str]) -> dict[str, int]:
    """The classes of those of some objects that are VNF instances; the others are missing.

    Reads of each record only what a class is chosen by: whoever asks has a hundred to tell of.
    """
    policies = healing.policies(connection)
    of_vdus = any(one.scope.vdu for one in policies)
    body = vnf_instances.c.body
    columns = [
        vnf_instances.c.id,
        vnf_instances.c.project_id,
        vnf_instances.c.name,
        vnf_instances.c.vnfd_id,
        vnf_instances.c.product_name,
        vnf_instances.c.ns_id,
        body["metadata"].label("metadata"),
    ]
    if of_vdus:
        columns.append(body[("deployment", "vnfcs")].label("vnfcs"))
    found: dict[str, int] = {}
    wanted = sorted(set(object_ids))
    for first in range(0, len(wanted), _IN_ONE_QUERY):
        some = vnf_instances.c.id.in_(wanted[first : first + _IN_ONE_QUERY])
        for row in connection.execute(sa.select(*columns).where(some)):
            found[row.id] = class_of(
                policies,
                Subject(
                    vnf_id=VnfInstanceId(row.id),
                    name=row.name,
                    project_id=ProjectId(row.project_id),
                    vnfd_ids=frozenset({row.vnfd_id, row.product_name}),
                    ns_id=NsInstanceId(row.ns_id) if row.ns_id else None,
                    metadata=row.metadata or {},
                    vdus=frozenset(one["vdu"] for one in row.vnfcs or ()) if of_vdus else frozenset(),
                ),
            )
    return found
