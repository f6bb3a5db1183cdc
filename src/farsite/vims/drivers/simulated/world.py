"""The simulated world: a journal of effects, the state that follows, and those who listen to it.

Work on the world is a function from a transaction to an answer. It runs to its end undisturbed; what it
emits is applied at once and lasts when `run` returns. A memory world lives as long as the process and
serves benchmarks; `world_file` has the one that outlives it.
"""

import asyncio
import heapq
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from farsite.model.deployment import DeploymentState
from farsite.vims.drivers.simulated.effects import Clock, Effect, vim_clock
from farsite.vims.drivers.simulated.state import State

Answer = TypeVar("Answer")


SETTLED_AT_ONCE = 100
"""How many things of the clock one call writes down, so that a thousand at once do not hold up the loop."""


class NeedsWriting(Exception):
    """Work that was started as a reading turns out to change the world."""


class Transaction:
    """One undisturbed look at the world, with the right to change it.

    `after_commit` runs when what was emitted lasts, before anybody is told. `chance` is the throw of the
    dice for this call, from 0 to 1, thrown beforehand so that work started twice meets the same luck.
    """

    def __init__(self, state: State, now: float, *, may_write: bool = True) -> None:
        self.state = state
        self.now = now
        self.emitted: list[Effect] = []
        self.after_commit: Callable[[], None] | None = None
        self.chance = 0.0
        self._may_write = may_write

    def must_write(self) -> None:
        """Say that a change follows; called before anything that cannot be repeated."""
        if not self._may_write:
            raise NeedsWriting

    def emit(self, kind: str, key: str, body: Mapping[str, object] | None = None) -> None:
        self.must_write()
        effect = Effect(sequence=self.state.sequence + 1, at=self.now, kind=kind, key=key, body=body or {})
        self.state.apply(effect)
        self.emitted.append(effect)

    def settle(self) -> None:
        """Write down what happened by the clock: deployments that became ready or failed, faults that
        ended. Whoever comes by does it, so it needs no process of its own; what is left over after
        `SETTLED_AT_ONCE` is for the next one."""
        due = self.state.due
        if not due or due[0][0] > self.now:
            return
        self.must_write()
        for name in _pop_due(due, self.now):
            if name.startswith("fault:"):
                self._end_fault(name.removeprefix("fault:"))
            else:
                self._settle_deployment(name)

    def _end_fault(self, fault_id: str) -> None:
        fault = self.state.faults.get(fault_id)
        if fault and not fault.stands(self.now):
            body = {"id": fault_id, "is_return": fault.kind == "crash"}
            self.emit("fault.ended", f"fault:{fault_id}", body)

    def _settle_deployment(self, name: str) -> None:
        held = self.state.deployments.get(name)
        if held is None or held.told:
            return
        for vnfc in held.vnfcs.values():
            if not vnfc.has_told_start and vnfc.ready_at <= self.now and vnfc.runs(self.now):
                key = f"vnfc:{vnfc.vnfc_id}/{vnfc.incarnation}"
                self.emit("vnfc.started", key, {"resource_id": vnfc.resource_id})
        state, reason, resource = held.state(self.now)
        if state is not DeploymentState.IN_PROGRESS:
            body = {"name": name, "state": state.value, "reason": reason, "resource": resource}
            self.emit("deployment.settled", f"deployment:{name}", body)


def _pop_due(due: list[tuple[float, str]], now: float) -> list[str]:
    names: dict[str, None] = {}
    while due and due[0][0] <= now and len(names) < SETTLED_AT_ONCE:
        names[heapq.heappop(due)[1]] = None
    return list(names)


class World(ABC):
    """A simulated world that several driver objects (and, with a file, several processes) share."""

    poll_s: float | None = None
    """How often a listener has to look for what other processes did; None: nobody else can."""

    def __init__(self, clock: Clock = vim_clock) -> None:
        self.clock = clock
        self.users = 0
        self._listeners: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._listening = threading.Lock()

    @abstractmethod
    async def run(self, work: Callable[[Transaction], Answer]) -> Answer:
        """The answer of the work, once what it changed lasts. The work may be started twice (first as a
        reading), so it does nothing but look, decide and emit."""

    @abstractmethod
    async def past(self, sequence: int | None, at: float, ask: Callable[[State], Answer]) -> Answer:
        """The answer of the world as it was after an effect, or at a time when no sequence is given."""

    @abstractmethod
    async def journal(self) -> Sequence[Effect]:
        """Every effect since the world began."""

    @abstractmethod
    def let_go(self) -> None:
        """Close files and threads, when the last user is gone."""

    def has_changed(self) -> bool:
        """Whether another process may have changed the world since the last look; cheap, may say yes."""
        return False

    def listen(self) -> asyncio.Event:
        """An event of the running loop that is set whenever this process changes the world."""
        changed = asyncio.Event()
        with self._listening:
            self._listeners.add((asyncio.get_running_loop(), changed))
        return changed

    def unlisten(self, changed: asyncio.Event) -> None:
        with self._listening:
            self._listeners = {entry for entry in self._listeners if entry[1] is not changed}

    def notify(self) -> None:
        with self._listening:
            listeners = tuple(self._listeners)
        for loop, changed in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(changed.set)


class MemoryWorld(World):
    """A world in this process: nothing is written anywhere, so a deployment costs microseconds."""

    def __init__(self, clock: Clock = vim_clock) -> None:
        super().__init__(clock)
        self._state = State()
        self._journal: list[Effect] = []
        self._alone = threading.Lock()

    async def run(self, work: Callable[[Transaction], Answer]) -> Answer:
        with self._alone:
            transaction = Transaction(self._state, self.clock())
            try:
                answer = work(transaction)
            finally:
                self._journal += transaction.emitted
        if transaction.after_commit:
            transaction.after_commit()
        if transaction.emitted:
            self.notify()
        return answer

    async def past(self, sequence: int | None, at: float, ask: Callable[[State], Answer]) -> Answer:
        state = State()
        for effect in self._journal:
            if effect.sequence > sequence if sequence is not None else effect.at > at:
                break
            state.apply(effect)
        return ask(state)

    async def journal(self) -> Sequence[Effect]:
        return tuple(self._journal)

    def let_go(self) -> None:
        """What was deployed stays, for the next driver object of the same VIM."""


_WORLDS: dict[str, World] = {}
_OPENING = threading.Lock()


def memory_world(name: str) -> World:
    """The memory world of a VIM; the same name is the same world, as long as the process lives."""
    return _shared(f"memory:{name}", MemoryWorld)


def shared_world(path: Path, make: Callable[[], World]) -> World:
    """The world of a file, opened once per process however many drivers use it."""
    return _shared(f"file:{path.resolve()}", make)


def leave(world: World) -> None:
    """Give back a world that `memory_world` or `shared_world` gave."""
    with _OPENING:
        world.users -= 1
        if world.users or isinstance(world, MemoryWorld):
            return
        for key in [key for key, known in _WORLDS.items() if known is world]:
            del _WORLDS[key]
    world.let_go()


def _shared(key: str, make: Callable[[], World]) -> World:
    with _OPENING:
        if key not in _WORLDS:
            _WORLDS[key] = make()
        world = _WORLDS[key]
        world.users += 1
        return world
