"""Alarms by the thousand: delays, silences, maintenance, silent sources, history and its end."""

import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from interleaving import at_once
from records import BEGAN, a_vim, an_alarm, later

from farsite.assurance.alarm_upkeep import AlarmUpkeep, Retention, retention_of
from farsite.model.alarm import Alarm, PerceivedSeverity, Transition
from farsite.model.alarm_reports import AlarmRule, Comparison, Damping, Matcher, Outcome, Report, Silence
from farsite.model.errors import Invalid
from farsite.model.ids import DEFAULT_PROJECT, AlarmId, ProjectId, new_id
from farsite.model.vim import VimState
from farsite.settings import Settings
from farsite.store import alarm_history, alarm_rules, alarms, outbox, vims
from farsite.store.alarm_history import Question
from farsite.store.correlations import Tie, correlate
from farsite.store.database import Database
from farsite.store.tables import alarm_history as history_table
from farsite.store.tables import alarms as alarms_table

CLEARED = PerceivedSeverity.CLEARED


class Hands:
    """A clock that a test sets."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return (self.at - BEGAN).total_seconds()


def a_report(
    object_id: str = "host-1",
    *,
    second: float = 0,
    severity: PerceivedSeverity = PerceivedSeverity.MAJOR,
    silent_after_s: float | None = None,
    location: str = "turin/west/host-1",
) -> Report:
    alarm = replace(
        an_alarm(object_id, "psu", severity=severity),
        source="webhook",
        fault_type="psu",
        location=location,
        raised_at=later(second),
        event_at=later(second),
    )
    return Report(alarm=alarm, who="x", silent_after_s=silent_after_s)


def take(database: Database, *reports: Report, at: float | None = None) -> list[Outcome]:
    """Take reports in, at the time of the last one if no other is given."""
    now = later(at) if at is not None else max(one.alarm.event_at for one in reports)
    with database.transaction() as connection:
        return [one.outcome for one in alarms.take_in(connection, reports, now=now)]


def told(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [one.kind for one in outbox.after(connection, 0, limit=1000)]


def happened(database: Database, object_id: str = "host-1") -> list[Transition]:
    with database.transaction() as connection:
        return [one.what for one in alarm_history.of_object(connection, DEFAULT_PROJECT, object_id)]


def standing(database: Database, object_id: str = "host-1") -> list[Alarm]:
    with database.transaction() as connection:
        return alarms.open_of(connection, object_id)


def keep(database: Database, damping: Damping) -> None:
    rule = AlarmRule(name="all", matchers=(Matcher(name="source", value="webhook"),), damping=damping)
    with database.transaction() as connection:
        alarm_rules.put_rule(connection, DEFAULT_PROJECT, rule)


def upkeep(settings: Settings, database: Database, seconds: float) -> AlarmUpkeep:
    return AlarmUpkeep(settings, database, Hands(later(seconds)), lambda: None)


# -- many at once -----------------------------------------------------------------------------------------


def test_a_batch_is_taken_in_as_its_reports_would_be_one_by_one(database: Database) -> None:
    """Group commit must change how quick it is and nothing else."""
    reports = [
        a_report("a"),
        a_report("b"),
        a_report("a"),
        a_report("a", second=1, severity=PerceivedSeverity.CRITICAL),
        a_report("a", second=2, severity=CLEARED),
        a_report("a", second=1),
        a_report("a", second=3),
        a_report("b", second=4, severity=CLEARED),
    ]
    expected = ["raised", "raised", "refreshed", "changed", "cleared", "stale", "raised", "cleared"]
    assert take(database, *reports, at=10) == expected
    assert len(standing(database, "a")) == 1
    assert standing(database, "b") == []
    assert [one.value for one in happened(database, "a")] == ["raised", "changed", "cleared", "raised"]
    assert Counter(told(database)) == {"alarm-raised": 3, "alarm-changed": 1, "alarm-cleared": 2}
    again = [
        replace(one, alarm=replace(one.alarm, project_id=ProjectId("alone"), id=AlarmId(new_id())))
        for one in reports
    ]
    assert [take(database, one, at=10)[0] for one in again] == expected


def test_batches_that_tell_the_same_at_once_raise_each_alarm_once(database: Database) -> None:
    """Every process of ours takes in; a storm reaches all of them through one load balancer."""

    def storm(first: int) -> list[Report]:
        return [a_report(f"host-{number}") for number in range(first, first + 60)]

    def enter(connection: sa.Connection, reports: Sequence[Report]) -> int:
        return len(alarms.take_in(connection, reports, now=later(1)))

    results = at_once(database, *(partial(enter, reports=storm(first)) for first in (0, 30, 60)))
    for first, result in zip((0, 30, 60), results, strict=True):
        if isinstance(result, Exception):
            # The other batch was first; a repetition finds its alarms known, as the intake repeats it.
            take(database, *storm(first), at=1)
    with database.transaction() as connection:
        found = connection.execute(sa.select(alarms_table.c.object_id)).scalars().all()
    assert Counter(found) == {f"host-{number}": 1 for number in range(120)}


@pytest.mark.slow
@pytest.mark.sampled(2)
def test_a_storm_of_a_hundred_thousand_is_recorded_whole_within_bounded_memory(database: Database) -> None:
    """A power failure of a site is exactly that; an orchestrator that dies of it is no help."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for first in range(0, 100_000, 500):
        outcomes = take(database, *(a_report(f"host-{n}") for n in range(first, first + 500)))
        assert set(outcomes) == {Outcome.RAISED}
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    with database.transaction() as connection:
        count = sa.select(sa.func.count())
        assert connection.execute(count.select_from(alarms_table)).scalar() == 100_000
        assert connection.execute(count.select_from(history_table)).scalar() == 100_000
    assert grown_mib < 100


