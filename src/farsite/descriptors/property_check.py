"""Are these values what the type wants? Faults name the path, what stands there and what was expected.

Only what would mislead is refused. A number where text is wanted is taken as it is written, since real
packages leave versions unquoted; a missing description is a warning.
"""

from collections.abc import Mapping
from dataclasses import replace

from farsite.descriptors.faults import FaultLog
from farsite.descriptors.type_system import SIMPLE, UNITS, Operand, Property, Types, Values, scalar
from farsite.descriptors.yaml_tree import Tree

_LARGEST = 2**53
"""Whole numbers beyond this are not carried exactly by JSON, nor by databases."""

FUNCTIONS = {
    "get_input",
    "get_property",
    "get_attribute",
    "get_artifact",
    "get_operation_output",
    "get_nodes_of_type",
    "concat",
    "token",
    "join",
}


def is_function(tree: Tree) -> bool:
    """Whether the value is a TOSCA function that has not been (or cannot be) evaluated."""
    return len(tree.items) == 1 and next(iter(tree.items)) in FUNCTIONS


class PropertyCheck:
    """Checks values against the types of one package."""

    def __init__(self, types: Types, copies: Types, log: FaultLog) -> None:
        self.types, self.copies, self.log = types, copies, log

    def check_properties(
        self,
        kind: str,
        type_name: str,
        stated: Mapping[str, Tree],
        at: Tree,
        path: str,
        *,
        is_complete: bool = True,
    ) -> None:
        """Check the properties of a template (node, capability, policy, group, artifact) of a known type.

        `is_complete` False: what is missing comes from elsewhere.
        """
        declared = self.types.properties(kind, type_name)
        if not is_complete:
            declared = {key: replace(wanted, is_required=False) for key, wanted in declared.items()}
        self._check_fields(kind, type_name, declared, stated, at, path)

    def _check_fields(
        self,
        kind: str,
        type_name: str,
        declared: Mapping[str, Property],
        stated: Mapping[str, Tree],
        at: Tree,
        path: str,
    ) -> None:
        for name, value in stated.items():
            where = f"{path}.{name}"
            if name not in declared:
                self._unknown(kind, type_name, name, value, where, list(declared))
            elif value.value is None:
                if declared[name].is_required:
                    self.log.at(value, f"{where}: nothing", describe(declared[name].values))
            else:
                self.check_value(value, declared[name].values, where)
        for name, wanted in declared.items():
            if wanted.is_required and name not in stated:
                if name == "description":
                    self.log.warn_at(at, f"{path}: no description")
                else:
                    self.log.at(at, f'{path}: no "{name}"', f"{name}: {describe(wanted.values)}")

    def _unknown(
        self, kind: str, type_name: str, name: str, value: Tree, where: str, known: list[str]
    ) -> None:
        if name in self.copies.properties(kind, type_name):
            self.log.warn_at(value, f"{where} is only known to the package's own copy of SOL001's types")
            return
        self.log.at(value, f"{where}: unknown property of {type_name}", self.log.nearest(name, known))

    def check_value(self, value: Tree, alternatives: tuple[Values, ...], path: str) -> None:
        """Check one value against alternatives; it must fit one of them."""
        if is_function(value):
            return
        fitting = [wanted for wanted in alternatives if self._shape_fits(value, wanted)]
        if not fitting:
            shown = f' "{value.text[:60]}"' if value.is_scalar else ""
            self.log.at(value, f"{path}: {value.kind}{shown}", describe(alternatives))
            return
        self._check_within(value, fitting[0], path)

    def _shape_fits(self, value: Tree, wanted: Values) -> bool:
        match self._base(wanted.type):
            case "list":
                return value.is_list
            case "map":
                return value.is_map
            case "string" | "version" | "timestamp":
                return value.is_scalar
            case "integer":
                number = value.value
                return isinstance(number, int) and not isinstance(number, bool) and abs(number) < _LARGEST
            case "float":
                return isinstance(value.value, int | float) and not isinstance(value.value, bool)
            case "boolean":
                return isinstance(value.value, bool)
            case "range":
                return len(value.entries) == 2
            case base if base in UNITS:
                return scalar(value.string, base) is not None
            case base if self.types.get("data", base) is not None:
                return value.is_map
            case _:
                return True

    def _base(self, name: str) -> str:
        """The simple type beneath a derived one (`my.Port < integer`), else the name itself."""
        lineage = list(self.types.lineage("data", name))
        root = lineage[-1].parent if lineage else name
        root = root.removeprefix("scalar-unit.")
        return root if root in SIMPLE or root in ("list", "map") else name

    def _check_within(self, value: Tree, wanted: Values, path: str) -> None:
        for operator, operand in wanted.constraints:
            problem = _broken(value, wanted.type, operator, operand)
            if problem:
                self.log.at(value, f"{path}: {value.text[:60] or value.kind}", problem)
        if wanted.entry:
            entries = enumerate(value.entries) if value.is_list else value.items.items()
            for key, entry in entries:
                inner = f"{path}[{key}]" if value.is_list else f"{path}.{key}"
                self.check_value(entry, wanted.entry, inner)
        elif value.is_map and self.types.get("data", wanted.type) is not None:
            declared = self.types.properties("data", wanted.type)
            # SOL001 leaves several types empty for vendors to fill; such a type takes anything.
            if declared:
                self._check_fields("data", wanted.type, declared, value.items, value, path)


def describe(alternatives: tuple[Values, ...]) -> str:
    """What a property takes, for people."""
    return " or ".join(_describe(wanted) for wanted in alternatives)


def _describe(wanted: Values) -> str:
    articles = {
        "integer": "an integer",
        "size": "a size such as 512 MiB",
        "time": "a time such as 10 s",
        "frequency": "a frequency such as 2 GHz",
        "bitrate": "a bitrate such as 1 Gbps",
        "range": "a range [least, most]",
        "boolean": "true or false",
    }
    if wanted.entry and wanted.type in ("list", "map"):
        return f"a {wanted.type} of {describe(wanted.entry)}"
    return articles.get(wanted.type, f"a {wanted.type}")


def _broken(value: Tree, of: str, operator: str, operand: Operand) -> str | None:
    """What was expected when the value breaks the constraint, else None."""
    if isinstance(operand, tuple):
        fits = value.text in operand or value.is_list or value.is_map
        return None if fits else "one of " + ", ".join(operand)
    if operator.startswith("len"):
        length = len(value.text) if value.is_scalar else len(value.entries) + len(value.items)
        return (
            None if _holds(length, operator[3:] or "=", operand) else f"a length {operator[3:]} {operand:g}"
        )
    numbers = [entry.value for entry in value.entries] if of == "range" else [value.value]
    if of in UNITS:
        numbers = [scalar(value.string, of)]
    if all(_holds(number, operator, operand) for number in numbers):
        return None
    return f"a value {operator} {operand:g}"


def _holds(number: object, operator: str, operand: float) -> bool:
    if not isinstance(number, int | float):
        return True
    match operator:
        case ">=":
            return number >= operand
        case ">":
            return number > operand
        case "<=":
            return number <= operand
        case "<":
            return number < operand
        case _:
            return number == operand
