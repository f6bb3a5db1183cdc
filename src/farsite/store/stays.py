"""Stays of VNFCs on hosts that have ended, kept for as long as hosts are compared by them.

Whoever reads them to decide, or writes, holds what the correlator holds: all processes then count the same.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from farsite.model.ids import AlarmId, ProjectId
from farsite.model.stay import EndedStay, Stay
from farsite.store.exclusion import put
from farsite.store.tables import ended_stays


def kept(connection: sa.Connection) -> list[EndedStay]:
    """All that are kept, the oldest first."""
    query = sa.select(ended_stays).order_by(ended_stays.c.ended_at, ended_stays.c.alarm_id)
    return [
        EndedStay(
            stay=Stay(
                host=row.host,
                vnf_id=row.vnf_id,
                vnfc_id=row.vnfc_id,
                project_id=ProjectId(row.project_id),
            ),
            at=row.ended_at,
            alarm_id=AlarmId(row.alarm_id) if row.alarm_id else None,
            is_explained=row.is_explained,
        )
        for row in connection.execute(query)
    ]


def has_failure(connection: sa.Connection, *, after: datetime, until: datetime) -> bool:
    """Whether a stay ended by a failure between two times."""
    found = sa.exists().where(
        ended_stays.c.ended_at > after, ended_stays.c.ended_at <= until, ended_stays.c.alarm_id != ""
    )
    return bool(connection.execute(sa.select(found)).scalar_one())


def keep(connection: sa.Connection, stays: Sequence[EndedStay]) -> None:
    """Keep these; what was kept of the same failure, or of leaving the same host, is replaced."""
    rows = [
        {
            "host": one.stay.host,
            "vnfc_id": one.stay.vnfc_id,
            "alarm_id": one.alarm_id or "",
            "vnf_id": one.stay.vnf_id,
            "project_id": one.stay.project_id,
            "ended_at": one.at,
            "is_explained": one.is_explained,
        }
        for one in stays
    ]
    if rows:
        put(connection, ended_stays, rows)


def forget(connection: sa.Connection, *, before: datetime, failures_before: datetime) -> None:
    """Forget what ended earlier, failures by a time of their own."""
    is_failure = ended_stays.c.alarm_id != ""
    connection.execute(
        sa.delete(ended_stays).where(
            sa.or_(
                ended_stays.c.ended_at < before,
                sa.and_(is_failure, ended_stays.c.ended_at < failures_before),
            )
        )
    )
