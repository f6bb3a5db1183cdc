"""The way of an alarm from the fault to its repair: when each checkpoint was passed.

Most checkpoints are recorded anyway, where they happen: in the alarm, in what was told of it, in the
notifications that consumers took, in the operation that acted; only the receipt of an event is not.

Source: OPNFV Doctor, performance profiler (checkpoints T00 to T09).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from farsite.model.alarm import Alarm, Transition
from farsite.model.ids import AlarmId, ProjectId
from farsite.store import outbox
from farsite.store.exclusion import insert_absent
from farsite.store.tables import alarm_history, alarm_timeline, deliveries, operations, subscriptions
from farsite.store.tables import outbox as outbox_table


class Checkpoint(StrEnum):
    """Where an alarm passes on its way; the order is that of a loop that closes."""

    LAST_SEEN = "last_seen"
    """The object gave its last sign of life; the fault itself came after it, nobody saw when."""
    DETECTED = "detected"
    RECEIVED = "received"
    CORRELATED = "correlated"
    RECORDED = "recorded"
    TOLD = "told"
    DECIDED = "decided"
    FENCED = "fenced"
    ACTED = "acted"
    """The operation that mends it set to work; where it had to fence first, when that was done."""
    VERIFIED = "verified"
    CLEARED = "cleared"


DOCTOR: dict[Checkpoint, str] = {
    Checkpoint.LAST_SEEN: "T00",
    Checkpoint.DETECTED: "T01",
    Checkpoint.RECEIVED: "T01",
    Checkpoint.CORRELATED: "T02",
    Checkpoint.RECORDED: "T04",
    Checkpoint.TOLD: "T09",
    Checkpoint.DECIDED: "T07",
    Checkpoint.FENCED: "T03",
    Checkpoint.ACTED: "",
    Checkpoint.VERIFIED: "",
    Checkpoint.CLEARED: "",
}
"""Doctor's names, where it has one. Farsite decides and tells side by side, so its order differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One checkpoint that an alarm passed. `who` is a subscription, an operation or empty."""

    checkpoint: Checkpoint
    at: datetime
    who: str = ""
    detail: str = ""


def note(
    connection: sa.Connection,
    *,
    project_id: ProjectId,
    alarm_id: AlarmId,
    checkpoint: Checkpoint,
    at: datetime,
    who: str = "",
    detail: str = "",
) -> None:
    """Record that an alarm passed a checkpoint; the first time counts."""
    row = {
        "alarm_id": alarm_id,
        "checkpoint": checkpoint.value,
        "who": who,
        "project_id": project_id,
        "at": at,
        "detail": detail,
    }
    insert_absent(connection, alarm_timeline, [row])


def note_received(connection: sa.Connection, passed: Sequence[tuple[Alarm, str]], *, at: datetime) -> None:
    """Record when the events behind alarms reached us, with a word on each; the first time counts."""
    insert_absent(
        connection,
        alarm_timeline,
        [
            {
                "alarm_id": alarm.id,
                "checkpoint": Checkpoint.RECEIVED.value,
                "who": "",
                "project_id": alarm.project_id,
                "at": at,
                "detail": detail,
            }
            for alarm, detail in passed
        ],
    )


def of_alarm(connection: sa.Connection, alarm: Alarm) -> list[Passed]:
    """Every checkpoint of an alarm that is known, in order of time.

    What is read from the outbox and the notifications is forgotten with them, after days.
    """
    found = [Passed(checkpoint=Checkpoint.DETECTED, at=alarm.raised_at, detail="by the clock of its source")]
    noted = sa.select(alarm_timeline).where(alarm_timeline.c.alarm_id == alarm.id)
    found += [
        Passed(checkpoint=Checkpoint(row.checkpoint), at=row.at, who=row.who, detail=row.detail)
        for row in connection.execute(noted)
    ]
    found += _correlated(connection, alarm)
    raising = next((told for told in outbox.of_object(connection, alarm.id)), None)
    if raising is not None and raising.kind == "alarm-raised":
        if raising.recorded_at is not None:
            found.append(Passed(checkpoint=Checkpoint.RECORDED, at=raising.recorded_at))
        found += _told(connection, raising.sequence)
    found += _after_its_fence(_acted(connection, alarm), found)
    if alarm.cleared_at is not None:
        found.append(Passed(checkpoint=Checkpoint.CLEARED, at=alarm.cleared_at))
    order = list(Checkpoint)
    return sorted(found, key=lambda one: (one.at, order.index(one.checkpoint)))


