"""Shows what a simulated VIM really holds: `python -m farsite.vims.drivers.simulated.inspect FILE`.

With `--journal` every effect since the world began, one JSON document per line. It may run while others
use the world; it ends with 1 when something was created twice, with 2 when there is no such world.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from farsite.model.errors import FarsiteError
from farsite.vims.drivers.simulated.state import duplicates
from farsite.vims.drivers.simulated.world import leave
from farsite.vims.drivers.simulated.world_file import open_world


def main(arguments: Sequence[str]) -> int:
    paths = [argument for argument in arguments if not argument.startswith("--")]
    if len(paths) != 1 or set(arguments) - {*paths, "--journal"}:
        sys.stderr.write("Usage: python -m farsite.vims.drivers.simulated.inspect FILE [--journal]\n")
        return 2
    path = Path(paths[0])
    if not path.is_file():
        sys.stderr.write(f"There is no simulated world in {path}.\n")
        return 2
    try:
        return asyncio.run(_show(path, is_journal="--journal" in arguments))
    except FarsiteError as broken:
        sys.stderr.write(f"{broken.detail}\n")
        return 2


async def _show(path: Path, *, is_journal: bool) -> int:
    world = open_world(path)
    try:
        journal = await world.journal()
        if is_journal:
            for effect in journal:
                line = {"sequence": effect.sequence, "at": effect.at, "kind": effect.kind, "key": effect.key}
                sys.stdout.write(json.dumps({**line, "body": effect.body}) + "\n")
        else:
            sys.stdout.write(await world.run(lambda tx: _table(tx.state.describe(tx.now))))
        doubled = duplicates(journal)
    finally:
        leave(world)
    for key in doubled:
        sys.stdout.write(f"CREATED TWICE: {key}\n")
    return 1 if doubled else 0


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
