"""`farsite subscription`: who is told of alarms and operations, and how far that has come."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.client import Client, Notification, Subscription

app = App(
    name="subscription",
    help="Subscriptions: who is told of alarms and operations, and how far that has come.",
    help_epilogue="",
)

Key = Annotated[str, Parameter(help="Id or name of the subscription.")]
Number = Annotated[int, Parameter(help="Number of the notification.")]


@app.command
def create(
    callback_uri: Annotated[str, Parameter(help="Address to call. It must answer GET with 204 No Content.")],
    /,
    *,
    name: Annotated[str, Parameter(help="Name of the subscription.")] = "",
    kind: Annotated[
        tuple[str, ...],
        Parameter(help="Only such notifications: alarm, operation, vnf, alarm-raised ...; may be repeated."),
    ] = (),
    severity: Annotated[
        tuple[str, ...], Parameter(help="Only alarms of this severity; may be repeated.")
    ] = (),
    about: Annotated[
        tuple[str, ...],
        Parameter(name="--object", help="Only about this instance or VIM, by its id; may be repeated."),
    ] = (),
    user: Annotated[str, Parameter(help="User name to show the consumer.")] = "",
    password_file: Annotated[
        Path | None, Parameter(help="File with the password, which no command line should hold; - reads it.")
    ] = None,
    output: Output = "table",
) -> None:
    """Have an address told what happens from now on. It is tested first."""
    filters = {
        "kinds": list(kind),
        "severities": [one.upper() for one in severity],
        "object_ids": list(about),
    }
    body: dict[str, object] = {
        "callback_uri": callback_uri,
        "name": name,
        "filter": {key: value for key, value in filters.items() if value},
    }
    if user:
        text = "" if password_file is None else _read(password_file)
        body["authentication"] = {
            "authType": ["BASIC"],
            "paramsBasic": {"userName": user, "password": text.rstrip("\n")},
        }
    with Client() as client:
        _show(client.create_subscription(body), output)


def _read(path: Path) -> str:
    return sys.stdin.read() if str(path) == "-" else path.read_text()


@app.command(name="list")
def list_(*, filter: Filter = "", limit: Limit = 100, output: Output = "table") -> None:
    """List the project's subscriptions, those of ETSI's interfaces too."""
    with Client() as client:
        printing.table(
            client.subscriptions(filter=filter, limit=limit),
            [
                ("name", lambda one: one["name"]),
                ("interface", lambda one: one["interface"]),
                ("address", lambda one: one["callback_uri"]),
                ("told", lambda one: printing.used(one["delivered"], one["number"])),
                ("dead", lambda one: one["dead"]),
                ("trouble", lambda one: one["trouble"]),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="Nobody has subscribed.",
        )


@app.command
def show(subscription: Key, /, *, output: Output = "table") -> None:
    """Show a subscription and how far it has come."""
    with Client() as client:
        _show(client.subscription(subscription), output)


def _show(one: Subscription, form: Form) -> None:
    printing.facts(
        one,
        [
            ("name", one["name"]),
            ("id", one["id"]),
            ("interface", one["interface"]),
            ("address", one["callback_uri"]),
            ("authorised by", one["auth"]),
            ("filter", one["filter"]),
            ("numbered", one["number"]),
            ("delivered", one["delivered"]),
            ("pending", one["pending"]),
            ("dead letters", one["dead"]),
            ("delivered by", one["holder"]),
            ("takes nothing since", printing.when(one["away_since"]) if one["away_since"] else ""),
            ("trouble", one["trouble"]),
        ],
        form,
    )


@app.command
def delete(subscription: Key, /) -> None:
    """End a subscription. What waits for its consumer is forgotten."""
    with Client() as client:
        client.delete_subscription(subscription)


@app.command(name="test")
def ask(subscription: Key, /, *, output: Output = "table") -> int:
    """Ask the address whether it is there, as at the creation."""
    with Client() as client:
        result = client.test_subscription(subscription)
        printing.facts(
            result,
            [("passed", "yes" if result["passed"] else "no"), ("because", result["detail"])],
            output,
        )
    return Exit.DONE if result["passed"] else Exit.REFUSED


@app.command
def replay(
    subscription: Key,
    /,
    *,
    from_number: Annotated[int, Parameter(name="--from", help="First number to send again.")],
    output: Output = "table",
) -> None:
    """Send everything from a number on again, dead letters included."""
    with Client() as client:
        answer = client.replay(subscription, from_number)
        printing.facts(answer, [("from", answer["from_number"]), ("up to", answer["up_to"])], output)


@app.command
def notifications(
    subscription: Key,
    /,
    *,
    dead: Annotated[bool, Parameter(help="Only the dead letters.")] = False,
    after: Annotated[int, Parameter(help="Only numbers later than this.")] = 0,
    limit: Limit = 100,
    output: Output = "table",
) -> None:
    """List what was numbered for a subscription, and what became of it."""
    with Client() as client:
        kept = client.notifications(
            subscription, state="DEAD" if dead else "", after=after, limit=min(limit or 1000, 1000)
        )
    printing.table(
        kept,
        [
            ("number", lambda one: one["number"]),
            ("state", lambda one: one["state"]),
            ("kind", lambda one: one["kind"]),
            ("object", lambda one: one["object_id"]),
            ("attempts", lambda one: one["attempts"]),
            ("told", lambda one: printing.when(one["told_at"])),
            ("because", lambda one: one["detail"]),
        ],
        output,
        nothing="No dead letters." if dead else "Nothing was told yet.",
    )


@app.command
def resume(subscription: Key, number: Number, /, *, output: Output = "table") -> None:
    """Send a dead letter once more."""
    with Client() as client:
        _show_notification(client.decide(subscription, number, "resume"), output)


@app.command
def skip(subscription: Key, number: Number, /, *, output: Output = "table") -> None:
    """Say that a dead letter needs no delivery any more."""
    with Client() as client:
        _show_notification(client.decide(subscription, number, "skip"), output)


def _show_notification(one: Notification, form: Form) -> None:
    pairs: list[tuple[str, object]] = [("number", one["number"]), ("state", one["state"]), ("id", one["id"])]
    printing.facts(one, pairs, form)
