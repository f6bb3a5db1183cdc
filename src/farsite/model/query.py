"""What a list may be asked for: conditions on attributes, and a page.

Source: ETSI GS NFV-SOL 013 clause 5.2 (attribute-based filtering) and 5.4 (paging).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Comparison(StrEnum):
    """Operators of the filter language."""

    EQ = "eq"
    NEQ = "neq"
    IN = "in"
    NIN = "nin"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    CONT = "cont"
    NCONT = "ncont"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One simple filter expression; `attribute` is the API's path, e.g. `instantiationState`."""

    attribute: str
    comparison: Comparison
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Conditions that all must hold, and which page: up to `limit` objects after the id `after`."""

    conditions: tuple[Condition, ...] = ()
    limit: int = 100
    after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Objects in order of id; `next_after` is empty on the last page."""

    items: tuple[T, ...]
    next_after: str = ""
