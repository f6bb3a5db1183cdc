"""Which alarm is the cause of which: kept in the alarms themselves, also after the cause has cleared."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from farsite.model.alarm import Alarm, Transition
from farsite.model.ids import AlarmId, ProjectId, VnfInstanceId
from farsite.model.ns import NsInstance
from farsite.model.vnf import InstantiationState
from farsite.store.alarm_book import Book
from farsite.store.encoding import decode
from farsite.store.tables import alarms, ns_instances, operation_locks, vnf_instances


def correlate(
    connection: sa.Connection,
    alarm_id: str,
    *,
    is_root_cause: bool,
    with_: Iterable[str],
    at: datetime,
) -> bool:
    """Record what an alarm is correlated with, besides what it is already; whether that changed anything.

    A symptom is never made a cause again, and nothing is forgotten: the history of a cause outlives it.

    Source: ETSI GS NFV-SOL 003 clause 7.5.2.4, isRootCause and correlatedAlarmIds.
    """
    project_id = connection.execute(sa.select(alarms.c.project_id).where(alarms.c.id == alarm_id)).scalar()
    book = Book(connection, at)
    known = None if project_id is None else book.read_one(ProjectId(project_id), alarm_id)
    if known is None:
        return False
    new = {AlarmId(one) for one in with_} - set(known.correlated_alarm_ids) - {known.id}
    stays_root = known.is_root_cause and is_root_cause
    if not new and stays_root is known.is_root_cause:
        return False
    changed = replace(
        known,
        is_root_cause=stays_root,
        correlated_alarm_ids=(*known.correlated_alarm_ids, *sorted(new)),
        changed_at=at,
        event_at=at,
        version=known.version + 1,
    )
    book.amend(changed, Transition.CORRELATED, at=at, who="farsite", details=sorted(new))
    book.write()
    return True


def raised_since(connection: sa.Connection, fault_types: tuple[str, ...], since: datetime) -> list[Alarm]:
    """Alarms of the named kinds that are open, or were raised since a time; oldest first."""
    query = (
        sa.select(alarms.c.body)
        .where(alarms.c.fault_type.in_(fault_types), sa.or_(alarms.c.is_open, alarms.c.raised_at >= since))
        .order_by(alarms.c.raised_at, alarms.c.id)
    )
    return [decode(Alarm, row.body) for row in connection.execute(query)]


def standing_versions(connection: sa.Connection) -> dict[VnfInstanceId, int]:
    """Every VNF that is instantiated, with the version of its record, without reading what it consists of."""
    query = sa.select(vnf_instances.c.id, vnf_instances.c.version).where(
        vnf_instances.c.state == InstantiationState.INSTANTIATED.value
    )
    return {VnfInstanceId(row.id): row.version for row in connection.execute(query)}


def worked_on(connection: sa.Connection) -> set[str]:
    """Instances that an operation works on, or rests on."""
    return set(connection.execute(sa.select(operation_locks.c.instance_id)).scalars())


def services(connection: sa.Connection) -> list[NsInstance]:
    """Every NS that is instantiated."""
    query = sa.select(ns_instances.c.body).where(
        ns_instances.c.state == InstantiationState.INSTANTIATED.value
    )
    return [decode(NsInstance, row.body) for row in connection.execute(query)]
