"""The clock of day of a process, set while it runs, as whoever sets a host's clock does."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


class WrongClock:
    """Of one process, also of the next that is started with the same `program`."""

    def __init__(self, directory: Path, name: str) -> None:
        self._wrong_by = directory / f"{name}-wrong-by"
        self._library = _library(directory)
        self.set(0)

    def set(self, wrong_by_s: int) -> None:
        """Have the clock be wrong by so many seconds from now on; 0: right again."""
        written = self._wrong_by.with_suffix(".new")
        written.write_text(str(wrong_by_s))
        # Whoever asks for the time meanwhile must not find half of it.
        written.replace(self._wrong_by)

    @property
    def environment(self) -> dict[str, str]:
        """What has a program go by this clock."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_WRONG_BY": str(self._wrong_by)}

    @property
    def program(self) -> tuple[str, ...]:
        """The command line of Farsite that goes by this clock."""
        farsite = str(Path(sys.executable).with_name("farsite"))
        return ("env", *(f"{name}={value}" for name, value in self.environment.items()), farsite)


def _library(directory: Path) -> Path:
    library = directory / "clock.so"
    if library.exists():
        return library
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is not there (apt-get install gcc)")
    source = directory / "clock.c"
    source.write_text(_SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
