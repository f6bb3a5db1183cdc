"""`farsite alarm`: alarms."""

from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.client import Alarm, Checkpoint, Client

app = App(name="alarm", help="Alarms: what is wrong now and was before.", help_epilogue="")

Key = Annotated[str, Parameter(help="Id of the alarm.")]


@app.command(name="list")
def list_(
    *,
    all: Annotated[bool, Parameter(name="--all", help="Cleared ones too.")] = False,  # noqa: A002
    filter: Filter = "",  # noqa: A002
    limit: Limit = 100,
    output: Output = "table",
) -> None:
    """List the alarms that stand, newest first."""
    conditions = ([filter] if filter else []) + ([] if all else ["(eq,is_open,true)"])
    with Client() as client:
        printing.table(
            client.alarms(filter=";".join(conditions), limit=limit),
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
