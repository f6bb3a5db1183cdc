"""`farsite token`: API tokens."""

from typing import Annotated, Literal

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.printing import Output
from farsite.client import Client

app = App(name="token", help="API tokens: make, list, revoke.", help_epilogue="")

Name = Annotated[str, Parameter(help="Name of the token.")]


@app.command
def create(
    name: Name,
    /,
    *,
    role: Annotated[
        Literal["reader", "operator", "admin", "source"],
        Parameter(
            help="reader looks, operator also starts operations, admin also registers VIMs, source only "
            "tells of faults."
        ),
    ] = "reader",
    project: Annotated[str, Parameter(help="Project of the token; your own if left out.")] = "",
    output: Output = "table",
) -> None:
    """Make a token. It is shown this once."""
    with Client() as client:
        made = client.create_token(name, role, project)
        if output == "table":
            printing.write(made["token"])
            printing.note(f"Token {made['name']}: {made['role']} in project {made['project_id']}.")
        else:
            printing.document(made, output)


@app.command(name="list")
def list_(*, output: Output = "table") -> None:
    """List the project's tokens, without the tokens themselves."""
    with Client() as client:
        printing.table(
            client.tokens(),
            [
                ("name", lambda one: one["name"]),
                ("role", lambda one: one["role"]),
                ("created", lambda one: printing.when(one["created_at"])),
            ],
            output,
        )


@app.command
def revoke(name: Name, /) -> None:
    """Revoke a token: it stops working within two seconds."""
    with Client() as client:
        client.revoke_token(name)
