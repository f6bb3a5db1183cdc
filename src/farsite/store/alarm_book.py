"""Where every alarm is written, and with it its history and what subscribers are told, in one transaction.

Whoever raises, changes or clears alarms, one or a thousand at a time, does it through a `Book`: it reads the
latest alarm of each identity at once, has `conclude` say what each report changes, and writes what came of
all of them in a few statements. A thousand reports cost little more than one, which is what lets a storm in.

At most one alarm is the latest of its identity; a unique index keeps that against other processes too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from farsite.model.alarm import Alarm, PerceivedSeverity, Transition
from farsite.model.alarm_reports import (
    Conclusion,
    Damping,
    Known,
    Outcome,
    Report,
    conclude,
    identity_of,
    returned,
    stayed,
)
from farsite.model.ids import ProjectId
from farsite.store import outbox
from farsite.store.alarm_rules import Wishes, wishes_of
from farsite.store.encoding import Encoded, decode, encoded
from farsite.store.exclusion import begin_to_write, hold, put
from farsite.store.many import insert_many, one_of
from farsite.store.tables import alarm_history, alarm_holds, alarms

# As the partial index `ux_alarms_latest` has it: "is_latest = 1", which a boolean column is to SQLite, does
# not say the same to its planner, and it would read the whole table for every batch.
LATEST = sa.text("alarms.is_latest")
# Beside a condition that finds few. As a plain comparison SQLite would rather look at all that are open.
STANDING = alarms.c.is_open.is_not(sa.false())
_IN_ONE_QUERY = 500
_REFRESHED_SHARE = 4
"""A repetition is written down when this share of the time until silence has passed: not each of a storm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """What became of one report, and the alarm it concerns; None where no alarm is known."""

    outcome: Outcome
    alarm: Alarm | None = None


@dataclass(slots=True, kw_only=True)
class _Row:
    """One alarm and its columns beside the body, as they shall be written."""

    alarm: Alarm
    identity: str
    episode: str = ""
    refreshed_at: datetime | None = None
    silent_at: datetime | None = None
    is_latest: bool = True
    is_stored: bool = False
    is_dirty: bool = True
    _text: Encoded | None = None

    def become(self, alarm: Alarm) -> None:
        if alarm is not self.alarm:
            self.alarm, self.is_dirty, self._text = alarm, True, None

    def text(self) -> Encoded:
        if self._text is None:
            self._text = encoded(self.alarm)
        return self._text


