"""The model's frozen dataclasses as JSON documents and back: between driver and agents, and at rest.

Fields unknown to this version are ignored and absent ones take their defaults, so that a driver and an
agent of neighbouring versions understand each other.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import TypeVar, cast

Document = dict[str, object]
Thing = TypeVar("Thing")


def to_document(thing: object) -> Document:
    """A dataclass as a JSON document."""
    return cast(Document, _plain(thing))


def from_document(kind: type[Thing], document: object) -> Thing:
    """The dataclass that a JSON document states.

    Raises:
        ValueError: the document is not one of this kind; says where and what was expected.
    """
    return cast(Thing, _typed(kind, document, kind.__name__))


def _plain(thing: object) -> object:
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {field.name: _plain(getattr(thing, field.name)) for field in dataclasses.fields(thing)}
    if isinstance(thing, Mapping):
        return {str(key): _plain(value) for key, value in cast(Mapping[object, object], thing).items()}
    if isinstance(thing, list | tuple):
        return [_plain(item) for item in cast(list[object], thing)]
    if isinstance(thing, set | frozenset):
        return sorted(str(item) for item in cast(set[object], thing))
    if isinstance(thing, datetime):
        return thing.isoformat()
    return thing


@cache
def _fields(kind: type) -> dict[str, object]:
    return dict(typing.get_type_hints(kind))


def _typed(kind: object, value: object, where: str) -> object:
    while isinstance(kind, typing.NewType):
        kind = kind.__supertype__
    if kind is object:
        return value
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _typed(next(each for each in typing.get_args(kind) if each is not type(None)), value, where)
    if origin is not None:
        return _collection(origin, typing.get_args(kind), value, where)
    assert isinstance(kind, type)
    return _scalar(cast(type[object], kind), value, where)


def _scalar(kind: type[object], value: object, where: str) -> object:
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    if issubclass(kind, StrEnum):
        return kind(str(value))
    if kind is datetime:
        return datetime.fromisoformat(str(value))
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{where}: expected {kind.__name__}, got {type(value).__name__}")
    return value


def _dataclass(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, got {type(value).__name__}")
    given = cast(Document, value)
    known = {name: hint for name, hint in _fields(kind).items() if name in given}
    try:
        return kind(**{name: _typed(hint, given[name], f"{where}.{name}") for name, hint in known.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def _collection(origin: object, inner: tuple[object, ...], value: object, where: str) -> object:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: expected an object, got {type(value).__name__}")
        given = cast(Document, value)
        return {key: _typed(inner[1], item, f"{where}.{key}") for key, item in given.items()}
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, got {type(value).__name__}")
    items = (
        _typed(inner[0], item, f"{where}[{number}]") for number, item in enumerate(cast(list[object], value))
    )
    return frozenset(items) if origin is frozenset else tuple(items)