# -- delays -----------------------------------------------------------------------------------------------


def test_a_blip_shorter_than_the_raise_delay_is_never_raised(settings: Settings, database: Database) -> None:
    """Hold-on: what mends itself at once wakes nobody."""
    keep(database, Damping(raise_delay_s=10))
    assert take(database, a_report()) == [Outcome.HELD]
    assert take(database, a_report(second=5, severity=CLEARED)) == [Outcome.LIFTED]
    assert (standing(database), told(database), happened(database)) == ([], [], [])


async def test_a_condition_that_lasts_is_raised_with_its_own_time(
    settings: Settings, database: Database
) -> None:
    """The delay is ours; the fault began when it began."""
    keep(database, Damping(raise_delay_s=10))
    take(database, a_report())
    assert await upkeep(settings, database, 9).look() == 0
    assert await upkeep(settings, database, 11).look() == 1
    (alarm,) = standing(database)
    assert alarm.raised_at == BEGAN
    assert told(database) == ["alarm-raised"]
    assert await upkeep(settings, database, 12).look() == 0


def test_a_critical_alarm_is_not_held_unless_the_rule_says_so(database: Database) -> None:
    """Ten seconds late is ten seconds of outage."""
    critical = PerceivedSeverity.CRITICAL
    keep(database, Damping(raise_delay_s=10))
    assert take(database, a_report("one", severity=critical)) == [Outcome.RAISED]
    keep(database, Damping(raise_delay_s=10, delays_critical=True))
    assert take(database, a_report("two", severity=critical)) == [Outcome.HELD]


def test_what_is_held_is_raised_at_once_when_it_becomes_critical(database: Database) -> None:
    """The delay was for something less."""
    keep(database, Damping(raise_delay_s=10))
    assert take(database, a_report()) == [Outcome.HELD]
    assert take(database, a_report(second=2, severity=PerceivedSeverity.CRITICAL)) == [Outcome.RAISED]


async def test_an_alarm_is_cleared_when_its_condition_has_been_gone_for_the_clear_delay(
    settings: Settings, database: Database
) -> None:
    """Hold-off: a fault that comes and goes is one alarm, with the number of its returns."""
    keep(database, Damping(clear_delay_s=10))
    take(database, a_report())
    assert take(database, a_report(second=5, severity=CLEARED)) == [Outcome.HELD]
    assert take(database, a_report(second=8)) == [Outcome.LIFTED]
    assert take(database, a_report(second=20, severity=CLEARED)) == [Outcome.HELD]
    assert await upkeep(settings, database, 29).look() == 0
    (alarm,) = standing(database)
    assert alarm.flap_count == 1
    assert await upkeep(settings, database, 31).look() == 1
    assert standing(database) == []
    assert told(database) == ["alarm-raised", "alarm-cleared"]


async def test_a_flapping_alarm_is_on_probation_before_it_is_cleared(
    settings: Settings, database: Database
) -> None:
    """A hundred raises and clears an hour tell nobody anything but that they are to be filtered."""
    keep(database, Damping(flaps=3, flap_window_s=60, probation_s=300))
    for second in range(0, 60, 10):
        take(database, a_report(second=second))
        take(database, a_report(second=second + 5, severity=CLEARED))
    (alarm,) = standing(database)
    assert alarm.is_flapping
    assert alarm.flap_count >= 3
    assert told(database).count("alarm-raised") == 4
    assert await upkeep(settings, database, 200).look() == 0
    assert await upkeep(settings, database, 400).look() == 1
    assert standing(database) == []


