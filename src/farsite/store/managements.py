"""How VNFs are managed, their secrets, every version of their configuration, and their backups."""

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from farsite.model.errors import NotFound
from farsite.model.ids import ProjectId, VnfInstanceId
from farsite.model.management import ConfigurationVersion, Management, VersionState
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import hold, put
from farsite.store.tables import vnf_backups, vnf_configurations, vnf_managements, vnf_secrets


def save(connection: sa.Connection, management: Management) -> None:
    """Keep how a VNF is managed, in place of what was kept before."""
    row = {
        "vnf_id": management.vnf_id,
        "project_id": management.project_id,
        "body": encode(management),
    }
    put(connection, vnf_managements, [row])


def find(connection: sa.Connection, vnf_id: VnfInstanceId) -> Management | None:
    """How a VNF is managed; None: nobody has said."""
    body = connection.execute(
        sa.select(vnf_managements.c.body).where(vnf_managements.c.vnf_id == vnf_id)
    ).scalar()
    return None if body is None else decode(Management, body)


def get(connection: sa.Connection, vnf_id: VnfInstanceId) -> Management:
    """How a VNF is managed.

    Raises:
        NotFound: nobody has said; says how to.
    """
    found = find(connection, vnf_id)
    if found is None:
        raise NotFound(
            f"Nothing is known of how VNF instance {vnf_id} is managed. Name its adapter and access: "
            f"farsite vnf config manage {vnf_id} --adapter NAME.",
            about={"vnf": vnf_id},
        )
    return found


def everywhere(connection: sa.Connection) -> Sequence[Management]:
    """How all VNFs of all projects are managed."""
    rows = connection.execute(sa.select(vnf_managements.c.body).order_by(vnf_managements.c.vnf_id)).scalars()
    return [decode(Management, body) for body in rows]


def remove(connection: sa.Connection, vnf_id: VnfInstanceId, *, with_secrets: bool = True) -> None:
    """Forget how a VNF is managed, its versions, its backups, and its secrets; absent is success."""
    for table in (
        vnf_managements,
        vnf_configurations,
        vnf_backups,
        *((vnf_secrets,) if with_secrets else ()),
    ):
        connection.execute(sa.delete(table).where(table.c.vnf_id == vnf_id))


# -- secrets


def secrets_of(connection: sa.Connection, vnf_id: VnfInstanceId) -> bytes | None:
    """A VNF's secrets, encrypted."""
    return connection.execute(sa.select(vnf_secrets.c.secret).where(vnf_secrets.c.vnf_id == vnf_id)).scalar()


def hold_secrets(connection: sa.Connection, vnf_id: VnfInstanceId) -> bytes | None:
    """As `secrets_of`, and nobody else changes them until the transaction ends."""
    hold(connection, f"secrets of {vnf_id}")
    return secrets_of(connection, vnf_id)


def save_secrets(
    connection: sa.Connection, project_id: ProjectId, vnf_id: VnfInstanceId, secret: bytes
) -> None:
    """Keep a VNF's secrets, encrypted."""
    put(connection, vnf_secrets, [{"vnf_id": vnf_id, "project_id": project_id, "secret": secret}])


def forget_secrets(connection: sa.Connection, vnf_id: VnfInstanceId) -> None:
    """Forget a VNF's secrets; absent is success."""
    hold(connection, f"secrets of {vnf_id}")
    connection.execute(sa.delete(vnf_secrets).where(vnf_secrets.c.vnf_id == vnf_id))


# -- versions


def propose(connection: sa.Connection, version: ConfigurationVersion) -> ConfigurationVersion:
    """Keep a new version under the next number, which it comes back with."""
    hold(connection, f"configuration of {version.vnf_id}")
    last = connection.execute(
        sa.select(sa.func.max(vnf_configurations.c.number)).where(
            vnf_configurations.c.vnf_id == version.vnf_id
        )
    ).scalar()
    numbered = replace(version, number=(last or 0) + 1)
    connection.execute(
        sa.insert(vnf_configurations),
        {
            "vnf_id": numbered.vnf_id,
            "number": numbered.number,
            "project_id": numbered.project_id,
            "state": numbered.state.value,
            "created_at": numbered.created_at,
            "body": encode(numbered),
        },
    )
    return numbered


def settle(connection: sa.Connection, version: ConfigurationVersion) -> None:
    """Record what became of a version. The one that was current is superseded by a new current one."""
    if version.state is VersionState.CURRENT:
        before = current(connection, version.vnf_id)
        if before is not None and before.number != version.number:
            _update(connection, replace(before, state=VersionState.SUPERSEDED))
    _update(connection, version)


def current(connection: sa.Connection, vnf_id: VnfInstanceId) -> ConfigurationVersion | None:
    """The version that shall run; None: none was ever applied."""
    body = connection.execute(
        sa.select(vnf_configurations.c.body)
        .where(
            vnf_configurations.c.vnf_id == vnf_id,
            vnf_configurations.c.state == VersionState.CURRENT.value,
        )
        .order_by(vnf_configurations.c.number.desc())
        .limit(1)
    ).scalar()
    return None if body is None else decode(ConfigurationVersion, body)


def version(connection: sa.Connection, vnf_id: VnfInstanceId, number: int) -> ConfigurationVersion:
    """One version.

    Raises:
        NotFound: there is none of that number; says which there are.
    """
    body = connection.execute(
        sa.select(vnf_configurations.c.body).where(
            vnf_configurations.c.vnf_id == vnf_id, vnf_configurations.c.number == number
        )
    ).scalar()
    if body is None:
        last = connection.execute(
            sa.select(sa.func.max(vnf_configurations.c.number)).where(vnf_configurations.c.vnf_id == vnf_id)
        ).scalar()
        known = f"There are 1 to {last}." if last else "It has none yet."
        raise NotFound(f"VNF instance {vnf_id} has no configuration version {number}. {known}")
    return decode(ConfigurationVersion, body)


def versions(connection: sa.Connection, vnf_id: VnfInstanceId) -> Sequence[ConfigurationVersion]:
    """All versions, the newest first."""
    rows = connection.execute(
        sa.select(vnf_configurations.c.body)
        .where(vnf_configurations.c.vnf_id == vnf_id)
        .order_by(vnf_configurations.c.number.desc())
    ).scalars()
    return [decode(ConfigurationVersion, body) for body in rows]


def _update(connection: sa.Connection, changed: ConfigurationVersion) -> None:
    connection.execute(
        sa.update(vnf_configurations)
        .where(
            vnf_configurations.c.vnf_id == changed.vnf_id,
            vnf_configurations.c.number == changed.number,
        )
        .values(state=changed.state.value, body=encode(changed))
    )
