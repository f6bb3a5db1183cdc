"""`farsite alarm silence` and `farsite alarm rule`: which alarms are told, how they are named and delayed."""

import re
from datetime import datetime, timedelta
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.printing import Output
from farsite.client import Client, Matcher
from farsite.model.errors import Invalid

silence = App(name="silence", help="Silences: alarms of which subscribers are not told for a time.")
rule = App(name="rule", help="Rules: how alarms are named and delayed.")
threshold = App(name="threshold", help="Thresholds: alarms when metrics meet a condition.")

Match = Annotated[
    list[str] | None,
    Parameter(
        name="--match",
        help="NAME=VALUE, NAME!=VALUE or NAME^=BEGINNING; names: object, kind, location, event_type, type, "
        "problem, cause, severity, source, or a label of the source. Repeatable: all must fit.",
    ),
]
_MATCHER = re.compile(r"([^=!^]+)(=|!=|\^=)(.*)", re.DOTALL)
_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def matchers(given: list[str] | None) -> list[Matcher]:
    """Raises:
    Invalid: one of them is of no known form.
    """
    found: list[Matcher] = []
    for one in given or []:
        parts = _MATCHER.fullmatch(one)
        if parts is None:
            raise Invalid(f'--match "{one}": write NAME=VALUE, NAME!=VALUE or NAME^=BEGINNING.')
        found.append({"name": parts[1].strip(), "comparison": parts[2], "value": parts[3]})
    return found


def moment(text: str, *, is_past: bool) -> str:
    """A time for the API: ISO 8601 as it is (local where it has no zone), or a span from now (30m, 2h, 7d).

    Raises:
        Invalid: it is neither.
    """
    span = _SPAN.fullmatch(text)
    if span is not None:
        delta = timedelta(**{_UNITS[span[2]]: int(span[1])})
        now = datetime.now().astimezone()
        return (now - delta if is_past else now + delta).isoformat()
    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except ValueError as error:
        raise Invalid(f'"{text}" is no time: write 2026-01-31T12:00:00Z, or a span such as 2h.') from error


@silence.command(name="create")
def create_silence(
    *,
    match: Match = None,
    until: Annotated[str, Parameter(help="When it ends: 2h from now, or a time.")],
    since: Annotated[str, Parameter(help="When it begins; now if left out.")] = "",
    comment: Annotated[str, Parameter(help="Why.")] = "",
    output: Output = "table",
) -> None:
    """Tell subscribers nothing of some alarms for a time; they are recorded all the same."""
    body: dict[str, object] = {
        "matchers": matchers(match),
        "ends_at": moment(until, is_past=False),
        "comment": comment,
    }
    if since:
        body["starts_at"] = moment(since, is_past=False)
    with Client() as client:
        made = client.create_silence(body)
    if output == "table":
        printing.write(made["id"])
        printing.note(f"Silent until {printing.when(made['ends_at'])}.")
    else:
        printing.document(made, output)


