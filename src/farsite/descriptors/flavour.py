"""A deployment flavour: one topology template reduced to what the orchestrator decides with.

Source: ETSI GS NFV-SOL 001, clauses 6.8 (VNFD node types) and 6.10 (policies); NFV-IFA 011.
"""

import ipaddress
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from farsite.descriptors.archive import Limits
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.property_check import is_function
from farsite.descriptors.scaling import integer, read_sizes
from farsite.descriptors.service_template import inside
from farsite.descriptors.software_image import GIB, MIB, Images, locate
from farsite.descriptors.topology import NodeTemplate, Policy, RequirementAssignment, Topology
from farsite.descriptors.type_system import scalar
from farsite.descriptors.yaml_tree import Tree, parse
from farsite.model import boot_template
from farsite.model.errors import Invalid
from farsite.model.vnfd import (
    AffinityRule,
    AffinityScope,
    BlockStorage,
    DeploymentFlavour,
    ExternalCp,
    Vdu,
    VduCp,
    VirtualLink,
)

_MAINTENANCE = "nfvi_maintenance_info"
_READ_PROPERTIES = {"name", "description", "vdu_profile", "sw_image_data", "boot_data"}
_SCOPES = {scope.value for scope in AffinityScope}
_OF_PLACED = frozenset(AffinityScope) - {AffinityScope.NETWORK_LINK_AND_NODE}
_OF_LINKS = frozenset({AffinityScope.NETWORK_LINK_AND_NODE, AffinityScope.NFVI_NODE})
_OF_STORAGES = frozenset({AffinityScope.NFVI_NODE})
_LOOSE_IN_A_VNF = frozenset({AffinityScope.NFVI_NODE, AffinityScope.ZONE, AffinityScope.ZONE_GROUP})
BEST_EFFORT = "fallback_best_effort"
"""Key of a policy's metadata: SOL001 has no property for what SOL003 calls so."""
_CONFIGURATION_SIZE = 256 * 1024
_NOT_OPERATIONS = {"type", "inputs", "description", "operations", "notifications", "derived_from"}


def read_flavour(flavour_id: str, description: str, topology: Topology, images: Images) -> DeploymentFlavour:
    """Reduce a topology to a flavour. What contradicts is noted in the log of `images`."""
    reader = _Reader(topology, images)
    storages = reader.storages()
    vdus = reader.vdus(storages)
    links = {node.name: virtual_link(node, images.log) for node in topology.of_type("VnfVirtualLink")}
    sizes = read_sizes(topology, vdus, images.log)
    cps = reader.cps(vdus)
    rules = affinity_rules(
        topology, ("AffinityRule",), ("AntiAffinityRule",), images.log,
        placed=vdus, links=links, storages=storages, loose=_LOOSE_IN_A_VNF,
    )  # fmt: skip
    reader.check_boot_data(vdus, cps)
    for node in topology.nodes.values():
        images.check_other_artifacts(node, topology)
    return DeploymentFlavour(
        id=flavour_id,
        description=description,
        vdus=vdus,
        cps=cps,
        external_cps=reader.external_cps(),
        virtual_links=links,
        storages=storages,
        aspects=sizes.aspects,
        levels=sizes.levels,
        default_level=sizes.default_level,
        initial_counts=sizes.initial_counts,
        affinity=tuple(rules.placed),
        links_apart=tuple(rules.links),
        storages_apart=tuple(rules.storages),
        lifecycle_scripts=tuple(lifecycle_scripts(flavour_id, topology, images)),
    )


