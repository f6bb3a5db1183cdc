"""YAML with line numbers: a tree of plain values that each know where they stand.

Built from the C parser's events rather than from PyYAML's nodes: events arrive one by one, so depth, size,
aliases, duplicate keys and second documents are refused before they cost anything, and nothing recurses.
Only the tags of plain data are known; no event can make an object.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from farsite.descriptors.archive import Limits
from farsite.descriptors.faults import FaultLog, refusal

_KINDS = {
    dict: "a map",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
}

_STANDARD = "tag:yaml.org,2002:"
_SCALAR_TAGS = {"!", *(_STANDARD + name for name in ("str", "int", "float", "bool", "null"))}
_NULL = {"", "~", "null", "Null", "NULL"}
_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})")
_OTHER_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F]{1,30}|0o?[0-7]{1,30})")
_FLOAT = re.compile(
    r"[-+]?([0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40}(?=[eE]))([eE][-+]?[0-9]{1,3})?"
)


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A YAML value and where it stands.

    `value` is None, a bool, int, float or str, or a list or dict of trees. `text` is a scalar as written,
    so that an unquoted version `1.10` is not lost to a number. `weight` counts nodes with every use
    of an alias; `depth` likewise.
    """

    file: str
    line: int
    value: "bool | int | float | str | list[Tree] | dict[str, Tree] | None"
    text: str = ""
    weight: int = 1
    depth: int = 1
    key_lines: Mapping[str, int] | None = None

    @property
    def items(self) -> "dict[str, Tree]":
        """The entries of a map; of anything else, none."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def entries(self) -> "list[Tree]":
        """The entries of a list; of anything else, none."""
        return self.value if isinstance(self.value, list) else []

    @property
    def is_map(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    @property
    def is_scalar(self) -> bool:
        return self.value is not None and not isinstance(self.value, dict | list)

    @property
    def is_empty(self) -> bool:
        """Null, or a map or list without entries."""
        return self.value is None or self.value == [] or self.value == {}

    @property
    def string(self) -> str:
        """A scalar as written; empty for anything else."""
        return self.text if self.is_scalar else ""

    @property
    def kind(self) -> str:
        """What it is, for people."""
        if self.value is None:
            return "nothing"
        return _KINDS[type(self.value)]

    def get(self, *path: str) -> "Tree | None":
        """The value under nested keys, None when any is missing or null."""
        found: Tree | None = self
        for key in path:
            found = found.items.get(key) if found is not None else None
        return found if found is not None and found.value is not None else None

    def key_line(self, key: str) -> int:
        """Line of a key of this map."""
        return (self.key_lines or {}).get(key, self.line)

    def plain(self) -> object:
        """The value as ordinary Python data."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value

    def pairs(self) -> "Iterator[tuple[str, Tree]]":
        """Entries of TOSCA's ordered maps: a list of one-key maps, or a plain map."""
        for entry in self.entries:
            yield from entry.items.items()
        yield from self.items.items()


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    line: int
    is_map: bool
    anchor: str | None
    entries: list[Tree]
    """Values of a list; keys and values in turn of a map."""


