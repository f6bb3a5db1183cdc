"""What the documents tell people to type is there to be typed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "farsite"
DOCUMENTS = ("README.md", "CONTRIBUTING.md")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def lines() -> list[str]:
    """Lines of code blocks, and code within sentences."""
    found: list[str] = []
    for name in DOCUMENTS:
        text = (CHECKOUT / name).read_text()
        found += re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
        found += re.findall(r"`([^`\n]+)`", text)
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            found += block.splitlines()
    return found


def farsite_commands() -> set[tuple[str, ...]]:
    """Noun and verb of every `farsite` command named; a command in capitals stands for any."""
    found: set[tuple[str, ...]] = set()
    for line in lines():
        match = re.match(r"(?:\$ )?(?:\.venv/bin/)?farsite\b(.*)", line)
        if match is None:
            continue
        words: list[str] = []
        for word in shlex.split(match[1], comments=True):
            if not re.fullmatch(r"[a-z][a-z-]*", word) or len(words) == 2:
                break
            words.append(word)
        if words:
            found.add(tuple(words))
    return found


def test_every_make_command_named_is_a_target() -> None:
    """The first thing that a newcomer types must not be the first thing that fails."""
    named = {match for line in lines() for match in re.findall(r"^make ([a-z-]+)$", line.strip())}
    assert {"demo", "test"} <= named
    assert named <= make_targets()


def test_every_make_target_says_what_it_does() -> None:
    """`make` alone lists them."""
    told = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert make_targets() == set(re.findall(r"^  make ([a-z-]+) ", told, re.MULTILINE))


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(farsite_commands()), ids=" ".join)
def test_every_farsite_command_named_exists(command: tuple[str, ...]) -> None:
    """A document that names a command that is not there is believed no more."""
    # The second word may be the object of a noun without verbs, so its help is asked for as well.
    done = subprocess.run([PROGRAM, *command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert command[0] in done.stdout


def test_continuous_integration_runs_what_the_readme_says() -> None:
    """Two ways of testing are two results."""
    run = re.findall(r"^\s*run make (\S+)$", (CHECKOUT / ".ci" / "run").read_text(), re.MULTILINE)
    assert run == ["test", "test-openstack"]
