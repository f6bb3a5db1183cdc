"""Which alarm is the cause of which: kept in the alarms themselves, also after the cause has cleared."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import sqlalchemy as sa

from farsite.model.alarm import Alarm, Transition
from farsite.model.ids import AlarmId, VnfInstanceId
from farsite.model.ns import NsInstance
from farsite.model.vnf import InstantiationState
from farsite.store.alarm_book import Book
from farsite.store.encoding import decode
from farsite.store.many import one_of
from farsite.store.tables import alarms, ns_instances, operation_locks, vnf_instances


@dataclass(slots=True)
class Tie:
    """What an alarm is to be correlated with, and whether it may still be a root cause."""

    is_root_cause: bool = True
    with_: set[AlarmId] = field(default_factory=set[AlarmId])

    def applied(self, known: Alarm, at: datetime) -> Alarm | None:
        """The alarm correlated with these too, besides what it is already; None: that changes nothing.

        A symptom is never made a cause again, and nothing is forgotten: the history of a cause outlives it.

        Source: ETSI GS NFV-SOL 003 clause 7.5.2.4, isRootCause and correlatedAlarmIds.
        """
        new = self.with_ - set(known.correlated_alarm_ids) - {known.id}
        stays_root = known.is_root_cause and self.is_root_cause
        if not new and stays_root is known.is_root_cause:
            return None
        return replace(
            known,
            is_root_cause=stays_root,
            correlated_alarm_ids=(*known.correlated_alarm_ids, *sorted(new)),
            changed_at=at,
            event_at=at,
            version=known.version + 1,
        )


def correlate(connection: sa.Connection, ties: Mapping[str, Tie], *, at: datetime) -> int:
    """Record what alarms, by their ids, are correlated with; how many that changed."""
    book = Book(connection, at)
    count = 0
    for known in book.read_some(ties):
        changed = ties[known.id].applied(known, at)
        if changed is not None:
            new = changed.correlated_alarm_ids[len(known.correlated_alarm_ids) :]
            book.amend(changed, Transition.CORRELATED, at=at, who="farsite", details=new)
            count += 1
    book.write()
    return count


def raised_since(connection: sa.Connection, fault_types: tuple[str, ...], since: datetime) -> list[Alarm]:
    """Alarms of the named kinds that are open, or were raised since a time; oldest first."""
    # Two questions, each a stretch of the index by type: with "or", SQLite looks at every alarm there is.
    is_meant = alarms.c.fault_type.in_(fault_types)
    lately = sa.and_(sa.not_(alarms.c.is_open), alarms.c.raised_at >= since)
    # One that clears between the two is in both: as it was last.
    found = {
        row.id: row.body
        for condition in (alarms.c.is_open, lately)
        for row in connection.execute(sa.select(alarms.c.id, alarms.c.body).where(is_meant, condition))
    }
    return sorted((decode(Alarm, one) for one in found.values()), key=lambda one: (one.raised_at, one.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """An alarm by what it is about."""

    id: AlarmId
    object_id: str
    location: str


def briefly(connection: sa.Connection, ids: Collection[str], fault_types: tuple[str, ...]) -> list[Brief]:
    """Those among some alarms, by their ids, that are of the named kinds."""
    query = sa.select(alarms.c.id, alarms.c.object_id, alarms.c.body["location"].as_string()).where(
        one_of(connection, alarms.c.id, ids), alarms.c.fault_type.in_(fault_types)
    )
    return [
        Brief(id=AlarmId(alarm_id), object_id=object_id, location=location or "")
        for alarm_id, object_id, location in connection.execute(query)
    ]


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
