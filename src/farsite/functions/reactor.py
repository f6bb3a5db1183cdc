"""One thread, one epoll: the loop under every built-in function.

asyncio would do the same; importing it costs 60 ms, several times the whole start of a function, and its
transports copy what a relay must not copy.
"""

import heapq
import os
import select
import signal
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT

_Handler = Callable[[int], None]


class Timer:
    """A callback to come; `cancel` keeps it from coming."""

    __slots__ = ("callback", "is_cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        # The entry stays in the heap until its time; what it would have called need not.
        self.callback = _nothing


def _nothing() -> None:
    return


class Reactor:
    """Calls back when files are ready, when time has come, and when a signal arrives."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, _Handler] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = 0
        self._is_stopped = False

    def watch(self, fd: int, handler: _Handler, events: int = READ) -> None:
        """Call `handler(events)` whenever the file is ready; watching again changes what is waited for."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Stop watching a file, before it is closed; an unknown one changes nothing."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back once after `delay_s` seconds."""
        timer = Timer(callback)
        self._order += 1
        heapq.heappush(self._timers, (time.monotonic() + delay_s, self._order, timer))
        return timer

    def stop_on_signals(self) -> None:
        """Make SIGTERM and SIGINT end `run`, and have the kernel bury children.

        Process 1 of a pid namespace is never ended by a signal it has no handler for, and inherits every
        orphan of the namespace.
        """
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.watch(reader, lambda _events: self.stop())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def now(self) -> float:
        """Seconds of the monotonic clock, the time that timers go by."""
        return time.monotonic()

    def stop(self) -> None:
        self._is_stopped = True

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._is_stopped:
            for fd, events in self._epoll.poll(self._run_timers(), 64):
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler(events)

    def _run_timers(self) -> float:
        """Run what is due; seconds until the next one, -1 if there is none."""
        while self._timers:
            wait_s = self._timers[0][0] - time.monotonic()
            if wait_s > 0 and not self._timers[0][2].is_cancelled:
                return wait_s
            timer = heapq.heappop(self._timers)[2]
            if not timer.is_cancelled:
                timer.callback()
            if self._is_stopped:
                return 0
        return -1