def test_rules_hold_for_the_watchers_of_our_own_too(database: Database) -> None:
    """An operator who delays link alarms means all of them."""
    rule = AlarmRule(name="links", damping=Damping(raise_delay_s=60))
    with database.transaction() as connection:
        alarm_rules.put_rule(connection, DEFAULT_PROJECT, rule)
        alarms.raise_(connection, an_alarm("vnf-1"))
        assert alarms.open_of(connection, "vnf-1") == []
        alarm_rules.delete_rule(connection, DEFAULT_PROJECT, "links")
        alarms.raise_(connection, an_alarm("vnf-1"))
        assert len(alarms.open_of(connection, "vnf-1")) == 1


@pytest.mark.parametrize("way", ["one", "several"])
async def test_what_our_own_watchers_saw_end_within_the_delay_is_never_raised(
    settings: Settings, database: Database, way: str
) -> None:
    """They tell an end once: an alarm that is raised after it would stand for ever."""
    alarm = an_alarm("vnf-1")
    problem, over = alarm.specific_problem, alarm.event_at + timedelta(seconds=5)
    with database.transaction() as connection:
        rule = AlarmRule(name="links", damping=Damping(raise_delay_s=10))
        alarm_rules.put_rule(connection, DEFAULT_PROJECT, rule)
        alarms.raise_(connection, alarm)
        alarms.raise_(connection, an_alarm("vnf-2"))
        if way == "one":
            alarms.clear(connection, object_id="vnf-1", specific_problem=problem, at=over)
        else:
            alarms.clear_those(connection, {("vnf-1", problem): over})
    much_later = Hands(datetime.now(UTC) + timedelta(hours=1))
    await AlarmUpkeep(settings, database, much_later, lambda: None).look()
    with database.transaction() as connection:
        assert alarms.open_of(connection, "vnf-1") == []
        assert len(alarms.open_of(connection, "vnf-2")) == 1, "that one is not over"


# -- suppression ------------------------------------------------------------------------------------------


def hush(database: Database, *matchers: Matcher, until: float = 100) -> str:
    silence = Silence(
        id=new_id(),
        matchers=matchers,
        starts_at=BEGAN,
        ends_at=later(until),
        created_by="night shift",
    )
    with database.transaction() as connection:
        alarm_rules.insert_silence(connection, DEFAULT_PROJECT, silence)
    return silence.id


async def test_a_silenced_alarm_is_recorded_and_told_when_the_silence_is_over(
    settings: Settings, database: Database
) -> None:
    """Silence is for people's ears; what stands when it ends they must hear."""
    silence = hush(database, Matcher(name="object", value="host-1"))
    take(database, a_report("host-1"), a_report("host-2"))
    (hidden,) = standing(database)
    assert hidden.suppressed_by == f"silence:{silence}"
    assert told(database) == ["alarm-raised"]
    assert happened(database) == [Transition.RAISED, Transition.SUPPRESSED]
    await upkeep(settings, database, 50).review()
    assert told(database) == ["alarm-raised"]
    await upkeep(settings, database, 101).review()
    assert told(database) == ["alarm-raised", "alarm-raised"]
    assert standing(database)[0].suppressed_by == ""
    assert happened(database)[-1] is Transition.RELEASED


def test_an_alarm_that_came_and_went_in_silence_is_told_to_nobody(database: Database) -> None:
    """A "cleared" without a "raised" confuses every consumer."""
    hush(database, Matcher(name="location", comparison=Comparison.BEGINS, value="turin/"))
    take(database, a_report())
    take(database, a_report(second=5, severity=CLEARED))
    assert told(database) == []
    assert happened(database) == [Transition.RAISED, Transition.SUPPRESSED, Transition.CLEARED]


async def test_an_alarm_told_before_its_silence_is_told_when_it_clears(
    settings: Settings, database: Database
) -> None:
    """Consumers would hold it open for ever."""
    take(database, a_report())
    hush(database, Matcher(name="object", value="host-1"))
    await upkeep(settings, database, 10).review()
    take(database, a_report(second=11, severity=PerceivedSeverity.CRITICAL))
    assert told(database) == ["alarm-raised"]
    take(database, a_report(second=12, severity=CLEARED))
    assert told(database) == ["alarm-raised", "alarm-cleared"]


