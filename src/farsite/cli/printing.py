"""Tables for people, JSON and YAML for programs. Times in tables are local and short."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from cyclopts import Parameter

T = TypeVar("T")

Form = Literal["table", "json", "yaml"]
Output = Annotated[Form, Parameter(name=("--output", "-o"), help="Form of the answer; table if left out.")]
Filter = Annotated[
    str, Parameter(name="--filter", help="Filter of the API, e.g. '(eq,state,ACTIVE);(cont,name,core)'.")
]
Limit = Annotated[
    int, Parameter(name="--limit", help="Most objects to list; 0: all. There is a bound if left out.")
]

_OBEYED = re.compile(
    # Control characters but for new lines and tabs; what ends a line elsewhere; what turns the direction.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)

Column = tuple[str, Callable[[T], object]]
"""Heading, and what stands under it."""


def readable(text: str) -> str:
    """Text as people may see it: what a terminal would obey is written out. Devices, VIMs and whoever tells
    of alarms choose their words, and a terminal takes some for commands."""
    return _OBEYED.sub(lambda one: ascii(one.group())[1:-1], text)


def write(text: str) -> None:
    sys.stdout.write(readable(text if text.endswith("\n") else text + "\n"))


def note(text: str) -> None:
    """A line for people that is not part of the answer."""
    sys.stderr.write(readable(text + "\n"))
    sys.stderr.flush()


def document(body: object, form: Form) -> None:
    """A whole answer as JSON or YAML."""
    if form == "yaml":
        import yaml

        text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
        write(yaml.safe_dump(body, sort_keys=False) if _OBEYED.search(text) else text)
    else:
        # Such characters stand in strings only, and there is another way to write them in JSON.
        text = json.dumps(body, indent=2, ensure_ascii=False)
        write(_OBEYED.sub(lambda one: f"\\u{ord(one.group()):04x}", text))


def table(items: Iterable[T], columns: Sequence[Column[T]], form: Form, *, nothing: str = "None.") -> None:
    """A list: one line each under headings, or the whole answer for programs."""
    found = list(items)
    if form != "table":
        document(found, form)
        return
    if not found:
        note(nothing)
        return
    write(
        "\n".join(
            aligned([name for name, _ in columns], [[_cell(get(one)) for _, get in columns] for one in found])
        )
    )


def facts(body: object, pairs: Sequence[tuple[str, object]], form: Form) -> None:
    """One object: a fact per line, those without a value left out; or the whole answer for programs."""
    if form != "table":
        document(body, form)
        return
    shown = [(name, _cell(value)) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        first, *rest = value.split("\n")
        write(f"{name:<{width}}  {first}")
        for line in rest:
            write(f"{'':<{width}}  {line}")


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns side by side; the last column is not padded."""
    widths = [max(len(heading), *(len(row[at]) for row in rows)) for at, heading in enumerate(headings)]
    lines = [[heading.upper() for heading in headings], *rows]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={one}" for key, one in value.items())  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return readable(str(value)) or "-"


def when(text: str | None) -> str:
    """A time of the API as local time: the time of day if it is of today, else the date too."""
    if not text:
        return "-"
    moment = datetime.fromisoformat(text).astimezone()
    today = datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if moment.date() == today else "%Y-%m-%d %H:%M")


def used(taken: int, whole: int) -> str:
    return f"{taken}/{whole}"