class Book:
    """The alarms of one transaction. `now` is when things are written down.

    Raises (`write`):
        sqlalchemy.exc.IntegrityError: another process raised the same alarm in the same moment; the whole
            transaction is to be repeated.
    """

    def __init__(self, connection: sa.Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._rows: dict[str, _Row] = {}
        self._by_id: dict[str, _Row] = {}
        """Rows that were read to be amended; one that is not the latest of its identity is among them."""
        self._touched: list[_Row] = []
        self._superseded: list[str] = []
        self._holds: dict[str, tuple[bool, datetime, Report]] = {}
        self._dropped_holds: set[str] = set()
        self._new_holds: dict[str, tuple[bool, datetime, Report]] = {}
        self._history: list[dict[str, Any]] = []
        self._told: list[tuple[ProjectId, str, str, Encoded, datetime]] = []
        self._wishes: dict[ProjectId, Wishes] = {}

    # -- reading --------------------------------------------------------------------------------------------

    def open_for(self, identities: Iterable[str]) -> None:
        """Read the latest alarm and what is held of each identity, and keep others from changing them."""
        wanted = sorted(set(identities) - self._rows.keys())
        begin_to_write(self._connection)
        outbox.begin_to_tell(self._connection)
        if len(wanted) == 1:
            # A row that is not there yet cannot be locked.
            hold(self._connection, f"alarm {wanted[0]}")
        for some in _in_chunks(wanted):
            self._read(
                sa.select(alarms)
                .where(one_of(self._connection, alarms.c.identity, some), LATEST)
                .order_by(alarms.c.identity)
            )
            held = sa.select(alarm_holds).where(one_of(self._connection, alarm_holds.c.identity, some))
            for row in self._connection.execute(held):
                self._holds[row.identity] = (row.is_clear, row.due_at, decode(Report, row.body))

    def _read(self, query: sa.Select[Any]) -> list[_Row]:
        found: list[_Row] = []
        for row in self._connection.execute(query.with_for_update()):
            one = _Row(
                alarm=decode(Alarm, row.body),
                identity=row.identity,
                episode=row.episode,
                refreshed_at=row.refreshed_at,
                silent_at=row.silent_at,
                is_latest=row.is_latest,
                is_stored=True,
                is_dirty=False,
            )
            if one.is_latest or row.identity not in self._rows:
                self._rows[row.identity] = one
            found.append(one)
        return found

    def wishes_of(self, project_id: ProjectId) -> Wishes:
        found = self._wishes.get(project_id)
        if found is None:
            found = self._wishes[project_id] = wishes_of(self._connection, project_id, self._now)
        return found

    # -- reports --------------------------------------------------------------------------------------------

    def enter(self, reports: Sequence[Report], *, is_damped: bool = True) -> list[Entered]:
        """Take in reports in their order; what came of each. Not damped: no rule delays them."""
        identities = [identity_of(one.alarm) for one in reports]
        self.open_for(identities)
        return [self._enter(*pair, is_damped) for pair in zip(identities, reports, strict=True)]

    def _enter(self, identity: str, report: Report, is_damped: bool) -> Entered:
        wishes = self.wishes_of(report.alarm.project_id)
        damping = wishes.damping_for(report)
        row = self._rows.get(identity)
        known = None if row is None else Known(alarm=row.alarm, episode=row.episode)
        now = report.alarm.event_at if report.is_in_order else self._now
        found = conclude(known, report, now=now)
        held = self._holds.get(identity)
        if is_damped:
            outcome = self._damp(identity, report, found, damping, held)
            if outcome is not None:
                return Entered(outcome=outcome, alarm=None if row is None else row.alarm)
        elif held is not None:
            self._drop_hold(identity)
        match found.outcome:
            case Outcome.RAISED:
                alarm = self._raise(identity, report, found, damping, wishes)
            case Outcome.CHANGED:
                assert row is not None
                alarm = self._change(row, report, found, wishes)
            case Outcome.CLEARED if found.is_new:
                alarm = self._past(identity, report, found)
            case Outcome.CLEARED:
                assert row is not None
                alarm = self._clear(row, report, found)
            case Outcome.REFRESHED:
                assert row is not None
                alarm = self._refresh(row, report, found)
            case _:
                alarm = None if row is None else row.alarm
        return Entered(outcome=found.outcome, alarm=alarm)

    def _damp(
        self,
        identity: str,
        report: Report,
        found: Conclusion,
        damping: Damping,
        held: tuple[bool, datetime, Report] | None,
    ) -> Outcome | None:
        """What a delay makes of a conclusion; None: it counts at once."""
        row = self._rows.get(identity)
        if report.is_clear:
            if held is not None and not held[0]:
                self._drop_hold(identity)
                return Outcome.LIFTED
            if found.outcome is not Outcome.CLEARED or found.is_new or row is None:
                return None
            delay_s = damping.clears_after_s(row.alarm)
            if delay_s <= 0:
                return None
            if held is None:
                self._hold(identity, True, delay_s, report)
            return Outcome.HELD
        if held is not None and held[0] and row is not None:
            # The condition was gone for less than the delay: one more flap of an alarm that stays.
            self._drop_hold(identity)
            row.become(stayed(row.alarm, damping))
            self._keep(row)
            return Outcome.LIFTED if found.outcome is not Outcome.CHANGED else None
        if found.outcome is not Outcome.RAISED or found.alarm is None:
            return None
        delay_s = damping.raises_after_s(found.alarm)
        if delay_s <= 0:
            if held is not None:
                self._drop_hold(identity)
            return None
        if held is None:
            self._hold(identity, False, delay_s, report)
        return Outcome.HELD

    def _hold(self, identity: str, is_clear: bool, delay_s: float, report: Report) -> None:
        one = (is_clear, self._now + timedelta(seconds=delay_s), report)
        self._holds[identity] = self._new_holds[identity] = one

    def _drop_hold(self, identity: str) -> None:
        self._holds.pop(identity, None)
        if self._new_holds.pop(identity, None) is None:
            self._dropped_holds.add(identity)

    # -- transitions ----------------------------------------------------------------------------------------

    def _raise(
        self, identity: str, report: Report, found: Conclusion, damping: Damping, wishes: Wishes
    ) -> Alarm:
        assert found.alarm is not None
        last = self._rows.get(identity)
        alarm = returned(found.alarm, None if last is None else last.alarm, damping)
        by = wishes.suppressed_by(alarm, self._now)
        if by:
            alarm = replace(alarm, suppressed_by=by, is_told=False)
        row = self._new_row(identity, alarm, report, found)
        self._note(alarm, Transition.RAISED, alarm.raised_at, report.who, alarm.fault_details)
        if by:
            self._note(alarm, Transition.SUPPRESSED, self._now, report.who, (by,))
        else:
            self._tell(row, "raised", alarm.event_at)
        return alarm

    def _past(self, identity: str, report: Report, found: Conclusion) -> Alarm:
        """An alarm that was over before we heard of it: kept, told to nobody."""
        assert found.alarm is not None
        alarm = replace(found.alarm, is_told=False)
        assert alarm.cleared_at is not None
        self._new_row(identity, alarm, report, found).silent_at = None
        unknown = PerceivedSeverity.INDETERMINATE
        details = ("its end was told first", *alarm.fault_details)
        self._note(alarm, Transition.RAISED, alarm.raised_at, report.who, details, severity=unknown)
        self._note(alarm, Transition.CLEARED, alarm.cleared_at, report.who, severity=unknown)
        return alarm

    def _new_row(self, identity: str, alarm: Alarm, report: Report, found: Conclusion) -> _Row:
        last = self._rows.get(identity)
        if last is not None:
            last.is_latest = False
            if last.is_stored:
                self._superseded.append(last.alarm.id)
        row = _Row(alarm=alarm, identity=identity, episode=found.episode)
        self._heard(row, report)
        self._rows[identity] = row
        self._touched.append(row)
        return row

    def _change(self, row: _Row, report: Report, found: Conclusion, wishes: Wishes) -> Alarm:
        assert found.alarm is not None
        before = row.alarm
        by = wishes.suppressed_by(found.alarm, self._now)
        alarm = replace(
            found.alarm,
            suppressed_by=by,
            flap_count=before.flap_count,
            is_flapping=before.is_flapping,
            is_told=before.is_told or not by,
        )
        row.become(alarm)
        row.episode = found.episode
        self._heard(row, report)
        self._keep(row)
        self._note(alarm, Transition.CHANGED, alarm.event_at, report.who, alarm.fault_details)
        self._note_suppression(before, alarm, report.who)
        if not by:
            self._tell(row, "changed" if before.is_told else "raised", alarm.event_at)
        return alarm

    def _note_suppression(self, before: Alarm, after: Alarm, who: str) -> None:
        if before.suppressed_by != after.suppressed_by:
            what = Transition.SUPPRESSED if after.suppressed_by else Transition.RELEASED
            self._note(after, what, self._now, who, (after.suppressed_by or before.suppressed_by,))

    def _clear(self, row: _Row, report: Report, found: Conclusion) -> Alarm:
        assert found.alarm is not None
        assert found.alarm.cleared_at is not None
        before = row.alarm
        row.become(found.alarm)
        row.silent_at = None
        self._keep(row)
        self._note(
            found.alarm,
            Transition.CLEARED,
            found.alarm.cleared_at,
            report.who,
            severity=before.perceived_severity,
        )
        if before.is_told:
            self._tell(row, "cleared", found.alarm.cleared_at)
        return found.alarm

    def _refresh(self, row: _Row, report: Report, found: Conclusion) -> Alarm:
        if row.episode != found.episode:
            row.episode = found.episode
            row.is_dirty = True
            self._keep(row)
        if report.silent_after_s is not None and row.refreshed_at is not None and row.silent_at is not None:
            share = timedelta(seconds=report.silent_after_s / _REFRESHED_SHARE)
            if self._now - row.refreshed_at < share:
                return row.alarm
        if report.silent_after_s is not None or row.silent_at is not None:
            self._heard(row, report)
            row.is_dirty = True
            self._keep(row)
        return row.alarm

    def _heard(self, row: _Row, report: Report) -> None:
        wishes = self.wishes_of(report.alarm.project_id)
        rule = wishes.rule_for(report) if wishes.rules else None
        after_s = report.silent_after_s
        if rule is not None and rule.silent_after_s is not None:
            after_s = rule.silent_after_s
        row.refreshed_at = self._now if after_s is not None else None
        row.silent_at = None if after_s is None else self._now + timedelta(seconds=after_s)

    # -- what nobody reports --------------------------------------------------------------------------------

    def doubt_the_silent(self, *, limit: int) -> int:
        """Alarms whose source has been silent for too long become INDETERMINATE, never cleared; how many."""
        query = sa.select(alarms).where(alarms.c.silent_at <= self._now, LATEST, STANDING)
        found = self._read(query.order_by(alarms.c.silent_at).limit(limit))
        for row in found:
            before = row.alarm
            since = before.event_at if row.refreshed_at is None else row.refreshed_at
            alarm = replace(
                before,
                perceived_severity=PerceivedSeverity.INDETERMINATE,
                fault_details=(*before.fault_details, f"source silent since {since.isoformat()}"),
                changed_at=self._now,
                event_at=max(self._now, before.event_at),
                version=before.version + 1,
            )
            row.become(alarm)
            row.silent_at = None
            self._keep(row)
            self._note(alarm, Transition.CHANGED, self._now, "farsite", alarm.fault_details[-1:])
            if alarm.is_told and not alarm.suppressed_by:
                self._tell(row, "changed", self._now)
        return len(found)

    def review_suppression(self, project_id: ProjectId, *, suppressed: bool, after: str, limit: int) -> str:
        """Suppress or release open alarms as the project's silences and maintenance stand now, in order of
        id; the last id looked at, empty when there are no more."""
        query = sa.select(alarms).where(
            alarms.c.project_id == project_id, STANDING, LATEST, alarms.c.id > after
        )
        query = query.where(alarms.c.suppressed_by != "" if suppressed else alarms.c.suppressed_by == "")
        found = self._read(query.order_by(alarms.c.id).limit(limit))
        wishes = self.wishes_of(project_id)
        for row in found:
            self._review(row, wishes.suppressed_by(row.alarm, self._now))
        return found[-1].alarm.id if len(found) == limit else ""

    def _review(self, row: _Row, by: str) -> None:
        before = row.alarm
        if by == before.suppressed_by:
            return
        row.become(
            replace(before, suppressed_by=by, is_told=before.is_told or not by, version=before.version + 1)
        )
        self._keep(row)
        self._note_suppression(before, row.alarm, "farsite")
        if not by:
            self._tell(row, "changed" if before.is_told else "raised", self._now)

    def due_holds(self, *, limit: int) -> int:
        """Raise or clear what was held until now; how many."""
        query = sa.select(alarm_holds).where(alarm_holds.c.due_at <= self._now)
        due = self._connection.execute(
            query.order_by(alarm_holds.c.due_at).limit(limit).with_for_update(skip_locked=True)
        ).all()
        self.open_for(row.identity for row in due)
        for row in due:
            self._enter(row.identity, decode(Report, row.body), False)
        return len(due)

    def amend(
        self, changed: Alarm, what: Transition, *, at: datetime, who: str, details: Sequence[str] = ()
    ) -> None:
        """Write what no report made (acknowledgement, correlation) of an alarm that `read_one` or `read_some`
        read."""
        row = self._by_id[changed.id]
        row.become(changed)
        self._keep(row)
        self._note(changed, what, at, who, details)
        if changed.is_told and not changed.suppressed_by:
            self._tell(row, "changed", at)

    def read_one(self, project_id: ProjectId, alarm_id: str) -> Alarm | None:
        """One alarm, latest of its identity or not, to be amended."""
        outbox.begin_to_tell(self._connection)
        query = sa.select(alarms).where(alarms.c.project_id == project_id, alarms.c.id == alarm_id)
        found = self._read(query)
        self._by_id |= {one.alarm.id: one for one in found}
        return found[0].alarm if found else None

    def read_some(self, alarm_ids: Iterable[str]) -> list[Alarm]:
        """Alarms of any project, to be amended; those that are gone are missing."""
        begin_to_write(self._connection)
        outbox.begin_to_tell(self._connection)
        read: list[_Row] = []
        for some in _in_chunks(sorted(alarm_ids)):
            # In the order of identities, as all others lock them.
            query = sa.select(alarms).where(one_of(self._connection, alarms.c.id, some))
            read += self._read(query.order_by(alarms.c.identity))
        self._by_id |= {one.alarm.id: one for one in read}
        return [one.alarm for one in read]

    # -- writing --------------------------------------------------------------------------------------------

    def _keep(self, row: _Row) -> None:
        row.is_dirty = True
        if row not in self._touched[-1:]:
            self._touched.append(row)

    def _note(
        self,
        alarm: Alarm,
        what: Transition,
        at: datetime,
        who: str,
        details: Sequence[str] = (),
        *,
        severity: PerceivedSeverity | None = None,
    ) -> None:
        self._history.append(
            {
                "project_id": alarm.project_id,
                "at": at,
                "recorded_at": self._now,
                "alarm_id": alarm.id,
                "object_id": alarm.managed_object_id,
                "object_kind": alarm.object_kind,
                "location": alarm.location,
                "event_type": alarm.event_type.value,
                "type": alarm.fault_type,
                "specific_problem": alarm.specific_problem,
                "severity": (severity or alarm.perceived_severity).value,
                "what": what.value,
                "who": who,
                "details": list(details),
            }
        )

    def _tell(self, row: _Row, what: str, at: datetime) -> None:
        alarm = row.alarm
        self._told.append((alarm.project_id, f"alarm-{what}", alarm.id, row.text(), at))

    def write(self) -> None:
        """Write everything that was entered since the last time."""
        fresh: dict[int, _Row] = {}
        changed: dict[int, _Row] = {}
        for row in self._touched:
            if row.is_dirty:
                (changed if row.is_stored else fresh)[id(row)] = row
        if self._superseded:
            for some in _in_chunks(self._superseded):
                self._connection.execute(
                    sa.update(alarms)
                    .where(one_of(self._connection, alarms.c.id, some))
                    .values(is_latest=False)
                )
        if fresh:
            insert_many(
                self._connection, alarms, [_columns(one) for one in sorted(fresh.values(), key=_by_identity)]
            )
        if changed:
            self._connection.execute(_UPDATE, [_changes(one) for one in changed.values()])
        self._write_holds()
        if self._history:
            insert_many(self._connection, alarm_history, self._history)
        outbox.tell_many(self._connection, self._told)
        for row in (*fresh.values(), *changed.values()):
            row.is_stored, row.is_dirty = True, False
        self._touched, self._superseded, self._history, self._told = [], [], [], []

    def _write_holds(self) -> None:
        for some in _in_chunks(sorted(self._dropped_holds)):
            gone = one_of(self._connection, alarm_holds.c.identity, some)
            self._connection.execute(sa.delete(alarm_holds).where(gone))
        if self._new_holds:
            rows = [
                {
                    "identity": identity,
                    "project_id": report.alarm.project_id,
                    "due_at": due_at,
                    "is_clear": is_clear,
                    "body": encoded(report),
                }
                for identity, (is_clear, due_at, report) in sorted(self._new_holds.items())
            ]
            put(self._connection, alarm_holds, rows)
        self._new_holds, self._dropped_holds = {}, set()


def _by_identity(row: _Row) -> str:
    return row.identity


def _in_chunks(items: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(items), _IN_ONE_QUERY):
        yield items[first : first + _IN_ONE_QUERY]


def _columns(row: _Row) -> Mapping[str, Any]:
    alarm = row.alarm
    return {
        "id": alarm.id,
        "project_id": alarm.project_id,
        "object_id": alarm.managed_object_id,
        "object_kind": alarm.object_kind,
        "event_type": alarm.event_type.value,
        "probable_cause": alarm.probable_cause,
        "specific_problem": alarm.specific_problem,
        "fault_type": alarm.fault_type,
        "severity": alarm.perceived_severity.value,
        "ack_state": alarm.ack_state.value,
        "is_open": alarm.cleared_at is None,
        "raised_at": alarm.raised_at,
        "body": row.text(),
        "version": alarm.version,
        "identity": row.identity,
        "is_latest": row.is_latest,
        "episode": row.episode,
        "source": alarm.source,
        "suppressed_by": alarm.suppressed_by,
        "refreshed_at": row.refreshed_at,
        "silent_at": row.silent_at,
    }


_CHANGING = (
    "severity",
    "ack_state",
    "is_open",
    "body",
    "version",
    "is_latest",
    "episode",
    "suppressed_by",
    "refreshed_at",
    "silent_at",
)
_UPDATE = (
    sa.update(alarms)
    .where(alarms.c.id == sa.bindparam("of"))
    .values({name: sa.bindparam(f"to_{name}") for name in _CHANGING})
)


def _changes(row: _Row) -> Mapping[str, Any]:
    columns = _columns(row)
    return {"of": row.alarm.id, **{f"to_{name}": columns[name] for name in _CHANGING}}
