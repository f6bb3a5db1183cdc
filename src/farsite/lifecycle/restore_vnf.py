"""Restore a VNF: put back what it ran when a backup was taken, or nothing at all.

A change like any other (`configure_vnf`, whose steps these are): compared with what runs, unconfirmed until
the function was found well, taken back otherwise. It is a version of the configuration too: its document is
that which was current when the backup was taken, and none when nothing of ours was.
"""

from dataclasses import dataclass

from farsite.lifecycle import configure_vnf
from farsite.lifecycle.configure_vnf import apply, confirm, forget, plan, proposed, prove, record, take_back
from farsite.lifecycle.world import Op, World, room_for_change
from farsite.model.configuration import Configuration
from farsite.model.operation import CONFIGURE, InstanceKind
from farsite.model.vnf import VnfInstance
from farsite.store import backups, instances, managements
from farsite.store.database import Connection
from farsite.store.encoding import decode
from farsite.workflow.saga import Saga, step


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreVnf:
    """The number of the backup. `confirm_within_s` None: as the VNF's management says."""

    backup: int
    cause: str = ""
    confirm_within_s: float | None = None


def check(connection: Connection, vnf: VnfInstance, want: RestoreVnf) -> float:
    """How long what is put back stands unconfirmed, in seconds.

    Raises:
        NotFound: there is no such backup, or nobody has said how the VNF is managed.
        Conflict: it is not instantiated, and its device is inside it.
        Invalid: the time is out of bounds.
    """
    backups.get(connection, vnf.id, want.backup)
    return configure_vnf.check(connection, vnf, want.confirm_within_s)


def decide(connection: Connection, op: Op) -> object:
    """Give it the number of a version: now, so that numbers are in the order in which changes ran."""
    want = decode(RestoreVnf, op.operation.parameters)
    vnf = instances.get_vnf(connection, None, op.operation.instance_id)
    within_s = check(connection, vnf, want)
    restores = backups.get(connection, vnf.id, want.backup).configuration
    document = managements.version(connection, vnf.id, restores).document if restores else Configuration()
    return proposed(
        connection, op, vnf, document, within_s, cause=want.cause, restores=restores, backup=want.backup
    )


RESTORE_VNF: Saga[World] = Saga(
    verb="restore_vnf",
    kind=InstanceKind.VNF,
    type=CONFIGURE,
    parameters=RestoreVnf,
    rolls_back_by_itself=True,
    steps=(
        step("Number the configuration", decide, undo=forget),
        step("Compare the backup with what runs", plan, room=room_for_change),
        step("Put the backup back, unconfirmed", apply, undo=take_back),
        step("See that the function is well", prove),
        step("Keep the change", confirm),
        step("Record what runs", record),
    ),
)
