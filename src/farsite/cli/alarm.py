"""`farsite alarm`: alarms."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from farsite.cli import alarm_wishes, printing
from farsite.cli.alarm_wishes import moment
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.client import Alarm, Checkpoint, Client

app = App(name="alarm", help="Alarms: what is wrong now and was before.", help_epilogue="")

Key = Annotated[str, Parameter(help="Id of the alarm.")]


@app.command(name="list")
def list_(
    *,
    all: Annotated[bool, Parameter(name="--all", help="Cleared ones too.")] = False,
    filter: Filter = "",
    limit: Limit = 100,
    output: Output = "table",
) -> None:
    """List the alarms that stand, newest first."""
    conditions = ([filter] if filter else []) + ([] if all else ["(eq,is_open,true)"])
    with Client() as client:
        # One more than is shown, to know whether there is.
        found = client.alarms(filter=";".join(conditions), limit=limit + 1 if limit else 0)
        printing.table(
            found[:limit] if limit else found,
            [
                ("raised", lambda one: printing.when(one["raised_at"])),
                ("severity", lambda one: one["perceived_severity"]),
                ("problem", lambda one: one["specific_problem"]),
                ("location", lambda one: one["location"]),
                ("taken notice", lambda one: one["ack_state"] == "ACKNOWLEDGED"),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="No alarm stands." if not all else "There was no alarm yet.",
        )
    if limit and len(found) > limit:
        printing.note(f"The newest {limit} are shown; there are more: --limit 0 shows all, --filter some.")


@app.command
def show(alarm: Key, /, *, output: Output = "table") -> None:
    """Show an alarm, and when it passed each checkpoint on its way."""
    with Client() as client:
        found = client.alarm(alarm)
        _show(found, output)
        if output == "table":
            _show_timeline(client.timeline(found["id"]))


def _show_timeline(passed: list[Checkpoint]) -> None:
    printing.write("")
    printing.table(
        passed,
        [
            ("checkpoint", lambda one: one["checkpoint"]),
            ("doctor", lambda one: one["doctor"]),
            ("at", lambda one: printing.when(one["at"])),
            ("after", lambda one: f"{one['after_ms']:,.0f} ms"),
            ("detail", lambda one: one["detail"]),
        ],
        "table",
    )


def _show(alarm: Alarm, form: Form) -> None:
    printing.facts(
        alarm,
        [
            ("problem", alarm["specific_problem"]),
            ("id", alarm["id"]),
            ("severity", alarm["perceived_severity"]),
            ("type", alarm["event_type"]),
            ("probable cause", alarm["probable_cause"]),
            ("object", f"{alarm['object_kind']} {alarm['managed_object_id']}"),
            ("location", alarm["location"]),
            ("raised", printing.when(alarm["raised_at"])),
            ("cleared", printing.when(alarm["cleared_at"]) if alarm["cleared_at"] else ""),
            ("notice", alarm["ack_state"]),
            ("told by", alarm["source"]),
            ("flapping", f"came back {alarm['flap_count']} times" if alarm["is_flapping"] else ""),
            ("suppressed by", alarm["suppressed_by"]),
            ("details", "\n".join(alarm["fault_details"])),
        ],
        form,
    )


@app.command
def ack(
    alarm: Key,
    /,
    *,
    undo: Annotated[bool, Parameter(help="Take the acknowledgement back.")] = False,
    output: Output = "table",
) -> None:
    """Say that somebody has taken notice of an alarm."""
    with Client() as client:
        _show(client.acknowledge(alarm, is_acknowledged=not undo), output)


app.command(alarm_wishes.silence)
app.command(alarm_wishes.rule)
app.command(alarm_wishes.threshold)

Since = Annotated[str, Parameter(help="From this time on: 2026-01-31T12:00:00Z, or 2h for two hours ago.")]
Until = Annotated[str, Parameter(help="Before this time; now if left out.")]


@app.command
def history(
    *,
    since: Since = "",
    until: Until = "",
    object: Annotated[str, Parameter(help="Managed object: a VNF, NS or VIM id, a host.")] = "",
    type: Annotated[str, Parameter(help="Name of the alarm, or an event type such as EQUIPMENT_ALARM.")] = "",
    severity: Annotated[list[str] | None, Parameter(help="Severity; repeatable.")] = None,
    alarm: Annotated[str, Parameter(help="Id of one alarm.")] = "",
    export: Annotated[
        Literal["ndjson", "csv"] | None, Parameter(help="Write everything, as lines or as a table.")
    ] = None,
    limit: Limit = 100,
    output: Output = "table",
) -> None:
    """What happened to alarms, newest first; also of those long cleared."""
    query = [("object", object), ("type", type), ("alarm", alarm)]
    query += [
        (name, moment(text, is_past=True)) for name, text in (("since", since), ("until", until)) if text
    ]
    query = [(name, value) for name, value in query if value]
    query += [("severity", one.upper()) for one in severity or []]
    with Client() as client:
        if export is not None:
            for piece in client.export_alarm_history([*query, ("form", export)]):
                sys.stdout.write(piece)
            return
        printing.table(
            client.alarm_history(query, limit=limit),
            [
                ("at", lambda one: printing.when(one["at"])),
                ("what", lambda one: one["what"]),
                ("severity", lambda one: one["severity"]),
                ("problem", lambda one: one["specific_problem"]),
                ("location", lambda one: one["location"]),
                ("who", lambda one: one["who"]),
                ("details", lambda one: "; ".join(one["details"])[:80]),
            ],
            output,
            nothing="Nothing of the kind happened.",
        )
