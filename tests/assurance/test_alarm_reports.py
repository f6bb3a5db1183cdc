"""What a source's statement changes: in any order, any number of times, by any clock."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.assurance.alarms import CATALOGUE, raised
from farsite.model.alarm import Alarm, EventType, PerceivedSeverity
from farsite.model.alarm_reports import Conclusion, Known, Outcome, Report, conclude, identity_of
from farsite.model.errors import Invalid
from farsite.model.ids import DEFAULT_PROJECT, AlarmId, new_id

BEGAN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
NOW = BEGAN + timedelta(hours=1)


def an_alarm(**changes: Any) -> Alarm:
    made: dict[str, Any] = {
        "id": AlarmId(new_id()),
        "project_id": DEFAULT_PROJECT,
        "managed_object_id": "host-1",
        "object_kind": "host",
        "location": "turin/west/host-1",
        "event_type": EventType.EQUIPMENT_ALARM,
        "probable_cause": "Power problem",
        "specific_problem": "psu",
        "perceived_severity": PerceivedSeverity.MAJOR,
        "raised_at": BEGAN,
        "event_at": BEGAN,
    }
    return Alarm(**(made | changes))


_MANDATORY = {
    "location": "a location",
    "event_type": "a type",
    "perceived_severity": "a severity",
    "raised_at": "a time",
    "event_at": "a time",
    "managed_object_id": "a managed object",
    "specific_problem": "a specific problem",
    "probable_cause": "a probable cause",
}


@given(
    field=st.sampled_from(sorted(_MANDATORY)),
    nothing=st.sampled_from([None, "", 0, "BAD"]),
    also=st.sampled_from(sorted(_MANDATORY)),
)
def test_no_alarm_can_be_made_without_time_place_type_and_level(
    field: str, nothing: object, also: str
) -> None:
    """Whoever makes it: an alarm that lacks one cannot exist, so it cannot be stored."""
    is_text = field in ("location", "managed_object_id", "specific_problem", "probable_cause")
    value = ("" if nothing == "BAD" else nothing) if is_text else nothing
    with pytest.raises(Invalid, match=_MANDATORY[field]):
        an_alarm(**{field: value})
    with pytest.raises(Invalid):
        replace(an_alarm(), **{field: value, also: None})


def test_every_kind_in_the_catalogue_makes_an_alarm_with_all_of_them() -> None:
    """Producers of our own go through the catalogue."""
    for kind in CATALOGUE.values():
        alarm = raised(
            kind, project_id=DEFAULT_PROJECT, object_id="x", location="turin/west", at=BEGAN, part="p"
        )
        assert all(
            getattr(alarm, one.name) not in (None, "") for one in fields(alarm) if one.name in _MANDATORY
        )
        assert kind.effect
        assert kind.remedy


@given(st.lists(st.text("ab\0/", max_size=3), min_size=5, max_size=5), st.lists(st.text("ab/", max_size=3)))
def test_identities_differ_where_any_part_differs(one: list[str], two: list[str]) -> None:
    """`a/b` of `c` is not `a` of `b/c`."""
    one = [part.replace("\0", "") or "x" for part in one]
    two = [*(part or "x" for part in two), "x", "x", "x", "x", "x"][:5]

    def made(parts: list[str]) -> Alarm:
        return an_alarm(
            project_id=parts[0],
            managed_object_id=parts[1],
            probable_cause=parts[2],
            specific_problem=parts[3],
            location=parts[4],
        )

    assert (identity_of(made(one)) == identity_of(made(two))) == (one[:4] == two[:4])


# -- statements in any order ------------------------------------------------------------------------------


def statement(second: int, severity: PerceivedSeverity, *, episode: str = "") -> Report:
    at = BEGAN + timedelta(seconds=second)
    return Report(
        alarm=an_alarm(perceived_severity=severity, event_at=at, raised_at=at), episode=episode, who="x"
    )


def after(statements: list[Report]) -> Known | None:
    known: Known | None = None
    for one in statements:
        found = conclude(known, one, now=NOW)
        known = followed(known, found)
    return known


def followed(known: Known | None, found: Conclusion) -> Known | None:
    if found.alarm is not None:
        return Known(alarm=found.alarm, episode=found.episode)
    if known is not None and found.episode:
        return Known(alarm=known.alarm, episode=found.episode)
    return known


_SEVERITIES = st.sampled_from(list(PerceivedSeverity))


@given(st.lists(st.tuples(st.integers(0, 100), _SEVERITIES), min_size=1, max_size=12))
def test_the_same_statement_again_changes_nothing(
    told: list[tuple[int, PerceivedSeverity]],
) -> None:
    """Every delivery is at least once."""
    statements = [statement(*one) for one in told]
    known = after(statements)
    again = conclude(known, statements[-1], now=NOW)
    assert again.outcome in (Outcome.REFRESHED, Outcome.STALE, Outcome.NOTHING_OPEN)
    assert again.alarm is None


@given(
    st.lists(st.tuples(st.integers(0, 1000), _SEVERITIES), min_size=1, max_size=10, unique_by=lambda x: x[0])
)
def test_a_statement_older_than_what_is_known_never_decides_whether_the_alarm_is_open(
    told: list[tuple[int, PerceivedSeverity]],
) -> None:
    """However the rest of the statements came: the newest of them is what counts, once it has come."""
    newest = max(told)
    rest = [one for one in told if one != newest]
    known = after([statement(*one) for one in [newest, *rest]])
    assert known is not None
    assert known.alarm.perceived_severity is newest[1]
    assert (known.alarm.cleared_at is not None) == (newest[1] is PerceivedSeverity.CLEARED)


@given(st.permutations([("firing", 1), ("firing", 1), ("resolved", 1), ("resolved", 1)]))
def test_an_episode_ends_closed_in_whatever_order_a_pair_tells_it(told: list[tuple[str, int]]) -> None:
    """Two Alertmanagers, each at least once, no order between them: nothing may stay open."""
    statements = [
        Report(
            alarm=an_alarm(
                perceived_severity=PerceivedSeverity.CLEARED
                if status == "resolved"
                else PerceivedSeverity.CRITICAL,
                event_at=BEGAN + timedelta(seconds=60 if status == "resolved" else 0),
            ),
            episode="f@1",
        )
        for status, _ in told
    ]
    known = after(statements)
    assert known is not None
    assert known.alarm.cleared_at == BEGAN + timedelta(seconds=60)
    assert known.alarm.raised_at == BEGAN


@given(st.integers(6, 10**9))
def test_no_alarm_is_later_than_our_own_clock(ahead_s: int) -> None:
    """An hour ahead would order it after everything that comes within the hour."""
    alarm = an_alarm(event_at=NOW + timedelta(seconds=ahead_s), raised_at=NOW + timedelta(seconds=ahead_s))
    found = conclude(None, Report(alarm=alarm), now=NOW)
    assert found.alarm is not None
    assert found.alarm.raised_at == found.alarm.event_at == NOW
    assert "clock is ahead" in found.alarm.fault_details[-1]


def test_a_watcher_of_ours_counts_in_the_order_of_its_words_even_when_the_clock_was_set_back() -> None:
    """Else an alarm raised before the step could not be cleared for as long as the step was."""
    open_ = Known(alarm=an_alarm())
    back = BEGAN - timedelta(hours=1)
    over = Report(
        alarm=an_alarm(perceived_severity=PerceivedSeverity.CLEARED, event_at=back), is_in_order=True
    )
    found = conclude(open_, over, now=back)
    assert found.outcome is Outcome.CLEARED
    assert conclude(open_, replace(over, is_in_order=False), now=back).outcome is Outcome.STALE
