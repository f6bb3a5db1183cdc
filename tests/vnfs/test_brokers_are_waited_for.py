"""What waits for a broker that is busy, and for one that is gone. The broker is played by its API, as one of
a third party would speak it, or is ours."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from appliances import ADAPTERS, Appliance
from farsite.lifecycle import brokering
from farsite.settings import Settings
from farsite.vnfs.adapter import Difference, Outcome, Plan
from farsite.vnfs.adapter import Running as Runs
from farsite.vnfs.broker import working
from farsite.vnfs.broker.jobs import Answer, Fault, answer_to_json
from farsite.vnfs.broker.working import Broker, BrokerSettings
from service_bench import Service, running

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]
_DEADLINE_S = 3.0


@dataclass
class Played:
    """A service with functions behind the broker `edge`, which the test plays."""

    service: Service
    directory: Path
    token: str = ""
    known: list[str] = field(default_factory=list[str])

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, path, **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def has(self, name: str) -> None:
        """One more function, on the broker's own machine."""
        self.service.create_vnf(name=name)
        appliance = Appliance(self.directory / name).lay_out()
        body = {
            "adapter": "appliance",
            "way": "broker",
            "broker": "edge",
            "parameters": appliance.parameters,
            "keep_in": str(self.directory / name / "kept"),
        }
        self.ask("PUT", f"/vnfs/{name}/management", json=body)

    def configure(self, name: str) -> str:
        body = {"document": {"native": {"text": f"{name}\n"}}}
        return self.ask("POST", f"/vnfs/{name}/configure", 202, json=body)["id"]

    def why(self, operation_id: str) -> Any:
        return self.ask("GET", f"/operations/{operation_id}/why")

    def ended(self, operation_id: str) -> Any:
        """The operation at its end, for which a slow machine has time."""
        return self.service.until(
            lambda: self.ask("GET", f"/operations/{operation_id}"),
            lambda seen: (
                (seen["is_ended"] or seen["state"] == "FAILED_TEMP")
                and all(step["state"] != "RUNNING" for step in seen["steps"])
            ),
            within_s=150,
        )

    @property
    def waiting(self) -> int:
        (one,) = self.ask("GET", "/brokers")
        return int(one["waiting"])

    @property
    def heard_at(self) -> str:
        (one,) = self.ask("GET", "/brokers")
        return str(one["heard_at"])

    def next(self, at_most: int = 1) -> list[Any]:
        """What the broker gets when it asks for so many jobs."""
        with self.service.http_as(self.token) as http:
            answer = http.post(
                "/farsite/v1/brokers/edge/jobs/next",
                json={"version": 2, "at_most": at_most, "waits_s": 5, "known": self.known},
            )
        assert answer.status_code == 200, answer.text
        self.known += [one["id"] for one in answer.json()]
        return answer.json()

    def job(self, verb: str, name: str) -> str:
        """The next job, which is such a one; its id."""
        (job,) = self.next()
        assert (job["verb"], job["name"]) == (verb, name)
        return job["id"]

    def answer(self, answer: Answer) -> None:
        with self.service.http_as(self.token) as http:
            told = http.put(
                f"/farsite/v1/brokers/edge/jobs/{answer.job_id}/answer", json=answer_to_json(answer)
            )
        assert told.status_code == 204, told.text


@contextlib.contextmanager
def played_in(directory: Path, database_url: str, *, step_deadline_s: float) -> Iterator[Played]:
    settings = Settings(
        data_dir=directory / "data",
        database_url=database_url,
        adapter_dir=str(ADAPTERS),
        step_deadline_s=step_deadline_s,
        function_watch_period_s=0,
    )
    with running(settings) as service:
        service.onboard("webserver")
        token = service.native("POST", "/brokers", json={"name": "edge"}).json()["token"]
        yield Played(service, directory, token)


@pytest.fixture
def played(database_url: str, tmp_path: Path) -> Iterator[Played]:
    with played_in(tmp_path, database_url, step_deadline_s=120.0) as found:
        yield found


@pytest.fixture
def hasty(database_url: str, tmp_path: Path) -> Iterator[Played]:
    """Steps have little time in it."""
    with played_in(tmp_path, database_url, step_deadline_s=_DEADLINE_S) as found:
        yield found


def test_a_job_in_the_line_of_a_busy_broker_does_not_time_out(hasty: Played) -> None:
    """Of five hundred the last waits for all others, and nothing is wrong with it."""
    hasty.has("one")
    operation_id = hasty.configure("one")
    hasty.service.until(lambda: hasty.waiting, lambda seen: seen == 1)
    for _ in range(12):
        assert hasty.next(0) == [], "it asks for none, to be heard"
        if hasty.why(operation_id)["until"] is None:
            break
        threading.Event().wait(0.3)
    why = hasty.why(operation_id)
    assert why["waits_for"] == "The broker edge, which works on others."
    assert why["until"] is None
    # Longer than the step has.
    for _ in range(5):
        threading.Event().wait(_DEADLINE_S / 4)
        hasty.next(0)
    assert not hasty.ask("GET", f"/operations/{operation_id}")["is_ended"]

    job = hasty.job("fetch", "one")
    until = hasty.service.until(lambda: hasty.why(operation_id)["until"], lambda seen: seen is not None)
    assert until, "it is worked on, so the deadline runs again"
    hasty.answer(Answer(job_id=job, fault=Fault(kind="VnfFault", detail="It has no disk.")))
    ended = hasty.ended(operation_id)
    assert "It has no disk." in ended["error"]["detail"]


