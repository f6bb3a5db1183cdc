"""The clock of one of our hosts is set: by hand, by a virtual machine that moved, by a wrong time server."""

import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster_bench import Cluster, until

STEPS = (7200, -7200, 30 * 86400, 0)
"""Seconds by which the clock of day is wrong, one after another."""
_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long wrong_by(void) {
    long by = 0;
    FILE *file = fopen(getenv("CLOCK_WRONG_BY"), "r");
    if (file) { if (fscanf(file, "%ld", &by) != 1) by = 0; fclose(file); }
    return by;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += wrong_by();
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""
"""Shifts the clock of day and no other, as whoever sets a host's clock does. (libfaketime 0.9.10 makes sleeps
of Python fail when it is told to leave monotonic clocks alone.)"""


def clock_library(directory: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is not there (apt-get install gcc)")
    source, library = directory / "clock.c", directory / "clock.so"
    source.write_text(_SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.slow
def test_a_clock_that_is_set_breaks_no_lease(nodes: Cluster, tmp_path: Path) -> None:
    """By his own clock every other lease is over, or his own lasts for hours: neither is of any weight."""
    offset = tmp_path / "wrong-by"
    offset.write_text("0")
    farsite = str(Path(sys.executable).with_name("farsite"))
    shim = f"LD_PRELOAD={clock_library(tmp_path)}"
    a = nodes.start("a", program=("env", shim, f"CLOCK_WRONG_BY={offset}", farsite))
    b = nodes.start("b")
    for one in (a, b):
        one.ready()
    vim_id = nodes.register("north", deploy_delay_s=2.0)
    vnfd_id = nodes.onboard()
    operation_ids: list[str] = []
    for step in STEPS:
        offset.write_text(str(step))
        operation_ids += nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=a)
        operation_ids += nodes.instantiate(nodes.vnfs(vnfd_id, 3), "north", of=b)
        set_at = time.monotonic()
        nodes.all_completed(operation_ids)
        # Longer than a lease and the time for which whoever judges must have kept his own.
        time.sleep(max(0.0, set_at + 6.0 - time.monotonic()))
        assert (a.is_running, b.is_running) == (True, True), a.log()[-2000:] + b.log()[-2000:]
        assert [nodes.node(name)["state"] for name in ("a", "b")] == ["up", "up"], step
        assert [one.readiness()[0] for one in (a, b)] == [200, 200], step
    stamps = [datetime.fromisoformat(one) for one in re.findall(r'"timestamp": "([^"]+)Z"', a.log())]
    wrong_s = [(one.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds() for one in stamps]
    assert max(wrong_s) > 20 * 86400, "a's clock was set"
    offset.write_text("-7200")
    a.kill()
    until(lambda: nodes.node("a")["state"] == "gone", "who dies with a wrong clock is taken over", 20.0)
    assert nodes.doubled(vim_id) == []
    assert nodes.unrest() == []
