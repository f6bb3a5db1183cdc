"""Thresholds over metrics: a small language for conditions, and what they are worth at a moment. Pure.

    condition = and-part { "or" and-part }
    and-part  = part { "and" part }
    part      = "not" part | "(" condition ")" | comparison [ "for" NUMBER ("s" | "m" | "h") ]
    comparison = METRIC [ "{" LABEL "=" TEXT { "," LABEL "=" TEXT } "}" ] OPERATOR NUMBER

OPERATOR is one of > >= < <= == !=, TEXT stands in double quotes:
`cpu_load > 5 for 30s and memory_free{kind="huge"} < 2`. Texts, comparisons, nesting and times are bounded,
and nothing is evaluated but this. A comparison whose metric nobody measured lately is neither true nor false:
a condition that depends on it is not known, and then nothing is raised and nothing cleared.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from farsite.model.alarm import PerceivedSeverity
from farsite.model.errors import Invalid

TEXT_MAX = 1000
COMPARISONS_MAX = 20
DEPTH_MAX = 10
FOR_S_MAX = 86_400.0

Operator = Literal[">", ">=", "<", "<=", "==", "!="]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A metric against a number, for so many seconds without a break (0: at once)."""

    metric: str
    labels: tuple[tuple[str, str], ...] = ()
    operator: Operator
    value: float
    for_s: float = 0.0

    def holds(self, found: float) -> bool:
        match self.operator:
            case ">":
                return found > self.value
            case ">=":
                return found >= self.value
            case "<":
                return found < self.value
            case "<=":
                return found <= self.value
            case "==":
                return found == self.value
            case "!=":
                return found != self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    part: "Condition"


@dataclass(frozen=True, slots=True, kw_only=True)
class All:
    parts: tuple["Condition", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    parts: tuple["Condition", ...]


Condition = Comparison | Not | All | AnyOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A condition of a project; each value of the label `by` is an object with an alarm of its own."""

    name: str
    condition: str
    by: str = "host"
    severity: PerceivedSeverity = PerceivedSeverity.MAJOR
    location: str = ""
    """Where the objects stand, before their own names; empty: `thresholds`."""


def comparisons(condition: Condition) -> Iterator[Comparison]:
    """Every comparison of a condition, from left to right."""
    match condition:
        case Comparison():
            yield condition
        case Not():
            yield from comparisons(condition.part)
        case All() | AnyOf():
            for part in condition.parts:
                yield from comparisons(part)


def evaluate(condition: Condition, truth: Callable[[Comparison], bool | None]) -> bool | None:
    """What a condition is worth; None where that is not known (Kleene's logic)."""
    match condition:
        case Comparison():
            return truth(condition)
        case Not():
            found = evaluate(condition.part, truth)
            return None if found is None else not found
        case All():
            worth = [evaluate(part, truth) for part in condition.parts]
            return False if False in worth else None if None in worth else True
        case AnyOf():
            worth = [evaluate(part, truth) for part in condition.parts]
            return True if True in worth else None if None in worth else False


def written(condition: Condition) -> str:
    """A condition as text that reads as the same condition."""
    match condition:
        case Comparison():
            labels = ",".join(f'{name}="{value}"' for name, value in condition.labels)
            lasting = f" for {condition.for_s:g}s" if condition.for_s else ""
            where = f"{{{labels}}}" if labels else ""
            return f"{condition.metric}{where} {condition.operator} {condition.value!r}{lasting}"
        case Not():
            return f"not ({written(condition.part)})"
        case All():
            return " and ".join(f"({written(part)})" for part in condition.parts)
        case AnyOf():
            return " or ".join(f"({written(part)})" for part in condition.parts)


_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?P<unit>[smh]\b)?"
    r"|(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)|(?P<text>\"[^\"\\]*\")|(?P<sign>>=|<=|==|!=|[(){},<>=]))"
)
_UNITS: Mapping[str, float] = {"s": 1.0, "m": 60.0, "h": 3600.0}
_OPERATORS = (">", ">=", "<", "<=", "==", "!=")


