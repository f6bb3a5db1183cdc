"""What a package or NSD archive states of itself for the catalogue: tags, licence, what it requires and what
it is incompatible with.

SOL001 has no words for these and SOL004 leaves room for files of others, so the statement is a file of its
own in the archive, `Files/catalogue.yaml`, under the same digest and manifest as the rest. Without it
nothing is stated.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from farsite.descriptors.archive import Archive
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.yaml_tree import Tree, parse
from farsite.model.catalogue import RULES_MAX, TAGS_MAX, Rule, Statement, read_licence, read_rule
from farsite.model.errors import Invalid

T = TypeVar("T")

STATEMENT = "Files/catalogue.yaml"
_KEYS = ("tags", "licence", "requires", "conflicts")
_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,49}")


def read_statement(archive: Archive, log: FaultLog) -> Statement:
    """The statement of an archive; an empty one if it has none. What is wrong in it is noted in `log`."""
    if STATEMENT not in archive:
        return Statement()
    try:
        tree = parse(archive.read(STATEMENT), STATEMENT, archive.limits, log)
    except ArchiveRefused as refused:
        log.extend(refused)
        return Statement()
    if not tree.is_map:
        log.at(tree, tree.kind, f"a map with {', '.join(_KEYS)}")
        return Statement()
    for key in tree.items:
        if key not in _KEYS:
            log.fault(STATEMENT, tree.key_line(key), f'the key "{key[:100]}"', log.nearest(key, _KEYS))
    licence = tree.get("licence")
    return Statement(
        tags=tuple(sorted(set(_each(tree.get("tags"), _tag, TAGS_MAX, log)))),
        licence=(_read(licence, read_licence, log) or "") if licence else "",
        requires=tuple(_each(tree.get("requires"), read_rule, RULES_MAX, log)),
        conflicts=tuple(_each(tree.get("conflicts"), _conflict, RULES_MAX, log)),
    )


def _tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise Invalid(f'"{text[:100]}" is no tag. Write small letters, digits, dots and dashes, at most 50.')
    return text


def _conflict(text: str) -> Rule:
    rule = read_rule(text)
    if rule.subject == "feature":
        raise Invalid(f'"{text[:100]}": nothing conflicts with a feature of a VIM. Leave it out.')
    return rule


def _each(tree: Tree | None, read: Callable[[str], T], most: int, log: FaultLog) -> list[T]:
    if tree is None:
        return []
    if not tree.is_list or len(tree.entries) > most:
        log.at(
            tree, f"{len(tree.entries)} entries" if tree.is_list else tree.kind, f"a list of at most {most}"
        )
        return []
    found = [_read(one, read, log) for one in tree.entries]
    return [one for one in found if one is not None]


def _read(tree: Tree, read: Callable[[str], T], log: FaultLog) -> T | None:
    if not tree.is_scalar:
        log.at(tree, tree.kind, "a text")
        return None
    try:
        return read(tree.string)
    except Invalid as refused:
        log.at(tree, refused.detail.rstrip("."))
        return None
