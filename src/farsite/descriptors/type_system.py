"""TOSCA types: SOL001's own and those a package defines, resolved along their inheritance.

A type name is looked up by kind, since a capability type and a data type may bear one name. What a type
has (properties, capabilities, requirements) is the merge along its ancestors, the nearest statement winning.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from farsite.descriptors.sol001 import STATEMENT
from farsite.descriptors.yaml_tree import Tree

PREFIXES = {
    "data": "tosca.datatypes.nfv.",
    "capability": "tosca.capabilities.nfv.",
    "relationship": "tosca.relationships.nfv.",
    "interface": "tosca.interfaces.nfv.",
    "artifact": "tosca.artifacts.nfv.",
    "node": "tosca.nodes.nfv.",
    "group": "tosca.groups.nfv.",
    "policy": "tosca.policies.nfv.",
}
SECTIONS = {
    "data_types": "data",
    "capability_types": "capability",
    "relationship_types": "relationship",
    "interface_types": "interface",
    "artifact_types": "artifact",
    "node_types": "node",
    "group_types": "group",
    "policy_types": "policy",
}
"""Section of a TOSCA file -> kind of type."""

ROOTS = {
    "data": "tosca.datatypes.Root",
    "capability": "tosca.capabilities.Root",
    "relationship": "tosca.relationships.Root",
    "interface": "tosca.interfaces.Root",
    "artifact": "tosca.artifacts.Root",
    "node": "tosca.nodes.Root",
    "group": "tosca.groups.Root",
    "policy": "tosca.policies.Root",
}

# The types of TOSCA's simple profile that SOL001 and real packages derive from; child: parent.
_SIMPLE_PROFILE = {
    "capability": {"Node": "Root"},
    "relationship": {"DependsOn": "Root", "HostedOn": "Root", "ConnectsTo": "Root", "AttachesTo": "Root"},
    "interface": {"node.lifecycle.Standard": "Root"},
    "artifact": {
        "File": "Root",
        "Deployment": "Root",
        "Deployment.Image": "Deployment",
        "Deployment.Image.VM": "Deployment.Image",
        "Deployment.Image.Container.Docker": "Deployment.Image",
        "Implementation": "Root",
        "Implementation.Bash": "Implementation",
        "Implementation.Python": "Implementation",
    },
    "group": {},
    "policy": {"Placement": "Root", "Scaling": "Root", "Update": "Root", "Performance": "Root"},
    "node": {},
    "data": {"Credential": "Root", "TimeInterval": "Root", "json": "Root", "xml": "Root"},
}

UNITS = {
    "size": {
        "B": 1,
        **{f"{prefix}B": 1000**power for power, prefix in enumerate("kMGT", 1)},
        **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", 1)},
    },
    "time": {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "frequency": {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "bitrate": {
        "bps": 1,
        **{f"{prefix}bps": 1000**power for power, prefix in enumerate("KMGT", 1)},
        **{f"{prefix}ibps": 1024**power for power, prefix in enumerate("KMGT", 1)},
        "Bps": 8,
        **{f"{prefix}Bps": 8 * 1000**power for power, prefix in enumerate("KMGT", 1)},
        **{f"{prefix}iBps": 8 * 1024**power for power, prefix in enumerate("KMGT", 1)},
    },
}
"""Scalar unit -> its units in base units (bytes, seconds, hertz, bits per second). Source: TOSCA simple
profile 1.3, clause 3.3.6; spelling in any case is accepted there."""

DERIVATIONS = 64
"""How many types may derive from one another in a row."""

_LARGEST = 1e18
_SCALAR = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?)\s*([A-Za-z]{1,4})\s*")


def scalar(text: str, unit: str) -> float | None:
    """A scalar such as `512 MB` in base units of `unit` (`size`, `time` ...); None when it is none."""
    match = _SCALAR.fullmatch(text)
    if not match:
        return None
    units = UNITS[unit]
    factor = units.get(match[2])
    if factor is None:
        same = {value for name, value in units.items() if name.lower() == match[2].lower()}
        factor = same.pop() if len(same) == 1 else None
    number = None if factor is None else float(match[1]) * factor
    return number if number is not None and number <= _LARGEST else None


Operand = float | tuple[str, ...]
"""What a constraint compares with: a number, or the valid values as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What values a property takes: a type, its constraints, and for lists and maps what they hold."""

    type: str
    """`string`, `integer`, `size`, `list`, `map` ... or the full name of a data type."""
    constraints: tuple[tuple[str, Operand], ...] = ()
    """Operator (`in`, `>=`, `>`, `<=`, `<`, `len>=`, `len<=`, `len`) and operand."""
    entry: "tuple[Values, ...]" = ()
    """Alternatives for the entries of a list or map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A property that a type declares."""

    values: tuple[Values, ...]
    """Alternatives: a value is right when it fits one."""
    is_required: bool
    default: Tree | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A requirement that a node type declares. `most` None: unbounded."""

    capability: str
    node: str = ""
    least: int = 1
    most: int | None = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatement:
    """One type as stated, without what it inherits."""

    kind: str
    name: str
    parent: str
    since: str = ""
    last: str = ""
    properties: Mapping[str, Property] = field(default_factory=dict[str, Property])
    capabilities: Mapping[str, str] = field(default_factory=dict[str, str])
    requirements: Mapping[str, Requirement] = field(default_factory=dict[str, Requirement])
    targets: tuple[str, ...] = ()
    """Types a policy may name as targets, or a group as members."""
    operations: tuple[str, ...] = ()
    interfaces: Tree | None = None
    """Interfaces that a package's own node type states, with their implementations."""


