"""Parts of the benchmark of devices as they are run, small: what they measure has to happen."""

import os
import shutil

import pytest
from bench.devices import fleet, overhead, reversal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for routers with an sshd each"),
    pytest.mark.skipif(
        not all(shutil.which(one) for one in ("sshd", "nft", "ip")), reason="sshd, nft or ip is not there"
    ),
]


def test_a_device_that_is_cut_off_is_back_when_its_time_is_over() -> None:
    """Neither before, for then nothing was cut, nor when somebody happens to look."""
    found = list(reversal.measure(is_quick=True))
    assert len(found) == 4
    assert all(one.value is not None and -500 < one.value < 10_000 for one in found), found


def test_one_router_is_changed_directly_and_through_a_broker() -> None:
    """In turn: a change that was lost would leave the next one nothing to change, and be very fast."""
    ratio, added = overhead.measure(is_quick=True)
    assert ratio.value is not None
    assert 0.3 < ratio.value < 30
    assert added.value is not None


def test_a_fleet_is_configured_whole_by_a_process_and_by_a_broker() -> None:
    """Those that are left out would make it fast."""
    done, memory, brokered, of_broker, of_service = fleet.measure(is_quick=True, count=4)
    assert done.value is not None
    assert brokered.value is not None
    assert "4 Linux routers" in done.what
    assert "4 Linux routers" in brokered.what
    for one in (memory, of_broker, of_service):
        assert one.value is not None
        assert 20 < one.value < 2000
