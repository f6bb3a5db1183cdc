"""Availability figures against timelines whose answers are known."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.availability import Availability, Service, figures, timeline, worst
from farsite.model.alarm import EventType, HistoryEntry, PerceivedSeverity, Transition
from farsite.model.ids import DEFAULT_PROJECT, AlarmId

BEGAN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
DAY_S = 86_400.0


def later(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def entry(
    seconds: float,
    what: Transition,
    *,
    alarm: str = "a",
    kind: str = "HostDown",
    part: str = "",
    severity: PerceivedSeverity = PerceivedSeverity.CRITICAL,
    known_after_s: float = 0.0,
) -> HistoryEntry:
    return HistoryEntry(
        sequence=0,
        project_id=DEFAULT_PROJECT,
        at=later(seconds),
        recorded_at=later(seconds + known_after_s),
        alarm_id=AlarmId(alarm),
        object_id="vnf-1",
        object_kind="vnf",
        location="turin/west",
        event_type=EventType.EQUIPMENT_ALARM,
        type=kind,
        specific_problem=f"{kind}/{part}" if part else kind,
        severity=severity,
        what=what,
        who="farsite",
    )


def outage(begin: float, end: float, **how: object) -> list[HistoryEntry]:
    alarm = f"{begin}-{how.get('part', '')}-{how.get('severity', '')}"
    return [
        entry(begin, Transition.RAISED, alarm=alarm, **how),  # pyright: ignore[reportArgumentType]
        entry(end, Transition.CLEARED, alarm=alarm, **how),  # pyright: ignore[reportArgumentType]
    ]


def of(
    entries: Sequence[HistoryEntry], *, until: float = DAY_S, parts: int = 1, **how: object
) -> Availability:
    line = timeline(entries, since=BEGAN, until=later(until), parts=parts, **how)  # pyright: ignore[reportArgumentType]
    return figures(line, since=BEGAN, until=later(until), entries=entries)


def test_a_scripted_day_gives_the_figures_that_were_scripted() -> None:
    """Two outages of 36 and 50.4 s in a day: 99.9 % available, and everything that follows from it."""
    found = of([*outage(3600, 3636, known_after_s=2.0), *outage(40_000, 40_050.4, known_after_s=4.0)])
    assert found.availability == pytest.approx(0.999, rel=0.0001)
    assert found.downtime_s == pytest.approx(86.4)
    assert (found.failures, found.impairments) == (2, 2)
    assert found.mtbf_s == pytest.approx((DAY_S - 86.4) / 2)
    assert found.mttr_s == pytest.approx(43.2)
    assert found.detection_s == pytest.approx(3.0)
    assert found.failover_s == pytest.approx(43.2)
    assert found.recovery_s == pytest.approx(43.2)
    assert found.failures_per_day == pytest.approx(2)
    assert found.impact == 1.0


def test_a_function_with_survivors_is_degraded_and_not_down() -> None:
    """That is what redundancy is for; the time with less of it is told beside the downtime."""
    died = outage(100, 160, kind="vnfc-died", part="one")
    found = of(died, parts=3)
    assert (found.availability, found.failures, found.impairments) == (1.0, 0, 1)
    assert found.degraded_s == pytest.approx(60)
    assert found.impact == pytest.approx(1 / 3)
    both = of([*died, *outage(130, 150, kind="vnfc-died", part="two")], parts=2)
    assert both.downtime_s == pytest.approx(20)
    assert both.failover_s == pytest.approx(50)
    assert both.recovery_s == pytest.approx(60)


def test_alarms_that_say_nothing_of_service_change_nothing() -> None:
    """A heal budget that is spent, a warning: the function serves all the same."""
    found = of(
        [
            *outage(10, 20, kind="heal-budget-spent"),
            *outage(30, 40, severity=PerceivedSeverity.WARNING),
            entry(50, Transition.ACKNOWLEDGED),
        ]
    )
    assert (found.availability, found.degraded_s, found.impairments) == (1.0, 0.0, 0)


def test_a_source_that_falls_silent_does_not_mend_anything() -> None:
    """The alarm is INDETERMINATE then; what it said last still counts until somebody says otherwise."""
    found = of(
        [
            entry(100, Transition.RAISED),
            entry(200, Transition.CHANGED, severity=PerceivedSeverity.INDETERMINATE),
            entry(300, Transition.CLEARED, severity=PerceivedSeverity.INDETERMINATE),
        ]
    )
    assert found.downtime_s == pytest.approx(200)


def test_an_outage_over_the_edge_counts_with_what_lies_inside() -> None:
    """The window is the question; what began before it still holds in it."""
    found = of([*outage(-100, 50), entry(DAY_S - 10, Transition.RAISED, alarm="open")])
    assert found.downtime_s == pytest.approx(60)
    assert found.failures == 2
    assert found.recovery_s == pytest.approx(50)


def test_time_that_was_asked_for_is_neither_served_nor_lost() -> None:
    """A function stopped on purpose is not down, and its rest does not polish the figures either."""
    found = of(outage(100, 200), excused=[(later(150), later(1150))])
    assert found.observed_s == pytest.approx(DAY_S - 1000)
    assert found.downtime_s == pytest.approx(50)


def test_a_service_is_as_well_as_the_worst_of_its_functions() -> None:
    """Its functions stand in a row."""
    one = timeline(outage(100, 200), since=BEGAN, until=later(1000))
    two = timeline(outage(150, 300), since=BEGAN, until=later(1000))
    found = figures(worst([one, two]), since=BEGAN, until=later(1000))
    assert found.downtime_s == pytest.approx(200)
    assert found.failures == 1


_SPANS = st.lists(st.tuples(st.floats(0, 5000), st.floats(1, 300), st.integers(0, 3)), max_size=25)


@given(spans=_SPANS, parts=st.integers(1, 4), shuffled=st.randoms(use_true_random=False))
def test_planted_timelines_are_found_again_to_one_percent(
    spans: list[tuple[float, float, int]], parts: int, shuffled: object
) -> None:
    """Against a second by second count that knows nothing of alarms, whatever overlaps and in any order."""
    end = 6000
    entries = [
        one
        for begin, length, part in spans
        for one in outage(round(begin), round(begin + length), kind="vnfc-died", part=str(part % parts))
    ]
    # The same component may be away for two reasons at once, each with an alarm of its own.
    entries = [replace(one, alarm_id=AlarmId(f"{number // 2}")) for number, one in enumerate(entries)]
    shuffled.shuffle(entries)  # pyright: ignore[reportAttributeAccessIssue]
    found = of(entries, until=end, parts=parts)
    down = degraded = 0
    for second in range(end):
        away = {
            part % parts for begin, length, part in spans if round(begin) <= second < round(begin + length)
        }
        down += len(away) == parts
        degraded += 0 < len(away) < parts
    assert found.downtime_s == pytest.approx(down, rel=0.01)
    assert found.degraded_s == pytest.approx(degraded, rel=0.01)
    assert found.availability == pytest.approx((end - down) / end, rel=0.01)


def test_segments_cover_the_time_looked_at_once() -> None:
    """A hole would be time that nobody accounts for."""
    line = timeline([*outage(10, 20), *outage(15, 30)], since=BEGAN, until=later(100))
    assert [one.service for one in line] == [Service.UP, Service.DOWN, Service.UP]
    assert all(one.end == two.begin for one, two in pairwise(line))
    assert (line[0].begin, line[-1].end) == (BEGAN, later(100))