class _Composer:
    """Turns one document's events into a tree, within limits."""

    def __init__(self, file: str, limits: Limits, log: FaultLog) -> None:
        self.file, self.limits, self.log = file, limits, log
        self.stack: list[_Open] = []
        self.anchors: dict[str, Tree] = {}
        self.root: Tree | None = None
        self.nodes = self.aliases = self.documents = 0

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        line = mark.line + 1 if mark else 1
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise refusal(self.file, line, "a second YAML document", "one document per file")
            case yaml.ScalarEvent():
                self._add(self._scalar(event, line), event.anchor)
            case yaml.AliasEvent():
                self._alias(str(event.anchor), line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._start(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = self.stack.pop()
                self._add(self._mapping(closed) if closed.is_map else self._sequence(closed), closed.anchor)
            case _:
                pass

    def _start(self, event: "yaml.MappingStartEvent | yaml.SequenceStartEvent", line: int) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _STANDARD + ("map" if is_map else "seq")):
            raise refusal(self.file, line, f"the YAML tag {event.tag}", "plain data without tags")
        if len(self.stack) >= self.limits.yaml_depth:
            raise refusal(self.file, line, "nested too deeply", f"at most {self.limits.yaml_depth} levels")
        self._count(line)
        # An anchor under construction must not find an older one of the same name.
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(line, is_map, event.anchor, []))

    def _count(self, line: int) -> None:
        self.nodes += 1
        if self.nodes > self.limits.yaml_nodes:
            raise refusal(self.file, line, "too many YAML nodes", f"at most {self.limits.yaml_nodes}")

    def _alias(self, anchor: str, line: int) -> None:
        self.aliases += 1
        if self.aliases > self.limits.yaml_aliases:
            raise refusal(self.file, line, "too many YAML aliases", f"at most {self.limits.yaml_aliases}")
        target = self.anchors.get(anchor)
        if target is None:
            raise refusal(
                self.file,
                line,
                f'the alias "*{anchor}" within itself or without its anchor',
                "an anchor above it",
            )
        self._add(target, None)

    def _add(self, tree: Tree, anchor: str | None) -> None:
        self._bound(tree)
        if anchor:
            self.anchors[anchor] = tree
        if self.stack:
            self.stack[-1].entries.append(tree)
        else:
            self.root = tree

    def _bound(self, tree: Tree) -> None:
        if tree.weight > self.limits.yaml_nodes or self.nodes > self.limits.yaml_nodes:
            raise refusal(
                self.file,
                tree.line,
                "a YAML bomb: aliases multiply to too many nodes",
                f"at most {self.limits.yaml_nodes} nodes, aliases expanded",
            )
        if tree.depth + len(self.stack) > self.limits.yaml_depth + 1:
            raise refusal(
                self.file, tree.line, "nested too deeply", f"at most {self.limits.yaml_depth} levels"
            )

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Tree:
        self._count(line)
        text, tag = str(event.value), event.tag
        is_plain = bool(event.implicit[0])
        if tag is not None and tag not in (
            "!",
            *(_STANDARD + name for name in ("str", "int", "float", "bool", "null")),
        ):
            raise refusal(self.file, line, f"the YAML tag {tag}", "plain data without tags")
        is_text = tag in ("!", _STANDARD + "str") or not (is_plain or tag)
        return Tree(self.file, line, text if is_text else _plain_value(text), text)

    def _sequence(self, closed: _Open) -> Tree:
        return Tree(
            self.file,
            closed.line,
            closed.entries,
            weight=1 + sum(entry.weight for entry in closed.entries),
            depth=1 + max((entry.depth for entry in closed.entries), default=0),
        )

    def _mapping(self, closed: _Open) -> Tree:
        result: dict[str, Tree] = {}
        lines: dict[str, int] = {}
        merged: list[Tree] = []
        for key, value in zip(closed.entries[::2], closed.entries[1::2], strict=True):
            if isinstance(key.value, dict | list):
                self.log.fault(self.file, key.line, f"{key.kind} as a key", "a plain key")
                continue
            if key.text == "<<":
                merged += value.entries if value.is_list else [value]
                continue
            if key.text in result:
                self.log.fault(
                    self.file,
                    key.line,
                    f'the key "{key.text}" twice (first in line {lines[key.text]})',
                    "each key once",
                )
                continue
            result[key.text] = value
            lines[key.text] = key.line
        for source in merged:
            if not source.is_map:
                self.log.fault(self.file, source.line, f"{source.kind} under a merge key", "a map")
            self.nodes += len(source.items)
            self._bound(source)
            for name, value in source.items.items():
                result.setdefault(name, value)
                lines.setdefault(name, source.key_line(name))
        return Tree(
            self.file,
            closed.line,
            result,
            weight=1 + len(result) + sum(value.weight for value in result.values()),
            depth=1 + max((value.depth for value in result.values()), default=0),
            key_lines=lines,
        )


def _plain_value(text: str) -> bool | int | float | str | None:
    """A plain scalar's value, by YAML 1.1 as TOSCA 1.x files are written; dates stay text."""
    if text in _NULL:
        return None
    lower = text.lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        number = int(digits, 16) if digits.startswith("0x") else int(digits.replace("o", ""), 8)
        return -number if text.startswith("-") else number
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def parse(data: bytes, file: str, limits: Limits, log: FaultLog) -> Tree:
    """Parse one YAML file. `file` is its path inside the archive, as faults shall name it.

    Duplicate and unusable keys are noted in `log` and reading goes on.

    Raises:
        ArchiveRefused: not UTF-8, not YAML, too large, too deep, a bomb, or more than one document.
    """
    if len(data) > limits.yaml_size:
        raise refusal(file, None, f"{len(data)} bytes", f"a YAML file of at most {limits.yaml_size} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refusal(
            file, line, f"byte 0x{data[error.start]:02x} that is not UTF-8", "UTF-8 text"
        ) from error
    composer = _Composer(file, limits, log)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = int(mark.line) + 1 if mark else None
        raise refusal(
            file, line, f"not YAML: {error.problem or error.context}", "well-formed YAML"
        ) from error
    except yaml.YAMLError as error:
        raise refusal(
            file, _line_of(text, error), f"not YAML: {_words(error)}", "well-formed YAML"
        ) from error
    except ValueError as error:
        raise refusal(file, None, f"not YAML: {error}", "well-formed YAML") from error
    if composer.root is None:
        raise refusal(file, 1, "an empty file", "a TOSCA service template")
    return composer.root


def _words(error: yaml.YAMLError) -> str:
    return str(error).splitlines()[0] if str(error) else "unreadable"


def _line_of(text: str, error: yaml.YAMLError) -> int | None:
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) and position >= 0 else 1
