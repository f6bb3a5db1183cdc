"""`farsite nsd`: network service descriptors."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import documents, printing
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.client import Client, Nsd, NsdInfo

app = App(name="nsd", help="Network service descriptors: onboard, look at, enable, delete.", help_epilogue="")

Key = Annotated[str, Parameter(help="Id, NSD id or name of the NSD.")]


@app.command
def onboard(
    archive: Annotated[Path, Parameter(help="NSD archive, or a directory with its files.")],
    /,
    *,
    keep_refused: Annotated[bool, Parameter(help="Keep a refused NSD, in state ERROR.")] = False,
    output: Output = "table",
) -> None:
    """Onboard an NSD. The packages of its functions must be onboarded before."""
    with Client() as client, documents.archive_of(archive) as packed:
        _show(client.onboard_nsd(packed, keep_refused=keep_refused), None, output)


@app.command(name="list")
def list_(*, filter: Filter = "", limit: Limit = 100, output: Output = "table") -> None:
    """List the NSDs."""
    with Client() as client:
        printing.table(
            client.nsds(filter=filter, limit=limit),
            [
                ("name", lambda one: one["name"] or "-"),
                ("version", lambda one: one["version"] or "-"),
                ("designer", lambda one: one["designer"] or "-"),
                ("state", lambda one: one["state"]),
                ("use", lambda one: f"{one['operational_state']}, {one['usage_state']}"),
                ("created", lambda one: printing.when(one["created_at"])),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="No NSD is onboarded. Onboard one: farsite nsd onboard FILE",
        )


@app.command
def show(nsd: Key, /, *, output: Output = "table") -> None:
    """Show an NSD and what it offers: VNF profiles, links, forwarding paths."""
    with Client() as client:
        info = client.nsd_info(nsd)
        _show(info, client.nsd(info["id"]) if info["state"] == "ONBOARDED" else None, output)


def _show(info: NsdInfo, nsd: Nsd | None, form: Form) -> None:
    body: object = info if nsd is None else {**info, "nsd": nsd}
    printing.facts(
        body,
        [
            ("name", f"{info['name']} {info['version']}".strip()),
            ("designer", info["designer"]),
            ("id", info["id"]),
            ("NSD", info["nsd_id"]),
            ("state", f"{info['state']}, {info['operational_state']}, {info['usage_state']}"),
            ("created", printing.when(info["created_at"])),
            ("faults", "\n".join(str(fault) for fault in info["failure"])),
            ("description", nsd["description"] if nsd else ""),
            ("flavours", "\n".join(_flavours(nsd)) if nsd else ""),
        ],
        form,
    )


def _flavours(nsd: Nsd) -> list[str]:
    lines: list[str] = []
    for name, flavour in nsd["flavours"].items():
        lines.append(f"{name}{' (default)' if name == nsd['default_flavour'] else ''}:")
        for profile, one in flavour["profiles"].items():
            lines.append(f"  profile {profile}: {one['instances']} of VNFD {one['vnfd_id']}")
        if flavour["virtual_links"]:
            lines.append(f"  links: {', '.join(flavour['virtual_links'])}")
        for path in flavour["paths"]:
            hops = " -> ".join([path["source"], *path["hops"], path["target"]])
            lines.append(f"  path {path['id']}: {hops}{' (fails open)' if path['fail_open'] else ''}")
    return lines


@app.command
def enable(nsd: Key, /, *, output: Output = "table") -> None:
    """Allow services to be made of an NSD."""
    with Client() as client:
        _show(client.change_nsd(nsd, "ENABLED"), None, output)


@app.command
def disable(nsd: Key, /, *, output: Output = "table") -> None:
    """Allow no more services to be made of an NSD; those that are stay."""
    with Client() as client:
        _show(client.change_nsd(nsd, "DISABLED"), None, output)


@app.command
def delete(nsd: Key, /) -> None:
    """Delete an NSD of which there are no instances."""
    with Client() as client:
        client.delete_nsd(nsd)