class _Reader:
    """Reads the nodes of one flavour."""

    def __init__(self, topology: Topology, images: Images) -> None:
        self.topology, self.images, self.log = topology, images, images.log
        self.exposed = self._exposed()

    def _exposed(self) -> dict[str, str]:
        """Connection point -> name under which the VNF's node type offers it to the outside."""
        mapping = self.topology.substitution
        stated = mapping.get("requirements") if mapping else None
        node_type = mapping.get("node_type") if mapping else None
        declared = self.topology.types.requirements(node_type.string) if node_type else {}
        found: dict[str, str] = {}
        for name, target in stated.pairs() if stated else ():
            # An empty list: declared, and left unmapped in this flavour.
            if target.is_empty:
                continue
            cp = target.entries[0].string if target.entries else target.string
            if cp not in self.topology.nodes:
                cps = [node.name for node in self.topology.of_type("Cp")]
                self.log.at(target, f'substitution of {name}: unknown node "{cp}"', self.log.nearest(cp, cps))
            elif not self.topology.is_node(cp, "Cp"):
                self.log.at(
                    target, f"substitution of {name}: {cp} is no connection point", "a VduCp or VnfExtCp"
                )
            else:
                found.setdefault(cp, name)
            if declared and name not in declared:
                shown = node_type.string if node_type else ""
                self.log.warn_at(target, f'{shown} declares no requirement "{name}" for the substitution')
        return found

    def storages(self) -> dict[str, BlockStorage]:
        found: dict[str, BlockStorage] = {}
        for node in self.topology.of_type("Vdu.VirtualBlockStorage"):
            size = node.property("virtual_block_storage_data", "size_of_storage")
            found[node.name] = BlockStorage(
                id=node.name,
                size_gib=_size(size) / GIB,
                image=self.images.of(node, self.topology),
            )
        for kind in ("Vdu.VirtualObjectStorage", "Vdu.VirtualFileStorage"):
            for node in self.topology.of_type(kind):
                self.log.warn_at(node.tree, f"{node.name}: storage of type {node.type} is not provided")
        return found

    def vdus(self, storages: Mapping[str, BlockStorage]) -> dict[str, Vdu]:
        for node in self.topology.of_type("Vdu.OsContainerDeployableUnit"):
            self.log.at(
                node.tree, f"{node.name}: containers are not supported", "tosca.nodes.nfv.Vdu.Compute"
            )
        nodes = self.topology.of_type("Vdu.Compute")
        if not nodes and not self.log.has_faults:
            self.log.fault(
                self.topology.file, self.topology.tree.line, "no VDU", "a node of type Vdu.Compute"
            )
        return {node.name: self._vdu(node, storages) for node in nodes}

    def _vdu(self, node: NodeTemplate, storages: Mapping[str, BlockStorage]) -> Vdu:
        least, most = self._profile(node)
        name, description = node.property("name"), node.property("description")
        local = node.capability("virtual_compute", "virtual_local_storage")
        boot_data, configuration = self._boot_data(node)
        pairs = node.property("boot_data", "kvp_data", "data")
        path = node.property("boot_data", "content_or_file_data", "destination_path")
        values = node.property("boot_data", "content_or_file_data", "data")
        attached = [entry.target for entry in node.requirements if entry.name == "virtual_storage"]
        return Vdu(
            id=node.name,
            name=name.string if name else node.name,
            description=description.string if description else "",
            vcpus=integer(self._needed(node, "virtual_cpu", "num_virtual_cpu")) or 1,
            memory_mib=math.ceil(_size(self._needed(node, "virtual_memory", "virtual_mem_size")) / MIB),
            local_storage_gib=sum(
                _size(disk.get("size_of_storage")) / GIB for disk in (local.entries if local else ())
            ),
            image=self.images.of(node, self.topology),
            storages=tuple(storage for storage in attached if storage in storages),
            min_instances=least,
            max_instances=most,
            requested_capabilities=tuple(_requested_capabilities(node)),
            boot_data=boot_data,
            boot_values={key: value.string for key, value in values.items.items()} if values else {},
            boot_pairs={key: value.string for key, value in pairs.items.items()} if pairs else {},
            boot_path=path.string if path else "",
            configuration=configuration,
            properties={**_remaining(node), **_maintenance(node)},
        )

    def _profile(self, node: NodeTemplate) -> tuple[int, int | None]:
        least = integer(node.property("vdu_profile", "min_number_of_instances")) or 0
        stated = node.property("vdu_profile", "max_number_of_instances")
        most = integer(stated)
        if stated is not None and most is not None and most < least:
            self.log.at(stated, f"{node.name}: at most {most} instances", f"at least its minimum, {least}")
        return least, most

    def _needed(self, node: NodeTemplate, group: str, key: str) -> Tree | None:
        """A value we cannot do without, which must be known when the package is onboarded."""
        holder = node.capabilities.get("virtual_compute", {}).get(group)
        if holder is None:
            return None
        found = holder if is_function(holder) else holder.get(key)
        if found is not None and is_function(found):
            self.log.at(found, f"{node.name}: {key} has no value at onboarding", "a value, or a default")
            return None
        return found

    def _boot_data(self, node: NodeTemplate) -> tuple[str, Mapping[str, object]]:
        """Boot data as text, and as configuration document where it is one."""
        stated = node.property("boot_data")
        if stated is None:
            return "", {}
        if stated.is_scalar:
            return stated.string, {}
        pairs = stated.get("kvp_data", "data")
        configuration: dict[str, object] = dict(_plain_map(pairs)) if pairs else {}
        content = stated.get("content_or_file_data", "content")
        source = stated.get("content_or_file_data", "source_path")
        text = content.string if content else self._file_text(node, source) if source else ""
        document = _document(text, node.tree.file, self.images.archive.limits)
        return text, configuration | document

    def check_boot_data(self, vdus: Mapping[str, Vdu], cps: tuple[VduCp, ...]) -> None:
        """Note variable parts of boot data that nothing will ever fill in."""
        for node in self.topology.of_type("Vdu.Compute"):
            vdu, stated = vdus.get(node.name), node.property("boot_data")
            if vdu is None or stated is None:
                continue
            own = [cp.id for cp in cps if cp.vdu == vdu.id]
            known = {*vdu.boot_values, *vdu.boot_pairs}
            try:
                for part in boot_template.parts("\n".join((vdu.boot_data, *vdu.boot_pairs.values()))):
                    cp = part.rest.rpartition(".")[0]
                    if part.is_secret and any(part.name in pair for pair in vdu.boot_pairs.values()):
                        found = f'{node.name}: a key-value pair names "{part.name}", and a VIM shows those'
                        self.log.at(stated, found, "secrets in the content only")
                    if part.root == "port" and cp not in own:
                        found = f'{node.name}: boot data wants the address of "{cp}"'
                        self.log.at(stated, found, f"a connection point of it: {', '.join(own) or 'none'}")
                    elif part.root == "data" and part.rest not in known:
                        found = f'{node.name}: boot data has "{part.name}" without a default'
                        self.log.warn_at(stated, f"{found}, so every instantiation must give it")
            except Invalid as invalid:
                self.log.at(stated, f"{node.name}: boot data: {invalid}", "variable parts that are known")

    def _file_text(self, node: NodeTemplate, source: Tree) -> str:
        for base in (source.file, ""):
            path = inside(base, source.string)
            if path is not None and path in self.images.archive:
                try:
                    return self.images.archive.read(path, _CONFIGURATION_SIZE).decode()
                except ArchiveRefused as refused:
                    self.log.extend(refused)
                except UnicodeDecodeError:
                    self.log.fault(path, None, "not UTF-8", "UTF-8 text")
                return ""
        found = f'{node.name}: boot data file "{source.string[:200]}" is declared and not in the archive'
        self.log.at(source, found, "the file")
        return ""

    def cps(self, vdus: Mapping[str, Vdu]) -> tuple[VduCp, ...]:
        """Connection points in the order of their VDUs, then of their `order`, then as written."""
        found: list[VduCp] = []
        for node in self.topology.of_type("VduCp"):
            binding = self._binding(node)
            if binding is None or binding.target not in vdus:
                if binding is None or binding.target in self.topology.nodes:
                    at = binding.tree if binding else node.tree
                    self.log.at(at, f"{node.name}: not bound to a VDU", "virtual_binding: a VDU")
                continue
            found.append(self._cp(node, binding.target))
        ranks = {vdu: rank for rank, vdu in enumerate(vdus)}
        return tuple(sorted(found, key=lambda cp: (ranks[cp.vdu], cp.order)))

    def _binding(self, node: NodeTemplate) -> RequirementAssignment | None:
        """What binds a connection point to its VDU; a sub-port is bound by its trunk's parent."""
        binding, trunk = (one(node, name, self.log) for name in ("virtual_binding", "trunk_binding"))
        if binding is None and trunk is not None and trunk.target in self.topology.nodes:
            return one(self.topology.nodes[trunk.target], "virtual_binding", self.log)
        return binding

    def _cp(self, node: NodeTemplate, vdu: str) -> VduCp:
        link = one(node, "virtual_link", self.log)
        vnic, trunk = node.property("vnic_type"), node.property("trunk_mode")
        parent = one(node, "trunk_binding", self.log)
        inner = link.target if link and self.topology.is_node(link.target, "VnfVirtualLink") else ""
        return VduCp(
            id=node.name,
            vdu=vdu,
            order=integer(node.property("order")) or 0,
            virtual_link=inner,
            external=self.exposed.get(node.name, "" if inner else node.name),
            layer_protocols=protocols(node),
            vnic_type=vnic.string if vnic else "normal",
            trunk_mode=trunk is not None and trunk.value is True,
            management=_is_management(node),
            interface_requirements=_interface_requirements(node),
            trunk=parent.target if parent else "",
            segmentation_id=integer(node.property("segmentation_id")),
        )

    def external_cps(self) -> dict[str, ExternalCp]:
        """What the VNF offers to the outside, by the name a service connects to."""
        found: dict[str, ExternalCp] = {}
        for node in self.topology.of_type("Cp"):
            link = one(node, "internal_virtual_link", self.log)
            is_outer = self.topology.is_node(node.name, "VnfExtCp")
            bound = one(node, "virtual_link", self.log) if self.topology.is_node(node.name, "VduCp") else None
            is_free = self.topology.is_node(node.name, "VduCp") and bound is None
            if node.name not in self.exposed and not is_outer and not is_free:
                continue
            name = self.exposed.get(node.name, node.name)
            found[name] = ExternalCp(
                id=name,
                cp=node.name,
                virtual_link=link.target if link else "",
                layer_protocols=protocols(node),
            )
        return found


