"""`farsite ns`: network services."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import availability as figures
from farsite.cli import documents, printing
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.cli.waiting import Timeout, Wait, accepted
from farsite.client import Client, Ns

app = App(
    name="ns", help="Network services: create, instantiate, terminate, count packets.", help_epilogue=""
)

Key = Annotated[str, Parameter(help="Name or id of the NS instance.")]


@app.command
def create(
    nsd: Annotated[str, Parameter(help="Name, NSD id or id of an onboarded NSD.")],
    /,
    *,
    certified_first: Annotated[
        bool, Parameter(help="Of several that are meant, take the best certified before the newest.")
    ] = False,
    name: str = "",
    description: str = "",
    output: Output = "table",
) -> None:
    """Record a service of an NSD; nothing is deployed yet."""
    with Client() as client:
        ns = client.create_ns(nsd, name=name, description=description, certified_first=certified_first)
        if output == "table":
            printing.write(ns["id"])
            printing.note(f"NSD {ns['nsd_choice']}.")
            printing.note(f"Created. Deploy it: farsite ns instantiate {ns['name'] or ns['id']}")
        else:
            printing.document(ns, output)


@app.command
def instantiate(
    ns: Key,
    /,
    *,
    vim: Annotated[
        list[str] | None,
        Parameter(help="PROFILE=VIM[/REGION[/ZONE]]: put a VNF profile on this VIM. Repeatable."),
    ] = None,
    network: Annotated[
        list[str] | None,
        Parameter(
            help="LINK[@VIM]=NETWORK: a virtual link is this network, which the VIM has already. Repeatable."
        ),
    ] = None,
    compute_flavour: Annotated[
        list[str] | None,
        Parameter(help="PROFILE/VDU=FLAVOUR: compute flavour of the VIM for a VDU. Repeatable."),
    ] = None,
    flavour: Annotated[str, Parameter(help="Deployment flavour; the default one if left out.")] = "",
    level: Annotated[str, Parameter(help="Instantiation level; the default one if left out.")] = "",
    configuration: Annotated[
        list[str] | None,
        Parameter(help="PROFILE=FILE: JSON or YAML laid over a profile's initial configuration. Repeatable."),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = "table",
) -> int:
    """Place and deploy all functions of a service, join and chain them."""
    files = documents.pairs(configuration or [], option="--configuration")
    networks = documents.pairs(network or [], option="--network")
    flavours = documents.pairs(compute_flavour or [], option="--compute-flavour")
    body: dict[str, object] = {
        "flavour_id": flavour,
        "level_id": level,
        **_places(documents.pairs(vim or [], option="--vim")),
        "networks": _nested(networks, "@"),
        "compute_flavours": _nested(flavours, "/"),
        "configurations": {profile: documents.read(Path(file)) for profile, file in files.items()},
    }
    with Client() as client:
        operation = client.start("ns", ns, "instantiate", body)
        return accepted(client, operation, wait=wait, form=output, timeout_s=timeout)


def _places(given: dict[str, str]) -> dict[str, dict[str, str]]:
    """VIM, region and zone of each profile, as far as they are given."""
    places = {profile: [*place.split("/", 2), "", ""] for profile, place in given.items()}
    return {
        word: {profile: place[number] for profile, place in places.items() if place[number]}
        for number, word in enumerate(("vims", "regions", "zones"))
    }


def _nested(given: dict[str, str], separator: str) -> dict[str, dict[str, str]]:
    """`{"a@b": "c", "a": "d"}` as `{"a": {"b": "c", "": "d"}}`."""
    found: dict[str, dict[str, str]] = {}
    for key, value in given.items():
        outer, _, inner = key.partition(separator)
        found.setdefault(outer, {})[inner] = value
    return found


@app.command
def terminate(ns: Key, /, *, wait: Wait = False, timeout: Timeout = None, output: Output = "table") -> int:
    """Take down a service's chains, functions and links; the record stays until it is deleted."""
    with Client() as client:
        operation = client.start("ns", ns, "terminate")
        return accepted(client, operation, wait=wait, form=output, timeout_s=timeout)


@app.command
def delete(ns: Key, /) -> None:
    """Forget a service that is not instantiated."""
    with Client() as client:
        client.delete_ns(ns)


@app.command(name="list")
def list_(*, filter: Filter = "", limit: Limit = 100, output: Output = "table") -> None:
    """List services."""
    with Client() as client:
        printing.table(
            client.ns_list(filter=filter, limit=limit),
            [
                ("name", lambda one: one["name"] or "-"),
                ("state", lambda one: one["state"]),
                ("vnfs", lambda one: len(one["vnfs"])),
                ("chains", lambda one: len(one["chains"])),
                ("created", lambda one: printing.when(one["created_at"])),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="No service. Create one: farsite ns create NSD",
        )


@app.command
def show(ns: Key, /, *, output: Output = "table") -> None:
    """Show a service: its functions and where they stand, its networks and chains."""
    with Client() as client:
        found = client.ns(ns)
        names = {one["id"]: one["name"] for one in client.vims()} if output == "table" else {}
        _show(found, names, output)


def _show(ns: Ns, vims: dict[str, str], form: Form) -> None:
    functions = [
        f"{one['name'] or one['vnf_id']} ({one['profile']}) on {vims.get(one['vim_id'], one['vim_id'])}: "
        f"{one['state']}"
        for one in ns["vnfs"]
    ]
    chains = [
        f"{one['id']}, revision {one['revision']}: {' -> '.join(str(hop['name']) for hop in one['hops'])}"
        for one in ns["chains"]
    ]
    printing.facts(
        ns,
        [
            ("name", ns["name"]),
            ("id", ns["id"]),
            ("description", ns["description"]),
            ("state", ns["state"]),
            ("operation", ns["operation_id"]),
            ("NSD", ns["nsd_id"]),
            ("flavour", ns["flavour_id"]),
            ("created", printing.when(ns["created_at"])),
            ("functions", "\n".join(functions)),
            ("networks", "\n".join(str(one["link"]) for one in ns["networks"])),
            ("chains", "\n".join(chains)),
        ],
        form,
    )


@app.command
def counters(
    ns: Key,
    /,
    *,
    chain: Annotated[str, Parameter(help="Chain by id; not needed when the service has one.")] = "-",
    output: Output = "table",
) -> None:
    """Count the packets that each instance of each hop of a chain was given, in both directions."""
    with Client() as client:
        printing.table(
            client.counters(ns, chain),
            [
                ("hop", lambda one: one["hop"]),
                ("vnfc", lambda one: one["vnfc_id"]),
                ("alive", lambda one: one["is_alive"]),
                ("forward packets", lambda one: one["forward_packets"]),
                ("bytes", lambda one: one["forward_bytes"]),
                ("reverse packets", lambda one: one["reverse_packets"]),
                ("bytes", lambda one: one["reverse_bytes"]),
            ],
            output,
        )


@app.command
def availability(
    ns: Key,
    /,
    *,
    since: Annotated[
        str, Parameter(help="From this time on, or a span such as 7d; 30 days if left out.")
    ] = "",
    until: Annotated[str, Parameter(help="Until this time; now if left out.")] = "",
    output: Output = "table",
) -> None:
    """Availability of a network service: MTBF, MTTR, times of detection, failover and recovery."""
    figures.show("ns", ns, since, until, output)
