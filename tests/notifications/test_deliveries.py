"""Deliveries to consumers that behave badly: at least once, in order per object, numbered without a gap.

Invariant I-08: per subscription the sequence is gap-free, and duplicates have the same id.
"""

import time

import pytest
from order_check import check_order
from telling_bench import Telling, an_alarm

from consumer_bench import GARBAGE, HANGS, OK, Answer, Behaviour, Consumer, Request, consumer, only_posts
from farsite.model.ids import new_id
from farsite.notifications import delivery

pytestmark = pytest.mark.slow


def test_the_checker_finds_what_it_is_for() -> None:
    """A checker that never fails checks nothing: a gap, a second id and a reversal are planted."""

    def request(number: int, notification_id: str, about: str = "a") -> Request:
        body = f'{{"id": "{notification_id}", "object_id": "{about}"}}'.encode()
        return Request("POST", "/told", {"farsite-sequence": str(number)}, body, 0.0, 0.0)

    check_order([request(1, "x"), request(2, "y"), request(3, "z", "b")], 3)
    for wrong in (
        [request(1, "x"), request(3, "z")],
        [request(1, "x"), request(2, "y"), request(2, "other"), request(3, "z")],
        [request(2, "y"), request(1, "x"), request(3, "z")],
    ):
        with pytest.raises(AssertionError):
            check_order(wrong, 3)


def test_every_change_of_an_alarm_is_told_in_order(telling: Telling, sink: Consumer) -> None:
    """A consumer that hears the end before the beginning believes that the fault stands."""
    subscription = telling.subscribe_fm(sink)
    raised = [an_alarm(f"vnf-{number % 5}-{new_id()}", f"p/{number}") for number in range(20)]
    for one in raised:
        telling.raise_(one)
        telling.change(one, "worse")
        telling.clear(one)
    seen = sink.until(lambda seen: len(seen) >= 60)
    for one in raised:
        own = [request.json for request in seen if one.id in request.body.decode()]
        kinds = [body["notificationType"] for body in own]
        assert kinds == ["AlarmNotification", "AlarmNotification", "AlarmClearedNotification"]
    assert sorted(request.number for request in seen) == list(range(1, 61))
    assert len(telling.until_recorded(subscription, "DELIVERED", 60)) == 60
    telling.end(subscription)


BAD: dict[str, Behaviour] = {
    "slow": lambda request: Answer(delay_s=0.3),
    "answers 500": lambda request: Answer(status=500),
    "hangs": lambda request: HANGS,
    "answers garbage": lambda request: GARBAGE,
    "redirects": lambda request: Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "never ends its answer": lambda request: Answer(
        raw=b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100_000
    ),
}


