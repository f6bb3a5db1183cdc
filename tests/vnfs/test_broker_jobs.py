"""Jobs that a broker must refuse, whoever sent them."""

from datetime import UTC, datetime, timedelta

import pytest

from farsite.vnfs.broker.jobs import Job, JobAccess, JobVerb
from farsite.vnfs.broker.performing import perform
from farsite.vnfs.registry import Adapters
from farsite.vnfs.transports.kept_sessions import KeptSessions


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
