"""Learns what is asked of running and resting operations: retry, rollback, fail, cancel.

What is asked stands in the operation's row, written by whichever process took the request. One look
per period serves every operation of this process, so thousands may rest for weeks at no cost; a request
taken by this process itself is passed on at once.
"""

import asyncio
import contextlib
from collections.abc import Generator

import structlog

from farsite.model.ids import OperationId
from farsite.model.operation import CancelMode, Control
from farsite.store import operations
from farsite.store.database import Database
from farsite.store.operations import Asked

log = structlog.get_logger()


class Ear:
    """What one operation of this process hears."""

    def __init__(self) -> None:
        self.control: Control | None = None
        self.cancel: CancelMode | None = None
        self.control_asked = asyncio.Event()
        self.cancel_asked = asyncio.Event()

    def hear(self, asked: Asked) -> None:
        if asked.control is not None:
            self.control = asked.control
            self.control_asked.set()
        if asked.cancel is not None:
            self.cancel = asked.cancel
            self.cancel_asked.set()

    def forget_cancel(self) -> None:
        self.cancel = None
        self.cancel_asked.clear()

    def forget_control(self) -> None:
        self.control = None
        self.control_asked.clear()


class Controls:
    """The ears of all operations that this process works on."""

    def __init__(self, database: Database, *, period_s: float) -> None:
        self._database = database
        self._period_s = period_s
        self._ears: dict[OperationId, Ear] = {}
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def listening(self, operation_id: OperationId) -> Generator[Ear]:
        ear = self._ears.setdefault(operation_id, Ear())
        try:
            yield ear
        finally:
            self._ears.pop(operation_id, None)

    def kick(self) -> None:
        """Look now instead of at the end of the period."""
        self._kick.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen_for_ever(), name="controls")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen_for_ever(self) -> None:
        while True:
            if self._ears:
                try:
                    for asked in await self._database.read(operations.asked):
                        ear = self._ears.get(asked.operation_id)
                        if ear is not None:
                            ear.hear(asked)
                except Exception:
                    log.exception("controls.not_read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._kick.wait()
            self._kick.clear()
