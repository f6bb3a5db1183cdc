"""Hosts that are about to fail, found by the functions that fail on them."""

import random
from datetime import UTC, datetime, timedelta

from farsite.assurance.latent import Failure, Window, binomial_tail, suspects

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
WINDOW = timedelta(hours=1)


def scenario(seed: int) -> tuple[set[str], list[Failure], dict[str, int]]:
    """Hosts with 24 to 48 functions each, failures by chance everywhere (up to 2 % in the window), and on
    four of five runs one host on which each function fails with probability 0.3."""
    dice = random.Random(seed)
    population = {f"host-{number}": dice.randint(24, 48) for number in range(dice.randint(8, 40))}
    sick = {dice.choice(list(population))} if dice.random() < 0.8 else set[str]()
    noise = dice.uniform(0.0, 0.02)
    failures = [
        Failure(
            at=NOW - WINDOW * dice.random(),
            host=host,
            vnf_id=f"vnf-{dice.randrange(200)}",
            vnfc_id=f"{host}-{number}",
        )
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


def failures_on(host: str, count: int, *, vnfs: int = 10, at: datetime = NOW) -> list[Failure]:
    return [
        Failure(at=at, host=host, vnf_id=f"vnf-{number % vnfs}", vnfc_id=f"{host}-{number}")
        for number in range(count)
    ]


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


def test_what_has_left_a_host_counts_among_what_stood_there() -> None:
    """Three of twelve failed, by chance as elsewhere, and eight others left: three of four would be a
    suspicion."""
    window = Window(WINDOW)
    for host in ("host-1", "host-2", "host-3", "host-4"):
        for number in range(12):
            window.stands(host, f"{host}-{number}", NOW - WINDOW / 2)
    for number in range(3):
        window.failed(failure_on("host-1", number))
        window.failed(failure_on(f"host-{number + 2}", 0))
    # From now on four stand there, and everything elsewhere.
    for number in (0, 1, 2, 11):
        window.stands("host-1", f"host-1-{number}", NOW)
    assert window.suspects(NOW, until=NOW) == []
    for number in range(3, 9):
        window.failed(failure_on("host-1", number))
    (found,) = window.suspects(NOW, until=NOW)
    assert (found.host, found.failures, found.population) == ("host-1", 9, 12)


def failure_on(host: str, number: int, at: datetime = NOW) -> Failure:
    return Failure(at=at, host=host, vnf_id=f"vnf-{number}", vnfc_id=f"{host}-{number}")


def test_each_failure_is_weighed_once_it_is_old_enough_and_forgotten_after_the_window() -> None:
    """By then its alarm may be cleared, and nothing else calls for a look."""
    window = Window(WINDOW)
    moment = timedelta(seconds=30)
    window.failed(failure_on("host-1", 1, at=NOW - moment / 2))
    assert not window.is_due(NOW - moment)
    assert window.is_due(NOW)
    window.suspects(NOW, until=NOW)
    assert not window.is_due(NOW)
    window.forget(NOW + WINDOW)
    window.failed(failure_on("host-2", 1, at=NOW + WINDOW))
    assert window.is_due(NOW + WINDOW)


def test_what_a_failed_host_explains_is_no_suspicion() -> None:
    """It has an alarm of its own."""
    window = Window(WINDOW)
    for host in POPULATION:
        for number in range(30):
            window.stands(host, f"{host}-{number}", NOW)
    for number in range(9):
        window.failed(failure_on("host-1", number))
    assert [one.host for one in window.suspects(NOW, until=NOW)] == ["host-1"]
    window.explain({"host-1"})
    assert window.suspects(NOW, until=NOW) == []
