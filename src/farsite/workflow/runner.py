"""Walks one operation through its saga: attempts, FAILED_TEMP, retry, rollback, cancel, deadlines.

Everything here is replayed after a crash: the body makes the same decisions because every outcome it
decides by comes out of a checkpoint. Effects on our own tables are guarded a second time by
`operations.once`, so that the walk may even be started anew under another workflow id.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

import sqlalchemy as sa
import structlog

from farsite.model.clock import Clock
from farsite.model.errors import FarsiteError, Refused, Unknown
from farsite.model.ids import OperationId
from farsite.model.operation import (
    CancelMode,
    Control,
    Operation,
    OperationError,
    OperationState,
    StepProgress,
    StepState,
)
from farsite.settings import Settings
from farsite.store import operations
from farsite.store.database import Database
from farsite.store.encoding import encode
from farsite.workflow.controls import Controls, Ear
from farsite.workflow.progress import Progress
from farsite.workflow.saga import (
    Action,
    Cancelled,
    DatabaseAction,
    OutsideAction,
    Running,
    Saga,
    Step,
    is_outside,
)

log = structlog.get_logger()

Checkpoint = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""(name, function) -> its result; after a crash the recorded result without calling it."""

Outcome = dict[str, Any]
"""`{"outcome": "done", "result": ...}`, or `failed` / `cancelled` / `refused` with `error`."""

_FIRST_PAUSE_S = 0.2
_LAST_PAUSE_S = 5.0


@dataclass(slots=True)
class Runner:
    """What every walk needs; one per process."""

    settings: Settings
    database: Database
    controls: Controls
    progress: Progress
    world: object
    clock: Clock
    on_step: Callable[[OperationId, str, str], None] = lambda _operation_id, _step, _when: None
    """Called before and after every step's effect; tests kill the process here."""

    async def run(self, saga: Saga[Any], operation_id: OperationId, checkpoint: Checkpoint) -> str:
        """Walk an operation to its end; returns the terminal state."""
        operation = await self.database.run(operations.get, None, operation_id)
        with self.controls.listening(operation_id) as ear:
            walk = _Walk(self, saga, operation, checkpoint, ear)
            state = await walk.to_its_end()
        log.info("operation.ended", operation_id=operation_id, verb=saga.verb, state=state.value)
        return state.value


