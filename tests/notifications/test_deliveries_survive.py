"""Deliveries go on when the process that makes them dies or freezes: nothing lost, nothing in disorder."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from order_check import check_order
from serving import Serving, serving
from telling_bench import FM, an_alarm

from consumer_bench import HANGS, OK, Answer, Consumer, Request, consumer, only_posts
from farsite.model.ids import new_id
from farsite.settings import Settings
from farsite.store import alarms
from farsite.store.database import Database

pytestmark = pytest.mark.slow

_REBUILT = "AlarmListRebuiltNotification"


@contextmanager
def storm(database: Database, count: int, over_s: float) -> Iterator[threading.Thread]:
    """Alarms of ten objects, raised one after another by another process on the same database."""
    vnfs = [new_id() for _ in range(10)]

    def rage() -> None:
        for number in range(count):
            with database.transaction() as connection:
                alarms.raise_(connection, an_alarm(vnfs[number % 10], f"p/{number}"))
            time.sleep(over_s / count)

    thread = threading.Thread(target=rage, daemon=True)
    thread.start()
    yield thread
    thread.join(120)


def subscribed(one: Serving, sink: Consumer) -> str:
    answer = one.ask("POST", f"{FM}/subscriptions", {"callbackUri": sink.url})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.mark.sampled(2)
def test_a_process_that_is_killed_again_and_again_loses_and_doubles_nothing(
    data_dir: Path, database_url: str, sink: Consumer
) -> None:
    """I-08 over kills at random moments: between commit and delivery, between delivery and record."""
    chance = random.Random(4)
    database = Database(Settings(data_dir=data_dir, database_url=database_url))
    sink.behaviour = only_posts(lambda request: Answer(delay_s=chance.random() * 0.02))
    kills = 4
    try:
        with serving(data_dir / "one", database_url) as one:
            subscription = subscribed(one, sink)
            with storm(database, 400, 6.0):
                for _ in range(kills):
                    time.sleep(chance.uniform(0.2, 0.6))
                    one.kill()
                    one.start()
            seen = sink.until(
                lambda seen: (
                    sum("alarm" in one.json for one in {one.number: one for one in seen}.values()) == 400
                    and len({one.number for one in seen if one.json["notificationType"] == _REBUILT}) == kills
                ),
                within_s=180,
            )
            check_order(seen, 400 + kills)
            # What was taken before a kill and recorded by then is not sent again.
            assert len(seen) < 2 * (400 + kills)
            path = f"/farsite/v1/subscriptions/{subscription}"
            give_up_at = time.monotonic() + 60
            while one.ask("GET", path).json()["delivered"] < 400 + kills:
                assert time.monotonic() < give_up_at
                time.sleep(0.05)
    finally:
        database.close()


@pytest.mark.sampled(2)
def test_what_was_sent_and_not_recorded_is_sent_again_with_the_same_id(
    data_dir: Path, database_url: str
) -> None:
    """The consumer cannot know that we died before we heard its answer; the id tells it."""
    database = Database(Settings(data_dir=data_dir, database_url=database_url))
    may_answer = False

    def behave(request: Request) -> Answer:
        return OK if may_answer else HANGS

    try:
        with consumer(only_posts(behave)) as sink, serving(data_dir / "one", database_url) as one:
            subscribed(one, sink)
            with database.transaction() as connection:
                for number in range(20):
                    alarms.raise_(connection, an_alarm(new_id(), f"p/{number}"))
            before = sink.until(lambda seen: len(seen) >= 1)
            one.kill()
            may_answer = True
            one.start()
            seen = sink.until(lambda seen: {one.number for one in seen} == set(range(1, 22)))
            check_order(seen, 21)
            (again,) = [one for one in seen[len(before) :] if one.number == before[0].number][:1]
            assert again.json == before[0].json
    finally:
        database.close()


@pytest.mark.sampled(2)
def test_a_process_that_stops_in_peace_rebuilds_nothing(
    data_dir: Path, database_url: str, sink: Consumer
) -> None:
    """Reading the whole alarm list at each planned restart would be a load for nothing."""
    database = Database(Settings(data_dir=data_dir, database_url=database_url))
    try:
        with serving(data_dir / "one", database_url) as one:
            subscribed(one, sink)
            one.end()
            with database.transaction() as connection:
                alarms.raise_(connection, an_alarm(new_id()))
            one.start()
            sink.until(lambda seen: len(seen) >= 1)
            one.end()
            # Once in general, twice if the consumer was slower than the service waits.
            told = {(one.number, one.json["notificationType"]) for one in sink.notifications}
            assert told == {(1, "AlarmNotification")}
    finally:
        database.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_another_process_takes_over_from_one_that_says_nothing(
    data_dir: Path, postgresql_url: str, sink: Consumer, how: str
) -> None:
    """Each subscription is delivered by one process, and never by a dead one for long."""
    database = Database(Settings(data_dir=data_dir, database_url=postgresql_url))
    try:
        with (
            serving(data_dir / "one", postgresql_url) as one,
            serving(data_dir / "one", postgresql_url, "two", one.token) as two,
        ):
            subscription = subscribed(two, sink)
            processes = {"one": one, "two": two}
            path = f"/farsite/v1/subscriptions/{subscription}"
            with database.transaction() as connection:
                alarms.raise_(connection, an_alarm(new_id()))
            sink.until(lambda seen: len(seen) == 1)
            holder = processes[one.ask("GET", path).json()["holder"]]
            other = two if holder is one else one
            with storm(database, 300, 6.0):
                time.sleep(1)
                if how == "killed":
                    holder.kill()
                else:
                    holder.freeze()
                struck_at = time.monotonic()
                sink.until(lambda seen: seen[-1].at > struck_at + 0.5)
                assert other.ask("GET", path).json()["holder"] == other.executor
                if how == "frozen":
                    time.sleep(1)
                    holder.thaw()
            seen = sink.until(lambda seen: {one.number for one in seen} >= set(range(1, 302)))
            check_order(seen, 301, has_late_copies=how == "frozen")
            after_all = [one for one in seen if one.number > 250]
            assert len(after_all) < 1.5 * 51, "both deliver"
    finally:
        database.close()
