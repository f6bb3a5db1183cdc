"""Jobs that a broker must refuse, that come twice, and that come in another order than they were sent."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bench_parts import document

from farsite.vnfs.adapter import Outcome
from farsite.vnfs.broker.jobs import VERSION, Answer, Job, JobAccess, JobVerb
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.new_adapter import begin
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions


@dataclass
class Site:
    """A broker whose own machine has a product whose configuration is a file of names and addresses."""

    directory: Path

    def __post_init__(self) -> None:
        begin("names", self.directory / "adapters")
        self.config = self.directory / "farsite.conf"
        self.adapters = Adapters([self.directory / "adapters"])

    async def does(self, verb: JobVerb, change_id: str = "", version: int = 1, **more: Any) -> Answer:
        job = Job(
            id=f"{change_id}.{verb}",
            device="d",
            name="names-1",
            verb=verb,
            adapter="names",
            access=JobAccess(),
            parameters={"config": str(self.config)},
            keep_in=str(self.directory / "kept"),
            deadline_at=datetime.now(UTC) + timedelta(minutes=1),
            change_id=change_id,
            version=version,
            **more,
        )
        return await perform(job, self.adapters, KeptSessions(), allow_local=True)

    async def change(self, change_id: str, address: str) -> dict[str, Any]:
        """What it takes to have one name there."""
        wanted = document(dns={"records": [{"name": "www", "value": address}]})
        planned = await self.does(JobVerb.PLAN, document=wanted)
        return {"change_id": change_id, "document": wanted, "plan": planned.plan, "confirm_within_s": 60.0}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_change_that_is_sent_again_and_again_is_made_once(site: Site) -> None:
    """A network repeats what it is not sure of; so does an orchestrator that was killed."""
    change = await site.change("first", "192.0.2.1")
    for _ in range(3):
        assert (await site.does(JobVerb.APPLY, **change)).fault is None
    assert (await site.does(JobVerb.OUTCOME, "first")).outcome is Outcome.PENDING
    for _ in range(2):
        assert (await site.does(JobVerb.CONFIRM, "first")).fault is None
    # Long confirmed, the change comes once more, when something else stands there.
    second = await site.change("second", "192.0.2.2")
    await site.does(JobVerb.APPLY, **second)
    await site.does(JobVerb.CONFIRM, "second")
    assert (await site.does(JobVerb.APPLY, **change)).fault is None
    assert "192.0.2.2" in site.config.read_text()
    assert "192.0.2.1" not in site.config.read_text()


async def test_a_confirmation_that_overtakes_its_change_confirms_nothing(site: Site) -> None:
    """The change that follows stands unconfirmed, and undoes itself unless somebody asks again."""
    change = await site.change("first", "192.0.2.1")
    early = await site.does(JobVerb.CONFIRM, "first")
    assert early.fault is not None
    assert "names-1" in early.fault.detail
    assert (await site.does(JobVerb.APPLY, **change)).fault is None
    assert (await site.does(JobVerb.OUTCOME, "first")).outcome is Outcome.PENDING


async def test_a_change_that_comes_after_it_was_taken_back_is_not_made(site: Site) -> None:
    """Whoever took it back has told somebody that it is gone."""
    change = await site.change("first", "192.0.2.1")
    await site.does(JobVerb.APPLY, **change)
    await site.does(JobVerb.REVERT, "first")
    late = await site.does(JobVerb.APPLY, **change)
    assert late.fault is not None
    assert late.fault.kind == "Conflict"
    assert not site.config.exists() or "192.0.2.1" not in site.config.read_text()


async def test_a_change_that_another_has_overtaken_is_refused(site: Site) -> None:
    """It was planned against what no longer runs."""
    slow, quick = await site.change("slow", "192.0.2.1"), await site.change("quick", "192.0.2.2")
    await site.does(JobVerb.APPLY, **quick)
    await site.does(JobVerb.CONFIRM, "quick")
    late = await site.does(JobVerb.APPLY, **slow)
    assert late.fault is not None
    assert "Plan again" in late.fault.detail
    assert "192.0.2.2" in site.config.read_text()


async def test_an_orchestrator_of_another_release_is_told_what_a_broker_understands(site: Site) -> None:
    """Older ones send what was known then, newer ones what nobody here can know."""
    assert (await site.does(JobVerb.FETCH, version=1)).running is not None
    newer = await site.does(JobVerb.FETCH, version=VERSION + 1)
    assert newer.fault is not None
    assert newer.fault.kind == "NotSupported"
    assert f"up to version {VERSION}" in newer.fault.detail
    assert "Upgrade the broker" in newer.fault.detail


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["", "192.0.2.1"])
async def test_a_function_of_our_own_is_no_job_for_a_broker(host: str) -> None:
    """Whatever answered there could not be known for the function, for it has no key and nobody logs in."""
    job = Job(
        id="1",
        device="d",
        name="guard",
        verb=JobVerb.FETCH,
        adapter="builtin",
        access=JobAccess(host=host),
        deadline_at=datetime.now(UTC) + timedelta(minutes=1),
    )
    answer = await perform(job, Adapters(), KeptSessions(), allow_local=True)

    assert answer.fault is not None
    assert answer.fault.kind == "NotSupported"
    assert "guard" in answer.fault.detail
    assert "loopback" in answer.fault.detail
    assert "without a broker" in answer.fault.detail
