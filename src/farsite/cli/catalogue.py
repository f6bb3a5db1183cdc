"""`farsite catalogue`: what can be used, what shows that it works, and bundles of it that are signed."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.client import CatalogueEntry, CatalogueEvidence, CatalogueKey, Client

app = App(
    name="catalogue",
    help="The catalogue: search, evidence, signed bundles, whose bundles are taken.",
    help_epilogue="",
)
key = App(
    name="key",
    help="Keys: the one that signs our bundles, and those whose bundles are taken.",
    help_epilogue="",
)
app.command(key)

Level = Literal["emulated", "proved", "certified"]
_LEVELS: tuple[Level, ...] = ("emulated", "proved", "certified")
Key = Annotated[str, Parameter(help="Id of the entry (vnf:..., ns:..., adapter:...), or its name.")]


@app.command
def search(
    text: Annotated[str, Parameter(help="Words that vendor, name, tags or description contain.")] = "",
    /,
    *,
    vendor: Annotated[str, Parameter(help="Exactly this vendor.")] = "",
    tag: Annotated[list[str] | None, Parameter(help="With this tag. Repeatable: with all of them.")] = None,
    kind: Annotated[Literal["vnf", "ns", "adapter"] | None, Parameter(help="Of this kind.")] = None,
    certified: Annotated[bool, Parameter(help="Only what somebody vouches for.")] = False,
    at_least: Annotated[
        Level | None, Parameter(help="Only what is shown to work so well, or better.")
    ] = None,
    filter: Filter = "",
    limit: Limit = 100,
    output: Output = "table",
) -> None:
    """Search packages, services and adapters; without words, list all."""
    conditions = [filter] if filter else []
    conditions += [_condition("eq", "vendor", vendor)] if vendor else []
    conditions += [_condition("eq", "kind", kind)] if kind else []
    conditions += [_condition("eq", "tags", one) for one in tag or []]
    least = "certified" if certified else at_least
    if least:
        conditions.append(_condition("in", "certification", *_LEVELS[_LEVELS.index(least) :]))
    with Client() as client:
        printing.table(
            client.catalogue(text, filter=";".join(conditions), limit=limit),
            [
                ("kind", lambda one: one["kind"]),
                ("name", lambda one: one["name"]),
                ("version", lambda one: one["version"] or "-"),
                ("vendor", lambda one: one["vendor"] or "-"),
                ("certification", _certification),
                ("state", _state),
                ("licence", lambda one: one["licence"] or "-"),
                ("tags", lambda one: ", ".join(one["tags"]) or "-"),
            ],
            output,
            nothing="Nothing in the catalogue is like that. List all: farsite catalogue search",
        )


def _certification(entry: CatalogueEntry) -> str:
    if entry["certification"] == "none" and entry["stale"]:
        return "none (evidence of another digest)"
    if entry["certification"] == "none" and entry["claim"]:
        return f"none (claims {entry['claim']})"
    return entry["certification"]


def _state(entry: CatalogueEntry) -> str:
    return f"{entry['state']}, rules unmet" if entry["unmet"] else entry["state"]


def _condition(comparison: str, attribute: str, *values: str) -> str:
    """A condition of the API's filter language (SOL013 5.2)."""
    quoted = ["'" + one.replace("'", "''") + "'" for one in values]
    return f"({comparison},{attribute},{','.join(quoted)})"


@app.command
def show(entry: Key, /, *, output: Output = "table") -> None:
    """Show an entry: its rules, and the evidence about it."""
    with Client() as client:
        _show(client.catalogue_entry(entry), output)


def _show(entry: CatalogueEntry, form: Form) -> None:
    printing.facts(
        entry,
        [
            ("name", f"{entry['name']} {entry['version']}".strip()),
            ("id", entry["id"]),
            ("vendor", entry["vendor"]),
            ("product", entry["product"]),
            ("state", f"{entry['state']}, {entry['origin']}"),
            ("digest", entry["digest"]),
            ("licence", entry["licence"]),
            ("tags", entry["tags"]),
            ("requires", "\n".join(entry["requires"])),
            ("incompatible with", "\n".join(entry["conflicts"])),
            ("rules unmet", "\n".join(entry["unmet"])),
            ("certification", _certification(entry)),
            ("evidence", "\n".join(_told(one) for one in entry["evidence"])),
            (
                "does not count",
                "\n".join(f"{_told(one)}; of digest {one['digest'][:12]}..." for one in entry["stale"]),
            ),
            ("description", entry["description"]),
        ],
        form,
    )


