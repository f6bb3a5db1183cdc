"""Waits for operations: a line per step as it changes, and at the end what can be done."""

import sys
import time
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit, of_state
from farsite.client import RESTS, Client, Operation, Problem, Step

Wait = Annotated[
    bool, Parameter(name="--wait", negative="--no-wait", help="Wait until the operation has ended or rests.")
]
Timeout = Annotated[
    float | None, Parameter(name="--timeout", help="Seconds to wait at most; the operation goes on.")
]


_IN_LINE = "It waits for its turn. See what for: farsite op why {}"


def accepted(
    client: Client, operation: Operation, *, wait: bool, form: printing.Form, timeout_s: float | None = None
) -> Exit:
    """Say that an operation was accepted; wait for it if asked."""
    is_waiting = operation.get("is_waiting", False)  # an older service says nothing of it
    if wait:
        printing.note(f"Operation {operation['id']} ({operation['type']}) was accepted.")
        if is_waiting:
            printing.note(_IN_LINE.format(operation["id"]))
        return until_ended(client, operation["id"], form=form, timeout_s=timeout_s)
    if form == "table":
        printing.write(operation["id"])
        printing.note(f"{operation['type']} was accepted. Watch it: farsite op watch {operation['id']}")
        if is_waiting:
            printing.note(_IN_LINE.format(operation["id"]))
    else:
        printing.document(operation, form)
    return Exit.DONE


def until_ended(
    client: Client, operation_id: str, *, form: printing.Form, timeout_s: float | None = None
) -> Exit:
    """Follow an operation to its end or rest, with a line per step, and show how it came out."""
    started = time.monotonic()
    last = followed(client, operation_id, timeout_s=timeout_s)
    if last is None:
        return Exit.PENDING
    if form == "table":
        reason = f" {last['error']['detail']}" if last["error"] else ""
        took = time.monotonic() - started
        printing.write(
            f"{last['type']} of {last['kind']} {last['instance_id']}: {last['state']} ({took:.1f} s).{reason}"
        )
        if last["state"] == RESTS:
            show_commands(client, operation_id)
    else:
        printing.document(last, form)
    return of_state(last["state"])


def followed(client: Client, operation_id: str, *, timeout_s: float | None = None) -> Operation | None:
    """Follow an operation to its end or rest, with a line per step; None: the time was too short, and that
    was said."""
    last: Operation | None = None
    lines = _Lines()
    try:
        for change in client.follow(operation_id, within_s=timeout_s):
            if "sequence" in change:
                lines.show(change)
            else:
                last = change
    except TimeoutError as late:
        lines.end()
        printing.note(f"{late} It goes on. See farsite op why {operation_id}.")
        return None
    lines.end()
    assert last is not None, "following ends with the operation"
    return last


def show_commands(client: Client, operation_id: str) -> None:
    """What can be done with an operation that rests."""
    try:
        commands = client.why(operation_id)["commands"]
    except Problem:
        return
    for one in commands:
        printing.note(f"  {one['command']}   {one['effect']}")


class _Lines:
    """A line per step on stderr; on a terminal the running step's line is rewritten."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._is_open = False

    def show(self, step: Step) -> None:
        if step["state"] == "RUNNING":
            if self._is_terminal:
                waits = f" {step['waits_for']}" if step["waits_for"] else ""
                line = printing.readable(f"  ... {step['title']}{waits}")
                sys.stderr.write(f"\r\x1b[K{line}"[:200])
                sys.stderr.flush()
                self._is_open = True
            return
        self.end()
        again = f" (attempt {step['attempt']})" if step["attempt"] > 1 else ""
        detail = f": {step['detail']}" if step["detail"] else ""
        mark = {"DONE": "ok ", "FAILED": "!! ", "CANCELLED": "-- "}.get(step["state"], "   ")
        printing.note(
            f"  {mark} {printing.when(step['started_at'])}  {step['title']}{again}, {_took(step)}{detail}"
        )

    def end(self) -> None:
        if self._is_open:
            sys.stderr.write("\r\x1b[K")
            self._is_open = False


def _took(step: Step) -> str:
    if not step["ended_at"]:
        return "running"
    took = datetime.fromisoformat(step["ended_at"]) - datetime.fromisoformat(step["started_at"])
    return f"{took.total_seconds():.2f} s"
