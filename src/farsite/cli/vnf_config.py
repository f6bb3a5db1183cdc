"""`farsite vnf config`: the inside of VNF instances."""

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import yaml
from cyclopts import App, Parameter

from farsite.cli import documents, printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Form, Output
from farsite.cli.waiting import Timeout, Wait, accepted
from farsite.client import Client, ConfigurationDifference
from farsite.model.errors import Invalid
from farsite.vnfs.transports.https import known_by

app = App(
    name="config",
    help="The inside of a VNF: manage, plan, apply, roll back, see drift and health.",
    help_epilogue="",
)
secret = App(name="secret", help="Secrets of a VNF, to which documents refer: set, list, delete.")
app.command(secret)

_KEYS = "-----{} SSH HOST KEY KEYS-----"
Key = Annotated[str, Parameter(help="Name or id of the VNF instance.")]
File = Annotated[Path, Parameter(help="Configuration document, YAML or JSON.")]
Cause = Annotated[str, Parameter(help="Why, for the history.")]
Confirm = Annotated[
    float | None,
    Parameter(help="Seconds that a change stands unconfirmed before the device takes it back."),
]


@app.command
def manage(
    vnf: Key,
    /,
    *,
    adapter: Annotated[str, Parameter(help="Adapter of the product; see farsite adapter list.")],
    vnfc: Annotated[str, Parameter(help="VNFC that is the device; it is reached through its VIM.")] = "",
    host: Annotated[str, Parameter(help="Address of the device, where Farsite has a route to it.")] = "",
    port: Annotated[
        int | None, Parameter(help="None: the usual one (SSH 22, HTTPS 443, NETCONF 830).")
    ] = None,
    user: str = "root",
    host_key: Annotated[
        list[Path] | None,
        Parameter(help="File with the device's public host key (ssh_host_ed25519_key.pub). Repeatable."),
    ] = None,
    certificate: Annotated[
        list[Path] | None,
        Parameter(
            help="File with the device's certificate (PEM), or with that of the authority that signed it, "
            "for adapters over HTTPS. Repeatable."
        ),
    ] = None,
    host_key_from_console: Annotated[
        bool,
        Parameter(help="Pin the host keys that the VNFC wrote on its VIM's console (cloud-init's form)."),
    ] = False,
    private_key: Annotated[
        str,
        Parameter(help="Secret that holds our private key; none: the one that its boot data let in."),
    ] = "",
    password: Annotated[
        str, Parameter(help="Name of the secret that holds our password, API key or token.")
    ] = "",
    broker: Annotated[str, Parameter(help="Broker that talks to the device; none: Farsite does.")] = "",
    parameter: Annotated[
        list[str] | None, Parameter(help="KEY=VALUE for the adapter, such as a path. Repeatable.")
    ] = None,
    keep_in: Annotated[
        str, Parameter(help="Directory on the device for what guards a change.")
    ] = "/var/lib/farsite",
    confirm_within: Confirm = None,
    output: Output = "table",
) -> None:
    """Say how a VNF is managed. Its device is known by its host key or its certificate: those given here, or
    those that its boot data carried. A function of Farsite's own (--adapter builtin) is known by its VIM."""
    keys = [" ".join(one.read_text().split()[:2]) for one in host_key or []]
    keys += [known_by(one.read_bytes()) for one in certificate or []]
    access: dict[str, object] = {
        "vnfc": vnfc,
        "host": host,
        "user": user,
        "host_keys": keys,
        "private_key": f"secret:{private_key}" if private_key else "",
        "password": f"secret:{password}" if password else "",
    }
    body: dict[str, object] = {
        "adapter": adapter,
        "way": "broker" if broker else "direct",
        "broker": broker,
        "access": access,
        "parameters": documents.pairs(parameter or [], option="--parameter"),
        "keep_in": keep_in,
    }
    if port is not None:
        access["port"] = port
    if confirm_within is not None:
        body["confirm_within_s"] = confirm_within
    with Client() as client:
        if host_key_from_console:
            access["host_keys"] = [*keys, *keys_told_on(client.console_of(vnf, vnfc), vnfc)]
        said = client.manage(vnf, body)
        if output == "table":
            printing.note(f"Managed by {adapter}. See what a document would change: farsite vnf config plan")
        else:
            printing.document(said, output)


