"""Runs commands in this process, by the same entry as the installed program."""

from dataclasses import dataclass

import pytest

from farsite.cli.app import main


@dataclass
class Outcome:
    """What a command gave."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs commands as a user of the service would."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        self._capsys.readouterr()
        code = main(arguments)
        out, err = self._capsys.readouterr()
        return Outcome(code, out, err)
