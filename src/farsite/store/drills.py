"""Drills of VIMs, kept with what was seen in them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from farsite.model.drill import Drill, DrillState
from farsite.model.errors import NotFound
from farsite.model.ids import VimId
from farsite.store.encoding import decode, encode
from farsite.store.tables import vim_drills

KEPT = 200
"""Drills of a VIM that are kept, the latest."""


def insert(connection: sa.Connection, drill: Drill) -> None:
    """Keep a new one, and forget the oldest of its VIM where there are too many."""
    connection.execute(sa.insert(vim_drills).values(id=drill.id, **_columns(drill)))
    older = (
        sa.select(vim_drills.c.id)
        .where(vim_drills.c.vim_id == drill.vim_id, vim_drills.c.state == DrillState.ENDED.value)
        .order_by(vim_drills.c.begun_at.desc(), vim_drills.c.id.desc())
        .offset(KEPT)
        .limit(KEPT)
    )
    forgotten = list(connection.execute(older).scalars())
    if forgotten:
        connection.execute(sa.delete(vim_drills).where(vim_drills.c.id.in_(forgotten)))


def save(connection: sa.Connection, drill: Drill) -> None:
    """Write down how it stands; of one whose VIM was forgotten meanwhile nothing."""
    connection.execute(sa.update(vim_drills).where(vim_drills.c.id == drill.id).values(**_columns(drill)))


def find(connection: sa.Connection, drill_id: str, *, for_update: bool = False) -> Drill | None:
    """One drill; None: its VIM was forgotten."""
    query = sa.select(vim_drills.c.body).where(vim_drills.c.id == drill_id)
    row = connection.execute(query.with_for_update() if for_update else query).first()
    return None if row is None else decode(Drill, row.body)


def get(connection: sa.Connection, vim_id: VimId, drill_id: str, *, for_update: bool = False) -> Drill:
    """One drill of a VIM.

    Raises:
        NotFound: it has none of that id.
    """
    drill = find(connection, drill_id, for_update=for_update)
    if drill is None or drill.vim_id != vim_id:
        raise NotFound(f'This VIM has no drill "{drill_id}" (farsite vim drill list).', about={"vim": vim_id})
    return drill


def of_vim(connection: sa.Connection, vim_id: VimId) -> list[Drill]:
    """Drills of a VIM, the latest first."""
    query = (
        sa.select(vim_drills.c.body)
        .where(vim_drills.c.vim_id == vim_id)
        .order_by(vim_drills.c.begun_at.desc(), vim_drills.c.id.desc())
    )
    return [decode(Drill, row.body) for row in connection.execute(query)]


def under_way(connection: sa.Connection) -> Sequence[Drill]:
    """All that have not ended, of all VIMs, the oldest first."""
    query = (
        sa.select(vim_drills.c.body)
        .where(vim_drills.c.state.in_([one.value for one in DrillState if one is not DrillState.ENDED]))
        .order_by(vim_drills.c.begun_at, vim_drills.c.id)
    )
    return [decode(Drill, row.body) for row in connection.execute(query)]


def _columns(drill: Drill) -> dict[str, Any]:
    return {
        "vim_id": drill.vim_id,
        "project_id": drill.project_id,
        "state": drill.state.value,
        "begun_at": drill.begun_at,
        "body": encode(drill),
    }
