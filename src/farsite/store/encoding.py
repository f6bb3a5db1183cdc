"""Model dataclasses to JSON at rest and back, by pydantic's adapters for standard dataclasses."""

from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter

T = TypeVar("T")


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def encode(value: object) -> Any:
    """The value as plain JSON types."""
    return _adapter(type(value)).dump_python(value, mode="json")


def decode(kind: type[T], body: object) -> T:
    """The value of that kind from plain JSON types."""
    return cast(T, _adapter(kind).validate_python(body))
