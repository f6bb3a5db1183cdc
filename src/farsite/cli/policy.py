"""`farsite policy`: rules that Farsite acts by on its own."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import documents, printing
from farsite.cli.printing import Form, Output
from farsite.client import Client, Document, HealingPolicy, PlacementPolicy
from farsite.model.errors import Invalid

app = App(name="policy", help="Policies: what Farsite does on its own.", help_epilogue="")
healing = App(name="healing", help="How faults are healed.", help_epilogue="")
placement = App(
    name="placement", help="What is demanded of the VIMs that services come to.", help_epilogue=""
)
app.command(healing)
app.command(placement)

Name = Annotated[str, Parameter(help="Name of the policy.")]


@healing.command
def apply(
    file: Annotated[Path, Parameter(help="JSON or YAML file with `name` and what the policy says.")],
    /,
    *,
    output: Output = "table",
) -> None:
    """Make a healing policy, or replace the one of that name."""
    name, body = _named(file)
    with Client() as client:
        _show(client.put_healing_policy(name, body), output)


def _named(file: Path) -> tuple[str, Document]:
    """Name and body of the policy in a file."""
    body = documents.read(file)
    name = body.pop("name", None)
    if not isinstance(name, str) or not name:
        raise Invalid(f"{file} names no policy. Write `name: NAME` at its top.")
    return name, body


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


def _covers(policy: HealingPolicy | PlacementPolicy) -> str:
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


@placement.command(name="apply")
def apply_placement(
    file: Annotated[Path, Parameter(help="JSON or YAML file with `name` and what the policy demands.")],
    /,
    *,
    output: Output = "table",
) -> None:
    """Make a placement policy, or replace the one of that name."""
    name, body = _named(file)
    with Client() as client:
        _show_placement(client.put_placement_policy(name, body), output)


@placement.command(name="list")
def list_placement(*, output: Output = "table") -> None:
    """List the placement policies."""
    with Client() as client:
        printing.table(
            client.placement_policies(),
            [
                ("name", lambda one: one["name"]),
                ("covers", _covers),
                ("sites apart", _apart),
                ("risk groups apart", lambda one: one["risk_groups_apart"]),
                ("availability", _availability),
            ],
            output,
            nothing="There is no placement policy: the settings of the installation count.",
        )


@placement.command(name="show")
def show_placement(name: Name, /, *, output: Output = "table") -> None:
    """Show a placement policy."""
    with Client() as client:
        _show_placement(client.placement_policy(name), output)


@placement.command(name="delete")
def delete_placement(name: Name, /) -> None:
    """Delete a placement policy; what stands stays where it is."""
    with Client() as client:
        client.delete_placement_policy(name)


def _apart(policy: PlacementPolicy) -> str:
    return f"{policy['sites_apart_km']:g} km" if policy["sites_apart_km"] else ""


def _availability(policy: PlacementPolicy) -> str:
    return f"{policy['availability'] * 100:.7g} %" if policy["availability"] else ""


def _show_placement(policy: PlacementPolicy, form: Form) -> None:
    printing.facts(
        policy,
        [
            ("name", policy["name"]),
            ("covers", _covers(policy)),
            ("sites apart", _apart(policy)),
            ("risk groups apart", policy["risk_groups_apart"]),
            ("availability", _availability(policy)),
        ],
        form,
    )