def read_condition(text: str) -> Condition:
    """The condition that a text says.

    Raises:
        Invalid: it is none, or too long or deep; says where and what was expected.
    """
    if len(text) > TEXT_MAX:
        raise Invalid(f"The condition is longer than {TEXT_MAX} characters.")
    return _Reader(text).whole()


class _Reader:
    """Reads once from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._count = 0

    def whole(self) -> Condition:
        found = self._any_of(1)
        if self._text[self._at :].strip():
            raise self._wrong('"and", "or" or the end')
        return found

    def _peek(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self._at)

    def _take(self, *, name: str = "", sign: str = "") -> bool:
        found = self._peek()
        is_it = found is not None and ((name and found["name"] == name) or (sign and found["sign"] == sign))
        if is_it and found is not None:
            self._at = found.end()
        return bool(is_it)

    def _any_of(self, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise Invalid(f"The condition is nested deeper than {DEPTH_MAX}.")
        parts = [self._all(depth)]
        while self._take(name="or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else AnyOf(parts=tuple(parts))

    def _all(self, depth: int) -> Condition:
        parts = [self._part(depth)]
        while self._take(name="and"):
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _part(self, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise Invalid(f"The condition is nested deeper than {DEPTH_MAX}.")
        if self._take(name="not"):
            return Not(part=self._part(depth + 1))
        if self._take(sign="("):
            found = self._any_of(depth + 1)
            if not self._take(sign=")"):
                raise self._wrong('")"')
            return found
        return self._comparison()

    def _comparison(self) -> Comparison:
        self._count += 1
        if self._count > COMPARISONS_MAX:
            raise Invalid(f"The condition has more than {COMPARISONS_MAX} comparisons.")
        found = self._peek()
        if found is None or not found["name"] or found["name"] in ("and", "or", "not", "for"):
            raise self._wrong("a metric")
        self._at = found.end()
        labels = self._labels()
        sign = self._peek()
        if sign is None or sign["sign"] not in _OPERATORS:
            raise self._wrong("one of > >= < <= == !=")
        self._at = sign.end()
        number = self._peek()
        if number is None or number["number"] is None or number["unit"]:
            raise self._wrong("a number")
        self._at = number.end()
        return Comparison(
            metric=found["name"],
            labels=labels,
            operator=sign["sign"],  # pyright: ignore[reportArgumentType]  # one of _OPERATORS
            value=float(number["number"]),
            for_s=self._lasting(),
        )

    def _labels(self) -> tuple[tuple[str, str], ...]:
        labels: dict[str, str] = {}
        if not self._take(sign="{"):
            return ()
        while not self._take(sign="}"):
            if labels and not self._take(sign=","):
                raise self._wrong('"," or "}"')
            name = self._peek()
            if name is None or not name["name"]:
                raise self._wrong("a label")
            self._at = name.end()
            if not self._take(sign="="):
                raise self._wrong('"="')
            value = self._peek()
            if value is None or value["text"] is None:
                raise self._wrong("a text in double quotes")
            self._at = value.end()
            labels[name["name"]] = value["text"][1:-1]
        return tuple(sorted(labels.items()))

    def _lasting(self) -> float:
        if not self._take(name="for"):
            return 0.0
        found = self._peek()
        if found is None or found["number"] is None or not found["unit"]:
            raise self._wrong("a time such as 30s, 5m or 1h")
        seconds = float(found["number"]) * _UNITS[found["unit"]]
        if not 0 < seconds <= FOR_S_MAX:
            raise Invalid(f'"for {found[0].strip()}": more than nothing and at most a day.')
        self._at = found.end()
        return seconds

    def _wrong(self, expected: str) -> Invalid:
        rest = self._text[self._at :].strip()
        there = f'"{rest[:30]}"' if rest else "the end"
        return Invalid(f"The condition, at character {self._at + 1}: expected {expected}, found {there}.")
