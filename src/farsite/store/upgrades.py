"""Accounts of upgrades: from which version to which, and what became of them."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from farsite.model.errors import NotFound
from farsite.model.ids import OperationId, VnfInstanceId
from farsite.model.software import Upgrade
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import put
from farsite.store.tables import vnf_upgrades

_IN_ONE_QUERY = 500


def save(connection: sa.Connection, upgrade: Upgrade) -> None:
    """Keep the account of an upgrade, in place of what was kept of it."""
    row = {
        "operation_id": upgrade.operation_id,
        "vnf_id": upgrade.vnf_id,
        "project_id": upgrade.project_id,
        "started_at": upgrade.started_at,
        "body": encode(upgrade),
    }
    put(connection, vnf_upgrades, [row])


def get(connection: sa.Connection, operation_id: OperationId) -> Upgrade:
    """The account of an operation.

    Raises:
        NotFound: it has none.
    """
    body = connection.execute(
        sa.select(vnf_upgrades.c.body).where(vnf_upgrades.c.operation_id == operation_id)
    ).scalar()
    if body is None:
        raise NotFound(f"Operation {operation_id} is no upgrade.")
    return decode(Upgrade, body)


def of_operations(
    connection: sa.Connection, operation_ids: Sequence[OperationId]
) -> Mapping[OperationId, Upgrade]:
    """The accounts of these operations; of those that have one."""
    rows: list[object] = []
    for first in range(0, len(operation_ids), _IN_ONE_QUERY):
        some = operation_ids[first : first + _IN_ONE_QUERY]
        query = sa.select(vnf_upgrades.c.body).where(vnf_upgrades.c.operation_id.in_(some))
        rows += connection.execute(query).scalars()
    return {one.operation_id: one for one in (decode(Upgrade, body) for body in rows)}


def all_of(connection: sa.Connection, vnf_id: VnfInstanceId) -> Sequence[Upgrade]:
    """All upgrades of a VNF, the newest first."""
    rows = connection.execute(
        sa.select(vnf_upgrades.c.body)
        .where(vnf_upgrades.c.vnf_id == vnf_id)
        .order_by(vnf_upgrades.c.started_at.desc(), vnf_upgrades.c.operation_id.desc())
    ).scalars()
    return [decode(Upgrade, body) for body in rows]