async def test_alarms_of_a_vim_under_maintenance_are_kept_back_until_it_is_over(
    settings: Settings, database: Database
) -> None:
    """Work that was announced is no fault; what it broke is told when it ends."""
    vim = replace(a_vim("north"), site="turin", state=VimState.MAINTENANCE)
    other = replace(a_vim("north-2"), site="turin")
    with database.transaction() as connection:
        vims.insert(connection, vim, None)
        vims.insert(connection, other, None)
    take(database, a_report("one", location="turin/north/az1/host-1"), a_report(vim.id, location="x"))
    take(database, a_report("two", location="turin/north-2/az1/host-1"))
    assert standing(database, "one")[0].suppressed_by == "maintenance:north"
    assert standing(database, vim.id)[0].suppressed_by == "maintenance:north"
    assert standing(database, "two")[0].suppressed_by == ""
    assert told(database) == ["alarm-raised"]
    with database.transaction() as connection:
        vims.set_state(connection, vim.id, VimState.ACTIVE, "", later(60))
    await upkeep(settings, database, 61).review()
    assert told(database) == ["alarm-raised"] * 3


# -- sources that fall silent -----------------------------------------------------------------------------


async def test_an_alarm_whose_end_never_comes_becomes_indeterminate_and_is_not_cleared(
    settings: Settings, database: Database
) -> None:
    """Nobody knows whether it still holds; to say that it is over would be a lie."""
    take(database, a_report(silent_after_s=100))
    assert take(database, a_report(silent_after_s=100), at=60) == [Outcome.REFRESHED]
    assert await upkeep(settings, database, 150).look() == 0
    assert await upkeep(settings, database, 170).look() == 1
    (alarm,) = standing(database)
    assert alarm.perceived_severity is PerceivedSeverity.INDETERMINATE
    assert f"source silent since {later(60).isoformat()}" in alarm.fault_details
    assert told(database) == ["alarm-raised", "alarm-changed"]
    assert await upkeep(settings, database, 10_000).look() == 0
    assert take(database, a_report(second=200, silent_after_s=100)) == [Outcome.CHANGED]
    assert standing(database)[0].perceived_severity is PerceivedSeverity.MAJOR


# -- history ----------------------------------------------------------------------------------------------