class Types:
    """All types known while one package is read."""

    def __init__(self, statements: Iterable[TypeStatement] = ()) -> None:
        self._types: dict[tuple[str, str], TypeStatement] = {}
        for statement in statements:
            self.add(statement)

    def add(self, statement: TypeStatement) -> None:
        self._types[statement.kind, statement.name] = statement

    def get(self, kind: str, name: str) -> TypeStatement | None:
        return self._types.get((kind, name))

    def names(self, kind: str) -> list[str]:
        return [name for of, name in self._types if of == kind]

    def lineage(self, kind: str, name: str) -> Iterator[TypeStatement]:
        """The type and its ancestors, nearest first; ends at an unknown name, a cycle or a length of 64."""
        seen: set[str] = set()
        while name and name not in seen and len(seen) < DERIVATIONS:
            seen.add(name)
            statement = self.get(kind, name)
            if statement is None:
                return
            yield statement
            name = statement.parent

    def derives(self, kind: str, name: str, ancestor: str) -> bool:
        """Whether the type is `ancestor` or derived from it; `tosca.KIND.nfv.` may be left out there."""
        wanted = {ancestor, PREFIXES[kind] + ancestor}
        return any(statement.name in wanted for statement in self.lineage(kind, name))

    def properties(self, kind: str, name: str) -> dict[str, Property]:
        """Every property of the type, inherited ones included.

        A nearer statement refines a farther one: a default there lifts the requirement.
        """
        merged: dict[str, Property] = {}
        for statement in self.lineage(kind, name):
            for key, declared in statement.properties.items():
                merged.setdefault(key, declared)
        return merged

    def capabilities(self, node: str) -> dict[str, str]:
        """Capability name -> capability type of a node type, inherited ones included."""
        merged: dict[str, str] = {}
        for statement in self.lineage("node", node):
            for key, capability in statement.capabilities.items():
                merged.setdefault(key, capability)
        return merged

    def requirements(self, node: str) -> dict[str, Requirement]:
        """Requirements of a node type, inherited ones included."""
        merged: dict[str, Requirement] = {}
        for statement in self.lineage("node", node):
            for key, requirement in statement.requirements.items():
                merged.setdefault(key, requirement)
        return merged

    def targets(self, kind: str, name: str) -> tuple[str, ...]:
        """Types that a policy may target or a group hold: the nearest statement's."""
        return next((found.targets for found in self.lineage(kind, name) if found.targets), ())


def full_name(kind: str, name: str) -> str:
    """A name of the statement with the prefix it leaves out."""
    return name if name.startswith("tosca.") else PREFIXES[kind] + name


_HEADER = re.compile(r"(\w+) (\S+)(?: < (\S+))? \[([0-9.]+?)(?:\.\.([0-9.]+))?\]")
_TOKEN = re.compile(
    r"\s*(\{[^}]*\}|[0-9.]+\.\.[0-9.]+|len[<>]=[0-9]+|[<>]=?[-0-9.]+[a-zA-Z]*|[|()]|[^\s|()]+)"
)
SIMPLE = {"string", "integer", "float", "boolean", "range", "timestamp", "version", *UNITS}
"""TOSCA's own types, scalar units without their `scalar-unit.` prefix; lists and maps apart."""