def _correlated(connection: sa.Connection, alarm: Alarm) -> list[Passed]:
    """When it was first tied to another: as its cause, or as a symptom of it."""
    lines = alarm_history.c
    query = (
        sa.select(lines.recorded_at, lines.details)
        .where(
            lines.project_id == alarm.project_id,
            lines.object_id == alarm.managed_object_id,
            lines.alarm_id == alarm.id,
            lines.what == Transition.CORRELATED.value,
        )
        .order_by(lines.sequence)
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return []
    word = "cause of" if alarm.is_root_cause else "symptom of"
    return [
        Passed(
            checkpoint=Checkpoint.CORRELATED, at=row.recorded_at, detail=f"{word} {', '.join(row.details)}"
        )
    ]


def _told(connection: sa.Connection, sequence: int) -> list[Passed]:
    query = (
        sa.select(deliveries, subscriptions.c.name, subscriptions.c.id)
        .join(subscriptions, subscriptions.c.id == deliveries.c.subscription_id)
        .where(deliveries.c.sequence == sequence, deliveries.c.told_at.is_not(None))
    )
    return [
        Passed(
            checkpoint=Checkpoint.TOLD,
            at=row.told_at,
            who=row.id,
            detail=f"{row.name or 'subscription'}, number {row.number}",
        )
        for row in connection.execute(query)
    ]


def _acted(connection: sa.Connection, alarm: Alarm) -> list[Passed]:
    """The operation that came first after the alarm and was to mend the faulty object: begun by us, or a heal
    that somebody asked for who was told."""
    query = (
        sa.select(operations.c.id, operations.c.verb)
        .where(
            operations.c.instance_id == alarm.managed_object_id,
            sa.or_(operations.c.is_automatic, operations.c.verb == _HEAL),
            operations.c.started_at >= alarm.raised_at,
            *([operations.c.started_at <= alarm.cleared_at] if alarm.cleared_at else []),
        )
        .order_by(operations.c.started_at)
        .limit(1)
    )
    row = connection.execute(query).first()
    return [] if row is None else _states(connection, row.id, row.verb)


def _after_its_fence(acted: list[Passed], noted: list[Passed]) -> list[Passed]:
    """The same, with nothing done to the object before the fence of that very operation held."""
    fenced = {one.who: one.at for one in noted if one.checkpoint is Checkpoint.FENCED}
    return [
        replace(one, at=max(one.at, fenced.get(one.who, one.at)))
        if one.checkpoint is Checkpoint.ACTED
        else one
        for one in acted
    ]


_HEAL = "heal_vnf"
_OF_STATE = {
    "STARTING": Checkpoint.DECIDED,
    "PROCESSING": Checkpoint.ACTED,
    "COMPLETED": Checkpoint.VERIFIED,
}


def _states(connection: sa.Connection, operation_id: str, verb: str) -> list[Passed]:
    query = (
        sa.select(outbox_table.c.body)
        .where(outbox_table.c.object_id == operation_id)
        .order_by(outbox_table.c.sequence)
    )
    found: dict[Checkpoint, Passed] = {}
    for body in connection.execute(query).scalars():
        checkpoint = _OF_STATE.get(body["state"])
        if checkpoint is not None and checkpoint not in found:
            at = datetime.fromisoformat(body["state_entered_at"])
            found[checkpoint] = Passed(checkpoint=checkpoint, at=at, who=operation_id, detail=verb)
    return list(found.values())
