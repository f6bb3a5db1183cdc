"""One host takes a hundred functions with it: consumers hear first of those that matter most."""

import time
from collections.abc import Iterator, Sequence

import pytest
from order_check import check_order
from telling_bench import Telling, an_alarm

from consumer_bench import Answer, Consumer, Request, consumer, only_posts
from farsite.model.ids import new_id
from farsite.notifications.turns import CLASS_WORTH_S

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classes(telling: Telling) -> dict[str, int]:
    """Ninety VNFs, a third of each class, the least important first; VNF id -> class."""
    service = telling.service
    service.onboard("webserver")
    found: dict[str, int] = {}
    for level in (3, 2, 1):
        for _ in range(30):
            body = {"package": "Farsite web server", "metadata": {"service_availability_level": str(level)}}
            answer = service.native("POST", "/vnfs", json=body)
            assert answer.status_code == 201, answer.text
            found[answer.json()["id"]] = level
    return found


@pytest.fixture
def slow() -> Iterator[Consumer]:
    """A consumer that takes a while over each, so that the rest must wait."""
    with consumer(only_posts(lambda request: Answer(delay_s=0.03))) as sink:
        yield sink


def check_important_first(told: Sequence[int], at_once: int) -> None:
    """Nothing arrived before what is more important, except with what was sent together with it."""
    for place, one in enumerate(told):
        assert not [other for other in told[place + at_once :] if other < one], (place, told)


def classes_told(seen: Sequence[Request], classes: dict[str, int]) -> list[int]:
    """The classes of the VNFs told of, as they arrived; 0 for what is none."""
    found: list[int] = []
    for one in seen:
        about = one.json.get("object_id") or one.json["alarm"]["managedObjectId"]
        found.append(classes.get(about, 0))
    return found


def first_numbers(seen: Sequence[Request]) -> set[int]:
    """The number of the first notification about each object."""
    found: dict[str, int] = {}
    for one in seen:
        about = one.json.get("object_id") or one.json["alarm"]["managedObjectId"]
        found[about] = min(one.number, found.get(about, one.number))
    return set(found.values())


def test_the_checker_finds_what_it_is_for() -> None:
    """A checker that never fails checks nothing."""
    check_important_first([1, 2, 1, 2, 3], 2)
    with pytest.raises(AssertionError):
        check_important_first([2, 2, 1, 3, 3], 2)


@pytest.mark.parametrize("interface", ["SOL003", "native"])
def test_of_a_burst_the_important_functions_are_told_of_first(
    telling: Telling, slow: Consumer, classes: dict[str, int], interface: str
) -> None:
    """Whoever must act on the vital ones should not have to wait for the other ninety; and what hit them all
    is told before any of them."""
    subscription = telling.subscribe_fm(slow) if interface == "SOL003" else telling.subscribe(slow)
    raised = [an_alarm(vnf_id, f"p/{interface}") for vnf_id in classes]
    if interface == "native":
        raised.append(an_alarm(new_id(), "host-down", kind="vim"))
    telling.raise_together(raised)
    seen = slow.until(lambda seen: len(seen) >= len(raised))
    check_important_first(classes_told(seen, classes), telling.service.settings.notify_parallel)
    check_order(seen, len(raised))
    assert len(telling.until_recorded(subscription, "DELIVERED", len(raised))) == len(raised)
    telling.end(subscription)


def test_a_consumer_that_was_away_hears_first_of_the_important(
    telling: Telling, slow: Consumer, classes: dict[str, int]
) -> None:
    """What it missed is just what it needs to know of first, in order within each function all the same."""
    subscription = telling.subscribe(slow)
    slow.close()
    raised = [an_alarm(vnf_id, "p/away") for vnf_id in list(classes)[::2]]
    raised_at = time.monotonic()
    telling.raise_together(raised)
    for one in raised:
        telling.clear(one)
    # Long enough for all of the most important to be tried in vain, and for a class to be outwaited.
    telling.service.until(
        lambda: telling.recorded(subscription),
        lambda found: (
            sum(one["attempts"] > 0 for one in found) > 20
            and time.monotonic() - raised_at > 4 * CLASS_WORTH_S
        ),
        within_s=60,
    )
    slow.reopen()
    count = 2 * len(raised)
    seen = slow.until(lambda seen: len({one.number for one in seen}) >= count)
    check_order(seen, count)
    # Of each the alarm; its end was told up to seconds later, by which others had waited for as long.
    firsts = classes_told([one for one in seen if one.number in first_numbers(seen)], classes)[:15]
    assert firsts.count(1) >= 12, firsts
    telling.end(subscription)


def test_one_that_comes_last_and_matters_most_does_not_wait_for_the_others(
    telling: Telling, classes: dict[str, int]
) -> None:
    """A burst comes in many commits; those told before it are told, those that wait go behind it."""
    with consumer(only_posts(lambda request: Answer(delay_s=0.6))) as sink:
        subscription = telling.subscribe_fm(sink)
        low = [vnf_id for vnf_id, level in classes.items() if level > 1]
        vital = next(vnf_id for vnf_id, level in classes.items() if level == 1)
        telling.raise_(*[an_alarm(vnf_id, "p/early") for vnf_id in low])
        telling.raise_(an_alarm(vital, "p/last"))
        seen = sink.until(lambda seen: len({one.number for one in seen}) > len(low))
        told = classes_told(seen, classes)
        assert told.index(1) < len(low), told
        check_order(seen, len(low) + 1)
        telling.end(subscription)