def test_a_broker_that_is_gone_is_noticed_and_finds_nothing_in_line_when_it_is_back(
    hasty: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody waits for any more must not be done hours later."""
    monkeypatch.setattr(brokering, "_SILENT_S", 1.0)
    hasty.has("one")
    hasty.next(0)
    operation_id = hasty.configure("one")
    ended = hasty.ended(operation_id)
    assert ended["state"] == "ROLLED_BACK"
    assert "The broker edge has not answered for one. It was heard last at" in ended["error"]["detail"]
    assert hasty.waiting == 0


def test_a_broker_that_the_deadline_cuts_short_is_what_was_waited_for(hasty: Played) -> None:
    """It counts as gone after half a minute; a step that has less time must not end without a word of it."""
    hasty.has("one")
    hasty.next(0)
    operation_id = hasty.configure("one")
    waits = hasty.service.until(
        lambda: hasty.why(operation_id)["waits_for"], lambda seen: "The broker edge" in seen
    )
    assert waits.startswith("The broker edge has not answered for one. It was heard last at")
    ended = hasty.ended(operation_id)
    assert ended["error"]["title"] == "Deadline passed"
    assert waits in ended["error"]["detail"]


def test_a_job_that_was_given_and_is_not_answered_is_what_was_waited_for(hasty: Played) -> None:
    """What stood in line before has nothing to do with it any more."""
    hasty.has("one")
    operation_id = hasty.configure("one")
    hasty.job("fetch", "one")
    ended = hasty.ended(operation_id)
    assert ended["error"]["title"] == "Deadline passed"
    assert "The broker edge has not answered for one. It was heard last at" in ended["error"]["detail"]


def test_a_cancel_takes_what_was_not_given_to_the_broker_out_of_its_line(played: Played) -> None:
    """A cancelled change that reaches its device later would stand there unasked for."""
    played.has("one")
    operation_id = played.configure("one")
    played.answer(Answer(job_id=played.job("fetch", "one"), running=_RUNS))
    played.answer(Answer(job_id=played.job("plan", "one"), plan=_CHANGES))
    played.answer(Answer(job_id=played.job("outcome", "one"), outcome=Outcome.NONE))
    played.service.until(lambda: played.waiting, lambda seen: seen == 1)
    played.ask("POST", f"/operations/{operation_id}/cancel", 202, json={"mode": "FORCEFUL"})
    # The change itself is gone from the line; what comes next takes it back.
    played.answer(Answer(job_id=played.job("revert", "one")))
    assert played.ended(operation_id)["state"] == "ROLLED_BACK"


def test_a_change_that_stands_unconfirmed_goes_before_those_that_have_not_begun(played: Played) -> None:
    """Behind four hundred others its device would take it back."""
    for name in ("one", "two"):
        played.has(name)
    first = played.configure("one")
    played.answer(Answer(job_id=played.job("fetch", "one"), running=_RUNS))
    played.answer(Answer(job_id=played.job("plan", "one"), plan=_CHANGES))
    played.answer(Answer(job_id=played.job("outcome", "one"), outcome=Outcome.NONE))
    applied = played.job("apply", "one")
    second = played.configure("two")
    played.service.until(lambda: played.waiting, lambda seen: seen == 2)
    played.answer(Answer(job_id=applied))
    played.service.until(lambda: played.waiting, lambda seen: seen == 2)
    played.answer(Answer(job_id=played.job("health", "one")))
    played.service.until(lambda: played.waiting, lambda seen: seen == 2)
    played.answer(Answer(job_id=played.job("confirm", "one")))
    assert played.ended(first)["state"] == "COMPLETED"
    played.answer(
        Answer(job_id=played.job("fetch", "two"), fault=Fault(kind="VnfFault", detail="It has no disk."))
    )
    assert played.ended(second)["state"] == "ROLLED_BACK"


def test_a_broker_of_ours_is_heard_while_it_is_wholly_at_work(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that asks only when it has room would be taken for gone over a long job."""
    monkeypatch.setattr(working, "_IS_HEARD_EVERY_S", 0.3)
    played.has("one")
    text = played.directory / "one" / "text"
    text.unlink()
    # Whoever reads it waits for a writer.
    os.mkfifo(text)
    settings = BrokerSettings(
        url=played.service.url,
        name="edge",
        token=played.token,
        state_dir=played.directory / "broker",
        most_at_once=1,
        allow_local=True,
        adapter_dirs=(ADAPTERS,),
    )
    loop = asyncio.new_event_loop()

    async def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await Broker(settings).run()

    task = loop.create_task(run())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,), daemon=True)
    thread.start()
    try:
        played.configure("one")
        jobs = played.directory / "broker" / "jobs"
        played.service.until(lambda: list(jobs.glob("*")), lambda seen: len(seen) == 1)
        heard = {played.heard_at}
        for _ in range(3):
            before = max(heard)
            heard.add(played.service.until(lambda: played.heard_at, lambda seen, was=before: seen > was))
        assert len(list(jobs.glob("*"))) == 1, "it is at work all the time"
    finally:
        # Who reads has read.
        with contextlib.suppress(OSError):
            os.close(os.open(text, os.O_WRONLY | os.O_NONBLOCK))
        loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        loop.close()
    assert not thread.is_alive()


_RUNS = Runs(texts={"text": "as ever\n"}, version="", digest="d")
_CHANGES = Plan(differences=(Difference(place="text", diff="-as ever\n+one\n"),), against="d")
