"""API tokens: only their SHA-256 is kept."""

import hashlib
import secrets
from datetime import datetime

import sqlalchemy as sa

from farsite.model.access import Caller, Role
from farsite.model.ids import ProjectId, VnfInstanceId
from farsite.store.tables import tokens

PREFIX = "fst_"
"""How every token of ours begins."""


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create(
    connection: sa.Connection,
    *,
    name: str,
    project_id: ProjectId,
    role: Role,
    at: datetime,
    vnf_id: VnfInstanceId | None = None,
) -> str:
    """Make a token, that of a VNF with its id; it is returned once and cannot be read again."""
    token = PREFIX + secrets.token_urlsafe(32)
    connection.execute(
        sa.insert(tokens).values(
            digest=_digest(token),
            name=name,
            project_id=project_id,
            role=role.value,
            created_at=at,
            vnf_id=vnf_id,
        )
    )
    return token


def caller_of(connection: sa.Connection, token: str) -> Caller | None:
    """Who a token belongs to; None for an unknown one."""
    row = connection.execute(sa.select(tokens).where(tokens.c.digest == _digest(token))).first()
    if row is None:
        return None
    return Caller(
        name=row.name,
        project_id=ProjectId(row.project_id),
        role=Role(row.role),
        vnf_id=VnfInstanceId(row.vnf_id) if row.vnf_id else None,
    )


def any_exist(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(tokens.c.digest).limit(1)).first() is not None


def all_of(connection: sa.Connection, project_id: ProjectId) -> list[tuple[str, Role, datetime]]:
    """Name, role and creation time of a project's tokens."""
    query = sa.select(tokens).where(tokens.c.project_id == project_id).order_by(tokens.c.name)
    return [(row.name, Role(row.role), row.created_at) for row in connection.execute(query)]


def of_vnf(connection: sa.Connection, vnf_id: VnfInstanceId) -> list[tuple[str, datetime]]:
    """Name and creation time of a VNF's own credentials."""
    query = sa.select(tokens).where(tokens.c.vnf_id == vnf_id).order_by(tokens.c.name)
    return [(row.name, row.created_at) for row in connection.execute(query)]


def revoke_of_vnf(connection: sa.Connection, vnf_id: VnfInstanceId, *, name: str = "") -> int:
    """Delete a VNF's own credentials of that name, all without one; how many there were."""
    query = sa.delete(tokens).where(tokens.c.vnf_id == vnf_id)
    return connection.execute(query.where(tokens.c.name == name) if name else query).rowcount


def revoke(connection: sa.Connection, *, name: str, project_id: ProjectId) -> int:
    """Delete all tokens of that name; how many there were."""
    return connection.execute(
        sa.delete(tokens).where(tokens.c.project_id == project_id, tokens.c.name == name)
    ).rowcount
