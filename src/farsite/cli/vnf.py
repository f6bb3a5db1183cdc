"""`farsite vnf`: VNF instances."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from farsite.cli import availability as figures
from farsite.cli import documents, printing, reading
from farsite.cli.links import links
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.cli.vnf_backup import app as backup
from farsite.cli.vnf_config import app as config
from farsite.cli.vnf_credential import app as credential
from farsite.cli.vnf_software import app as software
from farsite.cli.vnf_software import upgrade
from farsite.cli.waiting import Timeout, Wait, accepted
from farsite.client import Client, Climb, Port, Vnf
from farsite.model.errors import Invalid

app = App(
    name="vnf",
    help="VNF instances: create, instantiate, scale, heal, operate, change, terminate.",
    help_epilogue="",
)

app.command(credential)
app.command(config)
app.command(backup)
app.command(software)
app.command(upgrade)

Link = Annotated[
    list[str] | None,
    Parameter(
        help="CP=NETWORK[,PREFIX|ADDRESS|FIRST-LAST|mac=|subnet=|port=|group=]...: bind a connection point "
        "to a network; once more for the VDU's next VNFC. Repeatable."
    ),
]
Key = Annotated[str, Parameter(help="Name or id of the VNF instance.")]


@app.command
def create(
    package: Annotated[
        str,
        Parameter(
            help="Product name, VNFD id or id of an onboarded package; a name may have a range of versions "
            "behind it ('haproxy-lb>=1.2,<2') and its vendor before it ('VENDOR/haproxy-lb')."
        ),
    ],
    /,
    *,
    certified_first: Annotated[
        bool, Parameter(help="Of several that are meant, take the best certified before the newest.")
    ] = False,
    name: str = "",
    description: str = "",
    vim: Annotated[str, Parameter(help="VIM it shall stand on; placement chooses if left out.")] = "",
    region: Annotated[str, Parameter(help="Region of the VIM it shall stand in.")] = "",
    zone: Annotated[str, Parameter(help="Availability zone it shall stand in.")] = "",
    output: Output = "table",
) -> None:
    """Record a VNF instance of a package; nothing is deployed yet."""
    with Client() as client:
        vnf = client.create_vnf(
            package,
            name=name,
            description=description,
            vim=vim,
            region=region,
            zone=zone,
            certified_first=certified_first,
        )
        if output == "table":
            printing.write(vnf["id"])
            printing.note(f"Package {vnf['package_choice']}.")
            printing.note(f"Created. Deploy it: farsite vnf instantiate {vnf['name'] or vnf['id']}")
        else:
            printing.document(vnf, output)


@app.command
def instantiate(
    vnf: Key,
    /,
    *,
    vim: Annotated[
        str, Parameter(help="VIM to use; if left out, the one of the creation, or placement chooses.")
    ] = "",
    region: str = "",
    zone: str = "",
    flavour: Annotated[str, Parameter(help="Deployment flavour; the default one if left out.")] = "",
    level: Annotated[str, Parameter(help="Instantiation level; the default one if left out.")] = "",
    link: Link = None,
    inner: Annotated[
        list[str] | None,
        Parameter(help="VIRTUAL-LINK=NETWORK: an internal link is a network that stands. Repeatable."),
    ] = None,
    unbound: Annotated[
        list[str] | None, Parameter(help="Connection point that no network binds. Repeatable.")
    ] = None,
    feature: Annotated[
        list[str] | None, Parameter(help="Capability that the VIM must have. Repeatable.")
    ] = None,
    image: Annotated[
        list[str] | None,
        Parameter(help="NAME=VIM-IMAGE: image of the VIM for one of the descriptor. Repeatable."),
    ] = None,
    compute_flavour: Annotated[
        list[str] | None,
        Parameter(help="VDU=VIM-FLAVOUR: compute flavour of the VIM for a VDU. Repeatable."),
    ] = None,
    configuration: Annotated[
        Path | None, Parameter(help="JSON or YAML file laid over the initial configuration.")
    ] = None,
    parameters: Annotated[
        Path | None,
        Parameter(help="JSON or YAML file with values for the package's own template (base HOT)."),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Deploy a VNF instance."""
    body: dict[str, object] = {
        "vim": vim,
        "region": region,
        "zone": zone,
        "flavour_id": flavour,
        "level_id": level,
        "external_links": links(link or []),
        "managed_links": [
            {"virtual_link": name, "network_id": network}
            for name, network in documents.pairs(inner or [], option="--inner").items()
        ],
        "unbound_cps": unbound or [],
        "features": feature or [],
        "images": documents.pairs(image or [], option="--image"),
        "compute_flavours": documents.pairs(compute_flavour or [], option="--compute-flavour"),
        "configuration": documents.read(configuration) if configuration else {},
        "parameters": documents.read(parameters) if parameters else {},
    }
    return _start(vnf, "instantiate", body, wait, timeout, output)