def virtual_link(node: NodeTemplate, log: FaultLog) -> VirtualLink:
    """A VnfVirtualLink or NsVirtualLink. Addresses are checked, since they are given to sites as they are."""
    stated = node.property("vl_profile", "virtual_link_protocol_data")
    cidrs = {"ipv4": "", "ipv6": ""}
    for data in stated.entries if stated else ():
        version, cidr = data.get("l3_protocol_data", "ip_version"), data.get("l3_protocol_data", "cidr")
        if version is None or cidr is None or version.string not in cidrs:
            continue
        try:
            network = ipaddress.ip_network(cidr.string, strict=False)
        except ValueError:
            log.at(cidr, f'{node.name}: cidr "{cidr.string[:60]}"', f"an {version.string} network")
            continue
        if f"ipv{network.version}" != version.string:
            log.at(cidr, f'{node.name}: cidr "{cidr.string[:60]}"', f"an {version.string} network")
        cidrs[version.string] = str(network)
    layers = node.property("connectivity_type", "layer_protocols")
    return VirtualLink(
        id=node.name,
        layer_protocols=tuple(layer.string for layer in layers.entries) if layers else ("ipv4",),
        cidr_v4=cidrs["ipv4"],
        cidr_v6=cidrs["ipv6"],
        properties={key: value.plain() for key, value in node.properties.items()},
    )


