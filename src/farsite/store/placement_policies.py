"""Policies of placement."""

import sqlalchemy as sa

from farsite.model.errors import NotFound
from farsite.model.ids import ProjectId
from farsite.model.placement_policy import PlacementPolicy
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import put
from farsite.store.tables import placement_policies


def put_policy(connection: sa.Connection, policy: PlacementPolicy) -> None:
    """Write a policy; one of that name in the project is replaced."""
    put(
        connection,
        placement_policies,
        [{"project_id": policy.project_id, "name": policy.name, "body": encode(policy)}],
    )


def of_project(connection: sa.Connection, project_id: ProjectId) -> list[PlacementPolicy]:
    """The policies of a project, by name."""
    query = (
        sa.select(placement_policies.c.body)
        .where(placement_policies.c.project_id == project_id)
        .order_by(placement_policies.c.name)
    )
    return [decode(PlacementPolicy, row.body) for row in connection.execute(query)]


def get(connection: sa.Connection, project_id: ProjectId, name: str) -> PlacementPolicy:
    """Raises:
    NotFound: the project has no policy of that name.
    """
    body = connection.execute(sa.select(placement_policies.c.body).where(_is(project_id, name))).scalar()
    if body is None:
        raise NotFound(
            f'No placement policy "{name}". See farsite policy placement list.', about={"policy": name}
        )
    return decode(PlacementPolicy, body)


def delete(connection: sa.Connection, project_id: ProjectId, name: str) -> None:
    """Raises:
    NotFound: the project has no policy of that name.
    """
    if not connection.execute(sa.delete(placement_policies).where(_is(project_id, name))).rowcount:
        get(connection, project_id, name)


def _is(project_id: ProjectId, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(placement_policies.c.project_id == project_id, placement_policies.c.name == name)
