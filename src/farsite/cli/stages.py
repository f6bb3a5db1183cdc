"""A group of VNFs upgraded in stages, as its operation tells of it."""

from collections.abc import Sequence

from farsite.cli import printing
from farsite.cli.exit_codes import Exit, of_state
from farsite.cli.printing import Form
from farsite.cli.waiting import accepted, followed, show_commands
from farsite.client import RESTS, Client, GroupUpgradeMember, Operation, Problem

_THERE = ("UPGRADED", "UNCHANGED", "TAKEN_BACK")


def until_ended(
    client: Client, operation: Operation, *, wait: bool, form: Form, timeout_s: float | None
) -> Exit:
    """Follow the upgrade of a group to its end or rest and tell what became of each; or say that it was
    accepted."""
    if not wait:
        return accepted(client, operation, wait=False, form=form)
    printing.note(f"Operation {operation['id']} ({operation['type']}) was accepted. It goes on without us.")
    last = followed(client, operation["id"], timeout_s=timeout_s)
    if last is None:
        return Exit.PENDING
    group = client.group_upgrade(operation["id"])
    for one in group["members"]:
        one["running_version"] = one["running_version"] or _running(client, one["vnf_id"])
    printing.table(
        group["members"],
        [
            ("vnf", lambda one: one["vnf"]),
            ("stage", lambda one: one["stage"]),
            ("state", lambda one: one["state"]),
            ("runs", lambda one: one["running_version"]),
            ("operation", lambda one: one["operation_id"] or ""),
        ],
        form,
    )
    printing.note(summary(group["members"]))
    if last["error"]:
        printing.note(f"{last['state']}: {last['error']['detail']}")
    if last["state"] == RESTS:
        show_commands(client, operation["id"])
    return of_state(last["state"])


def _running(client: Client, vnf: str) -> str:
    try:
        return client.software_of(vnf)["running"]
    except Problem:
        return ""


def summary(members: Sequence[GroupUpgradeMember]) -> str:
    """Which run which version, and who is not where it should be, in a sentence each."""
    by_version: dict[str, list[str]] = {}
    for one in members:
        by_version.setdefault(one["running_version"] or "an unknown version", []).append(one["vnf"])
    told = [f"{version} runs on {', '.join(names)}." for version, names in by_version.items()]
    left = ", ".join(one["vnf"] for one in members if one["state"] == "NOT_BEGUN")
    told += [f"Not begun: {left}."] if left else []
    told += [
        f"{one['vnf']} is {one['state']}: {one['said']}"
        for one in members
        if one["said"] and one["state"] not in _THERE
    ]
    return " ".join(told)
