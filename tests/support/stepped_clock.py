"""A wall clock that can be stepped for one run of dynod, without touching the machine's.

A small library in front of the C library adds the number of seconds in a file to what every process of the run (keeper,
cores, dynos, all of them) is told of CLOCK_REALTIME; the monotonic clocks are the kernel's. So nobody knows that time
was not really set, as with `date --set`, which would set it for every other test too.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long step(void) {
    char text[32] = {0};
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    return atol(text);
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += step();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


class SteppedClock:
    """`env` is what a run needs; `set` steps its clock."""

    def __init__(self, folder: Path) -> None:
        """`folder`: an empty one, for the library. Skips the test where there is no C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler to build a clock that can be stepped")
        folder.mkdir()
        (folder / "clock.c").write_text(_SOURCE)
        library = folder / "clock.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "clock.c"], check=True)
        self._step = folder / "step"
        self.env = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._step)}
        self.set(0)

    def set(self, seconds: int) -> None:
        """From now on the clock differs by so much from the machine's."""
        fresh = self._step.with_name("fresh")
        fresh.write_text(str(seconds))
        fresh.replace(self._step)
