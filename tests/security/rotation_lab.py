"""Rotates the key of a VIM and dies at every line of doing so; as a program, prints how often it died.

A program of its own, because it forks: the process that dies must be one without threads of pytest.
"""

import os
import signal
import sqlite3
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from farsite import secrets
from farsite.api import registering
from farsite.compose import Farsite
from farsite.model.clock import SystemClock
from farsite.model.ids import DEFAULT_PROJECT, VimId
from farsite.model.vim import Vim
from farsite.secrets import KeyDirectory
from farsite.settings import Settings
from farsite.store import migrations, vims

PASSWORD = "hunter2-rotated"
NOW = SystemClock().now()
VIM = Vim(
    id=VimId("11111111-1111-4111-8111-111111111111"),
    name="rotated",
    type="simulated",
    site="rotated",
    project_id=DEFAULT_PROJECT,
    state_since=NOW,
    created_at=NOW,
)
WATCHED = {secrets.__file__, registering.__file__, vims.__file__}


def prepare(settings: Settings) -> None:
    farsite = Farsite(settings)
    migrations.upgrade(farsite.database.engine)
    with farsite.database.transaction() as connection:
        vims.insert(connection, VIM, farsite.keys.encrypt(VIM.id, {"password": PASSWORD}))
    farsite._owner.release()  # type: ignore[union-attr]
    farsite.database.close()


def die_at(line_number: int, settings: Settings) -> None:
    """Rotate, and be killed before the so-many-th new line of ours is run."""
    farsite = Farsite(settings)
    seen: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event == "line":
            seen.add((frame.f_code.co_filename, frame.f_lineno))
            if len(seen) == line_number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    registering.rotate_key(farsite.context, VIM)
    sys.settrace(None)
    os._exit(0)


def stored(settings: Settings) -> dict[str, str]:
    """The credentials as whoever comes next reads them."""
    with sqlite3.connect(settings.data_dir / "farsite.db") as connection:
        (secret,) = connection.execute("SELECT secret FROM vim_auth").fetchone()
    connection.close()
    return KeyDirectory(settings.data_dir / "keys").decrypt(VIM.id, secret)


def main(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir)
    prepare(settings)
    died = 0
    while True:
        child = os.fork()
        if child == 0:
            die_at(died + 1, settings)
        _, status = os.waitpid(child, 0)
        assert stored(settings) == {"password": PASSWORD}, f"lost by death number {died + 1}"
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        died += 1
    print(died)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
