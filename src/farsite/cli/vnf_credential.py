"""`farsite vnf credential`: credentials with which a VNF asks for its own scaling and repair."""

from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.printing import Output
from farsite.client import Client

app = App(
    name="credential",
    help="A VNF's own credentials, to ask for its scaling and repair: make, list, revoke.",
    help_epilogue="",
)

Key = Annotated[str, Parameter(help="Name or id of the VNF instance.")]


@app.command
def create(
    vnf: Key,
    /,
    *,
    name: Annotated[str, Parameter(help="Name of the credential; no other token has it.")],
    output: Output = "table",
) -> None:
    """Make a credential. It is shown this once."""
    with Client() as client:
        made = client.create_credential(vnf, name)
        if output == "table":
            printing.write(made["token"])
            printing.note(f"Credential {made['name']} of VNF instance {made['vnf_id']}.")
        else:
            printing.document(made, output)


@app.command(name="list")
def list_(vnf: Key, /, *, output: Output = "table") -> None:
    """List a VNF's credentials, without the tokens themselves."""
    with Client() as client:
        printing.table(
            client.credentials_of(vnf),
            [
                ("name", lambda one: one["name"]),
                ("created", lambda one: printing.when(one["created_at"])),
            ],
            output,
        )


@app.command
def revoke(vnf: Key, name: Annotated[str, Parameter(help="Name of the credential.")], /) -> None:
    """Revoke a credential: it stops working within two seconds."""
    with Client() as client:
        client.revoke_credential(vnf, name)
