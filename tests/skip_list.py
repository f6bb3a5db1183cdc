"""Which tests may be skipped, and why: `tests/skips.txt`, held against what really was.

A skip is a test that does not test. On the machine that the project is checked on (Debian 12, as root,
references beside the checkout) nothing is missing, so there a skip that is not on the list fails the
run. Elsewhere the reasons are printed and that is all: a laptop need not have everything.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

LIST = Path(__file__).parent / "skips.txt"


@dataclass(frozen=True, slots=True, order=True)
class Skip:
    """One test that was skipped."""

    test: str
    reason: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """A line of the list: patterns with * and ? for tests and for reasons."""

    test: str
    reason: str

    def covers(self, skip: Skip) -> bool:
        return _matches(skip.test, self.test) and _matches(skip.reason, self.reason)


def _matches(text: str, pattern: str) -> bool:
    # Brackets stand for themselves: parameters of tests are written in them.
    return fnmatchcase(text, pattern.replace("[", "[[]"))


def read_allowances(text: str) -> list[Allowance]:
    """The list's lines, `TEST | REASON`; comments begin with #."""
    lines = (line.strip() for line in text.splitlines())
    parts = (line.partition(" | ") for line in lines if line and not line.startswith("#"))
    return [Allowance(test.strip(), reason.strip()) for test, _, reason in parts]


def not_allowed(skips: Iterable[Skip], allowances: Iterable[Allowance]) -> list[Skip]:
    """Skips that no line of the list covers."""
    known = list(allowances)
    return [skip for skip in skips if not any(line.covers(skip) for line in known)]


def is_binding() -> bool:
    """Whether this is the machine on which only listed tests may skip."""
    release = Path("/etc/os-release")
    words = release.read_text() if release.is_file() else ""
    is_debian_12 = "ID=debian\n" in words and 'VERSION_ID="12"' in words
    has_references = (Path(__file__).parent.parent.parent / "shared").is_dir()
    return is_debian_12 and os.geteuid() == 0 and has_references
