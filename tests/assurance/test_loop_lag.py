"""Stalls of our own event loop, and the collections of garbage that may cause them, as they are told."""

import asyncio
import gc
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from farsite.assurance.loop_lag import LoopLag, waits
from farsite.model.clock import SystemClock
from farsite.settings import Settings
from farsite.store.database import Database
from farsite.telemetry import exposition

BOUND_S = 30.0


def told(name: str, **labels: str) -> float | None:
    """A sample of what is told at /metrics."""
    for family in text_string_to_metric_families(exposition().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels.items() >= labels.items():
                return sample.value
    return None


def late_by_more_than(le: str) -> float:
    name = "farsite_loop_lag_sampled_seconds"
    in_time, all_of_them = told(f"{name}_bucket", le=le), told(f"{name}_count")
    assert in_time is not None, f"no class ends at {le} s"
    assert all_of_them is not None
    return all_of_them - in_time


async def until_grown(name: str, before: float, **labels: str) -> None:
    give_up_at = time.monotonic() + BOUND_S
    while (told(name, **labels) or 0.0) <= before:
        assert time.monotonic() < give_up_at, f"{name} stays at {before}"
        await asyncio.sleep(0.02)


@pytest.fixture
def lag(tmp_path: Path) -> LoopLag:
    settings = Settings(data_dir=tmp_path, loop_lag_alarm_s=60)
    return LoopLag(settings, Database(settings), SystemClock())


def test_a_stall_counts_for_every_timer_that_waited_through_it() -> None:
    """One late look among ten thousand is a good p99.9, and a second in which nothing ran is not."""
    assert list(waits(0.0, 0.1)) == [0.0]
    assert list(waits(0.04, 0.1)) == [0.04]
    assert [round(one, 3) for one in waits(0.36, 0.1)] == [0.36, 0.26, 0.16, 0.06]


async def test_a_stall_of_the_loop_is_told_among_those_over_fifty_milliseconds(lag: LoopLag) -> None:
    """The bound that is aimed at is one of the classes, so that no estimate lies between it and the share of
    lags beyond it."""
    counted, late = told("farsite_loop_lag_sampled_seconds_count") or 0.0, late_by_more_than("0.05")
    lag.start()
    # The first timer is set, and due while nothing can run.
    await asyncio.sleep(0.01)
    time.sleep(0.5)
    await until_grown("farsite_loop_lag_sampled_seconds_count", counted)
    await lag.stop()
    assert late_by_more_than("0.05") - late >= 3


async def test_a_collection_of_garbage_is_timed_by_generation(lag: LoopLag) -> None:
    """Whether a stall was one says what to do about it."""
    name = "farsite_garbage_pause_seconds"
    before = told(f"{name}_count", generation="2") or 0.0
    took_s = told(f"{name}_sum", generation="2") or 0.0
    callbacks = list(gc.callbacks)
    lag.start()
    gc.collect()
    await until_grown(f"{name}_count", before, generation="2")
    assert (told(f"{name}_sum", generation="2") or 0.0) > took_s
    await lag.stop()
    await lag.stop()
    assert gc.callbacks == callbacks
