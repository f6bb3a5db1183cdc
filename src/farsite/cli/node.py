"""`farsite node`: our own processes."""

import time
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Output
from farsite.client import Client, Node

app = App(name="node", help="Nodes: the processes of Farsite itself.", help_epilogue="")

Key = Annotated[str, Parameter(help="Name or id of the node.")]

_LOOK_S = 0.25


@app.command(name="list")
def list_(
    *,
    all: Annotated[bool, Parameter(name="--all", help="Those that are gone too.")] = False,
    output: Output = "table",
) -> None:
    """List the processes that work on the database, the oldest first."""
    with Client() as client:
        printing.table(
            [one for one in client.nodes() if all or one["state"] != "gone"],
            [
                ("name", lambda one: one["name"]),
                ("state", _state),
                ("operations", lambda one: one["operations"]),
                ("vims", lambda one: one["vims"]),
                ("version", lambda one: one["version"]),
                ("workflows", lambda one: ", ".join(one["workflow_versions"])),
                ("started", lambda one: printing.when(one["started_at"])),
                ("url", lambda one: one["url"]),
                ("reason", lambda one: one["reason"]),
            ],
            output,
        )


def _state(node: Node) -> str:
    if node["state"] != "gone" and not node["is_alive"]:
        return f"{node['state']}, silent"
    return node["state"]


@app.command
def drain(
    node: Key,
    /,
    *,
    undo: Annotated[bool, Parameter(help="Have it work again.")] = False,
    wait: Annotated[bool, Parameter(help="Wait until it has handed over all it had.")] = False,
    within: Annotated[float, Parameter(help="Seconds to wait at most.")] = 60.0,
    output: Output = "table",
) -> int:
    """Have a process take nothing on and hand over what it has, so that stopping it is not noticed.

    Load balancers are told by its /readyz.
    """
    with Client() as client:
        seen = client.undrain_node(node) if undo else client.drain_node(node)
        give_up_at = time.monotonic() + within
        is_done = undo or not wait
        while not is_done and time.monotonic() < give_up_at:
            seen = next(one for one in client.nodes() if one["id"] == seen["id"])
            is_done = seen["state"] == "gone" or not (seen["operations"] or seen["vims"])
            if not is_done:
                time.sleep(_LOOK_S)
        printing.facts(
            seen,
            [
                ("name", seen["name"]),
                ("id", seen["id"]),
                ("state", _state(seen)),
                ("operations", str(seen["operations"])),
                ("vims", str(seen["vims"])),
            ],
            output,
        )
        if not is_done:
            printing.note(
                f"After {within:g} s it still has {seen['operations']} operation(s) and "
                f"{seen['vims']} VIM(s)."
            )
        return Exit.DONE if is_done else Exit.PENDING