def one(node: NodeTemplate, name: str, log: FaultLog) -> RequirementAssignment | None:
    """The requirement of that name, which may be assigned once."""
    found = [requirement for requirement in node.requirements if requirement.name == name]
    if len(found) > 1:
        log.at(found[1].tree, f"{node.name}: {name} twice", "one assignment")
    return found[0] if found else None


def protocols(node: NodeTemplate) -> tuple[str, ...]:
    """Layer protocols of a connection point."""
    stated = node.property("layer_protocols")
    return tuple(layer.string for layer in stated.entries) if stated else ()


@dataclass(slots=True)
class AffinityRules:
    """Rules by what they are about: VDUs or VNFs, virtual links, block storages."""

    placed: list[AffinityRule] = field(default_factory=list[AffinityRule])
    links: list[AffinityRule] = field(default_factory=list[AffinityRule])
    storages: list[AffinityRule] = field(default_factory=list[AffinityRule])


def affinity_rules(
    topology: Topology,
    affine: tuple[str, ...],
    anti: tuple[str, ...],
    log: FaultLog,
    *,
    placed: Collection[str],
    links: Collection[str],
    storages: Collection[str] = (),
    loose: Collection[AffinityScope],
) -> AffinityRules:
    """Affinity rules among what is `placed` (VDUs or VNFs), links and storages, groups expanded; of a rule
    that nobody keeps it is warned. What is placed is kept apart as a best effort in the scopes `loose`."""
    found = AffinityRules()
    kinds = (
        ("", placed, _OF_PLACED, found.placed),
        ("virtual links", links, _OF_LINKS, found.links),
        ("block storages", storages, _OF_STORAGES, found.storages),
    )
    for policy in topology.policies_of(*affine, *anti):
        scope = policy.property("scope")
        if scope is None or scope.string not in _SCOPES:
            if scope is not None:
                log.warn_at(
                    scope, f'{policy.name}: scope "{scope.string}" is not provided, the rule is ignored'
                )
            continue
        targets = tuple(dict.fromkeys(_expanded(policy, topology)))
        rule = AffinityRule(
            targets=targets,
            scope=AffinityScope(scope.string),
            is_anti=any(topology.types.derives("policy", policy.type, kind) for kind in anti),
            is_best_effort=_is_best_effort(policy),
        )
        names_any = False
        for words, members, scopes, rules in kinds:
            own = tuple(target for target in targets if target in members)
            names_any = names_any or bool(own)
            if not own:
                continue
            if rule.scope in scopes and (rule.is_anti or members is placed):
                is_loose = rule.is_best_effort and (members is not placed or _is_loose(rule, loose))
                rules.append(replace(rule, targets=own, is_best_effort=is_loose))
                if rule.is_best_effort and not is_loose:
                    log.warn_at(policy.tree, f"{policy.name}: kept strictly, not as a best effort")
                continue
            only = (
                f"{words} are only kept apart, by scope " if words else "the scope is of virtual links, not "
            )
            known = " or ".join(sorted(scopes)) if words else "of what is placed"
            log.warn_at(policy.tree, f"{policy.name}: ignored for {', '.join(own)}: {only}{known}")
        if not names_any:
            log.warn_at(policy.tree, f"{policy.name}: ignored, names nothing that is placed")
    return found