@app.command
def plan(vnf: Key, file: File, /, *, output: Output = "table") -> None:
    """Show what a document would change on the device, which is asked what it runs. Changes nothing."""
    with Client() as client:
        made = client.plan_configuration(vnf, _document(file))
        if output == "table":
            show_differences(made["differences"], "Nothing would change.")
        else:
            printing.document(made, output)


@app.command
def apply(
    vnf: Key,
    file: File,
    /,
    *,
    cause: Cause = "",
    confirm_within: Confirm = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Form = "table",
) -> Exit:
    """Make a document run inside the VNF, or nothing: a change that breaks a service is taken back."""
    body: dict[str, object] = {"document": _document(file), "cause": cause}
    return _configure(vnf, body, confirm_within, wait=wait, timeout=timeout, output=output)


@app.command
def rollback(
    vnf: Key,
    version: Annotated[int, Parameter(help="Number of the version to bring back; see history.")],
    /,
    *,
    cause: Cause = "",
    confirm_within: Confirm = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Form = "table",
) -> Exit:
    """Bring an older version back, as a new one."""
    body: dict[str, object] = {"version": version, "cause": cause}
    return _configure(vnf, body, confirm_within, wait=wait, timeout=timeout, output=output)


@app.command
def reapply(
    vnf: Key,
    /,
    *,
    cause: Cause = "",
    confirm_within: Confirm = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Form = "table",
) -> Exit:
    """Apply the current version once more: what somebody else changed in it is brought back."""
    return _configure(vnf, {"cause": cause}, confirm_within, wait=wait, timeout=timeout, output=output)


@app.command
def show(
    vnf: Key,
    /,
    *,
    version: Annotated[int | None, Parameter(help="Number of a version; none: the current one.")] = None,
    output: Literal["yaml", "json"] = "yaml",
) -> None:
    """Show the document that shall run."""
    with Client() as client:
        found = client.configuration(vnf, version)
        stated = {key: value for key, value in found["document"].items() if value not in (None, {}, [])}
        printing.document(stated, output)


@app.command
def history(vnf: Key, /, *, output: Output = "table") -> None:
    """List every configuration that was asked for, and what became of it."""
    with Client() as client:
        printing.table(
            client.configurations(vnf),
            [
                ("number", lambda one: str(one["number"])),
                ("state", lambda one: one["state"]),
                ("at", lambda one: printing.when(one["created_at"])),
                ("by", lambda one: one["requested_by"]),
                (
                    "restores",
                    lambda one: f"backup {one['backup']}" if one["backup"] else str(one["restores"] or ""),
                ),
                ("cause", lambda one: one["said"] or one["cause"]),
            ],
            output,
        )


@app.command
def drift(vnf: Key, /, *, output: Output = "table") -> Exit:
    """Compare what runs with what shall run. The exit code is 1 when they differ."""
    with Client() as client:
        found = client.drift(vnf)
        if output == "table":
            show_differences(found["differences"], f"The device runs version {found['number']}.")
        else:
            printing.document(found, output)
    return Exit.REFUSED if found["has_drifted"] else Exit.DONE


@app.command
def health(vnf: Key, /, *, output: Output = "table") -> Exit:
    """Look at each service that the function is for. The exit code is 1 when one is not well."""
    with Client() as client:
        looked = client.function_health(vnf)
        printing.table(
            looked,
            [
                ("well", lambda one: "yes" if one["is_well"] else "NO"),
                ("what", lambda one: one["name"]),
                ("said", lambda one: one["said"]),
            ],
            output,
        )
    return Exit.DONE if all(one["is_well"] for one in looked) else Exit.REFUSED


@app.command
def metrics(vnf: Key, /, *, output: Output = "table") -> None:
    """Show the figures of the function now."""
    with Client() as client:
        printing.table(
            client.function_metrics(vnf),
            [
                ("metric", lambda one: one["name"]),
                ("labels", lambda one: ", ".join(f"{key}={value}" for key, value in one["labels"].items())),
                ("value", lambda one: f"{one['value']:g}"),
            ],
            output,
        )


