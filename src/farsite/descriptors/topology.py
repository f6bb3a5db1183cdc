"""One topology template with its types applied: nodes, groups and policies whose properties are resolved.

`get_input` and `get_property` are evaluated where a value is known, so that flavour files which take
everything from the VNF node's properties can be read; what depends on the request stays a function.

Source: OASIS TOSCA Simple Profile in YAML 1.3, clauses 3.8, 3.9 and 4.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from farsite.descriptors.faults import FaultLog, refusal
from farsite.descriptors.property_check import PropertyCheck, is_function
from farsite.descriptors.service_template import ServiceTemplates
from farsite.descriptors.type_definitions import read_property
from farsite.descriptors.type_system import Types
from farsite.descriptors.yaml_tree import Tree

_ENTRIES_MOST = 2_000
"""Node templates, groups or policies of one topology."""
_SUBSTITUTED_MOST = 200_000
"""YAML nodes that functions and defaults may bring into one topology."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequirementAssignment:
    """A requirement of a node template: what it points at, and by which capability when stated."""

    name: str
    target: str
    capability: str
    tree: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactDefinition:
    """An artifact of a node template. `file` is as written, relative to the file that says so."""

    name: str
    type: str
    file: str
    properties: Mapping[str, Tree]
    tree: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTemplate:
    """A node template. Stated properties come before the defaults of a package's own type."""

    name: str
    type: str
    tree: Tree
    properties: Mapping[str, Tree]
    capabilities: Mapping[str, Mapping[str, Tree]] = field(default_factory=dict[str, Mapping[str, Tree]])
    requirements: tuple[RequirementAssignment, ...] = ()
    artifacts: tuple[ArtifactDefinition, ...] = ()

    def property(self, *path: str) -> Tree | None:
        """A property's value by path, None when absent or a function that nothing could evaluate."""
        return _value(self.properties, path)

    def capability(self, *path: str) -> Tree | None:
        """A capability's property by path: capability, property, key ..."""
        return _value(self.capabilities.get(path[0], {}), path[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group template: a name for several nodes."""

    name: str
    type: str
    members: tuple[str, ...]
    tree: Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy template. `targets` are node or group names, as written."""

    name: str
    type: str
    properties: Mapping[str, Tree]
    targets: tuple[str, ...]
    tree: Tree

    def property(self, *path: str) -> Tree | None:
        """A property's value by path, None when absent or not evaluated."""
        return _value(self.properties, path)


def _value(properties: Mapping[str, Tree], path: tuple[str, ...]) -> Tree | None:
    found = properties.get(path[0])
    found = found.get(*path[1:]) if found is not None else None
    return None if found is None or found.value is None or is_function(found) else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The topology of one file."""

    file: str
    tree: Tree
    nodes: Mapping[str, NodeTemplate]
    groups: Mapping[str, Group]
    policies: tuple[Policy, ...]
    substitution: Tree | None
    types: Types

    def of_type(self, ancestor: str) -> list[NodeTemplate]:
        """Node templates of a type or derived from it, in the order of the file."""
        return [node for node in self.nodes.values() if self.types.derives("node", node.type, ancestor)]

    def policies_of(self, *ancestors: str) -> list[Policy]:
        """Policies of any of these types or derived from one, in the order of the file."""
        return [
            policy
            for policy in self.policies
            if any(self.types.derives("policy", policy.type, ancestor) for ancestor in ancestors)
        ]

    def is_node(self, name: str, ancestor: str) -> bool:
        """Whether the named node template is of the type or derived from it."""
        return name in self.nodes and self.types.derives("node", self.nodes[name].type, ancestor)


def read_topology(
    templates: ServiceTemplates, file: str, values: Mapping[str, Tree], log: FaultLog
) -> Topology | None:
    """Read the topology template of one file; None when it has none.

    `values` answer `get_input` for inputs that the file declares without a default. Everything that
    contradicts the types is noted in `log`.
    """
    tree = templates.files[file].get("topology_template")
    if tree is None:
        return None
    if not tree.is_map:
        log.at(tree, f"topology_template: {tree.kind}", "a map")
        return None
    return _Reader(templates, tree, values, log).read(file)


class _Reader:
    """Reads one topology; the templates' names must all be known before references are judged."""

    def __init__(
        self, templates: ServiceTemplates, tree: Tree, values: Mapping[str, Tree], log: FaultLog
    ) -> None:
        self.tree, self.log, self.types = tree, log, templates.types
        self.spent = 0
        self.check = PropertyCheck(templates.types, templates.copies, log)
        self.inputs = self._section("inputs")
        self.values = dict(values)
        for name, stated in self.inputs.items():
            default = stated.get("default")
            if default is not None:
                self.check.check_value(default, read_property(stated).values, f"inputs.{name}.default")
                self.values.setdefault(name, default)
        self.stated = {name: body for name, body in self._section("node_templates").items() if body.is_map}

    def read(self, file: str) -> Topology:
        nodes = {name: node for name, body in self.stated.items() if (node := self._node(name, body))}
        groups = {name: group for name, body in self._pairs("groups") if (group := self._group(name, body))}
        topology = Topology(
            file=file,
            tree=self.tree,
            nodes=nodes,
            groups=groups,
            policies=tuple(
                policy
                for name, body in self._pairs("policies")
                if (policy := self._policy(name, body, groups))
            ),
            substitution=self.tree.get("substitution_mappings"),
            types=self.types,
        )
        for node in nodes.values():
            self._check_requirements(node, topology)
        return topology

    def _afford(self, section: Tree | None, name: str) -> Tree | None:
        """The section, unless it has more entries than any honest topology."""
        if section is not None and len(section.items) + len(section.entries) > _ENTRIES_MOST:
            self.log.at(section, f"{name}: too many entries", f"at most {_ENTRIES_MOST}")
            return None
        return section

    def _spend(self, value: Tree, at: Tree) -> Tree:
        """Count what substitution multiplies: inputs and defaults used again and again are a bomb too."""
        self.spent += value.weight
        if self.spent > _SUBSTITUTED_MOST:
            raise refusal(
                at.file, at.line, "inputs and defaults multiply to too many values", "fewer of them"
            )
        return value

    def _section(self, name: str) -> dict[str, Tree]:
        section = self._afford(self.tree.get(name), name)
        if section is None:
            return {}
        if not section.is_map:
            self.log.at(section, f"{name}: {section.kind}", "a map")
            return {}
        for key, body in section.items.items():
            if not body.is_map:
                self.log.at(body, f"{name}.{key}: {body.kind}", "a map")
        return section.items

    def _pairs(self, name: str) -> list[tuple[str, Tree]]:
        section = self._afford(self.tree.get(name), name)
        found: list[tuple[str, Tree]] = []
        for key, body in section.pairs() if section else ():
            if body.is_map:
                found.append((key, body))
            else:
                self.log.at(body, f"{name}.{key}: {body.kind}", "a map")
        return found

    def _type(self, kind: str, name: str, body: Tree) -> str | None:
        stated = body.get("type")
        if stated is None:
            self.log.at(body, f"{name}: no type", f"a {kind} type")
            return None
        if self.types.get(kind, stated.string) is None:
            self.log.at(
                stated,
                f'{name}: unknown {kind} type "{stated.string[:200]}"',
                self.log.nearest(stated.string, self.types.names(kind)) or f"a {kind} type",
            )
            return None
        return stated.string

    def _node(self, name: str, body: Tree) -> NodeTemplate | None:
        type_name = self._type("node", name, body)
        if type_name is None:
            return None
        properties = self._properties(body)
        defaults = {
            key: self._spend(declared.default, body)
            for key, declared in self.types.properties("node", type_name).items()
            if declared.default is not None and key not in properties
        }
        is_vnf = self.types.derives("node", type_name, "VNF")
        # A flavour's VNF node states what differs; the descriptor's reader judges whether all is there.
        self.check.check_properties(
            "node", type_name, properties | defaults, body, name, is_complete=not is_vnf
        )
        return NodeTemplate(
            name=name,
            type=type_name,
            tree=body,
            properties=properties | defaults,
            capabilities=self._capabilities(name, type_name, body),
            requirements=self._requirements(name, body),
            artifacts=self._artifacts(name, body),
        )

    def _properties(self, body: Tree) -> dict[str, Tree]:
        stated = body.get("properties")
        if stated is None:
            return {}
        if not stated.is_map:
            self.log.at(stated, f"properties: {stated.kind}", "a map")
        return {key: self.resolve(value) for key, value in stated.items.items()}

    def resolve(self, value: Tree) -> Tree:
        """The value with functions evaluated as far as they can be."""
        if is_function(value):
            return self._call(value)
        if value.is_map:
            return dataclasses.replace(
                value, value={key: self.resolve(entry) for key, entry in value.items.items()}
            )
        if value.is_list:
            return dataclasses.replace(value, value=[self.resolve(entry) for entry in value.entries])
        return value

    def _call(self, call: Tree) -> Tree:
        ((function, argument),) = call.items.items()
        if function == "get_input":
            path = [entry.string for entry in argument.entries] or [argument.string]
            if path[0] not in self.inputs and path[0] not in self.values:
                self.log.at(
                    argument,
                    f'get_input of "{path[0][:100]}", which is not an input',
                    self.log.nearest(path[0], list(self.inputs)) or "a declared input",
                )
            found = self.values.get(path[0])
            found = found.get(*path[1:]) if found is not None else None
            if found is None:
                return call
            return dataclasses.replace(self._spend(found, call), file=call.file, line=call.line)
        if function == "get_property" and len(argument.entries) >= 2:
            node, *path = (entry.string for entry in argument.entries)
            found = self.stated[node].get("properties", *path) if node in self.stated else None
            # A property that is itself a function is left alone: following it could go round for ever.
            return call if found is None or found.is_map else self._spend(found, call)
        return call

    def _capabilities(self, name: str, type_name: str, body: Tree) -> dict[str, Mapping[str, Tree]]:
        declared = self.types.capabilities(type_name)
        stated = body.get("capabilities")
        given: dict[str, Mapping[str, Tree]] = {}
        for key, assignment in stated.items.items() if stated else ():
            if key not in declared:
                self.log.at(
                    assignment,
                    f"{name}.capabilities.{key}: unknown capability of {type_name}",
                    self.log.nearest(key, list(declared)),
                )
                continue
            given[key] = self._properties(assignment)
        for key, capability in declared.items():
            # A capability without mandatory properties need not be mentioned.
            if key in given or self.types.derives("capability", capability, "VirtualCompute"):
                at = stated.items[key] if stated and key in stated.items else body
                path = f"{name}.capabilities.{key}"
                self.check.check_properties("capability", capability, given.get(key, {}), at, path)
        return given

    def _requirements(self, name: str, body: Tree) -> tuple[RequirementAssignment, ...]:
        stated = body.get("requirements")
        found: list[RequirementAssignment] = []
        for key, assignment in stated.pairs() if stated else ():
            node, capability = assignment, assignment.get("capability")
            if assignment.is_map:
                node = assignment.get("node") or assignment
            elif len(assignment.entries) == 2:
                node, capability = assignment.entries
            if node.string:
                by = capability.string if capability else ""
                found.append(
                    RequirementAssignment(name=key, target=node.string, capability=by, tree=assignment)
                )
            elif not assignment.is_empty and not assignment.get("node_filter"):
                self.log.at(assignment, f"{name}.requirements.{key}: {assignment.kind}", "a node's name")
        return tuple(found)

    def _artifacts(self, name: str, body: Tree) -> tuple[ArtifactDefinition, ...]:
        stated = body.get("artifacts")
        found: list[ArtifactDefinition] = []
        for key, artifact in stated.pairs() if stated else ():
            if artifact.string:
                found.append(
                    ArtifactDefinition(
                        name=key,
                        type="tosca.artifacts.File",
                        file=artifact.string,
                        properties={},
                        tree=artifact,
                    )
                )
                continue
            type_name = self._type("artifact", f"{name}.artifacts.{key}", artifact)
            if type_name is None:
                continue
            properties = self._properties(artifact)
            self.check.check_properties(
                "artifact", type_name, properties, artifact, f"{name}.artifacts.{key}"
            )
            file = artifact.get("file")
            found.append(
                ArtifactDefinition(
                    name=key,
                    type=type_name,
                    file=file.string if file else "",
                    properties=properties,
                    tree=file or artifact,
                )
            )
        return tuple(found)

    def _group(self, name: str, body: Tree) -> Group | None:
        type_name = self._type("group", name, body)
        if type_name is None:
            return None
        self.check.check_properties("group", type_name, self._properties(body), body, name)
        members = self._names(name, "members", body)
        for member in members:
            if member not in self.stated:
                at = body.get("members") or body
                self.log.at(
                    at, f'{name}: unknown member "{member}"', self.log.nearest(member, list(self.stated))
                )
        return Group(name=name, type=type_name, members=members, tree=body)

    def _policy(self, name: str, body: Tree, groups: Mapping[str, Group]) -> Policy | None:
        type_name = self._type("policy", name, body)
        if type_name is None:
            return None
        properties = self._properties(body)
        self.check.check_properties("policy", type_name, properties, body, name)
        targets = self._names(name, "targets", body)
        for target in targets:
            if target not in self.stated and target not in groups:
                at = body.get("targets") or body
                known = [*self.stated, *groups]
                self.log.at(at, f'{name}: unknown target "{target}"', self.log.nearest(target, known))
            else:
                self._check_target(name, type_name, target, body, groups)
        return Policy(name=name, type=type_name, properties=properties, targets=targets, tree=body)

    def _check_target(
        self, name: str, type_name: str, target: str, body: Tree, groups: Mapping[str, Group]
    ) -> None:
        allowed = self.types.targets("policy", type_name)
        kind = "group" if target in groups else "node"
        stated = groups[target].type if target in groups else _string(self.stated[target], "type")
        if allowed and not any(self.types.derives(kind, stated, ancestor) for ancestor in allowed):
            at = body.get("targets") or body
            self.log.at(at, f'{name}: target "{target}" of type {stated}', "one of " + ", ".join(allowed))

    def _names(self, name: str, key: str, body: Tree) -> tuple[str, ...]:
        stated = body.get(key)
        if stated is None:
            return ()
        entries = stated.entries or ([stated] if stated.string else [])
        if not entries and not stated.is_empty:
            self.log.at(stated, f"{name}.{key}: {stated.kind}", "a list of names")
        return tuple(dict.fromkeys(entry.string for entry in entries if entry.string))

    def _check_requirements(self, node: NodeTemplate, topology: Topology) -> None:
        declared = self.types.requirements(node.type)
        is_vnf = self.types.derives("node", node.type, "VNF")
        for assignment in node.requirements:
            path = f"{node.name}.requirements.{assignment.name}"
            wanted = declared.get(assignment.name)
            if wanted is None and not is_vnf:
                self.log.at(
                    assignment.tree,
                    f"{path}: unknown requirement of {node.type}",
                    self.log.nearest(assignment.name, list(declared)),
                )
            elif wanted is None and node.type not in ("tosca.nodes.nfv.VNF",):
                self.log.warn_at(assignment.tree, f"{path} is not declared by {node.type}")
            if assignment.target not in self.stated:
                if self.types.get("node", assignment.target) is None:
                    self.log.at(
                        assignment.tree,
                        f'{path}: unknown node "{assignment.target}"',
                        self.log.nearest(assignment.target, list(self.stated)) or "a node of this file",
                    )
            elif wanted is not None and assignment.target in topology.nodes:
                self._check_capability(path, assignment, wanted.capability, topology)

    def _check_capability(
        self, path: str, assignment: RequirementAssignment, wanted: str, topology: Topology
    ) -> None:
        target = topology.nodes[assignment.target]
        offered = self.types.capabilities(target.type)
        if wanted in ("", "tosca.capabilities.Node", "tosca.capabilities.Root"):
            return
        # A VNF's forwarding capability is named by its vendor's type, which an NSD may leave out.
        if self.types.derives("node", target.type, "VNF"):
            return
        if not any(self.types.derives("capability", has, wanted) for has in offered.values()):
            self.log.at(
                assignment.tree,
                f"{path}: {assignment.target} of type {target.type}",
                f"a node with the capability {wanted}",
            )


def _string(tree: Tree, key: str) -> str:
    found = tree.get(key)
    return found.string if found else ""
