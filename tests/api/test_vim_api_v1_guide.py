"""The developers' page of the VIM API: its commands are typed as they stand there, on a fresh service."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farsite.api.auth import ROLES
from farsite.model.vim import VimState
from farsite.settings import Settings
from service_bench import running

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "vim-api.md"


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the page with the texts that its output must hold, one after the other."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.startswith("> ") and not found[-1][1]:
                found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
            else:
                found[-1][1].append(line)
    return found


def test_every_command_of_the_page_does_what_it_says(data_dir: Path) -> None:
    """A page that was right once misleads whoever writes the next client."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; the page's commands need it")
    told = commands()
    assert len(told) > 10
    with running(Settings(data_dir=data_dir)) as service:
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("OS_", "FARSITE_"))},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "URL": service.url,
            "TOKEN": service.token,
            "FARSITE_URL": service.url,
            "FARSITE_TOKEN": service.token,
            "COLUMNS": "200",
            "no_proxy": "*",
        }
        for command, texts in told:
            done = subprocess.run(
                ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, (command, done.stderr)
            seen, at = " ".join(done.stdout.split()), 0
            for text in texts:
                assert text in seen[at:], (command, text, done.stdout)
                at = seen.index(text, at) + len(text)


def test_the_page_names_every_state_and_every_route() -> None:
    """What is served and not written down is found by chance only."""
    text = PAGE.read_text()
    assert all(f"| {state.value} |" in text for state in VimState)
    for method, route in ROLES:
        if "/vims" in route and "faults" not in route:
            path = route.replace("{vim}", "VIM").removeprefix("/farsite/v1")
            assert f"`{method} {path}`" in text, (method, path)
