"""What each VIM consists of and says of its hosts, as it was told last."""

from collections.abc import Collection

import sqlalchemy as sa

from farsite.model.control_plane import ControlPlane
from farsite.model.ids import VimId
from farsite.model.vim import Vim
from farsite.store.encoding import decode, encode
from farsite.store.tables import vim_control_planes


def put(connection: sa.Connection, vim: Vim, plane: ControlPlane) -> None:
    """Keep it in place of what was known."""
    values = {"read_at": plane.read_at, "body": encode(plane)}
    changed = connection.execute(
        sa.update(vim_control_planes).where(vim_control_planes.c.vim_id == vim.id).values(**values)
    ).rowcount
    if not changed:
        connection.execute(
            sa.insert(vim_control_planes).values(vim_id=vim.id, project_id=vim.project_id, **values)
        )


def of(connection: sa.Connection, vim_id: VimId) -> ControlPlane | None:
    """What is known of a VIM; None: nothing was ever told."""
    return of_several(connection, [vim_id]).get(vim_id)


def of_several(connection: sa.Connection, vim_ids: Collection[VimId]) -> dict[VimId, ControlPlane]:
    """What is known of these VIMs."""
    if not vim_ids:
        return {}
    query = sa.select(vim_control_planes.c.vim_id, vim_control_planes.c.body).where(
        vim_control_planes.c.vim_id.in_(vim_ids)
    )
    return {VimId(row.vim_id): decode(ControlPlane, row.body) for row in connection.execute(query)}


def dead_hosts(connection: sa.Connection, vim_id: VimId) -> frozenset[str]:
    """Hosts of a VIM that were concluded to be dead."""
    plane = of(connection, vim_id)
    return frozenset(plane.dead) if plane else frozenset()
