"""The configuration of VyOS as lines `set ...`: what is compared, shown and sent is one line per fact.

Source: the tree that `/retrieve` (`showConfig`) answers, of which a node is an object, a value a text or, for
several values, a list, and a node without value an empty object (VyOS documentation, Automation, VyOS API).
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

Path = tuple[str, ...]


def paths(tree: object, at: Path = ()) -> Iterator[Path]:
    """Every fact of a tree, as the words after `set`."""
    if isinstance(tree, dict):
        node = cast(Mapping[str, object], tree)
        if not node and at:
            yield at
        for name, inner in node.items():
            yield from paths(inner, (*at, name))
    elif isinstance(tree, list):
        for value in cast(list[object], tree):
            yield (*at, str(value))
    elif tree is not None:
        yield (*at, str(tree))


def below(tree: object, *names: str) -> object:
    """The part of a tree below a path; None where there is nothing."""
    for name in names:
        tree = cast(Mapping[str, object], tree).get(name) if isinstance(tree, dict) else None
    return tree


def text(facts: Iterable[Path]) -> str:
    """One line per fact; numbers of rules in their order."""
    ordered = sorted(
        set(facts),
        key=lambda path: [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in path],
    )
    return "".join(f"set {shlex.join(path)}\n" for path in ordered)


def facts(lines: str) -> list[Path]:
    """The facts that a text has."""
    return [tuple(shlex.split(line))[1:] for line in lines.splitlines()]


def commands(was: str, will: str, floor: int | None) -> list[Mapping[str, object]]:
    """What `/configure` is to be told to make one text of the other.

    A node is deleted with all that is below it as soon as nothing of it is wanted, so no empty rule
    stays; but nothing shorter than `floor` words. None: facts one by one, for nodes that hold what is not
    ours.
    """
    before, after = facts(was), facts(will)
    wanted = {path[:length] for path in after for length in range(1, len(path) + 1)}
    deleted: dict[Path, None] = {}
    for path in before:
        if path in wanted:
            continue
        shortest = len(path) if floor is None else floor
        length = next((n for n in range(shortest, len(path)) if path[:n] not in wanted), len(path))
        deleted[path[:length]] = None
    known = set(before)
    return [
        *({"op": "delete", "path": list(path)} for path in deleted),
        *({"op": "set", "path": list(path)} for path in after if path not in known),
    ]
