"""How arguments are read: numbers are what people write as numbers, and nothing else.

Python takes more for a number than anybody means: `nan`, `inf`, `1_000`, `0x10`, digits of other scripts.
Such a value would be something else to the service, or no JSON at all.
"""

import re
from collections.abc import Sequence
from typing import get_args

from cyclopts import Token, convert

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]*)?|\.[0-9]+)", re.ASCII)


def number(text: str) -> float:
    """A number in digits, with a decimal point if need be.

    Raises:
        ValueError: it is written otherwise; says how it should be.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f'"{text}" is no number: write digits, as 90 or 0.5.')
    return float(text)


def read(type_: object, tokens: Sequence[Token]) -> object:
    """What cyclopts makes of the words of one argument, after a look at those that shall be numbers."""
    kinds = {type_, *get_args(type_)}
    for token in tokens:
        if int in kinds and not _WHOLE.fullmatch(token.value):
            raise ValueError(f'"{token.value}" is no whole number: write digits, as 90.')
        if float in kinds and int not in kinds:
            number(token.value)
    # cyclopts says of its own converter that it returns anything.
    return convert(type_, tokens)  # pyright: ignore[reportUnknownVariableType]
