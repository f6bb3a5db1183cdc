"""Native texts of products whose configuration is a set of named objects: one line `KIND KEY BODY` per
object.

Shared by adapters over HTTP. What ran before a change is packed into pieces that fit into the comments of
objects without effect, so the device itself keeps it.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from farsite.vnfs.rest_product import Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One object; `body` is in the product's own language, on one line."""

    kind: str
    key: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What makes one set of objects of the other."""

    new: tuple[Object, ...]
    altered: tuple[Object, ...]
    gone: tuple[Object, ...]


def text(objects: Iterable[Object]) -> str:
    """In the order given: it means something for rules."""
    return "".join(f"{one.kind} {one.key} {one.body}\n" for one in objects)


def objects(lines: str) -> list[Object]:
    """The objects that a text has."""
    found: list[Object] = []
    for line in lines.splitlines():
        kind, key, body = line.split(" ", 2)
        found.append(Object(kind=kind, key=key, body=body))
    return found


def changes(was: str, will: str) -> Changes:
    before = {(one.kind, one.key): one for one in objects(was)}
    after = {(one.kind, one.key): one for one in objects(will)}
    return Changes(
        new=tuple(one for name, one in after.items() if name not in before),
        altered=tuple(one for name, one in after.items() if name in before and before[name] != one),
        gone=tuple(one for name, one in before.items() if name not in after),
    )


def moves(have: Sequence[str], want: Sequence[str]) -> list[tuple[str, str]]:
    """Which members to move, one after another, each directly behind another ("": to the first of them),
    until `have` is in the order of `want`. Both have the same members.
    """
    order, told = list(have), list[tuple[str, str]]()
    for index, name in enumerate(want):
        if order[index] != name:
            order.remove(name)
            order.insert(index, name)
            told.append((name, want[index - 1] if index else ""))
    return told


def packed(texts: Texts, size: int) -> list[str]:
    """Texts as pieces of at most `size` characters of base64."""
    whole = base64.b64encode(zlib.compress(json.dumps(dict(texts), sort_keys=True).encode(), 9)).decode()
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def unpacked(pieces: Iterable[str]) -> Mapping[str, str]:
    """Raises:
    ValueError: a piece is missing or was changed.
    """
    try:
        told: object = json.loads(zlib.decompress(base64.b64decode("".join(pieces), validate=True)))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not isinstance(told, dict):
        raise ValueError("it holds no texts")
    return {str(name): str(one) for name, one in cast("dict[object, object]", told).items()}
