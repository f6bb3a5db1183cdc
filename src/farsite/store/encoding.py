"""Model dataclasses to JSON at rest and back, by pydantic's adapters for standard dataclasses."""

import json
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


class Encoded(str):
    """JSON that was written already: a JSON column takes it as it is. Where an object goes into several rows,
    or thousands do, that halves the time."""

    __slots__ = ()


def encoded(value: object) -> Encoded:
    """The value as JSON, written."""
    # The adapter's own `dump_json` looks at twelve options first, which takes half as long again.
    return Encoded(_adapter(type(value)).serializer.to_json(value).decode())


def written(value: object) -> str:
    """What a JSON column of an engine of ours writes for a value."""
    return value if isinstance(value, Encoded) else json.dumps(value)
