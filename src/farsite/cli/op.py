"""`farsite op`: operations."""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit, of_state
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.cli.waiting import Timeout, Wait, accepted, until_ended
from farsite.client import Client, GroupUpgradeMember, Operation

app = App(name="op", help="Operations: what runs, why it waits, how to go on.", help_epilogue="")

Key = Annotated[str, Parameter(help="Id of the operation.")]


@app.command(name="list")
def list_(
    *,
    state: Annotated[str, Parameter(help="Only those in this state, e.g. FAILED_TEMP.")] = "",
    instance: Annotated[str, Parameter(help="Only those of the VNF or NS instance with this id.")] = "",
    filter: Filter = "",
    limit: Limit = 30,
    output: Output = "table",
) -> None:
    """List operations, newest first."""
    conditions = [filter] if filter else []
    if state:
        conditions.append(f"(eq,state,{state.upper()})")
    if instance:
        conditions.append(f"(eq,instance_id,{instance})")
    with Client() as client:
        printing.table(
            client.operations(filter=";".join(conditions), limit=limit),
            [
                ("started", lambda one: printing.when(one["started_at"])),
                ("type", lambda one: one["type"]),
                ("of", lambda one: f"{one['kind']} {one['instance_id']}"),
                ("state", lambda one: one["state"] + (" (in line)" if one.get("is_waiting") else "")),
                ("by", lambda one: "Farsite" if one["is_automatic"] else one["requested_by"]),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="No operation.",
        )


@app.command
def show(operation: Key, /, *, output: Output = "table") -> int:
    """Show an operation with its steps. The exit code tells its state."""
    with Client() as client:
        found = client.operation(operation)
        members = client.group_upgrade(operation)["members"] if found["kind"] == "group" else []
        _show(found, members, output)
        return of_state(found["state"])


def _show(operation: Operation, members: Sequence[GroupUpgradeMember], form: Form) -> None:
    steps = [
        f"{step['state']:<9} {printing.when(step['started_at'])}  {step['title']}"
        + (f" (attempt {step['attempt']})" if step["attempt"] > 1 else "")
        + (f": {step['detail'] or step['waits_for']}" if step["detail"] or step["waits_for"] else "")
        for step in operation["steps"] or []
    ]
    error = operation["error"]
    printing.facts(
        operation,
        [
            ("operation", f"{operation['type']} of {operation['kind']} {operation['instance_id']}"),
            ("id", operation["id"]),
            ("state", f"{operation['state']} since {printing.when(operation['state_entered_at'])}"),
            ("error", f"{error['title']}: {error['detail']}" if error else ""),
            ("started", printing.when(operation["started_at"])),
            ("by", "Farsite" if operation["is_automatic"] else operation["requested_by"]),
            ("part of", operation["parent_id"]),
            ("asked", operation["control"] or operation["cancel"]),
            ("parts", "\n".join([] if members else operation["children"] or [])),
            ("members", "\n".join(_member(one) for one in members)),
            ("steps", "\n".join(steps)),
        ],
        form,
    )


def _member(one: GroupUpgradeMember) -> str:
    runs = f" {one['running_version']} runs." if one["running_version"] else ""
    part = f" ({one['operation_id']})" if one["operation_id"] else ""
    return f"{one['state']:<14} stage {one['stage']}  {one['vnf']}{part}{runs}"


@app.command
def why(operation: Key, /, *, output: Output = "table") -> int:
    """Explain an operation: what it waits for, since and until when, and what can be done now."""
    with Client() as client:
        found = client.why(operation)
        printing.facts(
            found,
            [
                ("", found["summary"]),
                ("waits for", found["waits_for"]),
                (
                    "since",
                    f"{printing.when(found['since'])}, {found['waited_s']:.0f} s" if found["since"] else "",
                ),
                ("until", printing.when(found["until"]) if found["until"] else ""),
                ("before", "\n".join(found["history"])),
                ("now", "\n".join(f"{one['command']}   {one['effect']}" for one in found["commands"])),
            ],
            output,
        )
        return of_state(found["state"])


@app.command
def placement(operation: Key, /, *, output: Output = "json") -> None:
    """Explain a placement: every candidate with its verdict, score and reason."""
    with Client() as client:
        body = client.placement(operation)
        if output != "table":
            printing.document(body, output)
            return
        rows = cast("list[dict[str, object]]", body.get("considerations", []))
        printing.table(
            rows,
            [
                ("for", lambda one: one["demand"]),
                ("vim", lambda one: one["vim"]),
                ("verdict", lambda one: one["verdict"]),
                ("score", lambda one: one["score"]),
                ("reason", lambda one: one["reason"]),
            ],
            output,
        )


@app.command
def retry(operation: Key, /, *, wait: Wait = False, timeout: Timeout = None, output: Output = "table") -> int:
    """Do the step that failed again."""
    return _control(operation, "retry", None, wait, timeout, output)


@app.command
def rollback(
    operation: Key, /, *, wait: Wait = False, timeout: Timeout = None, output: Output = "table"
) -> int:
    """Undo what was done, last step first."""
    return _control(operation, "rollback", None, wait, timeout, output)


@app.command
def fail(operation: Key, /, *, wait: Wait = False, timeout: Timeout = None, output: Output = "table") -> int:
    """Give the operation up as FAILED; what stands stays as it is."""
    return _control(operation, "fail", None, wait, timeout, output)


@app.command
def cancel(
    operation: Key,
    /,
    *,
    mode: Annotated[
        Literal["GRACEFUL", "FORCEFUL"], Parameter(help="GRACEFUL ends the running step first.")
    ] = "GRACEFUL",
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Stop the operation where it is; it then rests until somebody decides. One in line ends at once."""
    return _control(operation, "cancel", {"mode": mode}, wait, timeout, output)


def _control(
    operation: str,
    control: str,
    body: dict[str, object] | None,
    wait: bool,
    timeout_s: float | None,
    form: Form,
) -> int:
    with Client() as client:
        asked = client.control(operation, control, body)
        if not wait:
            if form == "table":
                printing.note(f"{control} was asked of operation {operation}.")
            else:
                printing.document(asked, form)
            return Exit.DONE
        return accepted(client, asked, wait=True, form=form, timeout_s=timeout_s)


@app.command
def wait(operation: Key, /, *, timeout: Timeout = None, output: Output = "table") -> int:
    """Wait until an operation has ended or rests. The exit code tells which; 2 if the time was too short."""
    with Client() as client:
        return until_ended(client, operation, form=output, timeout_s=timeout)


@app.command
def watch(operation: Annotated[str, Parameter(help="Id; all operations if left out.")] = "", /) -> int:
    """Watch one operation to its end, or all of them until Ctrl-C."""
    with Client() as client:
        if operation:
            return until_ended(client, operation, form="table")
        for change in client.changes():
            printing.write(
                f"{printing.when(change['state_entered_at'])}  {change['type']:<11} {change['state']:<12} "
                f"{change['kind']} {change['instance_id']}  {change['id']}"
            )
        return Exit.DONE
