"""How VIMs answered, hour by hour. Several processes may count the same hour of a VIM; readers add them
up."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farsite.model.ids import VimId
from farsite.model.latency import HourOfVim, Tally, merged
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import put
from farsite.store.tables import vim_statistics, vims


def write(connection: sa.Connection, hours: Sequence[HourOfVim]) -> None:
    """Write what somebody has counted of these hours so far; of VIMs that were deleted, nothing."""
    ids = {one.vim_id for one in hours}
    query = (
        sa.select(vims.c.id, vims.c.project_id)
        .where(vims.c.id.in_(ids))
        .with_for_update(read=True, key_share=True)
    )
    projects = {row.id: row.project_id for row in connection.execute(query)}
    rows: list[dict[str, Any]] = [
        {
            "vim_id": one.vim_id,
            "hour": one.hour,
            "counted_by": one.counted_by,
            "project_id": projects[one.vim_id],
            "body": {name: encode(tally) for name, tally in one.services.items()},
        }
        for one in hours
        if one.vim_id in projects
    ]
    if rows:
        put(connection, vim_statistics, rows)


def since(connection: sa.Connection, vim_id: VimId, begin: datetime) -> list[HourOfVim]:
    """The hours of a VIM that begin then or later, the latest first."""
    rows = connection.execute(
        sa.select(vim_statistics.c.hour, vim_statistics.c.body).where(
            vim_statistics.c.vim_id == vim_id, vim_statistics.c.hour >= begin
        )
    )
    return merged(
        HourOfVim(
            vim_id=vim_id,
            hour=row.hour,
            services={name: decode(Tally, tally) for name, tally in row.body.items()},
        )
        for row in rows
    )


def forget_before(connection: sa.Connection, at: datetime) -> int:
    """Delete the hours that began earlier; how many."""
    return connection.execute(sa.delete(vim_statistics).where(vim_statistics.c.hour < at)).rowcount
