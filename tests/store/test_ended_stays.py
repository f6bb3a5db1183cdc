"""Stays of functions on hosts that ended, as they are stored: by them hosts are compared with one another."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from farsite.model.ids import DEFAULT_PROJECT, AlarmId
from farsite.model.stay import EndedStay, Stay
from farsite.store import stays
from farsite.store.database import Database

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def ended(number: int, at: datetime, alarm: str | None = None) -> EndedStay:
    stay = Stay(host="turin/host-1", vnf_id="vnf", vnfc_id=f"vnfc-{number}", project_id=DEFAULT_PROJECT)
    return EndedStay(stay=stay, at=at, alarm_id=None if alarm is None else AlarmId(alarm))


def test_what_is_kept_comes_back_as_it_was_and_once(database: Database) -> None:
    """A function may leave the host on which it has failed, and fail there again."""
    left, first, second = ended(1, NOON), ended(1, NOON + MINUTE, "a"), ended(1, NOON + 2 * MINUTE, "b")
    with database.transaction() as connection:
        stays.keep(connection, [])
        stays.keep(connection, [second, left, first])
        assert stays.kept(connection) == [left, first, second]
        later, explained = replace(left, at=NOON + 3 * MINUTE), replace(first, is_explained=True)
        stays.keep(connection, [later, explained])
        assert stays.kept(connection) == [explained, second, later]


def test_what_is_forgotten_is_gone_failures_by_their_own_time(database: Database) -> None:
    """Failures may be too many; what left a host is counted for the whole window."""
    with database.transaction() as connection:
        every = [ended(1, NOON), ended(2, NOON + MINUTE), ended(3, NOON + MINUTE, "a"), ended(4, NOON, "b")]
        stays.keep(connection, [*every, ended(5, NOON + 2 * MINUTE, "c")])
        stays.forget(connection, before=NOON + MINUTE, failures_before=NOON + 2 * MINUTE)
        assert stays.kept(connection) == [ended(2, NOON + MINUTE), ended(5, NOON + 2 * MINUTE, "c")]


def test_a_failure_between_two_times_is_found_and_what_left_is_none(database: Database) -> None:
    """It is what is to be weighed next."""
    with database.transaction() as connection:
        stays.keep(connection, [ended(1, NOON, "a"), ended(2, NOON + MINUTE)])
        assert stays.has_failure(connection, after=NOON - MINUTE, until=NOON)
        assert not stays.has_failure(connection, after=NOON, until=NOON + MINUTE)
        assert not stays.has_failure(connection, after=NOON - MINUTE, until=NOON - MINUTE / 2)
