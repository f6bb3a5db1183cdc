"""What a project wants of its alarms: rules, silences, and the VIMs under maintenance."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from farsite.model.alarm import Alarm
from farsite.model.alarm_reports import AlarmRule, Damping, Report, Silence, fit
from farsite.model.errors import NotFound
from farsite.model.ids import ProjectId
from farsite.model.threshold import Threshold
from farsite.model.vim import VimState
from farsite.store.encoding import decode, encode
from farsite.store.exclusion import put
from farsite.store.tables import alarm_rules, silences, thresholds, vims


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """All that decides how a project's alarms are told, as it stands in one transaction."""

    rules: tuple[AlarmRule, ...] = ()
    silences: tuple[Silence, ...] = ()
    under_maintenance: tuple[tuple[str, str, str], ...] = ()
    """Id, name and location (`site/name`) of each VIM in MAINTENANCE."""

    def rule_for(self, report: Report) -> AlarmRule | None:
        return next((one for one in self.rules if fit(one.matchers, report.alarm, report.labels)), None)

    def damping_for(self, report: Report) -> Damping:
        rule = self.rule_for(report) if self.rules else None
        return _AT_ONCE if rule is None else rule.damping

    def suppressed_by(self, alarm: Alarm, at: datetime) -> str:
        """What keeps subscribers from being told of an alarm; empty: nothing."""
        for vim_id, name, place in self.under_maintenance:
            if alarm.managed_object_id == vim_id or f"{alarm.location}/".startswith(f"{place}/"):
                return f"maintenance:{name}"
        if not self.silences:
            return ""
        return next((f"silence:{one.id}" for one in self.silences if one.covers(alarm, at)), "")


_AT_ONCE = Damping()


def wishes_of(connection: sa.Connection, project_id: ProjectId, at: datetime) -> Wishes:
    """What a project wants now."""
    away = sa.select(vims.c.id, vims.c.name, vims.c.site).where(
        vims.c.project_id == project_id, vims.c.state == VimState.MAINTENANCE.value
    )
    return Wishes(
        rules=tuple(rules_of(connection, project_id)),
        silences=tuple(silences_of(connection, project_id, at=at)),
        under_maintenance=tuple(
            (row.id, row.name, f"{row.site}/{row.name}") for row in connection.execute(away)
        ),
    )


def rules_of(connection: sa.Connection, project_id: ProjectId) -> list[AlarmRule]:
    """A project's rules in the order in which they are tried."""
    query = sa.select(alarm_rules.c.body).where(alarm_rules.c.project_id == project_id)
    return [decode(AlarmRule, row.body) for row in connection.execute(query.order_by(alarm_rules.c.name))]


def put_rule(connection: sa.Connection, project_id: ProjectId, rule: AlarmRule) -> None:
    """Keep a rule; one of the same name is replaced."""
    put(connection, alarm_rules, [{"project_id": project_id, "name": rule.name, "body": encode(rule)}])


def delete_rule(connection: sa.Connection, project_id: ProjectId, name: str) -> None:
    """Raises:
    NotFound: no such rule in this project.
    """
    gone = connection.execute(
        sa.delete(alarm_rules).where(alarm_rules.c.project_id == project_id, alarm_rules.c.name == name)
    ).rowcount
    if not gone:
        raise NotFound(f'No alarm rule "{name}". See farsite alarm rule list.')


def silences_of(
    connection: sa.Connection, project_id: ProjectId, *, at: datetime | None = None
) -> list[Silence]:
    """A project's silences, the next to end first; with `at` only those not over by then."""
    query = sa.select(silences.c.body).where(silences.c.project_id == project_id)
    if at is not None:
        query = query.where(silences.c.ends_at > at)
    found = connection.execute(query.order_by(silences.c.ends_at, silences.c.id))
    return [decode(Silence, row.body) for row in found]


def insert_silence(connection: sa.Connection, project_id: ProjectId, silence: Silence) -> None:
    connection.execute(
        sa.insert(silences).values(
            id=silence.id, project_id=project_id, ends_at=silence.ends_at, body=encode(silence)
        )
    )


def delete_silence(connection: sa.Connection, project_id: ProjectId, silence_id: str) -> None:
    """Raises:
    NotFound: no such silence in this project.
    """
    mine = sa.and_(silences.c.project_id == project_id, silences.c.id == silence_id)
    if not connection.execute(sa.delete(silences).where(mine)).rowcount:
        raise NotFound(f"No silence {silence_id}. See farsite alarm silence list.")


def forget_silences(connection: sa.Connection, before: datetime) -> int:
    """Delete silences that ended before a time; how many."""
    return connection.execute(sa.delete(silences).where(silences.c.ends_at < before)).rowcount


def reasons_to_suppress(connection: sa.Connection, at: datetime) -> dict[ProjectId, frozenset[str]]:
    """Silences in force and VIMs under maintenance, by project, as an alarm's `suppressed_by` names them."""
    found: dict[ProjectId, set[str]] = {}
    for row in connection.execute(sa.select(silences).where(silences.c.ends_at > at)):
        if decode(Silence, row.body).starts_at <= at:
            found.setdefault(ProjectId(row.project_id), set()).add(f"silence:{row.id}")
    away = sa.select(vims.c.name, vims.c.project_id).where(vims.c.state == VimState.MAINTENANCE.value)
    for row in connection.execute(away):
        found.setdefault(ProjectId(row.project_id), set()).add(f"maintenance:{row.name}")
    return {project_id: frozenset(ids) for project_id, ids in found.items()}


def thresholds_of(connection: sa.Connection, project_id: ProjectId) -> list[Threshold]:
    """A project's thresholds by name."""
    query = sa.select(thresholds.c.body).where(thresholds.c.project_id == project_id)
    return [decode(Threshold, row.body) for row in connection.execute(query.order_by(thresholds.c.name))]


def all_thresholds(connection: sa.Connection) -> dict[ProjectId, list[Threshold]]:
    """Every project's thresholds."""
    found: dict[ProjectId, list[Threshold]] = {}
    query = sa.select(thresholds).order_by(thresholds.c.project_id, thresholds.c.name)
    for row in connection.execute(query):
        found.setdefault(ProjectId(row.project_id), []).append(decode(Threshold, row.body))
    return found


def put_threshold(connection: sa.Connection, project_id: ProjectId, threshold: Threshold) -> None:
    """Keep a threshold; one of the same name is replaced."""
    row = {"project_id": project_id, "name": threshold.name, "body": encode(threshold)}
    put(connection, thresholds, [row])


def delete_threshold(connection: sa.Connection, project_id: ProjectId, name: str) -> None:
    """Raises:
    NotFound: no such threshold in this project.
    """
    mine = sa.and_(thresholds.c.project_id == project_id, thresholds.c.name == name)
    if not connection.execute(sa.delete(thresholds).where(mine)).rowcount:
        raise NotFound(f'No threshold "{name}". See farsite alarm threshold list.')