def _is_loose(rule: AffinityRule, loose: Collection[AffinityScope]) -> bool:
    return rule.is_anti and rule.scope in loose


def _is_best_effort(policy: Policy) -> bool:
    stated = policy.tree.get("metadata", BEST_EFFORT)
    return stated is not None and stated.string.lower() == "true"


def _expanded(policy: Policy, topology: Topology) -> Iterator[str]:
    for target in policy.targets:
        if target in topology.groups:
            yield from topology.groups[target].members
        else:
            yield target


def lifecycle_scripts(flavour_id: str, topology: Topology, images: Images) -> Iterator[str]:
    """Operations that name a script, as `Vnflcm.scale_start: Scripts/x.py`. Warned of, never run."""
    for node in topology.nodes.values():
        operations: dict[str, str] = {}
        scripts: dict[str, list[str]] = {}
        for interface, stated in _interfaces(node, topology):
            for operation, implementation in _implementations(stated):
                operations.setdefault(f"{interface}.{operation}", implementation)
        for operation, implementation in operations.items():
            shown = _script(node, implementation, images)
            scripts.setdefault(shown, []).append(operation)
            yield f"{operation}: {shown}"
        for shown, used_by in scripts.items():
            what = f"lifecycle script {shown} is never run (declared for {', '.join(used_by)})"
            images.log.warn_at(node.tree, f'flavour "{flavour_id}": {what}')