@cache
def sol001() -> tuple[TypeStatement, ...]:
    """SOL001's types, and those of TOSCA's simple profile beneath them, as read from our statement."""
    known = [TypeStatement(kind=kind, name=root, parent="") for kind, root in ROOTS.items()]
    for kind, children in _SIMPLE_PROFILE.items():
        stem = ROOTS[kind].removesuffix("Root")
        known += [
            TypeStatement(kind=kind, name=stem + name, parent=stem + of) for name, of in children.items()
        ]
    paragraph: list[str] = []
    for line in _logical_lines(STATEMENT):
        if not line.startswith(" ") and paragraph:
            known.append(_statement(paragraph))
            paragraph = []
        paragraph.append(line)
    known.append(_statement(paragraph))
    return tuple(known)


def _logical_lines(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith(" " * 8):
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.rstrip())
    return lines


def _statement(paragraph: list[str]) -> TypeStatement:
    header = _HEADER.fullmatch(paragraph[0])
    assert header, f"not a type of the statement: {paragraph[0]}"
    kind, name, parent, since, last = header.groups()
    properties: dict[str, Property] = {}
    capabilities: dict[str, str] = {}
    requirements: dict[str, Requirement] = {}
    targets: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    for line in paragraph[1:]:
        key, _, stated = line.strip().partition(": ")
        if key in ("targets", "members"):
            targets = tuple(_target(item) for item in stated.split(", "))
        elif key == "operations":
            operations = tuple(stated.split(", "))
        elif key.startswith("capability "):
            capabilities[key.split()[1]] = full_name("capability", stated)
        elif key.startswith("requirement "):
            requirements[key.split()[1]] = _requirement(stated)
        else:
            properties[key.rstrip("!")] = Property(
                values=_alternatives(stated), is_required=key.endswith("!")
            )
    return TypeStatement(
        kind=kind,
        name=full_name(kind, name),
        parent=full_name(kind, parent) if parent else ROOTS[kind],
        since=since,
        last=last or "",
        properties=properties,
        capabilities=capabilities,
        requirements=requirements,
        targets=targets,
        operations=operations,
    )


def _target(item: str) -> str:
    return (
        full_name("group", item.removeprefix("group "))
        if item.startswith("group ")
        else full_name("node", item)
    )


def _requirement(stated: str) -> Requirement:
    what, _, occurrences = stated.rpartition(" ")
    capability, _, node = what.partition(" of ")
    least, most = occurrences.split("..")
    return Requirement(
        capability=full_name("capability", capability),
        node=full_name("node", node) if node else "",
        least=int(least),
        most=None if most == "*" else int(most),
    )


def _alternatives(stated: str) -> tuple[Values, ...]:
    tokens = [match[1] for match in _TOKEN.finditer(stated)]
    values, rest = _read_alternatives(tokens)
    assert not rest, f"not a value of the statement: {stated}"
    return values


def _read_alternatives(tokens: list[str]) -> tuple[tuple[Values, ...], list[str]]:
    first, tokens = _read_values(tokens)
    found = [first]
    while tokens and tokens[0] == "|":
        following, tokens = _read_values(tokens[1:])
        found.append(following)
    return tuple(found), tokens


def _read_values(tokens: list[str]) -> tuple[Values, list[str]]:
    name, tokens = tokens[0], tokens[1:]
    constraints: list[tuple[str, Operand]] = []
    while tokens and tokens[0] not in ("|", "of", ")"):
        constraints += _constraints(tokens[0], name)
        tokens = tokens[1:]
    entry: tuple[Values, ...] = ()
    if name in ("list", "map"):
        assert tokens[0] == "of", f"a {name} of what?"
        if tokens[1] == "(":
            entry, tokens = _read_alternatives(tokens[2:])
            tokens = tokens[1:]
        else:
            single, tokens = _read_values(tokens[1:])
            entry = (single,)
    elif name not in SIMPLE:
        name = full_name("data", name)
    return Values(type=name, constraints=tuple(constraints), entry=entry), tokens


def _constraints(token: str, of: str) -> list[tuple[str, Operand]]:
    if token.startswith("{"):
        return [("in", tuple(item.strip() for item in token[1:-1].split(",")))]
    if token.startswith("len"):
        return [(token[:5], float(token[5:]))]
    if ".." in token:
        least, most = token.split("..")
        return [(">=", float(least)), ("<=", float(most))]
    operator = token[:2] if token[1] == "=" else token[:1]
    operand = token[len(operator) :]
    number = scalar(operand, of) if of in UNITS else float(operand)
    assert number is not None, f"not a bound: {token}"
    return [(operator, number)]
