"""Backups of what VNFs run: what is told of each, and its encrypted content."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import VnfInstanceId
from farsite.model.management import VnfBackup
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import hold
from farsite.store.tables import vnf_backups

MOST = 50
"""Of one VNF."""
_STANDS = sa.func.length(vnf_backups.c.secret) > 0
"""Of a backup that was deleted the number stays, so that nobody puts another back under it."""


def save(connection: sa.Connection, backup: VnfBackup, secret: bytes) -> VnfBackup:
    """Keep a backup under the next number, which it comes back with. `secret` is its content, encrypted.

    Raises:
        Conflict: there are as many as may be.
    """
    hold(connection, f"backups of {backup.vnf_id}")
    of_it = vnf_backups.c.vnf_id == backup.vnf_id
    last = connection.execute(sa.select(sa.func.max(vnf_backups.c.number)).where(of_it)).scalar()
    count = connection.execute(sa.select(sa.func.count()).where(of_it, _STANDS)).scalar_one()
    if count >= MOST:
        raise Conflict(
            f"VNF instance {backup.vnf_id} has {count} backups, as many as may be kept. Delete some first: "
            f"farsite vnf backup delete {backup.vnf_id} NUMBER.",
            about={"vnf": backup.vnf_id},
        )
    numbered = replace(backup, number=(last or 0) + 1)
    connection.execute(
        sa.insert(vnf_backups),
        {
            "vnf_id": numbered.vnf_id,
            "number": numbered.number,
            "project_id": numbered.project_id,
            "body": encode(numbered),
            "secret": secret,
        },
    )
    return numbered


def get(connection: sa.Connection, vnf_id: VnfInstanceId, number: int) -> VnfBackup:
    """One backup.

    Raises:
        NotFound: there is none of that number; says which there are.
    """
    return decode(VnfBackup, _row(connection, vnf_id, number)[0])


def content_of(connection: sa.Connection, vnf_id: VnfInstanceId, number: int) -> bytes:
    """What is in one, encrypted.

    Raises:
        NotFound: there is none of that number.
    """
    return _row(connection, vnf_id, number)[1]


def all_of(connection: sa.Connection, vnf_id: VnfInstanceId) -> Sequence[VnfBackup]:
    """All backups of a VNF, the newest first."""
    rows = connection.execute(
        sa.select(vnf_backups.c.body)
        .where(vnf_backups.c.vnf_id == vnf_id, _STANDS)
        .order_by(vnf_backups.c.number.desc())
    ).scalars()
    return [decode(VnfBackup, body) for body in rows]


def remove(connection: sa.Connection, vnf_id: VnfInstanceId, number: int) -> None:
    """Forget one.

    Raises:
        NotFound: there is none of that number.
    """
    _row(connection, vnf_id, number)
    connection.execute(
        sa.update(vnf_backups)
        .where(vnf_backups.c.vnf_id == vnf_id, vnf_backups.c.number == number)
        .values(body={}, secret=b"")
    )


def _row(connection: sa.Connection, vnf_id: VnfInstanceId, number: int) -> tuple[object, bytes]:
    row = connection.execute(
        sa.select(vnf_backups.c.body, vnf_backups.c.secret).where(
            vnf_backups.c.vnf_id == vnf_id, vnf_backups.c.number == number, _STANDS
        )
    ).one_or_none()
    if row is None:
        known = [str(one.number) for one in reversed(all_of(connection, vnf_id))]
        which = f"There are {', '.join(known)}." if known else "It has none yet."
        raise NotFound(f"VNF instance {vnf_id} has no backup {number}. {which}")
    return row.body, row.secret
