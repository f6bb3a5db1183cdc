"""Hosts that are about to fail, found by the functions that fail on them."""

import random
from datetime import UTC, datetime, timedelta

from farsite.assurance.latent import FAILURES_MOST, Window, binomial_tail, suspects
from farsite.model.ids import DEFAULT_PROJECT, AlarmId
from farsite.model.stay import EndedStay, Stay

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
WINDOW = timedelta(hours=1)


def stay(host: str, number: int, vnf: int | None = None) -> Stay:
    return Stay(
        host=host,
        vnf_id=f"vnf-{number if vnf is None else vnf}",
        vnfc_id=f"{host}-{number}",
        project_id=DEFAULT_PROJECT,
    )


def scenario(seed: int) -> tuple[set[str], list[EndedStay], dict[str, int]]:
    """Hosts with 24 to 48 functions each, failures by chance everywhere (up to 2 % in the window), and on
    four of five runs one host on which each function fails with probability 0.3."""
    dice = random.Random(seed)
    population = {f"host-{number}": dice.randint(24, 48) for number in range(dice.randint(8, 40))}
    sick = {dice.choice(list(population))} if dice.random() < 0.8 else set[str]()
    noise = dice.uniform(0.0, 0.02)
    failures = [
        EndedStay(at=NOW - WINDOW * dice.random(), stay=stay(host, number, dice.randrange(200)))
        for host, size in population.items()
        for number in range(size)
        if dice.random() < (0.3 if host in sick else noise)
    ]
    return sick, failures, population


def test_planted_hosts_are_found_and_healthy_ones_left_alone_in_500_scenarios() -> None:
    """A suspicion that is often wrong is not looked at; one that seldom comes is of no use."""
    right = wrong = missed = 0
    for seed in range(500):
        sick, failures, population = scenario(seed)
        found = {one.host for one in suspects(failures, population, since=NOW - WINDOW)}
        right += len(found & sick)
        wrong += len(found - sick)
        missed += len(sick - found)
    assert right / (right + wrong) >= 0.95, f"precision: {right} right, {wrong} wrong"
    assert right / (right + missed) >= 0.95, f"recall: {right} found, {missed} missed"


def failures_on(host: str, count: int, *, vnfs: int = 10, at: datetime = NOW) -> list[EndedStay]:
    return [EndedStay(at=at, stay=stay(host, number, number % vnfs)) for number in range(count)]


POPULATION = {f"host-{number}": 30 for number in range(10)}


def test_a_host_beside_which_nothing_stands_is_never_suspected() -> None:
    """There is nothing to compare it with, and an alarm that names a chance must know one."""
    failed = failures_on("host-1", 9)
    assert suspects(failed, {"host-1": 10}, since=NOW - WINDOW) == []
    assert suspects(failed, {"host-1": 10, "host-2": 0}, since=NOW - WINDOW) == []
    assert suspects(failed, {"host-1": 10, "host-2": 30}, since=NOW - WINDOW) != []


def test_one_vnf_that_fails_all_over_a_host_is_not_the_hosts_fault() -> None:
    """A bad release of one function stands where the scheduler packed it; to drain the host moves it on."""
    since = NOW - WINDOW
    assert suspects(failures_on("host-1", 9, vnfs=1), POPULATION, since=since) == []
    (found,) = suspects(failures_on("host-1", 9), POPULATION, since=since)
    assert (found.host, found.failures, found.population) == ("host-1", 9, 30)


def test_one_function_that_crashes_again_and_again_counts_once() -> None:
    """Its budget deals with it."""
    again = failures_on("host-1", 1) * 50
    assert suspects(again, POPULATION, since=NOW - WINDOW) == []


def test_a_bad_hour_everywhere_suspects_nobody() -> None:
    """When all fail alike the cause is something that they share, and no host."""
    everywhere = [one for host in POPULATION for one in failures_on(host, 9)]
    assert suspects(everywhere, POPULATION, since=NOW - WINDOW) == []


def test_failures_of_before_the_window_are_forgotten() -> None:
    """A host that was mended must come out of suspicion by itself."""
    old = failures_on("host-1", 9, at=NOW - 2 * WINDOW)
    assert suspects(old, POPULATION, since=NOW - WINDOW) == []


def test_the_tail_of_the_binomial_is_exact() -> None:
    """Known values: at least one of two coins, at least five of five."""
    assert binomial_tail(2, 1, 0.5) == 0.75
    assert abs(binomial_tail(5, 5, 0.1) - 1e-5) < 1e-12
    assert binomial_tail(5, 0, 0.1) == 1.0


def everything(hosts: int = 10, of_each: int = 30) -> frozenset[Stay]:
    return frozenset(stay(f"host-{host}", number) for host in range(hosts) for number in range(of_each))


def fail(window: Window, host: str, *numbers: int, at: datetime = NOW) -> None:
    for number in numbers:
        window.failed(stay(host, number), AlarmId(f"alarm-{host}-{number}"), at)


def next_look(before: Window, *, after: timedelta = timedelta(seconds=1)) -> Window:
    """What another process, or this one started anew, makes of what the first has written."""
    return Window(WINDOW, NOW + after, before.changed)


