"""`farsite policy`: rules that Farsite acts by on its own."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import documents, printing
from farsite.cli.printing import Form, Output
from farsite.client import Client, HealingPolicy
from farsite.model.errors import Invalid

app = App(name="policy", help="Policies: what Farsite does on its own.", help_epilogue="")
healing = App(name="healing", help="How faults are healed.", help_epilogue="")
app.command(healing)

Name = Annotated[str, Parameter(help="Name of the policy.")]


@healing.command
def apply(
    file: Annotated[Path, Parameter(help="JSON or YAML file with `name` and what the policy says.")],
    /,
    *,
    output: Output = "table",
) -> None:
    """Make a healing policy, or replace the one of that name."""
    body = documents.read(file)
    name = body.pop("name", None)
    if not isinstance(name, str) or not name:
        raise Invalid(f"{file} names no policy. Write `name: NAME` at its top.")
    with Client() as client:
        _show(client.put_healing_policy(name, body), output)


@healing.command(name="list")
def list_(*, output: Output = "table") -> None:
    """List the healing policies."""
    with Client() as client:
        printing.table(
            client.healing_policies(),
            [
                ("name", lambda one: one["name"]),
                ("covers", _covers),
                ("handled by", lambda one: one["handled_by"]),
                ("ladder", _ladder),
                ("dry run", lambda one: one["is_dry_run"]),
            ],
            output,
            nothing="There is no healing policy: dead VNFCs are replaced at once.",
        )


@healing.command
def show(name: Name, /, *, output: Output = "table") -> None:
    """Show a healing policy."""
    with Client() as client:
        _show(client.healing_policy(name), output)


@healing.command
def delete(name: Name, /) -> None:
    """Delete a healing policy; what it covered is healed as the next wider one says."""
    with Client() as client:
        client.delete_healing_policy(name)


def _covers(policy: HealingPolicy) -> str:
    return " ".join(f"{key}={value}" for key, value in policy["scope"].items() if value) or "everything"


def _ladder(policy: HealingPolicy) -> str:
    return " > ".join(one["kind"] for one in policy["ladder"])


def _show(policy: HealingPolicy, form: Form) -> None:
    printing.facts(
        policy,
        [
            ("name", policy["name"]),
            ("covers", _covers(policy)),
            ("handled by", policy["handled_by"]),
            (
                "ladder",
                "\n".join(
                    f"{one['kind']} for {one['deadline_s']:g} s ({one['probe']})" for one in policy["ladder"]
                ),
            ),
            ("fencing", policy["fencing"]),
            ("budget", " ".join(f"{key}={value:g}" for key, value in policy["budget"].items() if value)),
            ("priority", "by availability level" if policy["priority"] is None else policy["priority"]),
            ("preempts", policy["preempts"]),
            ("preemptible", policy["is_preemptible"]),
            ("dry run", policy["is_dry_run"]),
        ],
        form,
    )
