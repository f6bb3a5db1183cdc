"""Regular expressions over what strangers send: matched in time that grows with the text and no faster.

The expression is the operator's, the text is anybody's who is let in. Python's own engine goes back and tries
again, so that an expression that is fine on all that its author thought of takes hours over what somebody
made for it, and holds up the whole process. RE2 never goes back; it has no back references and no looking
around.

Source: https://github.com/google/re2/wiki/Syntax
"""

# RE2's own module says of nothing which type it has; what is used of it is written down below.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Mapping
from typing import Protocol, cast

import re2

from farsite.model.errors import Invalid

_MEMORY_MAX = 8 * 1024 * 1024


class _Match(Protocol):
    def groupdict(self) -> dict[str, str | None]: ...


class _Compiled(Protocol):
    groupindex: Mapping[str, int]

    def search(self, text: str) -> _Match | None: ...


class _Options(Protocol):
    log_errors: bool
    max_mem: int


class Pattern:
    """One expression; a match gives the texts of its named groups."""

    def __init__(self, text: str) -> None:
        """Raises:
        Invalid: it is no expression of RE2; says why.
        """
        options = cast("_Options", re2.Options())
        options.log_errors = False
        options.max_mem = _MEMORY_MAX
        try:
            self._compiled = cast("_Compiled", re2.compile(text, options))
        except re2.error as error:
            why = str(cast("object", error)).removeprefix("b'").removesuffix("'")
            raise Invalid(f'the pattern "{text[:200]}" is none of RE2: {why}.') from None
        self.names = frozenset(self._compiled.groupindex)

    def match(self, text: str) -> dict[str, str] | None:
        """Named groups where the expression is found anywhere in the text, empty if they took no part."""
        found = self._compiled.search(text)
        if found is None:
            return None
        return {name: value or "" for name, value in found.groupdict().items()}