def test_what_has_left_a_host_counts_among_what_stood_there() -> None:
    """Three of twelve failed, by chance as elsewhere, and eight others left: three of four would be a
    suspicion."""
    before = everything(hosts=4, of_each=12)
    left = {stay("host-0", number) for number in range(3, 11)}
    window = Window(WINDOW, NOW)
    fail(window, "host-0", 0, 1, 2)
    for number in range(3):
        fail(window, f"host-{number + 1}", 0)
    window.stands(before - left, before=before, seen_at=NOW - WINDOW / 2)
    assert window.suspects(until=NOW) == []
    window = next_look(window)
    window.stands(before - left, seen_at=NOW)
    assert window.suspects(until=NOW) == []
    fail(window, "host-0", *range(3, 9))
    (found,) = window.suspects(until=NOW)
    assert (found.host, found.failures, found.population) == ("host-0", 9, 12)


def test_what_failed_is_known_to_the_next_process_that_looks() -> None:
    """Two failures before a restart and two after it are four."""
    first = Window(WINDOW, NOW)
    first.stands(everything(), seen_at=NOW)
    fail(first, "host-1", 0, 1)
    assert first.suspects(until=NOW) == []
    second = next_look(first)
    second.stands(everything(), seen_at=NOW)
    fail(second, "host-1", 2, 3)
    (found,) = second.suspects(until=NOW)
    assert (found.host, found.failures, found.population) == ("host-1", 4, 30)
    assert {one.alarm_id for one in second.changed} == {"alarm-host-1-2", "alarm-host-1-3"}


def test_a_failure_is_counted_once_and_where_it_was_seen_first() -> None:
    """A process that sees its alarm later may find the function where it was healed to."""
    first = Window(WINDOW, NOW)
    fail(first, "host-1", 0)
    second = next_look(first)
    second.failed(stay("host-2", 0), AlarmId("alarm-host-1-0"), NOW)
    assert second.changed == []


def test_what_left_is_written_by_the_process_that_notices_it_first() -> None:
    """The others know it by then; only what returned and left once more is news."""
    before = everything(hosts=2, of_each=3)
    left = before - {stay("host-1", 0)}
    first = Window(WINDOW, NOW)
    first.stands(left, before=before, seen_at=NOW - timedelta(seconds=1))
    assert [one.stay for one in first.changed] == [stay("host-1", 0)]
    second = next_look(first)
    second.stands(left, before=before, seen_at=NOW - timedelta(seconds=0.5))
    assert second.changed == []
    second.stands(left, before=before, seen_at=NOW + timedelta(seconds=0.5))
    assert [one.stay for one in second.changed] == [stay("host-1", 0)]


def test_a_look_that_finds_nothing_new_changes_nothing() -> None:
    """There is one every second while any alarm stands."""
    first = Window(WINDOW, NOW)
    first.stands(everything(), before=everything() | {stay("host-1", 99)}, seen_at=NOW)
    fail(first, "host-1", 0, 1)
    fail(first, "host-2", 0)
    first.explain({"host-2"})
    second = next_look(first)
    second.stands(everything(), before=everything(), seen_at=NOW)
    fail(second, "host-1", 0, 1)
    fail(second, "host-2", 0)
    second.explain({"host-2"})
    assert second.changed == []
    assert not second.has_old


def test_what_is_older_than_the_window_counts_no_more_and_is_not_kept() -> None:
    """An alarm that has stood for longer is not counted anew when its failure is forgotten, nor is what left
    before anybody looked within the window."""
    first = Window(WINDOW, NOW)
    first.stands(everything(), before=everything() | {stay("host-1", 99)}, seen_at=NOW)
    fail(first, "host-1", *range(9))
    later = next_look(first, after=WINDOW + timedelta(seconds=1))
    assert later.has_old
    fail(later, "host-1", *range(9))
    later.stands(everything(), before=everything() | {stay("host-1", 98)}, seen_at=NOW)
    assert later.suspects(until=NOW + WINDOW) == []
    assert later.changed == []


def test_of_more_failures_than_are_kept_the_latest_count() -> None:
    """A day on which a country fails must not fill memory, nor hide the host that fails after it."""
    second = timedelta(seconds=1)
    many = [
        EndedStay(
            at=NOW - WINDOW / 2 + number * second / 10_000,
            stay=stay("host-1", number),
            alarm_id=AlarmId(f"alarm-{number}"),
        )
        for number in range(FAILURES_MOST + 5)
    ]
    window = Window(WINDOW, NOW, many)
    assert window.has_old
    assert window.failures_since == many[5].at
    window.failed(many[0].stay, AlarmId("alarm-0"), many[0].at)
    assert window.changed == []
    fail(window, "host-2", 0)
    assert [one.stay for one in window.changed] == [stay("host-2", 0)]


def test_each_failure_is_weighed_only_when_it_is_old_enough() -> None:
    """Until then it may be the first of a host that fails as a whole."""
    moment = timedelta(seconds=30)
    window = Window(WINDOW, NOW)
    window.stands(everything(), seen_at=NOW)
    fail(window, "host-1", *range(9), at=NOW - moment / 2)
    assert window.suspects(until=NOW - moment) == []
    assert [one.host for one in window.suspects(until=NOW)] == ["host-1"]


def test_what_a_failed_host_explains_is_no_suspicion() -> None:
    """It has an alarm of its own; a process that comes later must not count it again."""
    window = Window(WINDOW, NOW)
    window.stands(everything(), seen_at=NOW)
    fail(window, "host-1", *range(9))
    assert [one.host for one in window.suspects(until=NOW)] == ["host-1"]
    window.explain({"host-1"})
    assert window.suspects(until=NOW) == []
    later = next_look(window)
    later.stands(everything(), seen_at=NOW)
    fail(later, "host-1", *range(9))
    assert later.suspects(until=NOW) == []