@pytest.mark.parametrize("name", [*BAD, "is gone"])
def test_a_bad_consumer_delays_no_other(telling: Telling, sink: Consumer, name: str) -> None:
    """One broken receiver must not keep all others from hearing of faults."""
    with consumer(only_posts(BAD[name]) if name in BAD else None) as bad:
        subscriptions = [telling.subscribe_fm(bad), telling.subscribe_fm(sink)]
        if name == "is gone":
            bad.close()
        told: list[float] = []
        for number in range(10):
            began = time.monotonic()
            telling.raise_(an_alarm(new_id(), f"p/{number}"))
            seen = sink.until(lambda seen, count=number: len(seen) > count)
            told.append(seen[number].at - began)
        check_order(sink.notifications, 10)
        # The bad one is waited for 1.5 s at each attempt; the good one must not notice. A busy machine may
        # delay some, a bad consumer would delay every one.
        assert sorted(told)[len(told) // 2] < 1.0, told
        telling.end(*subscriptions)


def test_causes_and_healing_wait_until_consumers_were_told(
    telling: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host takes a hundred functions with it. Who looks for causes first has consumers wait for that."""
    # A machine that is busy with other tests is no consumer that takes nothing.
    monkeypatch.setattr(delivery, "_MOVES_WITHIN_S", 20.0)
    together = telling.service.settings.notify_parallel
    with consumer(only_posts(lambda request: Answer(delay_s=0.02))) as sink:
        subscription = telling.subscribe_fm(sink)
        telling.raise_(an_alarm(new_id()))
        sink.until(bool)
        telling.raise_together([an_alarm(new_id(), f"p/{number}") for number in range(100)])
        assert telling.told_within_s(30.0) < 30.0
        assert len(sink.notifications) > 100 - together
        sink.until(lambda seen: len(seen) > 100)
        telling.end(subscription)


@pytest.mark.parametrize("name", ["answers 500", "hangs", "is gone"])
def test_causes_and_healing_wait_for_no_consumer_that_takes_nothing(telling: Telling, name: str) -> None:
    """Else one that is broken would delay every healing."""
    with consumer(only_posts(BAD[name]) if name in BAD else None) as bad:
        subscription = telling.subscribe_fm(bad)
        telling.raise_(an_alarm(new_id()))
        telling.service.until(lambda: telling.recorded(subscription), bool)
        if name == "is gone":
            bad.close()
        telling.raise_together([an_alarm(new_id(), f"p/{number}") for number in range(100)])
        assert telling.told_within_s(60.0) < 10.0
        telling.end(subscription)


def test_a_consumer_that_comes_back_gets_what_it_missed(telling: Telling, sink: Consumer) -> None:
    """Its absence is not ours to judge: nothing is given up while it takes nothing at all."""
    subscription = telling.subscribe_fm(sink)
    vnfs = [new_id() for _ in range(3)]
    sink.close()
    for number in range(12):
        telling.raise_(an_alarm(vnfs[number % 3], f"p/{number}"))
    # Long enough for more attempts than a poisonous notification gets.
    telling.service.until(
        lambda: telling.shown(subscription), lambda seen: seen["away_since"] is not None and seen["trouble"]
    )
    time.sleep(3)
    sink.reopen()
    check_order(sink.until(lambda seen: len({one.number for one in seen}) == 12), 12)
    assert telling.recorded(subscription, state="DEAD") == []
    shown = telling.service.until(
        lambda: telling.shown(subscription), lambda seen: seen["delivered"] == 12 and not seen["trouble"]
    )
    assert shown["away_since"] is None
    telling.end(subscription)


@pytest.mark.parametrize("name", ["answers 500", "hangs", "answers garbage", "refuses"])
def test_a_poisonous_notification_becomes_a_dead_letter(telling: Telling, name: str) -> None:
    """One that a consumer cannot take holds up its own object for a while, the others not at all."""
    answer = {**BAD, "refuses": lambda request: Answer(status=422, body=b"what is this?")}[name]
    poisoned, healthy = new_id(), new_id()

    def behave(request: Request) -> Answer:
        return answer(request) if b"poison" in request.body and poisoned.encode() in request.body else OK

    with consumer(only_posts(behave)) as sink:
        subscription = telling.subscribe_fm(sink)
        telling.raise_(an_alarm(poisoned, "poison"), an_alarm(poisoned, "after"))
        for number in range(30):
            telling.raise_(an_alarm(healthy, f"p/{number}"))
            time.sleep(0.05)
        (dead,) = telling.until_recorded(subscription, "DEAD", 1)
        assert dead["number"] == 1
        assert dead["attempts"] >= 4
        assert dead["detail"]
        sink.until(lambda seen: {one.number for one in seen} == set(range(1, 33)))
        attempts = [one for one in sink.notifications if one.number == 1]
        assert len(attempts) >= 4
        assert {one.json["id"] for one in attempts} == {dead["id"]}
        assert all(one.headers.get("farsite-replay") == "true" for one in attempts[1:])
        telling.end(subscription)


def test_a_dead_letter_is_sent_once_more_or_skipped(telling: Telling) -> None:
    """What became of it is the operator's decision, after the consumer was mended."""
    is_mended = False

    def behave(request: Request) -> Answer:
        return OK if is_mended or b"fine" in request.body else Answer(status=400)

    with consumer(only_posts(behave)) as sink:
        subscription = telling.subscribe_fm(sink)
        telling.raise_(an_alarm(new_id(), "one"), an_alarm(new_id(), "two"))
        dead = telling.until_recorded(subscription, "DEAD", 2)
        is_mended = True
        path = f"/subscriptions/{subscription}/notifications"
        assert telling.service.native("POST", f"{path}/{dead[0]['number']}/resume").status_code == 202
        assert telling.service.native("POST", f"{path}/{dead[1]['number']}/skip").status_code == 200
        (again,) = telling.until_recorded(subscription, "DELIVERED", 1)
        assert again["number"] == dead[0]["number"]
        assert again["is_replay"]
        assert [one["number"] for one in telling.recorded(subscription, state="SKIPPED")] == [
            dead[1]["number"]
        ]
        refused = telling.service.native("POST", f"{path}/{dead[0]['number']}/resume")
        assert refused.status_code == 409
        assert "no dead letter" in refused.json()["detail"]
        telling.end(subscription)


def test_a_consumer_names_the_number_from_which_it_wants_all_again(telling: Telling, sink: Consumer) -> None:
    """R-24: a consumer that lost its state, or did not keep what it took, asks for it and finds no gap."""
    subscription = telling.subscribe_fm(sink)
    vnfs = [new_id() for _ in range(4)]
    for number in range(20):
        telling.raise_(an_alarm(vnfs[number % 4], f"p/{number}"))
    first = sink.until(lambda seen: len(seen) == 20)
    telling.until_recorded(subscription, "DELIVERED", 20)
    sink.close()
    for number in range(20, 30):
        telling.raise_(an_alarm(vnfs[number % 4], f"p/{number}"))
    asked = telling.service.native("POST", f"/subscriptions/{subscription}/replay", json={"from_number": 8})
    assert asked.status_code == 202
    sink.reopen()
    seen = sink.until(lambda seen: {one.number for one in seen[20:]} >= set(range(8, 31)))
    check_order(seen, 30)
    again = seen[20:]
    assert sorted({one.number for one in again}) == list(range(8, 31))
    by_number = {one.number: one.json["id"] for one in first}
    for one in again:
        if one.number <= 20:
            assert one.headers["farsite-replay"] == "true"
            assert one.json["id"] == by_number[one.number]
    assert len(telling.until_recorded(subscription, "DELIVERED", 30)) == 30
    telling.end(subscription)


def test_a_replay_of_what_was_never_told_is_refused(telling: Telling, sink: Consumer) -> None:
    """A consumer that is ahead of us has mixed up its subscriptions and should know."""
    subscription = telling.subscribe_fm(sink)
    refused = telling.service.native("POST", f"/subscriptions/{subscription}/replay", json={"from_number": 9})
    assert refused.status_code == 409
    assert "there is no 9 yet" in refused.json()["detail"]
    telling.end(subscription)


@pytest.mark.sampled(2)
def test_thousands_that_wait_cost_a_bounded_amount_of_memory(telling: Telling, sink: Consumer) -> None:
    """A consumer that is away over a storm must not take this service with it."""
    subscription = telling.subscribe(sink, filter={"kinds": ["alarm"]})
    sink.close()
    vnfs = [new_id() for _ in range(50)]
    with telling.database.transaction() as connection:
        from farsite.store import alarms

        for number in range(3000):
            alarms.raise_(connection, an_alarm(vnfs[number % 50], f"p/{number}"))
    telling.service.until(lambda: telling.shown(subscription), lambda seen: seen["number"] >= 256)
    from farsite.telemetry import exposition

    pending = next(
        line
        for line in exposition().decode().splitlines()
        if line.startswith("farsite_notifications_pending ")
    )
    assert float(pending.split()[1]) <= 256
    sink.reopen()
    seen = sink.until(lambda seen: len({one.number for one in seen}) >= 3000, within_s=60)
    check_order(seen, 3000)
    telling.end(subscription)
