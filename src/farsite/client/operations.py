"""Operations: started, followed and told how to go on, as our API shows them."""

import json
import time
from collections.abc import Iterator
from typing import Literal, TypedDict, cast

import httpx2

from farsite.client.connection import ROOT, TIMEOUT_S, Connection, Document, NotReachable, Problem, in_path

_RETURN_WITHIN_S = 60.0
_LOOK_S = 0.3
_LOOKS_FOR_LAST_STEPS = 4
ENDED = frozenset({"COMPLETED", "FAILED", "ROLLED_BACK"})
RESTS = "FAILED_TEMP"


class OperationFault(TypedDict):
    title: str
    detail: str
    step: str
    about: dict[str, str]


class Step(TypedDict):
    sequence: int
    title: str
    is_undo: bool
    attempt: int
    state: str
    started_at: str
    ended_at: str | None
    deadline_at: str | None
    waits_for: str
    detail: str


class Operation(TypedDict):
    id: str
    kind: str
    instance_id: str
    verb: str
    type: str
    state: str
    state_entered_at: str
    started_at: str
    parameters: dict[str, object]
    error: OperationFault | None
    is_automatic: bool
    is_waiting: bool
    control: str | None
    cancel: str | None
    parent_id: str | None
    requested_by: str
    steps: list[Step] | None
    children: list[str] | None


class Command(TypedDict):
    command: str
    effect: str


class Why(TypedDict):
    operation_id: str
    state: str
    summary: str
    waits_for: str
    since: str | None
    until: str | None
    waited_s: float
    history: list[str]
    commands: list[Command]


class Operations(Connection):
    """Operations: started, followed and told how to go on."""

    def start(
        self, kind: Literal["vnfs", "ns"], key: str, verb: str, body: Document | None = None
    ) -> Operation:
        """Start a lifecycle verb; the operation as it was accepted."""
        return cast("Operation", self._post(f"/{kind}/{in_path(key)}/{verb}", body or {}))

    def operations(self, *, filter: str = "", limit: int = 0) -> list[Operation]:
        return cast("list[Operation]", list(self._list("/operations", filter=filter, limit=limit)))

    def operation(self, operation_id: str) -> Operation:
        return cast("Operation", self._get(f"/operations/{in_path(operation_id)}"))

    def why(self, operation_id: str) -> Why:
        return cast("Why", self._get(f"/operations/{in_path(operation_id)}/why"))

    def placement(self, operation_id: str) -> Document:
        return cast("Document", self._get(f"/operations/{in_path(operation_id)}/placement"))

    def control(self, operation_id: str, control: str, body: Document | None = None) -> Operation:
        """Ask retry, rollback, fail or cancel of an operation."""
        return cast("Operation", self._post(f"/operations/{in_path(operation_id)}/{control}", body))

    def follow(self, operation_id: str, *, within_s: float | None = None) -> Iterator[Step | Operation]:
        """An operation's steps and states as they change, the last being its end or its rest.

        The stream is taken up again when it breaks, for up to a minute without an answer; while streams are
        cut by something in between, looking now and then does it.

        Raises:
            TimeoutError: it has not ended within `within_s` seconds.
        """
        seen: dict[int, Step] = {}
        version = ""
        give_up_at = None if within_s is None else time.monotonic() + within_s
        heard_at = time.monotonic()
        while True:
            try:
                for kind, body in self._changes(operation_id, give_up_at):
                    heard_at = time.monotonic()
                    if kind == "step":
                        step = cast("Step", body)
                        if seen.get(step["sequence"]) != step:
                            seen[step["sequence"]] = step
                            yield step
                        continue
                    operation = cast("Operation", body)
                    if operation["state"] != version:
                        version = operation["state"]
                        yield operation
                    # The stream of one that has ended goes on until its last steps were told.
                    if _is_still(operation) and (kind == "look" or operation["state"] == RESTS):
                        operation = self._with_last_steps(operation_id)
                        yield from (
                            step for step in operation["steps"] or [] if seen.get(step["sequence"]) != step
                        )
                        yield operation
                        # It may have been told to go on between the two looks.
                        if _is_still(operation):
                            return
                        version = operation["state"]
            except (NotReachable, httpx2.TransportError) as silence:
                if time.monotonic() - heard_at > _RETURN_WITHIN_S:
                    raise self._silence(silence) from silence
            except Problem as problem:
                if problem.status != 503 or time.monotonic() - heard_at > _RETURN_WITHIN_S:
                    raise
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise TimeoutError(f"Operation {operation_id} has not ended within {within_s:g} s.")
            time.sleep(_LOOK_S)

    def _changes(self, operation_id: str, give_up_at: float | None) -> Iterator[tuple[str, object]]:
        """What the stream tells, then what a `look` tells: enough when no stream gets through."""
        path = f"{ROOT}/operations/{in_path(operation_id)}/stream"
        wait_s = 20.0 if give_up_at is None else max(min(give_up_at - time.monotonic(), 20.0), 0.1)
        with self._http.stream("GET", path, timeout=httpx2.Timeout(TIMEOUT_S, read=wait_s)) as answer:
            if answer.status_code >= 400:
                answer.read()
                self._checked(answer)
            for kind, body in _events(answer.iter_lines()):
                if kind == "end":
                    break
                yield kind, body
                if give_up_at is not None and time.monotonic() > give_up_at:
                    return
        yield "look", self.operation(operation_id)

    def _with_last_steps(self, operation_id: str) -> Operation:
        # Steps are told a moment after the state they led to.
        operation = self.operation(operation_id)
        for _ in range(_LOOKS_FOR_LAST_STEPS):
            if all(step["state"] != "RUNNING" for step in operation["steps"] or []):
                break
            time.sleep(_LOOK_S)
            operation = self.operation(operation_id)
        return operation

    def changes(self, last_event_id: str = "") -> Iterator[Operation]:
        """Every change of an operation in the project, for ever."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        path = f"{ROOT}/operations/stream"
        try:
            with self._http.stream("GET", path, headers=headers, timeout=TIMEOUT_S) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._checked(answer)
                for kind, body in _events(answer.iter_lines()):
                    if kind == "operation":
                        yield cast("Operation", body)
        except httpx2.TransportError as error:
            raise self._silence(error) from error


def _is_still(operation: Operation) -> bool:
    """Whether it has ended, or rests and nobody has told it yet how to go on."""
    return operation["state"] in ENDED or (operation["state"] == RESTS and not operation["control"])


def _events(lines: Iterator[str]) -> Iterator[tuple[str, object]]:
    """Server-sent events as (kind, body)."""
    kind, data = "message", ""
    for line in lines:
        if line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "message", ""
