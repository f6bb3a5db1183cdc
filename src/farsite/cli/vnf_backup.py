"""`farsite vnf backup`: backups of what VNF instances run."""

from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Form, Output
from farsite.cli.vnf_config import Cause, Confirm, Key, show_differences
from farsite.cli.waiting import Timeout, Wait, accepted
from farsite.client import Client, VnfBackup

app = App(
    name="backup",
    help="Backups of what a VNF runs, also of what no document speaks of: take, compare, put back.",
    help_epilogue="",
)
Number = Annotated[int, Parameter(help="Number of the backup; see list.")]


@app.command
def create(vnf: Key, /, *, cause: Cause = "", output: Output = "table") -> None:
    """Fetch all that a VNF runs and keep it, encrypted. Nothing is changed."""
    with Client() as client:
        taken = client.take_backup(vnf, cause)
        if output == "table":
            printing.write(
                f"Backup {taken['number']}: {_bytes(taken)}. Put it back: "
                f"farsite vnf backup restore {vnf} {taken['number']}"
            )
        else:
            printing.document(taken, output)


@app.command(name="list")
def list_backups(vnf: Key, /, *, output: Output = "table") -> None:
    """List a VNF's backups, the newest first."""
    with Client() as client:
        printing.table(
            client.backups(vnf),
            [
                ("number", lambda one: str(one["number"])),
                ("at", lambda one: printing.when(one["taken_at"])),
                ("by", lambda one: one["taken_by"]),
                ("version", lambda one: str(one["configuration"] or "")),
                ("software", lambda one: one["software_version"]),
                ("size", _bytes),
                ("cause", lambda one: one["cause"]),
            ],
            output,
        )


@app.command
def show(vnf: Key, number: Number, /, *, output: Output = "table") -> None:
    """Show what is told of a backup. What is in it is shown to nobody; see plan for what it would change."""
    with Client() as client:
        found = client.backup(vnf, number)
        printing.facts(
            found,
            [
                ("number", found["number"]),
                ("taken at", printing.when(found["taken_at"])),
                ("taken by", found["taken_by"]),
                ("cause", found["cause"]),
                ("adapter", found["adapter"]),
                ("software", found["software_version"]),
                ("configuration", f"version {found['configuration']}" if found["configuration"] else ""),
                *((one["place"], _size(one["size_bytes"])) for one in found["places"]),
            ],
            output,
        )


@app.command
def plan(vnf: Key, number: Number, /, *, output: Output = "table") -> None:
    """Show what putting a backup back would change on the device, which is asked what it runs."""
    with Client() as client:
        made = client.plan_restore(vnf, number)
        if output == "table":
            show_differences(made["differences"], "Nothing would change.")
        else:
            printing.document(made, output)


@app.command
def restore(
    vnf: Key,
    number: Number,
    /,
    *,
    cause: Cause = "",
    confirm_within: Confirm = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Form = "table",
) -> Exit:
    """Put a backup back, or nothing: a change that breaks a service is taken back."""
    with Client() as client:
        operation = client.restore(vnf, number, {"cause": cause, "confirm_within_s": confirm_within})
        return accepted(client, operation, wait=wait, form=output, timeout_s=timeout)


@app.command
def delete(vnf: Key, number: Number, /) -> None:
    """Forget a backup."""
    with Client() as client:
        client.delete_backup(vnf, number)


def _bytes(backup: VnfBackup) -> str:
    return f"{sum(one['size_bytes'] or 0 for one in backup['places']):,} bytes"


def _size(size_bytes: int | None) -> str:
    return "nothing" if size_bytes is None else f"{size_bytes:,} bytes"