@app.command
def scale(
    vnf: Key,
    /,
    *,
    aspect: Annotated[str, Parameter(help="Scaling aspect of the descriptor.")],
    direction: Annotated[
        Literal["out", "in"], Parameter(name=("--direction", "-d"), help="More VNFCs, or fewer.")
    ] = "out",
    steps: int = 1,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Add VNFCs to a VNF instance or take some away, along one aspect."""
    type_ = "SCALE_OUT" if direction == "out" else "SCALE_IN"
    body = {"type": type_, "aspect_id": aspect, "steps": steps}
    return _start(vnf, "scale", body, wait, timeout, output)


@app.command
def heal(
    vnf: Key,
    /,
    *,
    vnfc: Annotated[
        list[str] | None,
        Parameter(help="VNFC to replace; if left out, those with an alarm, or all. Repeatable."),
    ] = None,
    repair: Annotated[
        list[str] | None,
        Parameter(
            help="reboot_soft, reboot_hard, rebuild, evacuate or respawn, with =SECONDS to wait for it (30); "
            "repeatable, gentlest first. If left out they are replaced (respawn)."
        ),
    ] = None,
    cause: str = "",
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Mend VNFCs, or replace them by new ones in the recorded initial state."""
    ladder = [_rung(one) for one in repair or []]
    # What is made beside something that may be alive is fenced where the VIM can.
    fencing = "best" if ladder else None
    body = {"vnfc_ids": vnfc or [], "cause": cause, "ladder": ladder, "fencing": fencing}
    return _start(vnf, "heal", body, wait, timeout, output)


def _rung(text: str) -> dict[str, object]:
    kind, separator, seconds = text.partition("=")
    if not separator:
        return {"kind": kind}
    try:
        return {"kind": kind, "deadline_s": reading.number(seconds)}
    except ValueError as error:
        raise Invalid(f'--repair takes KIND or KIND=SECONDS, not "{text}".') from error


@app.command
def healing(vnf: Key, /, *, output: Output = "table") -> None:
    """Show what was decided about healing a VNF, why, and which repairs were tried."""
    with Client() as client:
        found = client.healing(vnf)
    printing.table(
        found["decisions"],
        [
            ("at", lambda one: printing.when(one["decision"]["at"])),
            ("outcome", lambda one: one["decision"]["outcome"]),
            ("policy", lambda one: one["decision"]["policy"]),
            ("why", lambda one: "; ".join(one["decision"]["reasons"])),
            ("tried", lambda one: ", ".join(_tried(climb) for climb in one["climbs"]) or "-"),
            ("operation", lambda one: one["decision"]["operation_id"] or "-"),
        ],
        output,
        nothing="Nothing was decided about it yet.",
    )


def _tried(climb: Climb) -> str:
    fence = f", fence {climb['fence'].partition(':')[0]}" if climb["fence"] else ""
    return f"{climb['kind']} {climb['state']}{fence}"


Graceful = Annotated[bool, Parameter(help="Let functions end by themselves first.")]
Grace = Annotated[
    float | None, Parameter(help="Seconds that they may take to end; 60 if left out (with --graceful).")
]


@app.command
def operate(
    vnf: Key,
    change: Annotated[Literal["stop", "start"], Parameter(help="stop or start.")],
    /,
    *,
    vnfc: Annotated[
        list[str] | None, Parameter(help="VNFC to stop or start; all if left out. Repeatable.")
    ] = None,
    graceful: Graceful = False,
    grace: Grace = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Stop VNFCs of a VNF instance, or start them again, where they stand."""
    body = {
        "state": "STOPPED" if change == "stop" else "STARTED",
        "vnfc_ids": vnfc or [],
        "stop_type": "GRACEFUL" if graceful or grace is not None else "FORCEFUL",
        "graceful_timeout_s": grace,
    }
    return _start(vnf, "operate", body, wait, timeout, output)


@app.command
def change_connectivity(
    vnf: Key,
    /,
    *,
    link: Link = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Move external connection points to other networks or addresses; the VNFCs stay."""
    return _start(vnf, "change-connectivity", {"external_links": links(link or [])}, wait, timeout, output)


@app.command
def change_package(
    vnf: Key,
    package: Annotated[
        str,
        Parameter(
            help="Product name, VNFD id or id of the other package; a name may have a range of versions "
            "behind it ('haproxy-lb>=1.2,<2')."
        ),
    ],
    /,
    *,
    certified_first: Annotated[
        bool, Parameter(help="Of several that are meant, take the best certified before the newest.")
    ] = False,
    vdu: Annotated[
        list[str] | None, Parameter(help="OLD=NEW: which VDU becomes which, where names differ. Repeatable.")
    ] = None,
    batch: Annotated[int, Parameter(help="VNFCs that are replaced at a time.")] = 1,
    link: Link = None,
    configuration: Annotated[
        Path | None, Parameter(help="JSON or YAML file laid over the initial configuration.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Replace the VNFCs, batch after batch, by those of another package."""
    body: dict[str, object] = {
        "package": package,
        "certified_first": certified_first,
        "vdus": documents.pairs(vdu or [], option="--vdu"),
        "batch_size": batch,
        "external_links": links(link or []),
        "configuration": documents.read(configuration) if configuration else {},
    }
    return _start(vnf, "change-package", body, wait, timeout, output)


@app.command
def terminate(
    vnf: Key,
    /,
    *,
    graceful: Graceful = False,
    grace: Grace = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Remove a VNF instance from its VIM; the record stays until it is deleted."""
    is_graceful = graceful or grace is not None
    body = {"type": "GRACEFUL" if is_graceful else "FORCEFUL", "graceful_timeout_s": grace}
    return _start(vnf, "terminate", body, wait, timeout, output)


def _start(
    vnf: str,
    verb: str,
    body: Mapping[str, object],
    wait: bool,
    timeout_s: float | None,
    form: Form,
) -> int:
    with Client() as client:
        operation = client.start("vnfs", vnf, verb, body)
        return accepted(client, operation, wait=wait, form=form, timeout_s=timeout_s)


@app.command
def delete(vnf: Key, /) -> None:
    """Forget a VNF instance that is not instantiated."""
    with Client() as client:
        client.delete_vnf(vnf)


@app.command(name="list")
def list_(
    *,
    vim: Annotated[str, Parameter(help="Only those on this VIM.")] = "",
    ns: Annotated[str, Parameter(help="Only those of this service.")] = "",
    filter: Filter = "",
    limit: Limit = 100,
    output: Output = "table",
) -> None:
    """List VNF instances."""
    with Client() as client:
        conditions = [filter] if filter else []
        if vim:
            conditions.append(f"(eq,vim_id,{client.vim(vim)['id']})")
        if ns:
            conditions.append(f"(eq,ns_id,{client.ns(ns)['id']})")
        found = client.vnfs(filter=";".join(conditions), limit=limit)
        names = {one["id"]: one["name"] for one in client.vims()} if output == "table" and found else {}
        printing.table(
            found,
            [
                ("name", lambda one: one["name"] or "-"),
                ("product", lambda one: one["product_name"]),
                ("state", lambda one: one["state"]),
                ("vim", lambda one: names.get(one["vim_id"] or "", one["vim_id"])),
                ("vnfcs", lambda one: len(one["vnfcs"])),
                ("created", lambda one: printing.when(one["created_at"])),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="No VNF instance. Create one: farsite vnf create PACKAGE",
        )


@app.command
def show(vnf: Key, /, *, output: Output = "table") -> None:
    """Show a VNF instance: where it stands, its VNFCs and their ports."""
    with Client() as client:
        found = client.vnf(vnf)
        on = client.vim(found["vim_id"])["name"] if found["vim_id"] and output == "table" else ""
        _show(found, on, output)


@app.command
def identity(
    vnf: Key,
    vnfc: Annotated[str, Parameter(help="VNFC; all of the VNF if left out.")] = "",
    /,
    *,
    output: Output = "table",
) -> None:
    """Show what VNFCs were given before their first boot: host keys and certificates to know them by, and the
    key that we log in with. Private keys are never shown."""
    with Client() as client:
        names = [vnfc] if vnfc else [one["id"] for one in client.vnf(vnf)["vnfcs"]]
        found = [client.identity_of(vnf, name) for name in names]
    if output != "table":
        printing.document(found, output)
        return
    for one in found:
        made = one["host_key"] or one["pinned_certificate"] or one["login_key"]
        printing.facts(
            one,
            [
                ("vnfc", one["vnfc"]),
                ("host key", one["host_key"]),
                ("certificate", one["pinned_certificate"]),
                ("we log in with", one["login_key"]),
                ("keys", "" if made else "none: its boot data asks for none"),
            ],
            output,
        )


@app.command
def console(vnf: Key, vnfc: Annotated[str, Parameter(help="VNFC whose console to show.")], /) -> None:
    """Show the end of what a VNFC wrote on its console, as its VIM has it."""
    with Client() as client:
        # A guest's escape sequences are not for this terminal.
        printing.write(re.sub(r"[^\n\t -~\u00a0-\U0010ffff]", "", client.console_of(vnf, vnfc)))


def _addresses(vnf: Vnf, vnfc_id: str, port: Port) -> str:
    """Addresses of a port as the VIM has them, else as they were wished, else its MAC."""
    for one in vnf["resources"] or ():
        if (one["kind"], one["vnfc_id"], one["name"]) == ("LINKPORT", vnfc_id, port["name"]):
            return ", ".join(one["addresses"]) or one["mac"]
    return ", ".join(port["addresses"]) or port["mac"]


def _show(vnf: Vnf, vim: str, form: Form) -> None:
    lines: list[str] = []
    for one in vnf["vnfcs"]:
        alive = {True: "alive", False: "DEAD", None: "not seen yet"}[one["is_alive"]]
        alive = "stopped" if one["is_stopped"] and one["is_alive"] else alive
        again = f", incarnation {one['incarnation']}" if one["incarnation"] else ""
        zone = f" in {one['zone']}" if one["zone"] else ""
        lines.append(f"{one['id']}: {one['vdu']}, {one['image']}, {alive}{zone}{again}")
        lines += [f"  {port['name']}: {_addresses(vnf, one['id'], port)}" for port in one["ports"]]
    size = ", ".join(f"{aspect} {level}" for aspect, level in vnf["scale_levels"].items())
    printing.facts(
        vnf,
        [
            ("name", vnf["name"]),
            ("id", vnf["id"]),
            ("package", vnf["package_choice"]),
            ("product", vnf["product_name"]),
            ("description", vnf["description"]),
            ("state", " ".join(part for part in (vnf["state"], vnf["vnf_state"]) if part)),
            ("operation", vnf["operation_id"]),
            ("wished place", " ".join(f"{key} {value}" for key, value in vnf["place"].items() if value)),
            ("VIM", vim),
            ("flavour", " ".join(part for part in (vnf["flavour_id"], vnf["level_id"]) if part)),
            ("scale levels", size),
            ("service", f"{vnf['ns_id']}, profile {vnf['profile']}" if vnf["ns_id"] else ""),
            ("created", printing.when(vnf["created_at"])),
            ("VNFCs", "\n".join(lines)),
        ],
        form,
    )


@app.command
def availability(
    vnf: Key,
    /,
    *,
    since: Annotated[
        str, Parameter(help="From this time on, or a span such as 7d; 30 days if left out.")
    ] = "",
    until: Annotated[str, Parameter(help="Until this time; now if left out.")] = "",
    output: Output = "table",
) -> None:
    """Availability of a VNF: MTBF, MTTR, times of detection, failover and recovery."""
    figures.show("vnfs", vnf, since, until, output)
