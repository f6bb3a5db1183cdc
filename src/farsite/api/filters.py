"""What a list may be asked for: filter, page and attribute selectors.

    filter = (op,attribute,value{,value}){;(op,attribute,value{,value})}

with op one of eq, neq, in, nin, gt, gte, lt, lte, cont, ncont; `;` means and. A value with `,`, `)` or `'`
stands in single quotes, a single quote in it is doubled. The page marker is opaque; `page_size` is ours.

Source: ETSI GS NFV-SOL 013 clauses 5.2 (filter), 5.3 (selectors), 5.4 (paging).
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeGuard, TypeVar, cast
from urllib.parse import quote

from fastapi import Query, Request, Response

from farsite.model.errors import Invalid
from farsite.model.query import Ask, Comparison, Condition, Page

T = TypeVar("T")

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1000
_CONDITIONS_MAX = 32
_VALUES_MAX = 200
_ONE_VALUE = frozenset({Comparison.GT, Comparison.GTE, Comparison.LT, Comparison.LTE})

FilterText = Annotated[
    str,
    Query(
        description="Attribute-based filter (SOL013 5.2), e.g. `(eq,state,ACTIVE);(cont,name,core)`.",
        max_length=4096,
    ),
]
PageSize = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX, description="Objects per page.")]
Marker = Annotated[
    str, Query(description="Opaque; from the `Link` header of the page before.", max_length=512)
]


class _Reader:
    """Reads a filter text once, from left to right, and says where it stopped understanding."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def conditions(self) -> tuple[Condition, ...]:
        found: list[Condition] = [self._condition()]
        while self.at < len(self.text):
            self._expect(";")
            found.append(self._condition())
            if len(found) > _CONDITIONS_MAX:
                raise Invalid(f"The filter has more than {_CONDITIONS_MAX} conditions.")
        return tuple(found)

    def _condition(self) -> Condition:
        self._expect("(")
        name = self._plain()
        if name not in Comparison.__members__.values():
            known = ", ".join(Comparison)
            raise Invalid(f'Filter, at {self.at}: "{name}" is no operator. Operators: {known}.')
        comparison = Comparison(name)
        self._expect(",")
        attribute = self._plain()
        if not attribute:
            raise self._wrong("an attribute")
        values: list[str] = []
        while self._peek() == ",":
            self.at += 1
            values.append(self._value())
            if len(values) > _VALUES_MAX:
                raise Invalid(f"A condition of the filter has more than {_VALUES_MAX} values.")
        if not values:
            raise self._wrong("a comma and a value")
        self._expect(")")
        if comparison in _ONE_VALUE and len(values) > 1:
            raise Invalid(f"Filter: {comparison} takes one value, not {len(values)}.")
        return Condition(attribute=attribute, comparison=comparison, values=tuple(values))

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _expect(self, mark: str) -> None:
        if self._peek() != mark:
            raise self._wrong(f'"{mark}"')
        self.at += 1

    def _wrong(self, expected: str) -> Invalid:
        found = f'"{self._peek()}"' if self._peek() else "the end"
        return Invalid(f"Filter, at {self.at}: expected {expected}, found {found}.")

    def _plain(self) -> str:
        start = self.at
        while self._peek() and self._peek() not in ",();'":
            self.at += 1
        return self.text[start : self.at]

    def _value(self) -> str:
        if self._peek() != "'":
            start = self.at
            while self._peek() and self._peek() not in ",)'":
                self.at += 1
            return self.text[start : self.at]
        self.at += 1
        parts: list[str] = []
        while True:
            end = self.text.find("'", self.at)
            if end < 0:
                raise Invalid("Filter: a quoted value does not end.")
            parts.append(self.text[self.at : end])
            self.at = end + 1
            if self._peek() != "'":
                return "'".join(parts)
            self.at += 1


def parse_filter(text: str) -> tuple[Condition, ...]:
    """The conditions of a filter text; none for an empty one.

    Raises:
        Invalid: saying where it cannot be read and what was expected.
    """
    return _Reader(text).conditions() if text else ()


