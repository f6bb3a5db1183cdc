"""Walks one operation through its saga: attempts, FAILED_TEMP, retry, rollback, cancel, deadlines.

Everything here is replayed after a crash: the body makes the same decisions because every outcome it
decides by comes out of a checkpoint. Effects on our own tables are guarded a second time by
`operations.once`, so that the walk may even be started anew under another workflow id.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import sqlalchemy as sa
import structlog

from farsite.model.clock import Clock
from farsite.model.errors import FarsiteError, Refused, Unknown
from farsite.model.ids import OperationId
from farsite.model.operation import (
    TERMINAL,
    CancelMode,
    Control,
    Operation,
    OperationError,
    OperationState,
    StepProgress,
    StepState,
)
from farsite.settings import Settings
from farsite.store import operations, turns
from farsite.store.database import Patient, is_away
from farsite.store.encoding import encode
from farsite.store.operations import Asked
from farsite.workflow.controls import Controls, Ear
from farsite.workflow.progress import Progress
from farsite.workflow.room import Place
from farsite.workflow.saga import (
    Action,
    AsksForRoom,
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
_MAY_ACT_S = 0.05


@dataclass(slots=True)
class Runner:
    """What every walk needs; one per process."""

    settings: Settings
    database: Patient
    """An operation never fails by it: it waits until our database is back, or has room again."""
    controls: Controls
    progress: Progress
    world: object
    clock: Clock
    on_step: Callable[[OperationId, str, str], None] = lambda _operation_id, _step, _when: None
    """Called before and after every step's effect; tests kill the process here."""
    may_act: Callable[[], bool] = lambda: True
    """Whether this process still has its work: not while others may have taken it over."""
    begin_next: Callable[[sa.Connection, Operation], None] = lambda _connection, _operation: None
    """Tells of an operation whose turn has come, and enqueues its workflow; the engine's."""
    resting: int = 0
    """Operations of this process that rest in FAILED_TEMP."""

    async def run(self, saga: Saga[Any], operation_id: OperationId, checkpoint: Checkpoint) -> str:
        """Walk an operation to its end; returns the terminal state."""
        operation, is_fresh = await self.database.run(_look_up, operation_id)
        with self.controls.listening(operation_id) as ear:
            # A cancel asked for before anybody worked on the operation is heard at the first step.
            ear.hear(Asked(operation_id=operation_id, control=None, cancel=operation.cancel))
            walk = _Walk(self, saga.of(operation), operation, checkpoint, ear, is_fresh=is_fresh)
            state = await walk.to_its_end()
            await self.progress.written()
        log.info("operation.ended", operation_id=operation_id, verb=saga.verb, state=state.value)
        return state.value


def _look_up(connection: sa.Connection, operation_id: OperationId) -> tuple[Operation, bool]:
    """An operation, and whether none of its steps has left anything yet."""
    operation = operations.get(connection, None, operation_id)
    return operation, not operations.has_effects(connection, operation_id)


