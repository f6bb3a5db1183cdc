"""`farsite broker`: brokers, which talk to devices from where these are reachable."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Output
from farsite.client import Client
from farsite.model.errors import Invalid

app = App(
    name="broker", help="Brokers: who talks to devices from where these are reachable.", help_epilogue=""
)


@app.command
def create(name: str, /, *, output: Output = "table") -> None:
    """Make a broker known. Its token is shown this once."""
    with Client() as client:
        made = client.create_broker(name)
        if output == "table":
            printing.write(made["token"])
            printing.note(
                f"Start it where the devices are reachable: farsite broker run --name {name} --url URL "
                f"--token-file FILE"
            )
        else:
            printing.document(made, output)


@app.command(name="list")
def list_(*, output: Output = "table") -> None:
    """List the brokers, when each was heard last, and what waits for it."""
    with Client() as client:
        printing.table(
            client.brokers(),
            [
                ("name", lambda one: one["name"]),
                ("heard", lambda one: printing.when(one["heard_at"]) if one["heard_at"] else "never"),
                ("waiting", lambda one: str(one["waiting"])),
            ],
            output,
        )


@app.command
def delete(name: str, /) -> None:
    """Forget a broker; its token stops working within two seconds."""
    with Client() as client:
        client.delete_broker(name)


@app.command
def run(
    *,
    name: Annotated[str, Parameter(help="Name under which Farsite knows it.")],
    url: Annotated[str, Parameter(help="Address of Farsite, https:// but on loopback.")],
    token_file: Annotated[Path, Parameter(help="File with the broker's token, mode 0600.")],
    state_dir: Annotated[Path, Parameter(help="Directory for jobs under way; survives restarts.")] = Path(
        "/var/lib/farsite-broker"
    ),
    ca_file: Annotated[str, Parameter(help="CA certificates to trust instead of the system's.")] = "",
    adapter_dir: Annotated[
        list[Path] | None, Parameter(help="Directory with folders of adapters, beside those that come along.")
    ] = None,
    at_once: Annotated[int, Parameter(help="Devices that are worked on at the same time, at most.")] = 32,
    allow_local: Annotated[
        bool, Parameter(help="Also manage what runs on this machine; Farsite then runs commands here.")
    ] = False,
) -> int:
    """Run a broker until it is stopped (SIGTERM or Ctrl-C)."""
    from farsite.vnfs.broker.working import Broker, BrokerSettings

    if not url.startswith("https://") and not url.startswith(
        ("http://127.", "http://[::1]", "http://localhost")
    ):
        raise Invalid(f"{url} is not https, and jobs carry secrets. Put TLS in front of Farsite.")
    if token_file.stat().st_mode & 0o077:
        raise Invalid(f"{token_file} can be read by others. Protect it: chmod 600 {token_file}")
    settings = BrokerSettings(
        url=url,
        name=name,
        token=token_file.read_text().strip(),
        state_dir=state_dir,
        ca_file=ca_file,
        most_at_once=at_once,
        allow_local=allow_local,
        adapter_dirs=tuple(adapter_dir or ()),
    )
    return asyncio.run(_run(Broker(settings)))


async def _run(broker: object) -> int:
    from farsite.vnfs.broker.working import Broker

    assert isinstance(broker, Broker)
    working = asyncio.ensure_future(broker.run())
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, working.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return Exit.DONE
