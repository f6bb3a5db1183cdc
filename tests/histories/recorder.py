"""Fills a history from a run of the program: its database, the journals of its VIMs, its processes and logs.

All of it is read behind the program's back, so what it says of itself can be compared with what was so.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from farsite.model.alarm import Alarm
from farsite.model.healing import Climb, HealingDecision
from farsite.model.operation import Operation
from farsite.store import operations, tables
from farsite.store.database import make_engine
from farsite.store.encoding import decode
from farsite.vims.drivers.simulated.driver import world_path
from histories import Entry, History, Kind

STORE = "store"
_RUNNING = ("PENDING", "ENQUEUED")


class Recorder:
    """Reads one installation of the program into a history."""

    def __init__(self, history: History, database_url: str, run_dir: Path) -> None:
        self.history = history
        self._run_dir = run_dir
        self._engine = make_engine(database_url, pool_size=2)

    def close(self) -> None:
        self._engine.dispose()

    # -- while it runs

    def usage(self, name: str, pid: int, data_dir: Path) -> None:
        """What a process uses now; nothing when it is gone."""
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            files = len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        if "VmRSS" not in fields:
            return
        size = sum(one.stat().st_size for one in data_dir.rglob("*") if one.is_file())
        self.history.note(
            Kind.SEEN,
            "usage",
            name,
            source="proc",
            memory_mib=int(fields["VmRSS"].split()[0]) / 1024,
            threads=int(fields["Threads"]),
            files=files,
            disk_mib=size / 2**20,
        )

    def unrest(self) -> list[str]:
        """What has not come to rest yet, in words."""
        with self._engine.connect() as connection:
            found = [
                f"{one.verb} {one.id} is {one.state}"
                for one in _operations(connection)
                if not one.is_ended and one.state != "FAILED_TEMP"
            ]
            locks = connection.execute(sa.select(sa.func.count()).select_from(tables.operation_locks))
            pending = connection.execute(
                sa.select(sa.func.count()).where(tables.deliveries.c.state == "PENDING")
            )
            found += [f"{count} locks" for count in locks.scalars() if count and not found]
            found += [f"{count} notifications wait" for count in pending.scalars() if count]
            found += [f"workflow {name} is {state}" for name, state in _workflows(connection)]
            found += [
                f"VIM {row.id} is {row.state}"
                for row in connection.execute(sa.select(tables.vims.c.id, tables.vims.c.state))
                if row.state != "ACTIVE"
            ]
            found += [
                f"{row.specific_problem} of {row.object_id} stands"
                for row in connection.execute(
                    sa.select(tables.alarms.c.specific_problem, tables.alarms.c.object_id).where(
                        tables.alarms.c.is_open, tables.alarms.c.object_kind.in_(("vnf", "vim"))
                    )
                )
            ]
        return found

    # -- when it is over

    def all_of_it(self, vims: Mapping[str, str]) -> None:
        """Everything that the database and the journals of these VIMs (id -> site) say."""
        with self._engine.connect() as connection:
            self.history.add(
                *_of_operations(connection),
                *_of_alarms(connection),
                *_of_healing(connection),
                *_of_rest(connection, vims),
            )
        for vim in vims:
            self.history.add(*journal(self._run_dir, vim))

    def written(self, *logs: Path) -> None:
        """What processes wrote."""
        for one in logs:
            text = one.read_text(errors="replace")
            self.history.note(Kind.SEEN, "written", one.name, source="log", text=text)


def journal(run_dir: Path, vim: str) -> list[Entry]:
    """The journal of a simulated VIM; empty when it has none."""
    path = world_path(run_dir, vim)
    if not path.exists():
        return []
    connection = sqlite3.connect(path, timeout=10)
    rows = connection.execute(
        "SELECT sequence, at, kind, key, pid, body FROM effect ORDER BY sequence"
    ).fetchall()
    connection.close()
    return [
        Entry(
            at=at,
            source=vim,
            kind=Kind.SEEN,
            what=kind,
            object=key,
            values={**json.loads(body), "sequence": sequence, "pid": pid},
        )
        for sequence, at, kind, key, pid, body in rows
    ]


def _s(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()


def _believed(at: float, what: str, about: str, **values: Any) -> Entry:
    return Entry(at=at, source=STORE, kind=Kind.BELIEVED, what=what, object=about, values=values)


def _operations(connection: sa.Connection) -> list[Operation]:
    names = connection.execute(sa.select(tables.operations.c.id)).scalars().all()
    return [operations.get(connection, None, name) for name in names]


def _of_operations(connection: sa.Connection) -> Iterable[Entry]:
    now = time.time()
    for one in _operations(connection):
        yield _believed(
            now,
            "operation",
            one.id,
            verb=one.verb,
            instance=one.instance_id,
            state=one.state.value,
            error=one.error.detail if one.error else "",
            is_automatic=one.is_automatic,
            started=_s(one.started_at),
            entered=_s(one.state_entered_at),
        )
        if one.verb == "heal_vnf" and one.is_automatic:
            yield _believed(_s(one.started_at), "heal", one.instance_id, actor="farsite", operation=one.id)
            if one.is_ended or one.state == "FAILED_TEMP":
                word = "healed" if one.state == "COMPLETED" else "given up"
                yield _believed(_s(one.state_entered_at), word, one.instance_id, operation=one.id)


def _of_alarms(connection: sa.Connection) -> Iterable[Entry]:
    for row in connection.execute(sa.select(tables.alarm_history)):
        yield _believed(
            _s(row.recorded_at),
            "alarm",
            row.object_id,
            became=row.what,
            alarm=row.alarm_id,
            type=row.type,
            problem=row.specific_problem,
            part=row.specific_problem.partition("/")[2],
            severity=row.severity,
            event_type=row.event_type,
            location=row.location,
            object_kind=row.object_kind,
            happened=_s(row.at),
            sequence=row.sequence,
            details=row.details,
        )
    now = time.time()
    for body in connection.execute(sa.select(tables.alarms.c.body)).scalars():
        one = decode(Alarm, body)
        yield _believed(
            now,
            "alarm-stands",
            one.id,
            object=one.managed_object_id,
            type=one.fault_type,
            part=one.faulty_resource,
            is_root_cause=one.is_root_cause,
            correlated=list(one.correlated_alarm_ids),
            is_open=one.is_open,
        )


def _of_healing(connection: sa.Connection) -> Iterable[Entry]:
    for body in connection.execute(sa.select(tables.healing_decisions.c.body)).scalars():
        one = decode(HealingDecision, body)
        yield _believed(
            _s(one.at),
            "decision",
            one.vnf_id,
            outcome=one.outcome.value,
            policy=one.policy,
            reasons=list(one.reasons),
            vnfcs=list(one.vnfc_ids),
            operation=one.operation_id,
        )
    for body in connection.execute(sa.select(tables.healing_climbs.c.body)).scalars():
        climb = decode(Climb, body)
        yield _believed(
            _s(climb.began_at),
            "climb",
            climb.vnfc_id,
            vnfc=climb.vnfc_id,
            rung=climb.kind.value,
            epoch=climb.epoch,
            fence=climb.fence,
            state=climb.state.value,
            operation=climb.operation_id,
        )


def _of_rest(connection: sa.Connection, vims: Mapping[str, str]) -> Iterable[Entry]:
    now = time.time()
    for row in connection.execute(sa.select(tables.operation_locks)):
        yield _believed(now, "lock", row.instance_id, operation=row.operation_id)
    for name, status in _workflows(connection):
        yield _believed(now, "workflow", name, status=status)
    for row in connection.execute(sa.select(tables.nodes)):
        left_s = _s(row.expires_at) - now
        yield _believed(now, "lease", row.name, state=row.state, left_s=left_s, reason=row.reason)
        if row.state == "gone":
            yield _believed(_s(row.expires_at), "declared-gone", row.name, reason=row.reason)
    for row in connection.execute(sa.select(tables.vims.c.id, tables.vims.c.name, tables.vims.c.state)):
        yield _believed(now, "vim", row.id, name=row.name, state=row.state, site=vims.get(row.id, ""))
    for row in connection.execute(
        sa.select(tables.deliveries.c.subscription_id, tables.deliveries.c.number, tables.deliveries.c.state)
    ):
        if row.state != "DELIVERED":
            yield _believed(now, "delivery", row.subscription_id, number=row.number, state=row.state)
    yield _believed(now, "rest", "")


def _workflows(connection: sa.Connection) -> list[tuple[str, str]]:
    """Work that is under way or waits, by the engine's own table."""
    table = "dbos.workflow_status" if connection.dialect.name == "postgresql" else "workflow_status"
    query = sa.text(
        f"SELECT workflow_uuid, status FROM {table} "
        "WHERE status IN ('PENDING', 'ENQUEUED') AND queue_name = 'operations'"
    )
    return [(name, status) for name, status in connection.execute(query)]
