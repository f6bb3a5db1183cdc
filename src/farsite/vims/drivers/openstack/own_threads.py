"""Threads of one VIM's own, which end when there is nothing to do.

With the library's pool a thread stays once it was needed, and thousands of VIMs are thousands of them.
Sharing a pool is no way out: one VIM that hangs would take all its threads, and the others would wait.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_IDLE_S = 2.0
"""Longer than the pauses of one piece of work, shorter than those between pieces."""


class OwnThreads(Executor):
    """Up to so many threads, made when they are needed."""

    def __init__(self, most: int, *, name: str) -> None:
        self._most = most
        self._name = name
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._is_closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have it done in a thread, after what waits already.

        Raises:
            RuntimeError: the threads were shut down.
        """
        promised: Future[T] = Future()
        with self._changed:
            if self._is_closed:
                raise RuntimeError("cannot schedule new work: the threads were shut down")
            self._waiting.append((promised, lambda: fn(*args, **kwargs)))
            if self._idle >= len(self._waiting) or self._threads >= self._most:
                self._changed.notify()
            else:
                self._threads += 1
                # A daemon, so that a VIM that hangs does not keep the program from ending.
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return promised

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; what is under way goes on."""
        with self._changed:
            self._is_closed = True
            left = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._changed.notify_all()
        for promised, _ in left:
            promised.cancel()
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: not self._threads)

    def _work(self) -> None:
        while (given := self._next()) is not None:
            promised, work = given
            if not promised.set_running_or_notify_cancel():
                continue
            try:
                promised.set_result(work())
            except BaseException as error:
                promised.set_exception(error)
            # Nothing of it is kept alive while this thread waits.
            del given, promised, work

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """What to do next; None: end. Whoever ends is counted out under the same lock that counts work in."""
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._is_closed, _IDLE_S)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            self._changed.notify_all()
            return None
