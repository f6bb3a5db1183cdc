"""Types that a package defines itself, read from its YAML into the same statements as SOL001's.

SOL001's own names are ours to state: a package's copy of ETSI's files is accepted, read for what it adds,
and overruled for the rest, so that an edited copy cannot change what `tosca.nodes.nfv.VNF` means.
"""

from farsite.descriptors.faults import FaultLog
from farsite.descriptors.type_system import (
    DERIVATIONS,
    SECTIONS,
    SIMPLE,
    Operand,
    Property,
    Requirement,
    Types,
    TypeStatement,
    Values,
)
from farsite.descriptors.yaml_tree import Tree

_ANY = {"json", "xml", "any"}


def define_types(templates: dict[str, Tree], types: Types, log: FaultLog) -> Types:
    """Add what the files define to `types` and return what their copies of SOL001's types say beyond ours.

    `templates` maps each file to its content. Unknown parents, cycles of derivation, unknown property
    types and one name defined twice differently are faults.
    """
    normative = {(kind, name) for kind in SECTIONS.values() for name in types.names(kind)}
    copies = Types()
    seen: dict[tuple[str, str], tuple[Tree, object]] = {}
    for root in templates.values():
        for section, kind in SECTIONS.items():
            for name, body in _definitions(root, section, log):
                if (kind, name) in normative:
                    copies.add(_read(kind, name, body, FaultLog()))
                    continue
                earlier = seen.get((kind, name))
                if earlier is None:
                    seen[kind, name] = (body, body.plain())
                    types.add(_read(kind, name, body, log))
                elif earlier[1] != body.plain():
                    where = f"{earlier[0].file}:{earlier[0].line}"
                    log.at(
                        body,
                        f'{kind} type "{name}" again',
                        f"one definition (first in {where})",
                    )
    for (kind, name), (body, _) in seen.items():
        _check_parent(kind, name, body, types, log)
        _check_property_types(name, body, types, log)
    return copies


def _definitions(root: Tree, section: str, log: FaultLog) -> list[tuple[str, Tree]]:
    found = root.get(section)
    if found is None:
        return []
    if not found.is_map:
        log.at(found, f"{section}: {found.kind}", "a map of types")
    good: list[tuple[str, Tree]] = []
    for name, body in found.items.items():
        if body.is_map:
            good.append((name, body))
        else:
            log.at(body, f"{section}.{name}: {body.kind}", "a type definition")
    return good


def _check_parent(kind: str, name: str, body: Tree, types: Types, log: FaultLog) -> None:
    parent = body.get("derived_from")
    if parent is None:
        return
    stated = parent.string
    if kind == "data" and types.get(kind, stated) is None and _is_data_type(stated, types):
        return
    if types.get(kind, stated) is None:
        others = [other for other in SECTIONS.values() if types.get(other, stated)]
        what = f"is of kind {others[0]}" if others else "is unknown"
        log.at(
            parent,
            f'{kind} type "{name}" is derived from "{stated}", which {what}',
            log.nearest(stated, types.names(kind)) or f"a {kind} type",
        )
        return
    ancestry = [statement.name for statement in types.lineage(kind, name)]
    if len(ancestry) >= DERIVATIONS:
        log.at(parent, f"{name}: derived through {len(ancestry)} types", f"fewer than {DERIVATIONS}")
        return
    last = types.get(kind, ancestry[-1])
    if last and last.parent in ancestry:
        log.at(
            parent,
            f"cyclic derivation: {' -> '.join([*ancestry, last.parent])}",
            "types derived from a root",
        )


def _check_property_types(name: str, body: Tree, types: Types, log: FaultLog) -> None:
    properties = body.get("properties")
    for key, stated in properties.items.items() if properties else ():
        declared = stated.get("type")
        if declared is None:
            log.at(stated, f"{name}.{key}: no type", "a property definition with a type")
            continue
        schema = stated.get("entry_schema")
        entry = schema if schema is None or schema.is_scalar else schema.get("type")
        for of in (declared, entry):
            if of is not None and not _is_data_type(of.string, types):
                log.at(
                    of,
                    f'{name}.{key}: unknown data type "{of.string}"',
                    log.nearest(of.string, [*types.names("data"), *SIMPLE]) or "a data type",
                )


def _is_data_type(name: str, types: Types) -> bool:
    simple = name.removeprefix("scalar-unit.")
    return simple in SIMPLE or name in _ANY or name in ("list", "map") or types.get("data", name) is not None


def _read(kind: str, name: str, body: Tree, log: FaultLog) -> TypeStatement:
    parent = body.get("derived_from")
    properties = body.get("properties")
    if properties is not None and not properties.is_map:
        log.at(properties, f"{name}.properties: {properties.kind}", "a map of properties")
    capabilities = body.get("capabilities")
    requirements = body.get("requirements")
    targets = body.get("targets") or body.get("members")
    return TypeStatement(
        kind=kind,
        name=name,
        parent=parent.string if parent else "",
        properties={
            key: read_property(stated) for key, stated in (properties.items.items() if properties else ())
        },
        capabilities={
            key: stated.string or _string(stated, "type")
            for key, stated in (capabilities.items.items() if capabilities else ())
        },
        requirements={
            key: _requirement(stated) for key, stated in (requirements.pairs() if requirements else ())
        },
        targets=tuple(target.string for target in targets.entries) if targets else (),
        interfaces=body.get("interfaces"),
    )


def read_property(stated: Tree) -> Property:
    """A property or parameter definition; one without a type takes anything."""
    required, default = stated.get("required"), stated.get("default")
    return Property(
        values=(_values(stated),),
        is_required=not (required is not None and required.value is False) and default is None,
        default=default,
    )


def _values(stated: Tree) -> Values:
    name = stated.string or _string(stated, "type") or "any"
    simple = name.removeprefix("scalar-unit.")
    schema = stated.get("entry_schema")
    return Values(
        type=simple if simple in SIMPLE else name,
        constraints=tuple(_constraints(stated)),
        entry=(_values(schema),) if schema is not None and name in ("list", "map") else (),
    )


def _constraints(stated: Tree) -> list[tuple[str, Operand]]:
    """Constraints in our operators. Patterns are left out: a stranger's expression can take forever."""
    found: list[tuple[str, Operand]] = []
    clauses = stated.get("constraints")
    if clauses is None:
        return found
    operators = {
        "greater_or_equal": ">=",
        "greater_than": ">",
        "less_or_equal": "<=",
        "less_than": "<",
        "min_length": "len>=",
        "max_length": "len<=",
        "length": "len",
    }
    for name, operand in clauses.pairs():
        if name == "valid_values":
            found.append(("in", tuple(value.string for value in operand.entries)))
        elif name == "equal":
            found.append(("in", (operand.string,)))
        elif name == "in_range" and len(operand.entries) == 2:
            bounds = [entry.value for entry in operand.entries]
            if isinstance(bounds[0], int | float):
                found.append((">=", float(bounds[0])))
            if isinstance(bounds[1], int | float):
                found.append(("<=", float(bounds[1])))
        elif name in operators and isinstance(operand.value, int | float):
            found.append((operators[name], float(operand.value)))
    return found


def _requirement(stated: Tree) -> Requirement:
    occurrences = stated.get("occurrences")
    most = occurrences.entries[1].value if occurrences and len(occurrences.entries) == 2 else 1
    return Requirement(
        capability=stated.string or _string(stated, "capability"),
        node=_string(stated, "node"),
        most=most if isinstance(most, int) else None,
    )


def _string(tree: Tree, key: str) -> str:
    found = tree.get(key)
    return found.string if found else ""