@app.command
def licences(vnf: Key, /, *, output: Output = "table") -> Exit:
    """Ask which licences the product inside has, and when they end. The exit code is 1 when one has expired
    or cannot be read."""
    with Client() as client:
        told = client.function_licences(vnf)
        printing.table(
            told,
            [
                ("licence", lambda one: one["name"]),
                ("state", lambda one: one["state"]),
                ("ends", lambda one: printing.when(one["expires_at"])),
                ("said", lambda one: one["said"]),
            ],
            output,
            nothing="The device tells of no licence.",
        )
    is_wrong = any(one["state"] in ("EXPIRED", "UNKNOWN") for one in told)
    return Exit.REFUSED if is_wrong else Exit.DONE


@app.command
def forget(vnf: Key, /) -> None:
    """Stop managing the inside of a VNF; the function goes on with what it runs. Its versions and backups are
    forgotten."""
    with Client() as client:
        client.forget_management(vnf)


@secret.command(name="set")
def set_secret(
    vnf: Key,
    name: Annotated[str, Parameter(help="Documents refer to it as secret:NAME.")],
    /,
    *,
    file: Annotated[Path | None, Parameter(help="File that holds the value; else standard input.")] = None,
) -> None:
    """Keep a secret, encrypted. It is never shown again."""
    # Editors end the last line of a file, and no secret is meant to have that.
    value = (file.read_text() if file is not None else sys.stdin.read()).rstrip("\n")
    if not value:
        raise Invalid("The secret is empty. Give it on standard input, or name a file with --file.")
    with Client() as client:
        client.set_secret(vnf, name, value)


@secret.command(name="list")
def list_secrets(vnf: Key, /, *, output: Output = "table") -> None:
    """List the names of a VNF's secrets."""
    with Client() as client:
        printing.table(client.secrets_of(vnf), [("name", lambda one: one["name"])], output)


@secret.command(name="delete")
def delete_secret(vnf: Key, name: str, /) -> None:
    """Forget a secret."""
    with Client() as client:
        client.delete_secret(vnf, name)


def _configure(
    vnf: str,
    body: dict[str, object],
    confirm_within_s: float | None,
    *,
    wait: bool,
    timeout: float | None,
    output: Form,
) -> Exit:
    with Client() as client:
        operation = client.configure(vnf, body | {"confirm_within_s": confirm_within_s})
        return accepted(client, operation, wait=wait, form=output, timeout_s=timeout)


def _document(file: Path) -> dict[str, object]:
    try:
        content: object = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"{file} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise Invalid(f"{file} is no configuration document: it must be a mapping of services.")
    return content  # pyright: ignore[reportUnknownVariableType]


def show_differences(differences: list[ConfigurationDifference], otherwise: str) -> None:
    """Diffs of places, or what is to be said where there are none."""
    if differences:
        printing.write("".join(one["diff"] for one in differences).rstrip("\n"))
    else:
        printing.note(otherwise)


def keys_told_on(written: str, vnfc: str) -> list[str]:
    """The host keys that a guest told of on its console, in cloud-init's form: whole lines,
    since what others sent to the guest may be on its console within some."""
    lines = written.replace("\r", "")
    whole = re.compile(rf"^{_KEYS.format('BEGIN')}\n(.*?)\n{_KEYS.format('END')}$", re.DOTALL | re.MULTILINE)
    key = re.compile(r"^((?:ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/=]{40,})", re.MULTILINE)
    blocks = [key.findall(block) for block in whole.findall(lines)]
    told = blocks[-1] if blocks else []
    if any(set(one) != set(told) for one in blocks):
        raise Invalid(
            f"VNFC {vnfc} told of different host keys on its console. See which are its own (farsite vnf "
            f"console), and give --host-key FILE."
        )
    if not told:
        raise Invalid(
            f"VNFC {vnfc} told of no host key on its console. It may still boot, or its image tells none: "
            f"see farsite vnf console, or give --host-key FILE."
        )
    return told