def print_filter(conditions: Iterable[Condition]) -> str:
    """The text that `parse_filter` reads back as these conditions."""
    return ";".join(
        f"({one.comparison},{one.attribute},{','.join(_quoted(value) for value in one.values)})"
        for one in conditions
    )


def _quoted(value: str) -> str:
    if any(mark in value for mark in ",)'"):
        return "'" + value.replace("'", "''") + "'"
    return value


def ask_of(
    filter_text: str = "",
    marker: str = "",
    page_size: int = PAGE_SIZE,
    *,
    spelled: Mapping[str, str] | None = None,
) -> Ask:
    """What a list request asks for. `spelled` maps the attributes of this API to those of the store;
    None when they are spelled the same.

    Raises:
        Invalid: bad filter syntax, unknown attribute or marker.
    """
    conditions = parse_filter(filter_text)
    if spelled is not None:
        conditions = tuple(_translated(one, spelled) for one in conditions)
    return Ask(conditions=conditions, limit=page_size, after=read_marker(marker))


def _translated(condition: Condition, spelled: Mapping[str, str]) -> Condition:
    if condition.attribute not in spelled:
        known = ", ".join(sorted(spelled))
        raise Invalid(f'This list cannot be filtered by "{condition.attribute}". Attributes: {known}.')
    return Condition(
        attribute=spelled[condition.attribute], comparison=condition.comparison, values=condition.values
    )


def make_marker(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def read_marker(marker: str) -> str:
    """Raises:
    Invalid: not a marker of ours.
    """
    if not marker:
        return ""
    try:
        after = base64.b64decode(marker + "=" * (-len(marker) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid("nextpage_opaque_marker is not one that this list gave.") from error
    if "\x00" in after:
        raise Invalid("nextpage_opaque_marker is not one that this list gave.")
    return after


def link_next(request: Request, response: Response, page: Page[T]) -> None:
    """Tell the client where the next page is, if there is one."""
    if not page.next_after:
        return
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != _MARKER]
    kept.append((_MARKER, make_marker(page.next_after)))
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in kept)
    response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'


_MARKER = "nextpage_opaque_marker"


def page_in_memory(
    items: Iterable[T], ask: Ask, attributes: Mapping[str, Callable[[T], object]], key: Callable[[T], str]
) -> Page[T]:
    """Filter and page what does not come from the store, in order of `key`, by the same rules.

    Raises:
        Invalid: unknown attribute.
    """
    for condition in ask.conditions:
        if condition.attribute not in attributes:
            known = ", ".join(sorted(attributes))
            raise Invalid(f'This list cannot be filtered by "{condition.attribute}". Attributes: {known}.')
    found = sorted(
        (
            item
            for item in items
            if key(item) > ask.after
            and all(_holds(one, attributes[one.attribute](item)) for one in ask.conditions)
        ),
        key=key,
    )
    is_more = len(found) > ask.limit
    shown = tuple(found[: ask.limit])
    return Page(items=shown, next_after=key(shown[-1]) if is_more else "")


def _holds(condition: Condition, value: object) -> bool:
    if isinstance(value, tuple):
        # An array meets a condition when one of its elements does.
        return any(_holds(condition, one) for one in cast("tuple[object, ...]", value))
    text = _text(value)
    match condition.comparison:
        case Comparison.EQ | Comparison.IN:
            return text in condition.values
        case Comparison.NEQ | Comparison.NIN:
            return text not in condition.values
        case Comparison.CONT:
            return any(part in text for part in condition.values)
        case Comparison.NCONT:
            return not any(part in text for part in condition.values)
        case Comparison.GT:
            return _ordered(text) > _ordered(condition.values[0])
        case Comparison.GTE:
            return _ordered(text) >= _ordered(condition.values[0])
        case Comparison.LT:
            return _ordered(text) < _ordered(condition.values[0])
        case Comparison.LTE:
            return _ordered(text) <= _ordered(condition.values[0])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, StrEnum) else str(value)