@silence.command(name="list")
def list_silences(*, output: Output = "table") -> None:
    """List silences, those that are over too."""
    with Client() as client:
        printing.table(
            client.silences(),
            [
                ("until", lambda one: printing.when(one["ends_at"])),
                ("matches", lambda one: _shown(one["matchers"])),
                ("by", lambda one: one["created_by"]),
                ("comment", lambda one: one["comment"]),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="There is no silence.",
        )


@silence.command(name="delete")
def delete_silence(silence_id: Annotated[str, Parameter(help="Id of the silence.")], /) -> None:
    """End a silence; what it hid and still stands is told."""
    with Client() as client:
        client.delete_silence(silence_id)


def _shown(given: list[Matcher]) -> str:
    return " ".join(f"{one['name']}{one['comparison']}{one['value']}" for one in given)


RuleName = Annotated[str, Parameter(help="Name of the rule; rules are tried in order of their names.")]


@rule.command(name="set")
def set_rule(
    name: RuleName,
    /,
    *,
    match: Match = None,
    object: Annotated[str, Parameter(help="Object, e.g. '{instance}'.")] = "",
    kind: Annotated[str, Parameter(help="What the object is, e.g. host.")] = "",
    location: Annotated[str, Parameter(help="Place, e.g. '{site}/{rack}/{instance}'.")] = "",
    severity: Annotated[str, Parameter(help="Severity, e.g. '{priority}' or MAJOR.")] = "",
    event_type: Annotated[str, Parameter(help="X.733 event type, e.g. EQUIPMENT_ALARM.")] = "",
    cause: Annotated[str, Parameter(help="Probable cause.")] = "",
    raise_delay: Annotated[float, Parameter(help="Seconds a condition must last to be raised.")] = 0.0,
    clear_delay: Annotated[float, Parameter(help="Seconds it must be gone to be cleared.")] = 0.0,
    probation: Annotated[float, Parameter(help="The same for a flapping alarm.")] = 0.0,
    flaps: Annotated[int, Parameter(help="Returns within the window that make it flapping.")] = 5,
    flap_window: Annotated[float, Parameter(help="That window, in seconds.")] = 600.0,
    delays_critical: Annotated[bool, Parameter(help="Raise CRITICAL alarms late too.")] = False,
    silent_after: Annotated[float, Parameter(help="Seconds until silence makes it doubtful.")] = 0.0,
    output: Output = "table",
) -> None:
    """Make or replace a rule. Texts may hold labels of the source in braces."""
    body = {
        "matchers": matchers(match),
        "naming": {
            "object": object,
            "kind": kind,
            "location": location,
            "severity": severity,
            "event_type": event_type,
            "cause": cause,
        },
        "damping": {
            "raise_delay_s": raise_delay,
            "clear_delay_s": clear_delay,
            "probation_s": probation,
            "flaps": flaps,
            "flap_window_s": flap_window,
            "delays_critical": delays_critical,
        },
        "silent_after_s": silent_after or None,
    }
    with Client() as client:
        made = client.put_alarm_rule(name, body)
    if output == "table":
        printing.note(f"Rule {made['name']} counts from now on, within a second.")
    else:
        printing.document(made, output)


@rule.command(name="list")
def list_rules(*, output: Output = "table") -> None:
    """List the rules in the order in which they are tried."""
    with Client() as client:
        printing.table(
            client.alarm_rules(),
            [
                ("name", lambda one: one["name"]),
                ("matches", lambda one: _shown(one["matchers"]) or "everything"),
                ("names", lambda one: {key: value for key, value in one["naming"].items() if value}),
                ("delays", lambda one: {key: value for key, value in one["damping"].items() if value}),
            ],
            output,
            nothing="There is no rule.",
        )


@rule.command(name="delete")
def delete_rule(name: RuleName, /) -> None:
    """Forget a rule."""
    with Client() as client:
        client.delete_alarm_rule(name)


ThresholdName = Annotated[str, Parameter(help="Name of the threshold.")]


@threshold.command(name="set")
def set_threshold(
    name: ThresholdName,
    condition: Annotated[str, Parameter(help="E.g. 'cpu_load > 5 for 30s and memory_free < 2'.")],
    /,
    *,
    by: Annotated[str, Parameter(help="Label whose values are the objects.")] = "host",
    severity: Annotated[str, Parameter(help="Severity of the alarm.")] = "MAJOR",
    location: Annotated[str, Parameter(help="Where the objects stand, e.g. turin/room-2.")] = "",
    output: Output = "table",
) -> None:
    """Make or replace a threshold over metrics: an alarm for each object that meets the condition."""
    body = {"condition": condition, "by": by, "severity": severity.upper(), "location": location}
    with Client() as client:
        made = client.put_threshold(name, body)
    if output == "table":
        printing.note(f"Threshold {made['name']} is looked at from now on.")
    else:
        printing.document(made, output)


@threshold.command(name="list")
def list_thresholds(*, output: Output = "table") -> None:
    """List the thresholds."""
    with Client() as client:
        printing.table(
            client.thresholds(),
            [
                ("name", lambda one: one["name"]),
                ("condition", lambda one: one["condition"]),
                ("by", lambda one: one["by"]),
                ("severity", lambda one: one["severity"]),
            ],
            output,
            nothing="There is no threshold.",
        )


@threshold.command(name="delete")
def delete_threshold(name: ThresholdName, /) -> None:
    """Forget a threshold, and clear the alarms that it raised."""
    with Client() as client:
        client.delete_threshold(name)
