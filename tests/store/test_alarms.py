"""Alarms: one open alarm per condition, whoever raises it how often."""

from dataclasses import replace
from functools import partial

import pytest
from interleaving import at_once, overtaken
from records import a_vim, an_alarm, an_event, later

from farsite.model.alarm import AckState, PerceivedSeverity
from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import DEFAULT_PROJECT, ProjectId
from farsite.model.query import Ask
from farsite.store import alarms, outbox
from farsite.store.database import Database


def told_kinds(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [told.kind for told in outbox.after(connection, 0)]


def test_a_condition_seen_again_is_the_same_alarm(database: Database) -> None:
    """An operator who gets an alarm per observation stops reading alarms."""
    first = an_alarm("vnf-1")
    with database.transaction() as connection:
        alarms.raise_(connection, first)
        again = alarms.raise_(connection, replace(an_alarm("vnf-1"), event_at=later(5)))
    assert again == first
    assert told_kinds(database) == ["alarm-raised"]


def test_a_condition_that_worsens_changes_its_alarm_and_is_told(database: Database) -> None:
    """Same identity, new severity: X.733 wants a change, not a second alarm."""
    first = an_alarm("vnf-1")
    worse = replace(
        an_alarm("vnf-1", severity=PerceivedSeverity.CRITICAL), event_at=later(5), fault_details=("all",)
    )
    with database.transaction() as connection:
        alarms.raise_(connection, first)
        changed = alarms.raise_(connection, worse)
        assert alarms.get(connection, DEFAULT_PROJECT, first.id) == changed
    assert (changed.id, changed.perceived_severity) == (first.id, PerceivedSeverity.CRITICAL)
    assert (changed.raised_at, changed.changed_at, changed.version) == (first.raised_at, later(5), 2)
    assert told_kinds(database) == ["alarm-raised", "alarm-changed"]


def test_many_who_see_a_condition_at_once_raise_one_alarm(database: Database) -> None:
    """The agent's event, the heartbeat and the audit may all see one death in the same moment."""
    for round_ in range(5):
        name = f"vnf-{round_}"
        results = at_once(database, *(partial(alarms.raise_, alarm=an_alarm(name)) for _ in range(5)))
        assert len({getattr(result, "id", result) for result in results}) == 1, results
        with database.transaction() as connection:
            assert len(alarms.open_of(connection, name)) == 1


def test_a_cleared_condition_that_comes_back_is_a_new_alarm(database: Database) -> None:
    """The old one has its times and its acknowledgement; they say nothing about the new one."""
    with database.transaction() as connection:
        first = alarms.raise_(connection, an_alarm("vnf-1"))
        cleared = alarms.clear(
            connection, object_id="vnf-1", specific_problem=first.specific_problem, at=later(1)
        )
        assert cleared
        assert cleared.perceived_severity is PerceivedSeverity.CLEARED
        assert (
            alarms.clear(connection, object_id="vnf-1", specific_problem=first.specific_problem, at=later(2))
            is None
        )
        second = alarms.raise_(connection, an_alarm("vnf-1"))
        assert second.id != first.id
        assert alarms.open_of(connection, "vnf-1") == [second]
    assert told_kinds(database) == ["alarm-raised", "alarm-cleared", "alarm-raised"]


@pytest.mark.parametrize("is_acknowledged_first", [True, False])
def test_an_acknowledgement_at_the_moment_of_clearing_does_not_open_the_alarm_again(
    database: Database, is_acknowledged_first: bool
) -> None:
    """An alarm that is open without its condition can never be cleared."""
    with database.transaction() as connection:
        alarm = alarms.raise_(connection, an_alarm("vnf-1"))
    acknowledge = partial(
        alarms.acknowledge,
        project_id=DEFAULT_PROJECT,
        alarm_id=alarm.id,
        state=AckState.ACKNOWLEDGED,
        at=later(1),
    )
    clear = partial(alarms.clear, object_id="vnf-1", specific_problem=alarm.specific_problem, at=later(1))
    both = (acknowledge, clear) if is_acknowledged_first else (clear, acknowledge)
    overtaken(database, *both)
    with database.transaction() as connection:
        assert alarms.open_of(connection, "vnf-1") == []
        kept = alarms.get(connection, DEFAULT_PROJECT, alarm.id)
    assert kept.cleared_at == later(1)
    assert kept.ack_state is AckState.ACKNOWLEDGED


def test_an_alarm_can_be_acknowledged_once_and_only_in_its_project(database: Database) -> None:
    """Tenants do not see each other; a second acknowledgement tells the operator that somebody was first."""
    with database.transaction() as connection:
        alarm = alarms.raise_(connection, an_alarm("vnf-1"))
        with pytest.raises(NotFound):
            alarms.get(connection, ProjectId("other"), alarm.id)
        taken = alarms.acknowledge(connection, DEFAULT_PROJECT, alarm.id, AckState.ACKNOWLEDGED, later(1))
        assert taken.acknowledged_at == later(1)
        with pytest.raises(Conflict):
            alarms.acknowledge(connection, DEFAULT_PROJECT, alarm.id, AckState.ACKNOWLEDGED, later(2))


def test_an_object_that_is_gone_leaves_no_open_alarm(database: Database) -> None:
    """Nobody is left to clear them."""
    with database.transaction() as connection:
        for number in range(3):
            alarms.raise_(connection, an_alarm("vnf-1", f"vnfc-died/{number}"))
        alarms.raise_(connection, an_alarm("vnf-2"))
        assert alarms.clear_all_of(connection, "vnf-1", later(1)) == 3
        assert alarms.open_of(connection, "vnf-1") == []
        assert len(alarms.open_of(connection, "vnf-2")) == 1


def test_an_observation_delivered_twice_is_kept_once(database: Database) -> None:
    """Events are read again after a crash; each would otherwise count as another death."""
    event = an_event(later(1), object_id="vnf-1")
    results = at_once(database, *[partial(alarms.insert_events, vim_id="vim-1", found=[event, event])] * 4)
    assert sorted(results, key=str) == [[False, False], [False, False], [False, False], [True, False]]
    with database.transaction() as connection:
        assert alarms.insert_events(connection, "vim-1", [event]) == [False]
        assert alarms.events_of(connection, DEFAULT_PROJECT, object_id="vnf-1") == [event]


def test_events_come_newest_first(database: Database) -> None:
    """What happened last is what an operator looks for."""
    events = [an_event(later(number)) for number in (3, 1, 2)]
    with database.transaction() as connection:
        assert alarms.insert_events(connection, "vim-1", events) == [True, True, True]
        page = alarms.event_page(connection, DEFAULT_PROJECT, Ask())
    assert [event.at for event in page.items] == [later(3), later(2), later(1)]


def test_the_place_in_a_vims_events_is_kept(database: Database) -> None:
    """After a restart reading goes on where it ended."""
    vim = a_vim("turin-1")
    with database.transaction() as connection:
        assert alarms.cursor(connection, vim.id) == 0
        for sequence in (1, 2**40):
            alarms.set_cursor(connection, vim, sequence)
        assert alarms.cursor(connection, vim.id) == 2**40