def _told(one: CatalogueEvidence) -> str:
    signed = f", in a bundle signed by {one['signed_by'][:19]}..." if one["signed_by"] else ""
    detail = f" ({one['detail']})" if one["detail"] else ""
    said = f"{one['level']}: {one['suite']} {one['result']} {one['at'][:10]}"
    return f"{said}, stated by {one['stated_by']}{signed}{detail}"


@app.command
def record(
    entry: Key,
    /,
    *,
    suite: Annotated[str, Parameter(help="What was run, with its version.")],
    level: Annotated[Level, Parameter(help="What passing it shows.")],
    digest: Annotated[
        str, Parameter(help="SHA-256 of what was tried; if left out, of the entry as it is here now.")
    ] = "",
    failed: Annotated[bool, Parameter(help="It did not pass.")] = False,
    at: Annotated[str, Parameter(help="When, as 2026-01-31T12:00:00Z; now if left out.")] = "",
    detail: str = "",
    output: Output = "table",
) -> None:
    """Record what a suite found of an entry; evidence of another digest does not count."""
    with Client() as client:
        body: dict[str, object] = {
            "suite": suite,
            "level": level,
            "result": "failed" if failed else "passed",
            "digest": digest or client.catalogue_entry(entry)["digest"],
            "detail": detail,
        }
        body |= {"at": at} if at else {}
        _show(client.record_evidence(entry, body), output)


@app.command(name="export")
def export_(
    file: Annotated[Path, Parameter(help="Where to write the bundle.")],
    entry: Annotated[list[str], Parameter(help="Ids or names of entries.")],
    /,
) -> None:
    """Write entries with their evidence into one signed file, for a Farsite that cannot reach this one."""
    with Client() as client:
        client.export_bundle(entry, file)
        printing.write(f"{file} written, {file.stat().st_size} bytes.")


@app.command(name="import")
def import_(
    file: Annotated[Path, Parameter(help="A bundle that farsite catalogue export wrote.")],
    /,
    *,
    output: Output = "table",
) -> None:
    """Take in a bundle whose signer is trusted: all of it, or nothing."""
    with Client() as client:
        done = client.import_bundle(file)
    if output != "table":
        printing.document(done, output)
        return
    printing.note(f"Signed by {done['signer']} ({done['fingerprint']}).")
    headings = ["kind", "name", "version", "certification", "outcome"]
    rows = [
        [one["entry"]["kind"], one["entry"]["name"], one["entry"]["version"] or "-",
        one["entry"]["certification"], one["outcome"]] for one in done["arrived"]
    ]  # fmt: skip
    printing.write("\n".join(printing.aligned(headings, rows)))


@key.command
def create(
    name: Annotated[str, Parameter(help="What others shall call it.")], /, *, output: Output = "table"
) -> None:
    """Make the key that signs our bundles; it stays in the service's data directory."""
    with Client() as client:
        _show_key(client.create_catalogue_key(name), output)


@key.command(name="list")
def list_keys(*, output: Output = "table") -> None:
    """List whose bundles are taken; the star marks the key that signs ours."""
    with Client() as client:
        printing.table(
            client.catalogue_keys(),
            [
                ("name", lambda one: f"{one['name']}{' *' if one['is_own'] else ''}"),
                ("public key", lambda one: one["public_key"]),
                ("fingerprint", lambda one: one["fingerprint"]),
            ],
            output,
            nothing="No key is trusted. Make one: farsite catalogue key create NAME",
        )


@key.command
def trust(
    name: Annotated[str, Parameter(help="Whose it is.")],
    public_key: Annotated[
        str, Parameter(help="ed25519:BASE64, as farsite catalogue key list shows it there.")
    ],
    /,
    *,
    output: Output = "table",
) -> None:
    """Take bundles that this key signed. Compare its fingerprint by another way than the bundle comes."""
    with Client() as client:
        _show_key(client.trust_catalogue_key(name, public_key), output)


@key.command
def forget(name: Annotated[str, Parameter(help="Name of the key.")], /) -> None:
    """Take no more bundles of that key; what came in bundles stays."""
    with Client() as client:
        client.forget_catalogue_key(name)


def _show_key(found: CatalogueKey, form: Form) -> None:
    printing.facts(
        found,
        [
            ("name", found["name"]),
            ("public key", found["public_key"]),
            ("fingerprint", found["fingerprint"]),
            ("signs our bundles", found["is_own"]),
        ],
        form,
    )