def a_past(database: Database) -> None:
    """Alarms of two objects, two types and three severities over a hundred seconds; the last ones open."""
    levels = (PerceivedSeverity.CRITICAL, PerceivedSeverity.MAJOR, PerceivedSeverity.WARNING)
    reports: list[Report] = []
    for second in range(0, 100, 5):
        for name in ("a", "b"):
            one = a_report(name, second=second, severity=levels[second // 5 % 3])
            kind = f"kind-{second // 5 % 2}"
            alarm = replace(one.alarm, fault_type=kind, specific_problem=f"{kind}/{second}")
            reports.append(replace(one, alarm=alarm))
            if second < 90:
                reports.append(
                    replace(
                        one,
                        alarm=replace(alarm, perceived_severity=CLEARED, event_at=later(second + 3)),
                    )
                )
    take(database, *reports, at=200)


_QUESTIONS = [
    Question(),
    Question(since=later(20), until=later(60)),
    Question(object_id="a"),
    Question(type="kind-1"),
    Question(severities=(PerceivedSeverity.CRITICAL,)),
    Question(severities=(PerceivedSeverity.CRITICAL, PerceivedSeverity.WARNING)),
    Question(object_id="b", type="kind-0", severities=(PerceivedSeverity.MAJOR,), since=later(10)),
    Question(object_id="nobody"),
    Question(what=Transition.CLEARED, until=later(50)),
]


@pytest.mark.parametrize("question", _QUESTIONS, ids=str)
def test_a_search_finds_what_a_look_at_every_row_finds_page_by_page(
    database: Database, question: Question
) -> None:
    """Whichever index answers: nothing twice, nothing missing, newest first."""
    a_past(database)
    with database.transaction() as connection:
        everything = list(alarm_history.all_of(connection, DEFAULT_PROJECT, Question()))
        expected = [one for one in everything if _answers(one, question)]
        found = list(alarm_history.all_of(connection, DEFAULT_PROJECT, question, page_size=3))
        assert alarm_history.search(connection, ProjectId("other"), question, limit=5).items == ()
    assert len(everything) == 76
    assert found == expected
    assert found == sorted(found, key=lambda one: (one.at, one.sequence), reverse=True)


def _answers(one: alarm_history.HistoryEntry, asked: Question) -> bool:
    return (
        (asked.since is None or one.at >= asked.since)
        and (asked.until is None or one.at < asked.until)
        and asked.object_id in ("", one.object_id)
        and asked.type in ("", one.type)
        and (not asked.severities or one.severity in asked.severities)
        and asked.what in (None, one.what)
    )


@pytest.mark.parametrize("marker", ["x", "1", "1-", "-1", "1-2-3", "9" * 60, "١-٢"])
def test_a_marker_of_somebody_elses_making_is_refused(database: Database, marker: str) -> None:
    """It is opaque, and it becomes part of a question to the database."""
    with database.transaction() as connection, pytest.raises(Invalid):
        alarm_history.search(connection, DEFAULT_PROJECT, Question(), limit=1, after=marker)


async def test_exactly_what_is_older_than_its_retention_goes_and_open_alarms_never(
    settings: Settings, database: Database
) -> None:
    """Kept too long it fills the disk, too short it is missing when somebody asks."""
    a_past(database)
    day_s = 86_400
    days = replace(settings, alarm_retention_days="10,WARNING=1,other:0")
    edge = later(day_s + 40)
    with database.transaction() as connection:
        everything = list(alarm_history.all_of(connection, DEFAULT_PROJECT, Question()))
    await upkeep(days, database, 2 * day_s + 40).forget()
    with database.transaction() as connection:
        left = list(alarm_history.all_of(connection, DEFAULT_PROJECT, Question()))
        open_now = {one.id for name in ("a", "b") for one in alarms.open_of(connection, name)}
    gone = [one for one in everything if one not in left]
    assert gone
    assert {one.severity for one in gone} == {PerceivedSeverity.WARNING}
    assert all(one.at < edge - timedelta(days=0) for one in gone)
    assert open_now
    await upkeep(days, database, 20 * day_s).forget()
    with database.transaction() as connection:
        left = list(alarm_history.all_of(connection, DEFAULT_PROJECT, Question()))
        kept = connection.execute(sa.select(alarms_table.c.id)).scalars().all()
    assert {one.alarm_id for one in left} == open_now == set(kept)


async def test_retention_goes_by_the_edge_to_the_microsecond(settings: Settings, database: Database) -> None:
    """An auditor asks for the year, and the year must be there."""
    take(database, a_report("old"), a_report("old", second=1, severity=CLEARED))
    one_day = replace(settings, alarm_retention_days="1")
    await upkeep(one_day, database, 86_400).forget()
    assert happened(database, "old") == [Transition.RAISED, Transition.CLEARED]
    await upkeep(one_day, database, 86_401).forget()
    assert happened(database, "old") == [Transition.CLEARED]
    await upkeep(one_day, database, 86_401.000001).forget()
    assert happened(database, "old") == []


def test_the_most_specific_retention_counts() -> None:
    """Projects have contracts of their own."""
    found = retention_of("365, WARNING=30, lab:90, lab:CRITICAL=400, lab:WARNING=0")
    critical, warning, major = (
        PerceivedSeverity.CRITICAL,
        PerceivedSeverity.WARNING,
        PerceivedSeverity.MAJOR,
    )
    lab, other = ProjectId("lab"), ProjectId("other")
    assert [found.days_of(lab, one) for one in (critical, warning, major)] == [400, 0, 90]
    assert [found.days_of(other, one) for one in (critical, warning, major)] == [365, 30, 365]
    assert retention_of("7") == Retention(days=7)


@pytest.mark.parametrize("text", ["", "x", "-1", "LOUD=3", "lab:LOUD=3", "365,,", "nan", "inf"])
def test_a_retention_that_says_nothing_is_refused_at_the_start(text: str) -> None:
    """Read wrongly, it would delete what must be kept."""
    with pytest.raises(Invalid, match="ALARM_RETENTION"):
        retention_of(text)


def test_an_acknowledgement_and_a_correlation_are_in_the_history(database: Database) -> None:
    """Who took notice, and when, is asked afterwards."""
    take(database, a_report())
    (alarm,) = standing(database)
    root = AlarmId(new_id())
    with database.transaction() as connection:
        tie = Tie(is_root_cause=False, with_={root})
        assert correlate(connection, {alarm.id: tie}, at=later(1)) == 1
        assert correlate(connection, {alarm.id: tie}, at=later(2)) == 0
    (symptom,) = standing(database)
    assert (symptom.is_root_cause, symptom.correlated_alarm_ids) == (False, (root,))
    assert happened(database) == [Transition.RAISED, Transition.CORRELATED]


def test_times_of_the_store_are_those_of_the_history(database: Database) -> None:
    """Microseconds as a number, and back, in the zone that everything is in."""
    moment = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
    report = a_report()
    take(database, replace(report, alarm=replace(report.alarm, raised_at=moment, event_at=moment)))
    with database.transaction() as connection:
        (found,) = alarm_history.of_object(connection, DEFAULT_PROJECT, "host-1")
    assert found.at == moment
    assert found.recorded_at == moment
