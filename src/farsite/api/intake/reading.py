"""Reading bodies of others: every fault is named by its path in a 400, and nothing of the body taken in."""

from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar, cast

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from farsite.model.errors import Invalid

T = TypeVar("T")

_FAULTS_SHOWN = 20

Text = Annotated[str, StringConstraints(max_length=4000)]
Label = Annotated[str, StringConstraints(max_length=500)]
Key = Annotated[str, StringConstraints(max_length=200)]

_NUL = b"\\u0000"
"""The only way in which JSON writes it."""


class Foreign(BaseModel):
    """A body of somebody else's making: fields that we do not know are none of our business."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def read(adapter: TypeAdapter[T], body: bytes) -> T:
    """The body as its format has it.

    Raises:
        Invalid: it is not JSON, or not of that form; names every fault by its path.
    """
    try:
        found = adapter.validate_json(body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        raise _invalid([f"{_path(one['loc'])}: {one['msg']}" for one in wrong]) from None
    # Looked for once in the whole, since a pattern on every text costs as much as all the rest of reading.
    if _NUL in body:
        faults = [f"{_path(path)}: holds a NUL character" for path in _nul_in(found, ())]
        if faults:
            raise _invalid(faults)
    return found


def _invalid(faults: Sequence[str]) -> Invalid:
    more = f" (and {len(faults) - _FAULTS_SHOWN} more)" if len(faults) > _FAULTS_SHOWN else ""
    return Invalid(f"{'; '.join(faults[:_FAULTS_SHOWN])}{more}.")


def _nul_in(value: object, path: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    """Where texts hold a NUL, which PostgreSQL cannot keep."""
    match value:
        case str():
            if "\0" in value:
                yield path
        case BaseModel():
            for name, inner in value:
                yield from _nul_in(inner, (*path, name))
        case dict():
            for key, inner in cast("dict[object, object]", value).items():
                shown = str(key).replace("\0", "\\0")
                if shown != key:
                    yield (*path, shown)
                yield from _nul_in(inner, (*path, shown))
        case list() | tuple():
            for number, inner in enumerate(cast("Sequence[object]", value)):
                yield from _nul_in(inner, (*path, number))
        case _:
            pass


def _path(parts: Sequence[object]) -> str:
    return "/".join(str(one) for one in parts) or "the body"
