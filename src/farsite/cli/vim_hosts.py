"""`farsite vim hosts`: the compute hosts of a VIM."""

from typing import Annotated

from cyclopts import Parameter

from farsite.cli import printing
from farsite.cli.printing import Filter, Limit, Output
from farsite.client import Client, HostHealth


def hosts(
    vim: Annotated[str, Parameter(help="Name or id of the VIM.")],
    host: Annotated[str, Parameter(help="One host, with all that is known of it.")] = "",
    /,
    *,
    filter: Filter = "",
    limit: Limit = 1000,
    output: Output = "table",
) -> None:
    """Show how the compute hosts of a VIM are, since when and why, and what of ours stands there."""
    with Client() as client:
        if host:
            _show(client.host_health(vim, host), output)
            return
        printing.table(
            client.vim_hosts(vim, filter=filter, limit=limit),
            [
                ("host", lambda one: one["host"]),
                ("region", lambda one: one["region"]),
                ("zone", lambda one: one["zone"]),
                ("state", lambda one: one["state"]),
                ("since", lambda one: printing.when(one["since"])),
                ("verdict", lambda one: one["verdict"]),
                ("vnfs", lambda one: len(one["vnfs"])),
                ("age s", lambda one: f"{one['age_s']:.0f}"),
                ("reason", lambda one: one["reason"]),
            ],
            output,
            nothing="Nothing is known: it was not looked at yet, or these credentials may not see hosts.",
        )


def _show(one: HostHealth, output: printing.Form) -> None:
    verdict = f"{one['verdict']} ({one['confidence']:.0%})" if one["verdict"] else ""
    printing.facts(
        one,
        [
            ("host", one["host"]),
            ("region", one["region"]),
            ("zone", one["zone"]),
            ("state", f"{one['state']} since {printing.when(one['since'])}"),
            ("verdict", verdict),
            ("reason", one["reason"]),
            ("evidence", "\n".join(f"{name}: {says}" for name, says in one["evidence"].items())),
            ("permitted", ", ".join(one["permitted"]) if one["verdict"] else ""),
            ("last report", printing.when(one["seen_at"])),
            ("looked at", f"{one['age_s']:.0f} s ago"),
            (
                "vnfs",
                "\n".join(
                    f"{each['name'] or each['vnf_id']}: {', '.join(each['vnfc_ids'])}" for each in one["vnfs"]
                ),
            ),
        ],
        output,
    )