def _ordered(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which attributes of an object are shown. `excluded_by_default` are paths left out unless asked for."""

    all_fields: bool = False
    fields: tuple[str, ...] = ()
    exclude_fields: tuple[str, ...] = ()
    exclude_default: bool = False

    def shows(self, attribute: str, excluded_by_default: Sequence[str]) -> bool:
        """Whether an attribute may be among what is shown, so that it has to be found out."""
        if self.all_fields or self.exclude_fields:
            return attribute not in self.exclude_fields
        asked = {path.partition("/")[0] for path in self.fields}
        return attribute in asked or (not asked and attribute not in excluded_by_default)

    def cut(
        self, body: Mapping[str, object], *, mandatory: Sequence[str], excluded_by_default: Sequence[str]
    ) -> dict[str, object]:
        """The object with what was asked for; mandatory attributes always stay.

        Raises:
            Invalid: a name that the object cannot have.
        """
        if self.all_fields:
            return dict(body)
        if self.fields:
            hidden = set(excluded_by_default) - {path.partition("/")[0] for path in self.fields}
            if self.exclude_default:
                shown = {key: value for key, value in body.items() if key not in hidden}
            else:
                wanted = {path.partition("/")[0] for path in self.fields} | set(mandatory)
                shown = {key: value for key, value in body.items() if key in wanted}
            nested = [path for path in self.fields if "/" in path]
            whole = {path for path in self.fields if "/" not in path}
            return _narrowed(shown, nested, keep=whole | set(mandatory))
        if self.exclude_fields:
            kept = {
                key: value
                for key, value in body.items()
                if key not in set(self.exclude_fields) - set(mandatory)
            }
            return _without(kept, [path for path in self.exclude_fields if "/" in path])
        return {key: value for key, value in body.items() if key not in excluded_by_default}


def _narrowed(body: dict[str, object], nested: Sequence[str], *, keep: set[str]) -> dict[str, object]:
    for top in {path.partition("/")[0] for path in nested} - keep:
        value = body.get(top)
        if _is_object(value):
            below = [path.partition("/")[2] for path in nested if path.partition("/")[0] == top]
            wanted = {path.partition("/")[0] for path in below}
            inner = {key: one for key, one in value.items() if key in wanted}
            deeper = [path for path in below if "/" in path]
            whole = {path for path in below if "/" not in path}
            body[top] = _narrowed(inner, deeper, keep=whole)
    return body


def _without(body: dict[str, object], nested: Sequence[str]) -> dict[str, object]:
    for path in nested:
        top, _, below = path.partition("/")
        value = body.get(top)
        if _is_object(value):
            inner = dict(value)
            if "/" in below:
                body[top] = _without(inner, [below])
            else:
                inner.pop(below, None)
                body[top] = inner
    return body


def _is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def selector_of(request: Request, *, attributes: Iterable[str]) -> Selector:
    """The selectors of a SOL003 list or read.

    Raises:
        Invalid: a combination that clause 5.3 forbids, or an attribute the object does not have.
    """
    # The standard client writes a hyphen in one of them.
    given = {name.replace("-", "_"): value for name, value in request.query_params.items()}
    present = {
        name for name in ("all_fields", "fields", "exclude_fields", "exclude_default") if name in given
    }
    allowed: tuple[set[str], ...] = (
        set(),
        {"all_fields"},
        {"fields"},
        {"exclude_fields"},
        {"exclude_default"},
        {"fields", "exclude_default"},
    )
    if present not in allowed:
        raise Invalid(
            f"The attribute selectors {', '.join(sorted(present))} exclude each other; only fields and "
            f"exclude_default go together."
        )
    fields = _names(given.get("fields", ""))
    exclude_fields = _names(given.get("exclude_fields", ""))
    for name in ("fields", "exclude_fields"):
        if name in present and not _names(given.get(name, "")):
            raise Invalid(f"{name} names no attribute.")
    known = set(attributes)
    for path in (*fields, *exclude_fields):
        if path.partition("/")[0] not in known:
            raise Invalid(f'There is no attribute "{path}". Attributes: {", ".join(sorted(known))}.')
    return Selector(
        all_fields="all_fields" in present,
        fields=fields,
        exclude_fields=exclude_fields,
        exclude_default="exclude_default" in present,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
