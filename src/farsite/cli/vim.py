"""`farsite vim`: VIMs."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import documents, printing, vim_access, vim_drill
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.cli.vim_access import AccessOptions
from farsite.cli.vim_audit import audit
from farsite.cli.vim_hosts import hosts
from farsite.client import Client, ControlElement, ControlPlane, Evidence, PathState, ServiceHealth, Vim
from farsite.model.vim import UNLIMITED, reserve_of

app = App(name="vim", help="VIMs: register, look at, change, forget.", help_epilogue="")
app.command(hosts)
app.command(audit)
app.command(vim_drill.app)

Key = Annotated[str, Parameter(help="Name or id of the VIM.")]
Setting = Annotated[
    list[str] | None,
    Parameter(name="--set", help="KEY=VALUE setting of the driver; JSON values are understood. Repeatable."),
]
SettingsFile = Annotated[
    Path | None, Parameter(name="--settings-file", help="JSON or YAML file of settings.")
]
Credential = Annotated[
    list[str] | None,
    Parameter(
        name="--credential",
        help="KEY=VALUE credential. Others on this host may see it; prefer --credentials-file. Repeatable.",
    ),
]
CredentialsFile = Annotated[
    Path | None, Parameter(name="--credentials-file", help="JSON or YAML file of credentials.")
]

Extra = Annotated[
    list[str] | None,
    Parameter(
        name="--extra",
        help="KEY=VALUE of the site and what else to keep: coordinates=LATITUDE,LONGITUDE, risk_groups=A,B, "
        "jurisdiction=IT. Repeatable.",
    ),
]


@app.command
def register(
    name: Annotated[str, Parameter(help="Name of the VIM.")],
    /,
    *,
    type_: Annotated[
        str, Parameter(name="--type", help="Driver: openstack, linux, simulated, or an installed one.")
    ] = "",
    site: Annotated[str, Parameter(help="Site it stands in; its own name if left out.")] = "",
    description: str = "",
    access: AccessOptions = vim_access.NOTHING_GIVEN,
    set: Setting = None,
    settings_file: SettingsFile = None,
    credential: Credential = None,
    credentials_file: CredentialsFile = None,
    extra: Extra = None,
    default: Annotated[bool, Parameter(help="The VIM that placement prefers.")] = False,
    output: Output = "table",
) -> None:
    """Register a VIM. Its driver checks that it can be used first; nothing is kept if not."""
    found = vim_access.read(access)
    settings = documents.settings(set or [], settings_file, option="--set") | {
        key: value for key, value in found.settings.items() if value != ""
    }
    if found.region:
        settings["region"] = found.region
    body: dict[str, object] = {
        "name": name,
        "type": type_ or found.type or "openstack",
        "site": site,
        "description": description,
        "auth_url": found.auth_url,
        "settings": settings,
        "credentials": found.credentials | _credentials(credential, credentials_file),
        "extra": found.extra | documents.settings(extra or [], None, option="--extra"),
        "is_default": default,
    }
    with Client() as client:
        _show(client.register_vim(body), output)


def _credentials(given: list[str] | None, file: Path | None) -> dict[str, str]:
    from_file = {key: str(value) for key, value in documents.read(file).items()} if file else {}
    return from_file | documents.pairs(given or [], option="--credential")


@app.command(name="list")
def list_(*, filter: Filter = "", limit: Limit = 100, output: Output = "table") -> None:
    """List the VIMs."""
    with Client() as client:
        _table(client.vims(filter=filter, limit=limit), output)


def _table(vims: list[Vim], form: Form) -> None:
    printing.table(
        vims,
        [
            ("name", lambda one: one["name"] + (" *" if one["is_default"] else "")),
            ("type", lambda one: one["type"]),
            ("site", lambda one: one["site"]),
            ("state", lambda one: one["state"]),
            ("since", lambda one: printing.when(one["state_since"])),
            ("vcpus", lambda one: _used(one, "vcpus")),
            ("memory MiB", lambda one: _used(one, "memory_mib")),
            ("reason", lambda one: one["state_reason"]),
        ],
        form,
        nothing="No VIM is registered. Register one: farsite vim register NAME --type linux",
    )


def _used(vim: Vim, what: str) -> str:
    taken = sum(_count(zone, f"{what}_used") for zone in vim["zones"])
    whole = sum(_count(zone, what) for zone in vim["zones"])
    return _share(taken, whole) if vim["zones"] else "-"


def _share_of(zone: Mapping[str, object], what: str) -> str:
    return _share(_count(zone, f"{what}_used"), _count(zone, what))


def _share(taken: int, whole: int) -> str:
    """How much of a whole is taken; drivers tell a billion where nothing limits it."""
    return printing.used(taken, whole) if whole < UNLIMITED else f"{taken}/unlimited"


def _count(zone: Mapping[str, object], what: str) -> int:
    return int(str(zone.get(what, 0)))


@app.command
def usage(
    vim: Annotated[str, Parameter(help="Name or id of a VIM; all if left out.")] = "",
    /,
    *,
    output: Output = "table",
) -> None:
    """Show what each zone has and what is used of it, and how old the count is."""
    with Client() as client:
        found = [client.vim(vim)] if vim else client.vims()
        rows = [
            {
                "vim": one["name"],
                "state": one["state"],
                "age_s": one["inventory_age_s"],
                "reserve": str(reserve_of(one["extra"]) or ""),
                **zone,
            }
            for one in found
            for zone in one["zones"]
        ]
        printing.table(
            rows,
            [
                ("vim", lambda row: row["vim"]),
                ("state", lambda row: row["state"]),
                ("region", lambda row: row["region"]),
                ("zone", lambda row: row["name"]),
                ("vcpus", lambda row: _share_of(row, "vcpus")),
                ("memory MiB", lambda row: _share_of(row, "memory_mib")),
                ("disk GiB", lambda row: _share_of(row, "disk_gib")),
                ("reserve", lambda row: row["reserve"]),
                ("hosts", lambda row: row["hosts"]),
                ("age s", lambda row: row["age_s"]),
            ],
            output,
            nothing="No VIM has told what it has yet (farsite vim list says why).",
        )


@app.command
def show(vim: Key, /, *, output: Output = "table") -> None:
    """Show a VIM: its state and why, what it can do and cannot, and what it holds."""
    with Client() as client:
        plane = client.vim_control_plane(vim) if output == "table" else None
        _show(client.vim(vim), output, plane)


@app.command(name="control-plane")
def control_plane(vim: Key, /, *, output: Output = "table") -> None:
    """Show what a VIM consists of: every copy of every service, with its host and state."""
    with Client() as client:
        plane = client.vim_control_plane(vim)
    if output != "table":
        printing.document(plane, output)
        return
    printing.table(
        plane["elements"],
        [
            ("service", lambda one: one["service"]),
            ("kind", lambda one: one["kind"]),
            ("region", lambda one: one["region"]),
            ("host", lambda one: one["host"]),
            ("state", lambda one: one["state"]),
            ("working", lambda one: f"{one['working']} of {one['copies']}" if one["kind"] != "api" else ""),
            ("last report", lambda one: printing.when(one["seen_at"])),
            ("detail", lambda one: one["detail"]),
        ],
        output,
        nothing="Nothing is known: it was not read yet, or these credentials may not see it.",
    )


def _show(vim: Vim, form: Form, plane: ControlPlane | None = None) -> None:
    zones = [
        f"{zone['region']}/{zone['name']}: vCPU {_share_of(zone, 'vcpus')}, "
        f"memory {_share_of(zone, 'memory_mib')} MiB, "
        f"disk {_share_of(zone, 'disk_gib')} GiB, {zone['hosts']} host(s)"
        + (f", racks {', '.join(rack['name'] for rack in zone['racks'])}" if zone["racks"] else "")
        for zone in vim["zones"]
    ]
    age_s = vim["inventory_age_s"]
    printing.facts(
        vim,
        [
            ("name", vim["name"] + (" (default)" if vim["is_default"] else "")),
            ("id", vim["id"]),
            ("type", vim["type"]),
            ("site", vim["site"]),
            ("description", vim["description"]),
            ("auth URL", vim["auth_url"]),
            ("as", vim["identity"]),
            ("state", f"{vim['state']} since {printing.when(vim['state_since'])}: {vim['state_reason']}"),
            ("services", "\n".join(_service(one) for one in vim["services"])),
            ("checked", printing.when(vim["checked_at"])),
            ("evidence", _evidence(vim["evidence"], vim["state"])),
            ("paths", "\n".join(_path(one) for one in (vim["evidence"] or {}).get("paths", ()))),
            ("settings", vim["settings"]),
            ("extra", vim["extra"]),
            ("reserve", str(reserve_of(vim["extra"]) or "")),
            ("regions", "\n".join(f"{name}: {', '.join(zones)}" for name, zones in vim["regions"].items())),
            ("can", ", ".join(vim["features"])),
            ("cannot", "\n".join(f"{what}: {why}" for what, why in vim["missing"].items())),
            ("details", vim["capability_details"]),
            ("physical networks", ", ".join(vim["physical_networks"])),
            ("storage back ends", ", ".join(vim["storage_back_ends"])),
            ("tunnels", vim["tunnel_endpoint"]),
            ("zones", "\n".join(zones)),
            ("asked", f"{age_s:.0f} s ago" if age_s is not None else "not yet"),
            ("was available", _share_kept(vim["availability"], "the last days")),
            ("left functions", _share_kept(vim["functions_availability"], "their time")),
            ("control", _elements(plane)),
            ("hosts", _hosts(plane)),
        ],
        form,
    )


def _share_kept(share: float | None, of: str) -> str:
    """Never rounded up to all: 100 % is said of what never failed."""
    return "" if share is None else f"{math.floor(round(share * 1e5, 3)) / 1e3:g} % of {of}"


def _elements(plane: ControlPlane | None) -> str:
    """A line for each service of the control plane: how many of its copies work, and on which hosts."""
    groups: dict[str, list[ControlElement]] = {}
    for one in plane["elements"] if plane else ():
        if one["kind"] not in ("api", "compute"):
            groups.setdefault(f"{one['region']}/{one['service']}", []).append(one)
    return "\n".join(
        f"{of[0]['service']}: {sum(one['state'] in ('up', 'disabled') for one in of)} of {len(of)} ("
        + ", ".join(one["host"] + ("" if one["state"] == "up" else f" {one['state']}") for one in of)
        + ")"
        for _, of in sorted(groups.items())
    )


def _hosts(plane: ControlPlane | None) -> str:
    return "\n".join(
        f"{one['host']}: {one['verdict']}" + (f" ({one['reason']})" if one["reason"] else "")
        for one in (plane["hosts"] if plane else ())
    )


def _evidence(known: Evidence | None, state: str) -> str:
    """What a bad state was concluded from; of a good one the misses before it."""
    if known is None:
        return ""
    lines = [f"{miss['at']}: {miss['reason']}" for miss in known["misses"]]
    if state not in ("ACTIVE", "MAINTENANCE"):
        told = [f"{name} down since {printing.when(at)}" for name, at in known["down_since"].items()]
        if known["misses_in_a_row"]:
            told.append(f"{known['misses_in_a_row']} misses in a row")
            told.append(f"last answer {printing.when(known['answered_at']) or 'never'}")
            told.append(f"suspicion {known['suspicion']:g}")
        # A service of an older release does not tell it.
        if seen_from := known.get("seen_from"):
            told.append(f"seen from {seen_from}")
        lines.insert(0, ", ".join(told))
    return "\n".join(line for line in lines if line)


def _path(one: PathState) -> str:
    since = f" since {printing.when(one['since'])}"
    return f"{one['name']} ({one['address']}): {'up' if one['is_up'] else 'LOST'}{since}" + (
        f" ({one['detail']})" if one["detail"] else ""
    )


def _service(one: ServiceHealth) -> str:
    latency = f", {one['latency_ms']:.0f} ms" if one["latency_ms"] is not None else ""
    vital = ", vital" if one["is_vital"] else ""
    return f"{one['name']}: {'up' if one['is_up'] else 'DOWN'}{vital}{latency}" + (
        f" ({one['detail']})" if one["detail"] else ""
    )


@app.command
def update(
    vim: Key,
    /,
    *,
    name: str | None = None,
    site: str | None = None,
    description: str | None = None,
    access: AccessOptions = vim_access.NOTHING_GIVEN,
    set: Setting = None,
    settings_file: SettingsFile = None,
    credential: Credential = None,
    credentials_file: CredentialsFile = None,
    extra: Extra = None,
    default: Annotated[bool | None, Parameter(negative="--no-default")] = None,
    maintenance: Annotated[str | None, Parameter(help="Take it out of service, for this reason.")] = None,
    in_service: Annotated[bool, Parameter(help="Take it back into service.")] = False,
    output: Output = "table",
) -> None:
    """Change a registration. What is not given stays; settings and credentials are laid over those it has.

    New credentials are tried on the VIM first; if it refuses them, the old ones stay.
    """
    found = vim_access.read(access)
    with Client() as client:
        given: dict[str, object] = {
            "name": name,
            "site": site,
            "description": description,
            "auth_url": found.auth_url or None,
            "is_default": default,
            "maintenance": maintenance,
            "is_in_service": in_service or None,
        }
        body = {key: value for key, value in given.items() if value is not None}
        if set or settings_file or found.region or access.all_regions or found.settings:
            changes = documents.settings(set or [], settings_file, option="--set") | found.settings
            if found.region:
                changes["region"] = found.region
            before = dict(client.vim(vim)["settings"])
            if access.all_regions:
                before.pop("region", None)
            taken = {key for key, value in found.settings.items() if value == ""}
            body["settings"] = {
                key: value for key, value in {**before, **changes}.items() if key not in taken
            }
        credentials = found.credentials | _credentials(credential, credentials_file)
        if credentials:
            body["credentials"] = credentials
            body["is_over_known"] = True
        if extra or found.extra:
            changes = found.extra | documents.settings(extra or [], None, option="--extra")
            # Site and region are facts of their own, which this command may be changing.
            kept = {k: v for k, v in client.vim(vim)["extra"].items() if k not in ("site", "region")}
            body["extra"] = {**kept, **changes}
        _show(client.change_vim(vim, body), output)


@app.command(name="rotate-key")
def rotate_key(vim: Key, /) -> None:
    """Encrypt the credentials of a VIM with a new key and forget the old one."""
    with Client() as client:
        client.rotate_vim_key(vim)


@app.command
def delete(vim: Key, /) -> None:
    """Forget a VIM on which nothing stands."""
    with Client() as client:
        client.delete_vim(vim)


@app.command
def resources(vim: Key, /, *, filter: Filter = "", limit: Limit = 1000, output: Output = "table") -> None:
    """List what of ours stands on the VIM, as the VIM says now."""
    with Client() as client:
        _resources(client, vim, filter, limit, output)


def _resources(client: Client, vim: str, filter_text: str, limit: int, form: Form) -> None:
    printing.table(
        client.vim_resources(vim, filter=filter_text, limit=limit),
        [
            ("kind", lambda one: one["kind"]),
            ("id", lambda one: one["id"]),
            ("owner", lambda one: one["owner"]),
            ("alive", lambda one: one["is_alive"]),
            ("zone", lambda one: one["zone"]),
            ("host", lambda one: one["host"]),
            ("addresses", lambda one: one["addresses"]),
        ],
        form,
        nothing="Nothing of ours stands there.",
    )


@app.command
def statistics(
    vim: Key,
    /,
    *,
    hours: Annotated[int, Parameter(help="How many hours back, this one included.")] = 24,
    output: Output = "table",
) -> None:
    """Show how the services of a VIM answered its health checks, hour by hour, the latest first."""
    with Client() as client:
        printing.table(
            client.vim_statistics(vim, hours=hours),
            [
                ("hour", lambda one: one["hour"]),
                ("service", lambda one: one["service"]),
                ("answers", lambda one: one["answers"]),
                ("misses", lambda one: one["misses"]),
                ("p50 ms", lambda one: _latency(one["p50_ms"])),
                ("p95 ms", lambda one: _latency(one["p95_ms"])),
                ("p99 ms", lambda one: _latency(one["p99_ms"])),
                ("max ms", lambda one: _latency(one["max_ms"])),
            ],
            output,
            nothing="It was not checked in these hours.",
        )


def _latency(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.1f}"


@app.command
def events(vim: Key, /, *, filter: Filter = "", limit: Limit = 50, output: Output = "table") -> None:
    """List what the VIM told, newest first."""
    with Client() as client:
        _events(client, vim, filter, limit, output)


def _events(client: Client, vim: str, filter_text: str, limit: int, form: Form) -> None:
    printing.table(
        client.vim_events(vim, filter=filter_text, limit=limit),
        [
            ("at", lambda one: printing.when(one["at"])),
            ("kind", lambda one: one["kind"]),
            ("object", lambda one: one["object_id"]),
            ("detail", lambda one: one["detail"]),
        ],
        form,
        nothing="It told nothing yet.",
    )
