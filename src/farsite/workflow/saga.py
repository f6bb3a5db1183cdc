"""Sagas and their steps: what a lifecycle verb's file is written with."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import sqlalchemy as sa

from farsite.model.clock import Clock
from farsite.model.ids import OperationId
from farsite.model.operation import InstanceKind, Operation
from farsite.store.encoding import decode
from farsite.workflow.room import Room

World = TypeVar("World")


class Cancelled(Exception):  # not an error: somebody asked for it
    """Raised by a waiting action that came back early because a cancel was asked for."""


@dataclass(slots=True)
class Running(Generic[World]):
    """One operation being worked on in this process: what every action gets.

    `world` is what actions may use (drivers, store, watchers), given by the composition root.
    """

    operation: Operation
    world: World
    clock: Clock
    results: dict[str, object] = field(default_factory=dict[str, object])
    attempt: int = 1
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a cancel was asked for: waiting actions return early."""
    _tell: Callable[[str], None] = lambda _text: None
    _stand: Callable[[str], AbstractContextManager[None]] = lambda _what_for: nullcontext()

    @property
    def id(self) -> OperationId:
        return self.operation.id

    def result_of(self, action: "Action[World]", kind: type["Result"]) -> "Result":
        """What an earlier action of this operation returned, as that type."""
        return decode(kind, self.results[_name(action)])

    def waits_for(self, what: str) -> None:
        """Tell people what the running step waits for."""
        self._tell(what)

    def stands_in_line(self, what_for: str) -> AbstractContextManager[None]:
        """While this lasts, others are at work before us: no deadline of the step runs, and people are told
        what it waits for. Not within itself."""
        return self._stand(what_for)


Result = TypeVar("Result")
DatabaseAction = Callable[[sa.Connection, Running[World]], object]
OutsideAction = Callable[[Running[World]], Awaitable[object]]
Action = DatabaseAction[World] | OutsideAction[World]
AsksForRoom = Callable[[Running[World]], Awaitable[Room]]
"""Where an operation has to find room."""


def _name(action: Callable[..., object]) -> str:
    return action.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[World]):
    """A title for people, an action, perhaps an undo. Results are plain JSON."""

    title: str
    action: Action[World]
    undo: Action[World] | None = None
    undo_title: str = ""
    deadline_s: float | None = None
    """Seconds; None: the setting `step_deadline_s`."""
    room: "AsksForRoom[World] | None" = None
    """Where there has to be room before this step begins; the operation waits in line for it, which counts
    in no deadline, and keeps its place for the steps that follow: what has begun waits no more."""

    @property
    def name(self) -> str:
        return _name(self.action)


def step(
    title: str,
    action: Action[World],
    *,
    undo: Action[World] | None = None,
    undo_title: str = "",
    deadline_s: float | None = None,
    room: AsksForRoom[World] | None = None,
) -> Step[World]:
    return Step(
        title=title,
        action=action,
        undo=undo,
        undo_title=undo_title or f"Undo: {title[0].lower()}{title[1:]}",
        deadline_s=deadline_s,
        room=room,
    )


def is_outside(action: Action[World]) -> bool:
    """Whether an action works on the outside (async) rather than on our own tables."""
    return inspect.iscoroutinefunction(action)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saga(Generic[World]):
    """A verb: its parameters' type and the story in steps.

    The first step decides whether the operation may begin (ETSI's grant) and so must be a database
    step: when it refuses, nothing has happened and the operation ends ROLLED_BACK.
    """

    verb: str
    kind: InstanceKind
    parameters: type[object]
    type: str
    """ETSI's name of the operation."""
    steps: tuple[Step[World], ...]
    rolls_back_by_itself: bool = False
    """Whether a failed step is followed by undoing without anybody being asked: where what was before is
    surely as good."""
    tailored: Callable[[Operation], "Saga[World]"] | None = None
    """The story of one operation, where that depends on its parameters, and on nothing else; `steps` is then
    an example of it."""

    def __post_init__(self) -> None:
        names = [one.name for one in self.steps]
        assert len(set(names)) == len(names), f"{self.verb}: two steps share an action"
        assert not is_outside(self.steps[0].action), f"{self.verb}: the first step must be a database step"
        assert all(is_outside(one.action) for one in self.steps if one.room), (
            f"{self.verb}: rows need no room"
        )

    def of(self, operation: Operation) -> "Saga[World]":
        """The story of this operation; the same whoever walks it."""
        return self if self.tailored is None else self.tailored(operation)

    @property
    def can_roll_back(self) -> bool:
        """Whether any step has an undo; a verb without one can only be retried or failed."""
        return any(one.undo is not None for one in self.steps)


Sagas = Mapping[str, Saga[World]]