def _interfaces(node: NodeTemplate, topology: Topology) -> Iterator[tuple[str, Tree]]:
    stated = node.tree.get("interfaces")
    yield from stated.items.items() if stated else ()
    for statement in topology.types.lineage("node", node.type):
        yield from statement.interfaces.items.items() if statement.interfaces else ()


def _implementations(interface: Tree) -> Iterator[tuple[str, str]]:
    operations = dict(interface.items)
    nested = interface.get("operations")
    operations |= nested.items if nested else {}
    for name, stated in operations.items():
        if name in _NOT_OPERATIONS:
            continue
        named = stated if stated.is_scalar else stated.get("implementation")
        named = named.get("primary") or named.get("file") if named and named.is_map else named
        named = named.get("file") if named and named.is_map else named
        if named and named.string:
            yield name, named.string


def _script(node: NodeTemplate, implementation: str, images: Images) -> str:
    artifact = next((artifact for artifact in node.artifacts if artifact.name == implementation), None)
    if artifact is not None:
        path = locate(images.archive, artifact)
        return path if path else f"{artifact.file} (not in the archive)"
    path = inside(node.tree.file, implementation)
    return path if path is not None and path in images.archive else f"{implementation} (not in the archive)"


def _requested_capabilities(node: NodeTemplate) -> Iterator[str]:
    stated = node.capability("virtual_compute", "requested_additional_capabilities")
    for entry in stated.items.values() if stated else ():
        name = entry.get("requested_additional_capability_name")
        if name is not None:
            yield name.string


def _maintenance(node: NodeTemplate) -> dict[str, object]:
    """What its profile says of maintenance, under the name that it has there."""
    stated = node.property("vdu_profile", _MAINTENANCE)
    return {_MAINTENANCE: stated.plain()} if stated is not None else {}


def _remaining(node: NodeTemplate) -> dict[str, object]:
    """What the descriptor says beyond what we decide with: EPA, boot order, monitoring ..."""
    found: dict[str, object] = {
        key: value.plain() for key, value in node.properties.items() if key not in _READ_PROPERTIES
    }
    compute = node.capabilities.get("virtual_compute")
    if compute:
        found["virtual_compute"] = {key: value.plain() for key, value in compute.items()}
    return found


def _is_management(node: NodeTemplate) -> bool:
    """Whether the interface requirements say `management`: SOL001 has no property of its own for it."""
    stated = node.property("virtual_network_interface_requirements")
    for entry in stated.entries if stated else ():
        name, wish = entry.get("name"), entry.get("network_interface_requirements", "management")
        if (name and name.string == "management") or (wish and wish.string.lower() == "true"):
            return True
    return False


def _interface_requirements(node: NodeTemplate) -> dict[str, str]:
    found: dict[str, str] = {}
    stated = node.property("virtual_network_interface_requirements")
    for entry in stated.entries if stated else ():
        for path in (
            ("network_interface_requirements",),
            ("nic_io_requirements", "logical_node_requirements"),
        ):
            wishes = entry.get(*path)
            found |= {key: value.string for key, value in wishes.items.items()} if wishes else {}
    return found


def _document(text: str, file: str, limits: Limits) -> dict[str, object]:
    """A configuration document in JSON or YAML; empty when the text is for another, such as cloud-init."""
    if not text.strip() or text.startswith(("#cloud-config", "#!")):
        return {}
    try:
        return _plain_map(parse(text.encode(), file, limits, FaultLog()))
    except ArchiveRefused:
        return {}


def _plain_map(tree: Tree) -> dict[str, object]:
    return {key: value.plain() for key, value in tree.items.items()}


def _size(tree: Tree | None) -> float:
    return (scalar(tree.string, "size") or 0) if tree is not None else 0
