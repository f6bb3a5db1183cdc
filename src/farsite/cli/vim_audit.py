"""`farsite vim audit`: how redundantly a VIM is built."""

from typing import Annotated

from cyclopts import Parameter

from farsite.cli import printing
from farsite.cli.printing import Output
from farsite.client import Client


def audit(
    vim: Annotated[str, Parameter(help="Name or id of the VIM.")], /, *, output: Output = "table"
) -> None:
    """Show the single points of failure of a VIM, and a score of how redundantly it is built, with why."""
    with Client() as client:
        found = client.vim_audit(vim)
    if output != "table":
        printing.document(found, output)
        return
    printing.table(
        found["checks"],
        [
            ("result", lambda one: one["result"]),
            ("check", lambda one: one["name"]),
            ("about", lambda one: one["about"]),
            ("region", lambda one: one["region"]),
            ("working", lambda one: f"{one['working']} of {one['copies']}" if one["copies"] else "-"),
            ("evidence", lambda one: one["grade"]),
            ("reason", lambda one: one["reason"]),
        ],
        output,
        nothing="Nothing is known: it was not read yet, or these credentials may not see its services.",
    )
    if found["score"] is not None:
        printing.note(
            f"Score {found['score']} of 100 over the {found['seen_share']:.0%} that could be judged; "
            f"{len(found['single_points'])} single point(s) of failure."
        )
