"""When the queue of operations is asked for work.

The durable engine asks fifty times a second, so that an operation begins at once; each time costs a
transaction, and all of them together a tenth of a core on a machine that does nothing. What is enqueued by
this process is known here, so the database is asked that often only for a while after it, and seldom
otherwise: for what another process has enqueued, or one that is gone.
"""

import time

_BUSY_S = 0.5
"""For how long after something was enqueued: its transaction may take that long to be committed."""
_ALONE_S = 1.0
_SHARED_S = 0.1


class QueueLooks:
    """Says at each of the engine's looks whether the database is asked. Safe for threads: times are replaced,
    never changed."""

    def __init__(self, *, is_shared: bool) -> None:
        self._seldom_s = _SHARED_S if is_shared else _ALONE_S
        self._busy_until = time.monotonic() + _BUSY_S
        self._due_at = 0.0

    def stir(self) -> None:
        """Something was, or is being, put into the queue."""
        self._busy_until = time.monotonic() + _BUSY_S

    def is_due(self) -> bool:
        """Whether to ask now."""
        now = time.monotonic()
        if now >= self._busy_until and now < self._due_at:
            return False
        self._due_at = now + self._seldom_s
        return True
