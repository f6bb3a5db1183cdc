"""Thousands of VIMs watched by one process: what it costs, how soon the loss of five hundred at once is
known, and whether the others notice.

The clouds are those of `bench.many_clouds`, in a process of their own. They are registered through the API.
What is known and told is read where it is stored. The cost is the processor time of the watching process per
check that it has made, so that it says the same on a machine that has other work; times are by the clock, and
say there what the machine let it do.
"""

import os
import time
from collections.abc import Iterator, Sequence

from bench.cloud_fleet import (
    AT_ONCE,
    Clouds,
    asked,
    await_count,
    certificates,
    checks_made,
    clouds_running,
    register,
)
from bench.figures import Figure, NotMeasured, percentile
from bench.orchestrator import Service, cpu_s, data_directory, resident_mib, service

_LATE_AFTER_S = 1.5
"""A check is late when it comes more than half a period after its time."""
_GOAL_SHARE = 100.0
_KNOWN_GOAL_S = 3.0
_LOST_AT_ONCE = 500
_BULKHEAD_PERCENT = 20.0
_JITTER_S = 0.8


def measure(*, is_quick: bool, counts: Sequence[int] = ()) -> Iterator[Figure]:
    """Plain and over TLS; `counts` are how many VIMs, 1,000 and 5,000 if none are given."""
    counts, look_s = (counts or (20,), 5.0) if is_quick else (counts or (1000, 5000), 60.0)
    for is_tls in (False, True):
        for count in counts:
            yield from _watched(count, is_tls=is_tls, look_s=look_s)


def _watched(count: int, *, is_tls: bool, look_s: float) -> Iterator[Figure]:
    title = f"{count:,} VIMs at 1 Hz{' over TLS' if is_tls else ''}"
    with (
        certificates(count, is_tls=is_tls) as pems,
        clouds_running(count, pems) as clouds,
        data_directory() as directory,
        service(directory) as running,
    ):
        began = time.monotonic()
        register(running, count, ca=(pems / "ca.pem").read_text() if pems else "")
        took_s = time.monotonic() - began
        yield Figure(what=f"{title}: registered in", value=took_s, unit="s", note=f"{AT_ONCE} at a time")
        time.sleep(min(look_s, 15.0))
        used_s, checks, began = cpu_s(running.pid), checks_made(running), time.monotonic()
        clouds.say("begin")
        time.sleep(look_s)
        told = clouds.say("end")
        used_s, over_s = cpu_s(running.pid) - used_s, time.monotonic() - began
        checks = checks_made(running) - checks
        gaps = [gap for one in told["gaps_s"] for gap in one]
        if not gaps or not checks:
            raise NotMeasured("no VIM was asked twice")
        yield Figure(
            what=f"{title}: processor time",
            # Where the machine gives less than is wanted, fewer checks are made; what each costs stays.
            value=used_s / checks * count * 100,
            unit="% of a core",
            to_reach=None if is_tls else _GOAL_SHARE,
            note=f"{used_s / checks * 1000:.3f} ms per check, inventories included; {checks / over_s:.0f} "
            f"checks/s ({checks / over_s / count:.0%} of those due), {told['requests'] / over_s:.0f} "
            f"requests/s; RSS {resident_mib(running.pid):.0f} MiB; load {os.getloadavg()[0]:.1f}",
        )
        late = sum(gap > _LATE_AFTER_S for gap in gaps)
        yield Figure(
            what=f"{title}: requests more than {_LATE_AFTER_S:g} s after the one before",
            value=late / len(gaps) * 100,
            unit="%",
            note=f"{late} of {len(gaps)}; p50 {percentile(gaps, 50):.2f} p99 {percentile(gaps, 99):.2f} "
            f"worst {max(gaps):.2f} s",
        )
        before = percentile(gaps, 99)
        for fault in ("lose", "hang"):
            yield from _lost(title, running, clouds, fault, count, before)
        yield _jitter(title, running, clouds, count, look_s)


def _lost(
    title: str, running: Service, clouds: Clouds, fault: str, count: int, before_s: float
) -> Iterator[Figure]:
    lost = min(_LOST_AT_ONCE, count // 2)
    clouds.say("begin")
    began = time.monotonic()
    clouds.say(f"{fault} 0 {lost}")
    bad = "SELECT count(*) FROM vims WHERE state IN ('UNREACHABLE', 'ERROR')"
    await_count(running, bad, lost)
    known_s = time.monotonic() - began
    told = "SELECT count(*) FROM alarms WHERE is_open AND fault_type = 'vim-unreachable'"
    await_count(running, told, lost)
    told_s = time.monotonic() - began
    time.sleep(3)
    others = [gap for one in clouds.say("end")["gaps_s"][lost:] for gap in one]
    words = {"lose": "gone", "hang": "hanging"}[fault]
    yield Figure(
        what=f"{title}: {lost} {words} at once are known UNREACHABLE in",
        value=known_s,
        unit="s",
        to_reach=_KNOWN_GOAL_S,
    )
    yield Figure(
        what=f"{title}: {lost} {words} at once have their alarms stored in",
        value=told_s,
        unit="s",
        to_reach=_KNOWN_GOAL_S if fault == "lose" else None,
    )
    if others:
        after_s = percentile(others, 99)
        yield Figure(
            what=f"{title}: p99 between requests to the others, against before",
            value=max((after_s / before_s - 1) * 100, 0.0),
            unit="% longer",
            to_reach=_BULKHEAD_PERCENT,
            note=f"{before_s:.3f} s before, {after_s:.3f} s while {lost} were {words}",
        )
    clouds.say("mend")
    await_count(running, "SELECT count(*) FROM vims WHERE state = 'ACTIVE'", count)


def _jitter(title: str, running: Service, clouds: Clouds, count: int, look_s: float) -> Figure:
    """Every answer takes by chance up to so long; none of them is a fault."""
    raised = "SELECT count(*) FROM alarms WHERE fault_type IN ('vim-unreachable', 'vim-degraded')"
    before = asked(running, raised)
    clouds.say(f"slow 0 {count} {_JITTER_S}")
    time.sleep(look_s)
    found = asked(running, raised) - before
    clouds.say("mend")
    return Figure(
        what=f"{title}: false alarms in {look_s:.0f} s of answers that take up to {_JITTER_S:g} s",
        value=float(found),
        unit="alarms",
        to_reach=0,
    )
