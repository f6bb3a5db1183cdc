"""`farsite vim audit`: how redundantly a VIM is built."""

from typing import Annotated, Literal

from cyclopts import Parameter

from farsite.cli import printing
from farsite.cli.printing import Output
from farsite.client import AuditCheck, Client


def audit(
    vim: Annotated[str, Parameter(help="Name or id of the VIM.")],
    /,
    *,
    rules: Annotated[
        Literal["single", "small", "large"] | None,
        Parameter(help="Judge by these rules; left out, by those of its registration or its size."),
    ] = None,
    output: Output = "table",
) -> None:
    """Show the single points of failure of a VIM, and a score of how redundantly it is built, with why."""
    with Client() as client:
        found = client.vim_audit(vim, rules=rules or "")
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
            ("evidence", _evidence),
            ("reason", lambda one: one["reason"]),
        ],
        output,
        nothing="Nothing is known: it was not read yet, or these credentials may not see its services.",
    )
    if found["score"] is not None:
        printing.note(
            f"Score {found['score']} of 100 over the {found['seen_share']:.0%} that could be judged, "
            f"{found['proven_share']:.0%} proven by drills; "
            f"{len(found['single_points'])} single point(s) of failure."
        )
    if found["checks"]:
        printing.note(f"Rules: {found['rules']}, because {found['rules_reason']}.")


def _evidence(one: AuditCheck) -> str:
    age_s = one["drill_age_s"]
    if one["grade"] != "proven" or age_s is None:
        return one["grade"]
    days = age_s / 86_400
    return f"proven {days:.0f} d ago" if days >= 1 else f"proven {age_s / 3600:.0f} h ago"