class _Walk:
    """One operation's way through its saga. `is_fresh`: nobody has walked it before."""

    def __init__(
        self,
        runner: Runner,
        saga: Saga[Any],
        operation: Operation,
        checkpoint: Checkpoint,
        ear: Ear,
        *,
        is_fresh: bool,
    ) -> None:
        self.runner = runner
        self.saga = saga
        self.operation = operation
        self.checkpoint = checkpoint
        self.ear = ear
        self.at: StepProgress
        """The step that is under way, as its row has it but for what it waits for."""
        self.running: Running[Any] = Running(
            operation=operation, world=runner.world, clock=runner.clock, cancelled=ear.cancel_asked
        )
        self.sequence = 0
        self.rests = 0
        self.is_fresh = is_fresh
        self.told = ""
        self.place: Place | None = None
        """Where the operation has found room, or stands in line for it."""
        self._ends_s = 0.0
        self._in_line_since_s: float | None = None
        walking = asyncio.current_task()
        assert walking is not None
        # However the walk ends, also where it is cut; the body of `run` is what histories are replayed on.
        walking.add_done_callback(lambda _ended: self._leave())
        self._shown: set[int] = set()
        self._shown_before: Mapping[int, StepProgress] | None = None

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
            if self.saga.rolls_back_by_itself:
                return await self._undo_from(position)
            match await self._rest():
                case Control.RETRY:
                    attempt += 1
                case Control.ROLLBACK:
                    return await self._undo_from(position)
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
            return await self._perform(
                key, step.title, step.action, step.deadline_s, sequence, attempt, enters, is_first=is_first
            )

        outcome = cast(Outcome, await self.checkpoint(key, do))
        await self._repair(outcome, step.title, sequence, attempt, is_undo=False)
        return outcome

    async def _undo_from(self, position: int) -> OperationState:
        """Undo the steps up to `position`, last first, until all are undone or a consumer gives up."""
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

                outcome = cast(Outcome, await self.checkpoint(key, do))
                await self._repair(outcome, step.undo_title, sequence, attempt, is_undo=True)
                if outcome["outcome"] == "done":
                    break
                # ETSI lets a failed rollback be retried forwards too; starting the step anew would need
                # what was undone so far, so "retry" here means: roll back again.
                if await self._rest(retry_enters=OperationState.ROLLING_BACK) is Control.FAIL:
                    return OperationState.FAILED
                attempt += 1
        await self._enter(f"rolled back#{self.rests}", OperationState.ROLLED_BACK)
        return OperationState.ROLLED_BACK

    async def _rest(self, *, retry_enters: OperationState = OperationState.PROCESSING) -> Control:
        """Wait in FAILED_TEMP, for weeks if need be, until a consumer says how to go on."""
        self.rests += 1
        effect = f"control#{self.rests}"

        async def wait() -> str:
            while True:
                chosen = await self.runner.database.run(self._take_control, effect, retry_enters)
                if chosen is not None:
                    self.ear.forget_control()
                    self.ear.forget_cancel()
                    return chosen
                self.ear.forget_control()
                self.runner.controls.kick()
                self.runner.resting += 1
                try:
                    await self.ear.control_asked.wait()
                finally:
                    self.runner.resting -= 1

        return Control(await self.checkpoint(effect, wait))

    def _take_control(
        self, connection: sa.Connection, effect: str, retry_enters: OperationState
    ) -> str | None:
        asked = operations.asked(connection, [self.operation.id])
        known = operations.effect_of(connection, self.operation.id, effect)
        if known is not None:
            return cast(str, known)
        control = next((one.control for one in asked if one.control is not None), None)
        if control is None:
            return None
        leads_to = {
            Control.RETRY: retry_enters,
            Control.ROLLBACK: OperationState.ROLLING_BACK,
            Control.FAIL: OperationState.FAILED,
        }[control]

        def take() -> str:
            self._enter_in(connection, leads_to)
            return control.value

        return operations.once(connection, self.operation, effect, take)

    async def _enter(self, key: str, state: OperationState) -> None:
        async def do() -> str:
            await self.runner.database.run(self._enter_in, state)
            return state.value

        await self.checkpoint(key, do)

    def _enter_in(
        self, connection: sa.Connection, state: OperationState, *, error: OperationError | None = None
    ) -> None:
        """Move the operation to a state; its end is the beginning of the next in line for its instance."""
        now = self.runner.clock.now()
        following = turns.hand_on(connection, self.operation, at=now) if state in TERMINAL else None
        operations.enter(connection, self.operation.id, state, at=now, error=error)
        if following is not None:
            self.runner.begin_next(connection, following)

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
        self.at = await self._show_start(title, sequence, attempt, deadline_s, is_undo=is_undo)
        self.running.attempt = attempt
        self.told = ""
        self.running._tell = self._tell  # pyright: ignore[reportPrivateUsage]
        self.running._stand = self._standing_in_line  # pyright: ignore[reportPrivateUsage]
        self.runner.on_step(self.operation.id, key, "before")
        error: OperationError | None = None
        is_cancelled = False
        result: object = None
        try:
            if self.ear.cancel_asked.is_set():
                raise Cancelled
            if is_outside(action):
                asks_for_room = next((one.room for one in self.saga.steps if one.action is action), None)
                result = await self._outside(cast(OutsideAction[Any], action), asks_for_room)
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
            self._show(replace(self.at, state=StepState.DONE, ended_at=self.runner.clock.now()))
            return {"outcome": "done", "result": result}
        outcome = await self.runner.database.run(
            self._record_failure, key, error, is_first=is_first, is_cancelled=is_cancelled, is_undo=is_undo
        )
        self.ear.forget_cancel()
        if is_undo or not self.saga.rolls_back_by_itself:
            self._leave()  # it rests now
        self._show(
            replace(
                self.at,
                state=StepState.CANCELLED if is_cancelled else StepState.FAILED,
                ended_at=self.runner.clock.now(),
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
                self._enter_in(connection, enters)
            return result

        return operations.once(connection, self.operation, key, do)

    def _record_failure(
        self,
        connection: sa.Connection,
        key: str,
        error: OperationError,
        *,
        is_first: bool,
        is_cancelled: bool,
        is_undo: bool,
    ) -> Outcome:
        """Enter FAILED_TEMP (ROLLED_BACK when the operation never began), exactly once per attempt."""
        state = OperationState.ROLLED_BACK if is_first else OperationState.FAILED_TEMP
        if self.saga.rolls_back_by_itself and not is_undo and not is_first:
            # Never at rest in between: whoever waits for the end would take that for it.
            state = OperationState.ROLLING_BACK
        kind = "cancelled" if is_cancelled else "failed"

        def record() -> Outcome:
            self._enter_in(connection, state, error=error)
            return {"outcome": "refused" if is_first else kind, "error": encode(error)}

        return operations.once(connection, self.operation, f"{key}/failed", record)

    async def _outside(self, action: OutsideAction[Any], asks_for_room: AsksForRoom[Any] | None) -> object:
        """Do a step on the outside until its outcome is known: silence is repeated, not believed.

        A graceful cancel lets the action end (waiting actions return early by themselves); a forceful one
        cuts it.
        """
        pause_s = _FIRST_PAUSE_S
        # Counted by a clock that nobody sets: one that is stepped meanwhile moves no deadline.
        clock = self.runner.clock
        assert self.at.deadline_at is not None
        self._ends_s = clock.monotonic_s() + (self.at.deadline_at - clock.now()).total_seconds()
        while True:
            if self._left_s() <= 0:
                raise DeadlinePassed(
                    f"The deadline {self.at.deadline_at.isoformat(timespec='seconds')} passed. "
                    f"{self.told or 'There was no answer in time.'}"
                )
            if asks_for_room is not None and self.place is None:
                await self._find_room(asks_for_room)
            if not self.runner.may_act():
                # Others may be at it: nothing new is begun until it is known whether we still have it.
                await asyncio.sleep(_MAY_ACT_S)
                continue
            began_s = clock.monotonic_s()
            try:
                return encode_result(await self._cuttable(action))
            except Unknown as silence:
                # What does not answer is not worked on, and keeps nobody from being.
                self._leave()
                self.running.waits_for(f"{silence.detail} Trying again until the deadline.")
            except _Cut:
                continue
            except TimeoutError:
                self._leave()
                # A driver's own time limit says no more than that there was no answer.
                self.running.waits_for("There was no answer in time. Trying again until the deadline.")
            except Exception as trouble:
                if not is_away(trouble):
                    raise
                # Not the outside: what our own database takes is not counted against the step.
                self._leave()
                self._ends_s += clock.monotonic_s() - began_s
                self.running.waits_for("Our own database is away or full. Going on when it is back.")
            with contextlib.suppress(TimeoutError):
                pause_s = min(pause_s, max(self._left_s(), 0.01))
                async with asyncio.timeout(pause_s):
                    await self.ear.cancel_asked.wait()
            if self.ear.cancel_asked.is_set():
                raise Cancelled
            pause_s = min(pause_s * 2, _LAST_PAUSE_S)

    async def _find_room(self, asks_for_room: AsksForRoom[Any]) -> None:
        """Wait in line until there is room.

        Raises:
            Cancelled: a cancel was asked for meanwhile, of either kind: nothing is under way.
        """
        room = await asks_for_room(self.running)
        self.place = place = room.ask()
        if place.found.done():
            return
        cut = asyncio.ensure_future(self.ear.cancel_asked.wait())
        try:
            with self._standing_in_line(
                f"Room: this process works on {room.most} at once, and {place.ahead} were in line before it "
                f"when it came."
            ):
                await asyncio.wait({place.found, cut}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
        if not place.found.done():
            self._leave()
            raise Cancelled

    @contextlib.contextmanager
    def _standing_in_line(self, what_for: str) -> Generator[None]:
        """See `Running.stands_in_line`."""
        step, told = self.at, self.told
        assert step.deadline_at is not None
        self._in_line_since_s = began_s = self.runner.clock.monotonic_s()
        # Without a deadline in its row, a process after us finds that none was running.
        self.at = replace(step, deadline_at=None)
        self._tell(what_for)
        is_cut = False
        try:
            yield
        except asyncio.CancelledError:
            # A process after us finds it in line, as it was, however long it takes to come.
            is_cut = True
            raise
        finally:
            stood_s = self.runner.clock.monotonic_s() - began_s
            self._in_line_since_s = None
            self._ends_s += stood_s
            self.at = replace(step, deadline_at=step.deadline_at + timedelta(seconds=stood_s))
            if not is_cut:
                self._tell(told)

    def _left_s(self) -> float:
        """Seconds that the step still has; who stands in line loses none."""
        now_s = self.runner.clock.monotonic_s()
        return self._ends_s - (now_s if self._in_line_since_s is None else self._in_line_since_s)

    def _leave(self) -> None:
        """Give up the place at work, or in line, if there is one."""
        if self.place is not None:
            self.place.leave()
            self.place = None

    def _tell(self, text: str) -> None:
        """Tell people what the step waits for."""
        if text != self.told:
            self.told = text
            self._show(replace(self.at, waits_for=text))

    async def _cuttable(self, action: OutsideAction[Any]) -> object:
        work = asyncio.ensure_future(action(self.running))
        cut = asyncio.ensure_future(self.ear.cancel_asked.wait())
        try:
            await self._until_deadline(work, cut)
            is_in_line = self._in_line_since_s is not None
            if cut.done() and self.ear.cancel is CancelMode.GRACEFUL and not is_in_line:
                await self._until_deadline(work)
            if work.done():
                return work.result()
            if cut.done():
                raise Cancelled
            raise _Cut
        finally:
            cut.cancel()
            if not work.done():
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await work

    async def _until_deadline(self, *awaited: asyncio.Future[Any]) -> None:
        """Wait until one of them is done, or the step has no time left."""
        while (left_s := self._left_s()) > 0:
            # Who stands in line has as much left at the next look, however little it is.
            done, _ = await asyncio.wait(
                awaited, timeout=max(left_s, _MAY_ACT_S), return_when=asyncio.FIRST_COMPLETED
            )
            if done:
                return

    async def _show_start(
        self, title: str, sequence: int, attempt: int, deadline_s: float | None, *, is_undo: bool
    ) -> StepProgress:
        now = self.runner.clock.now()
        started_at = now
        deadline_at = now + timedelta(seconds=deadline_s or self.runner.settings.step_deadline_s)
        if not self.is_fresh:
            # The deadline is that of the first time the attempt was begun, by whichever process; none runs
            # for one that stood in line.
            known = (await self._before()).get(sequence)
            if known is not None and known.state is StepState.RUNNING:
                started_at = known.started_at
                deadline_at = known.deadline_at or deadline_at
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

    async def _before(self) -> Mapping[int, StepProgress]:
        """Step progress as the process before us left it."""
        if self._shown_before is None:
            found = await self.runner.database.run(operations.steps_of, self.operation.id)
            self._shown_before = {one.sequence: one for one in found}
        return self._shown_before

    async def _repair(
        self, outcome: Outcome, title: str, sequence: int, attempt: int, *, is_undo: bool
    ) -> None:
        """Write the end of a step that a process before us did, if it died before writing it."""
        if self.is_fresh or sequence in self._shown:
            return
        known = (await self._before()).get(sequence)
        if known is not None and known.state is not StepState.RUNNING:
            return
        now = self.runner.clock.now()
        states = {"done": StepState.DONE, "cancelled": StepState.CANCELLED}
        self._show(
            StepProgress(
                sequence=sequence,
                title=title,
                is_undo=is_undo,
                attempt=attempt,
                state=states.get(outcome["outcome"], StepState.FAILED),
                started_at=known.started_at if known else now,
                ended_at=now,
                deadline_at=known.deadline_at if known else None,
                detail=outcome.get("error", {}).get("detail", ""),
            )
        )

    def _show(self, step: StepProgress) -> None:
        self._shown.add(step.sequence)
        self.runner.progress.put(self.operation, step)


class _Cut(Exception):
    """A step was cut at its deadline."""


class DeadlinePassed(FarsiteError):
    """A step did not come to an end in time."""


def encode_result(result: object) -> object:
    """A step's result as plain JSON, the same on first run and on replay."""
    return None if result is None else encode(result)


def _title(fault: FarsiteError) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(fault).__name__)
    return words.strip().capitalize()
