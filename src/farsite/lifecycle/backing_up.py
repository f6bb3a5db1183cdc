"""Takes backups of what VNFs run, and opens them.

A backup is all that a function's adapter fetches, as the device tells it: what a document says, and what
people made beside it. It is taken between changes, so that it is what somebody meant to run, and kept
encrypted with the VNF's own key, for there are secrets in it.
"""

import json
from dataclasses import dataclass

from farsite.lifecycle.managing import Devices
from farsite.model.errors import Conflict, Invalid
from farsite.model.ids import ProjectId
from farsite.model.management import ConfigurationVersion, VnfBackup
from farsite.model.vnf import VnfInstance
from farsite.store import backups, instances, managements
from farsite.store.database import Connection
from farsite.store.encoding import decode, encode
from farsite.vnfs.adapter import Backup

MOST_BYTES = 16 * 1024 * 1024
"""Of the texts of one backup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    vnf: VnfInstance
    configuration: int
    """The version that was current."""


async def take(devices: Devices, project_id: ProjectId, key: str, *, taken_by: str, cause: str) -> VnfBackup:
    """Fetch all that a VNF runs, and keep it.

    Raises:
        NotFound: no such VNF instance, or nobody has said how it is managed.
        Conflict: an operation works on it, or did meanwhile; or it has as many backups as may be.
        Invalid: it is larger than may be kept.
        VnfFault, VnfUnreachable: as `Adapter.back_up` says.
    """
    before = await devices.database.run(_before, project_id, key)
    async with devices.open(before.vnf) as device:
        taken, adapter = await device.adapter.back_up(), device.management.adapter
    sizes = {name: None if text is None else len(text.encode()) for name, text in taken.texts.items()}
    if (total := sum(size or 0 for size in sizes.values())) > MOST_BYTES:
        raise Invalid(
            f"What VNF instance {before.vnf.id} runs has {total:,} bytes, and a backup at most "
            f"{MOST_BYTES:,}. Have the device save it by its own means."
        )
    backup = VnfBackup(
        vnf_id=before.vnf.id,
        project_id=before.vnf.project_id,
        number=0,
        taken_at=devices.clock.now(),
        taken_by=taken_by,
        cause=cause,
        adapter=adapter,
        software_version=taken.version,
        configuration=before.configuration,
        size_bytes=sizes,
    )
    return await devices.database.run(_keep, devices, before, backup, taken)


def _before(connection: Connection, project_id: ProjectId, key: str) -> _Before:
    vnf = instances.get_vnf(connection, project_id, key)
    instances.refuse_if_locked(connection, vnf.id)
    current = managements.current(connection, vnf.id)
    return _Before(vnf=vnf, configuration=current.number if current else 0)


def _keep(
    connection: Connection, devices: Devices, before: _Before, backup: VnfBackup, taken: Backup
) -> VnfBackup:
    now = _before(connection, backup.project_id, backup.vnf_id)
    if now.configuration != before.configuration:
        raise Conflict(
            f"VNF instance {backup.vnf_id} was changed while its backup was taken, which may be of neither "
            f"version; it was not kept. Take it again.",
            about={"vnf": backup.vnf_id},
        )
    managements.get(connection, backup.vnf_id)
    # Whoever forgets the VNF's key holds its secrets meanwhile.
    managements.hold_secrets(connection, backup.vnf_id)
    secret = devices.keys.encrypt(backup.vnf_id, {"backup": json.dumps(encode(taken))})
    return backups.save(connection, backup, secret)


def content(connection: Connection, devices: Devices, version: ConfigurationVersion) -> Backup:
    """What is in the backup that a version puts back.

    Raises:
        NotFound: it was deleted.
        Conflict: its key is missing, or another.
    """
    return opened(connection, devices, backups.get(connection, version.vnf_id, version.backup))


def opened(connection: Connection, devices: Devices, backup: VnfBackup) -> Backup:
    """What is in a backup.

    Raises:
        NotFound: it was deleted.
        Conflict: its key is missing, or another; or the VNF is managed by another adapter by now.
    """
    management = managements.get(connection, backup.vnf_id)
    if management.adapter != backup.adapter:
        raise Conflict(
            f"Backup {backup.number} of VNF instance {backup.vnf_id} is what the adapter {backup.adapter} "
            f"fetched, and the VNF is managed by {management.adapter} now. Manage it by {backup.adapter} "
            f"first: farsite vnf config manage {backup.vnf_id} --adapter {backup.adapter}.",
            about={"vnf": backup.vnf_id},
        )
    secret = backups.content_of(connection, backup.vnf_id, backup.number)
    return decode(Backup, json.loads(devices.keys.decrypt(backup.vnf_id, secret)["backup"]))