class _Walk:
    """One operation's way through its saga."""

    def __init__(
        self, runner: Runner, saga: Saga[Any], operation: Operation, checkpoint: Checkpoint, ear: Ear
    ) -> None:
        self.runner = runner
        self.saga = saga
        self.operation = operation
        self.checkpoint = checkpoint
        self.ear = ear
        self.running: Running[Any] = Running(
            operation=operation, world=runner.world, clock=runner.clock, cancelled=ear.cancel_asked
        )
        self.sequence = 0
        self.rests = 0
        self.is_fresh = False

    async def to_its_end(self) -> OperationState:
        for position, step in enumerate(self.saga.steps):
            ended = await self._step_until_done(position, step)
            if ended is not None:
                return ended
        if is_outside(self.saga.steps[-1].action):
            await self._enter("finish", OperationState.COMPLETED)
        return OperationState.COMPLETED

    async def _step_until_done(self, position: int, step: Step[Any]) -> OperationState | None:
        """Repeat a step until it is done (None) or the operation has ended otherwise."""
        attempt = 1
        while True:
            outcome = await self._attempt(position, step, attempt)
            match outcome["outcome"]:
                case "done":
                    self.running.results[step.name] = outcome["result"]
                    return None
                case "refused":
                    return OperationState.ROLLED_BACK
                case _:
                    pass
            match await self._rest():
                case Control.RETRY:
                    attempt += 1
                case Control.ROLLBACK:
                    rolled_back = await self._undo_from(position)
                    if rolled_back is not None:
                        return rolled_back
                case _:
                    return OperationState.FAILED

    async def _attempt(self, position: int, step: Step[Any], attempt: int) -> Outcome:
        is_first, is_last = position == 0, position == len(self.saga.steps) - 1
        enters = None
        if is_last:
            enters = OperationState.COMPLETED
        elif is_first:
            enters = OperationState.PROCESSING
        self.sequence += 1
        key = f"{step.name}#{attempt}"
        sequence = self.sequence

        async def do() -> Outcome:
            if is_first and attempt == 1:
                self.is_fresh = True
            return await self._perform(
                key, step.title, step.action, step.deadline_s, sequence, attempt, enters, is_first=is_first
            )

        return await self.checkpoint(key, do)

    async def _undo_from(self, position: int) -> OperationState | None:
        """Undo the steps up to `position`, last first; None when a consumer chose to go forward again."""
        for index in range(position, -1, -1):
            step = self.saga.steps[index]
            if step.undo is None or (step.name not in self.running.results and index != position):
                continue
            if step.name not in self.running.results and not is_outside(step.action):
                continue  # a database step that failed left nothing
            attempt = 1
            while True:
                self.sequence += 1
                key, sequence = f"undo {step.name}#{self.rests}.{attempt}", self.sequence
                undo = step.undo

                async def do(
                    key: str = key,
                    step: Step[Any] = step,
                    undo: Action[Any] = undo,
                    sequence: int = sequence,
                    attempt: int = attempt,
                ) -> Outcome:
                    return await self._perform(
                        key, step.undo_title, undo, step.deadline_s, sequence, attempt, None, is_undo=True
                    )

                outcome = await self.checkpoint(key, do)
                if outcome["outcome"] == "done":
                    break
                # ETSI lets a failed rollback be retried forwards too; starting the step anew would need
                # what was undone so far, so "retry" here means: roll back again.
                if await self._rest() is Control.FAIL:
                    return OperationState.FAILED
                attempt += 1
        await self._enter(f"rolled back#{self.rests}", OperationState.ROLLED_BACK)
        return OperationState.ROLLED_BACK

    async def _rest(self) -> Control:
        """Wait in FAILED_TEMP, for weeks if need be, until a consumer says how to go on."""
        self.rests += 1
        effect = f"control#{self.rests}"

        async def wait() -> str:
            while True:
                chosen = await self.runner.database.run(self._take_control, effect)
                if chosen is not None:
                    self.ear.forget_control()
                    self.ear.forget_cancel()
                    return chosen
                self.ear.forget_control()
                self.runner.controls.kick()
                await self.ear.control_asked.wait()

        return Control(await self.checkpoint(effect, wait))

    def _take_control(self, connection: sa.Connection, effect: str) -> str | None:
        asked = operations.asked(connection, [self.operation.id])
        known = operations.effect_of(connection, self.operation.id, effect)
        if known is not None:
            return cast(str, known)
        control = next((one.control for one in asked if one.control is not None), None)
        if control is None:
            return None
        leads_to = {
            Control.RETRY: OperationState.PROCESSING,
            Control.ROLLBACK: OperationState.ROLLING_BACK,
            Control.FAIL: OperationState.FAILED,
        }[control]

        def take() -> str:
            # A retry asked of a failed rollback continues the rollback.
            operations.enter(connection, self.operation.id, leads_to, at=self.runner.clock.now())
            return control.value

        return operations.once(connection, self.operation.id, effect, take)

    async def _enter(self, key: str, state: OperationState) -> None:
        def enter(connection: sa.Connection) -> None:
            operations.enter(connection, self.operation.id, state, at=self.runner.clock.now())

        async def do() -> str:
            await self.runner.database.run(enter)
            return state.value

        await self.checkpoint(key, do)

    async def _perform(
        self,
        key: str,
        title: str,
        action: Action[Any],
        deadline_s: float | None,
        sequence: int,
        attempt: int,
        enters: OperationState | None,
        *,
        is_first: bool = False,
        is_undo: bool = False,
    ) -> Outcome:
        """Do one attempt of one step and say how it came out; only bugs of ours get out as exceptions."""
        if not self.is_fresh:
            recorded = await self.runner.database.run(
                operations.effect_of, self.operation.id, f"{key}/failed"
            )
            if recorded is not None:
                return cast(Outcome, recorded)
        shown = await self._show_start(title, sequence, attempt, deadline_s, is_undo=is_undo)
        self.running.attempt = attempt
        self.running._tell = lambda text: self._show(replace(shown, waits_for=text))  # pyright: ignore[reportPrivateUsage]
        self.runner.on_step(self.operation.id, key, "before")
        error: OperationError | None = None
        is_cancelled = False
        result: object = None
        try:
            if self.ear.cancel_asked.is_set():
                raise Cancelled
            if is_outside(action):
                assert shown.deadline_at is not None
                result = await self._outside(cast(OutsideAction[Any], action), shown.deadline_at)
            else:
                result = await self.runner.database.run(
                    self._in_database, key, cast(DatabaseAction[Any], action), enters
                )
        except Cancelled:
            is_cancelled = True
            error = OperationError(
                title="Cancelled",
                detail=f'Cancelled on request before or during "{title}". Retry, roll back or fail it.',
                step=title,
            )
        except FarsiteError as fault:
            if not isinstance(fault, Refused):
                log.warning(
                    "step.failed",
                    operation_id=self.operation.id,
                    step=title,
                    reason=fault.operator_detail or fault.detail,
                )
            error = OperationError(title=_title(fault), detail=fault.detail, step=title, about=fault.about)
        except Exception as bug:
            # A programming error crashes the step, not the service: the operation rests, the log has the
            # trace, and a corrected program can retry.
            log.exception("step.crashed", operation_id=self.operation.id, step=title)
            error = OperationError(
                title="Internal error",
                detail=f'"{title}" stopped on an internal error ({type(bug).__name__}: {bug}). '
                f"The log holds the trace under operation {self.operation.id}.",
                step=title,
            )
        self.runner.on_step(self.operation.id, key, "after")
        if error is None:
            self._show(replace(shown, state=StepState.DONE, ended_at=self.runner.clock.now(), waits_for=""))
            return {"outcome": "done", "result": result}
        outcome = await self.runner.database.run(
            self._record_failure, key, error, is_first=is_first, is_cancelled=is_cancelled
        )
        self.ear.forget_cancel()
        self._show(
            replace(
                shown,
                state=StepState.CANCELLED if is_cancelled else StepState.FAILED,
                ended_at=self.runner.clock.now(),
                waits_for="",
                detail=error.detail,
            )
        )
        return outcome

    def _in_database(
        self,
        connection: sa.Connection,
        key: str,
        action: DatabaseAction[Any],
        enters: OperationState | None,
    ) -> object:
        def do() -> object:
            result = encode_result(action(connection, self.running))
            if enters is not None:
                operations.enter(connection, self.operation.id, enters, at=self.runner.clock.now())
            return result

        return operations.once(connection, self.operation.id, key, do)

    def _record_failure(
        self,
        connection: sa.Connection,
        key: str,
        error: OperationError,
        *,
        is_first: bool,
        is_cancelled: bool,
    ) -> Outcome:
        """Enter FAILED_TEMP (ROLLED_BACK when the operation never began), exactly once per attempt."""
        state = OperationState.ROLLED_BACK if is_first else OperationState.FAILED_TEMP
        kind = "cancelled" if is_cancelled else "failed"

        def record() -> Outcome:
            operations.enter(connection, self.operation.id, state, at=self.runner.clock.now(), error=error)
            return {"outcome": "refused" if is_first else kind, "error": encode(error)}

        return operations.once(connection, self.operation.id, f"{key}/failed", record)

    async def _outside(self, action: OutsideAction[Any], deadline_at: datetime) -> object:
        """Do a step on the outside until its outcome is known: silence is repeated, not believed.

        A graceful cancel lets the action end (waiting actions return early by themselves); a forceful one
        cuts it.
        """
        pause_s = _FIRST_PAUSE_S
        trouble = ""
        while True:
            left_s = (deadline_at - self.runner.clock.now()).total_seconds()
            if left_s <= 0:
                raise DeadlinePassed(
                    f"The deadline {deadline_at.isoformat(timespec='seconds')} passed. {trouble}".strip()
                )
            try:
                return encode_result(await self._cuttable(action, left_s))
            except Unknown as silence:
                trouble = silence.detail
                self.running.waits_for(f"{silence.detail} Trying again until the deadline.")
            except TimeoutError:
                trouble = trouble or "No answer in time."
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ear.cancel_asked.wait(), min(pause_s, max(left_s, 0.01)))
            if self.ear.cancel_asked.is_set():
                raise Cancelled
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def _cuttable(self, action: OutsideAction[Any], left_s: float) -> object:
        work = asyncio.ensure_future(action(self.running))
        cut = asyncio.ensure_future(self.ear.cancel_asked.wait())
        try:
            await asyncio.wait({work, cut}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and cut.done() and self.ear.cancel is CancelMode.GRACEFUL:
                await asyncio.wait({work}, timeout=left_s)
            if work.done():
                return work.result()
            if cut.done():
                raise Cancelled
            raise TimeoutError
        finally:
            cut.cancel()
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await work

    async def _show_start(
        self, title: str, sequence: int, attempt: int, deadline_s: float | None, *, is_undo: bool
    ) -> StepProgress:
        now = self.runner.clock.now()
        started_at = now
        if not self.is_fresh:
            # The deadline counts from the first time the attempt was begun, by whichever process.
            for known in await self.runner.database.run(operations.steps_of, self.operation.id):
                if known.sequence == sequence and known.state is StepState.RUNNING:
                    started_at = known.started_at
        deadline_at = started_at + timedelta(seconds=deadline_s or self.runner.settings.step_deadline_s)
        if deadline_at <= now:
            # We were dead past the deadline: look once more before giving up.
            deadline_at = now + timedelta(seconds=5)
        shown = StepProgress(
            sequence=sequence,
            title=title,
            is_undo=is_undo,
            attempt=attempt,
            state=StepState.RUNNING,
            started_at=started_at,
            deadline_at=deadline_at,
        )
        self._show(shown)
        return shown

    def _show(self, step: StepProgress) -> None:
        self.runner.progress.put(self.operation.id, step)


class DeadlinePassed(FarsiteError):
    """A step did not come to an end in time."""


def encode_result(result: object) -> object:
    """A step's result as plain JSON, the same on first run and on replay."""
    return None if result is None else encode(result)


def _title(fault: FarsiteError) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(fault).__name__)
    return words.strip().capitalize()
