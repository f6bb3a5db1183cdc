"""An NSD archive: from a SOL007 archive to the NSD with all its flavours.

What an NSD says of VNFs is taken as it stands: whether a VNFD is onboarded, and has that flavour, is for the
catalogue to say.

Source: ETSI GS NFV-SOL 007 (archive); NFV-SOL 001, clauses 7.8 (NSD node types) and 7.10 (policies).
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from farsite.descriptors.archive import Archive
from farsite.descriptors.csar import read_frame
from farsite.descriptors.faults import FaultLog
from farsite.descriptors.flavour import affinity_rules, one, virtual_link
from farsite.descriptors.scaling import integer
from farsite.descriptors.service_template import ServiceTemplates, load
from farsite.descriptors.statement import read_statement
from farsite.descriptors.topology import NodeTemplate, Policy, RequirementAssignment, Topology, read_topology
from farsite.descriptors.yaml_tree import Tree
from farsite.model.catalogue import NOTHING_STATED, Statement
from farsite.model.ids import NsdId, VnfdId
from farsite.model.nsd import Classifier, ForwardingPath, Nsd, NsFlavour, PathHop, Sap, VnfProfile
from farsite.model.vnfd import AffinityScope

_LOOSE_IN_A_SERVICE = frozenset({AffinityScope.NFVI_POP, AffinityScope.VIM})
_UNREAD_CRITERIA = (
    "ether_destination_address",
    "ether_source_address",
    "vlan_tag",
    "dscp",
    "source_port_range",
    "extended_criteria",
)
_PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
_READ = {"descriptor_id", "flavour_id", "vnf_profile"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NsdContent:
    """What an NSD archive holds. `nsd_files` are the paths of the NSD's files, the entry first."""

    nsd: Nsd
    warnings: tuple[str, ...]
    nsd_files: tuple[str, ...]
    statement: Statement = NOTHING_STATED


def read_nsd_archive(archive: Archive) -> NsdContent:
    """Read and check a whole NSD archive.

    Raises:
        ArchiveRefused: with every fault found, each with file, line, what was found and what was expected.
    """
    log = FaultLog()
    frame = read_frame(archive, log)
    templates = load(archive, frame.entry, log)
    nsd = _read_nsd(templates, log)
    statement = read_statement(archive, log)
    log.raise_if_any()
    assert nsd is not None, "an archive without faults has an NSD"
    return NsdContent(nsd=nsd, warnings=log.warnings, nsd_files=tuple(templates.files), statement=statement)


def _read_nsd(templates: ServiceTemplates, log: FaultLog) -> Nsd | None:
    flavours: dict[str, NsFlavour] = {}
    described: NodeTemplate | None = None
    for file in _flavour_files(templates):
        mapping = templates.files[file].get("topology_template", "substitution_mappings", "properties")
        values = {**(described.properties if described else {}), **(mapping.items if mapping else {})}
        topology = read_topology(templates, file, values, log)
        if topology is None:
            continue
        services = topology.of_type("NS")
        for nested in services[1:]:
            log.at(nested.tree, f"{nested.name}: nested services are not provided", "one NS node")
        service = services[0] if services else None
        described = described or service
        stated = mapping.get("flavour_id") if mapping else None
        stated = stated or (service.property("flavour_id") if service else None)
        name = stated.string if stated else "default"
        if name in flavours:
            log.at(stated or topology.tree, f'flavour "{name}" again', "each flavour_id once")
        flavours[name] = _Reader(topology, log).read(name)
    if described is None:
        if not log.has_faults:
            log.fault(templates.entry, None, "no NS node", "a node of a type derived from tosca.nodes.nfv.NS")
        return None
    return _nsd(templates, described, flavours, log)


def _flavour_files(templates: ServiceTemplates) -> list[str]:
    """Files whose topology substitutes an NS; failing these, the entry itself."""
    found: list[str] = []
    for file, root in templates.files.items():
        stated = root.get("topology_template", "substitution_mappings", "node_type")
        if stated is not None and templates.types.derives("node", stated.string, "NS"):
            found.append(file)
    return found or [templates.entry]


def _nsd(
    templates: ServiceTemplates, service: NodeTemplate, flavours: Mapping[str, NsFlavour], log: FaultLog
) -> Nsd:
    identity: dict[str, str] = {}
    for key in ("descriptor_id", "name", "designer", "version"):
        found = service.property(key)
        identity[key] = found.string if found else ""
        # The property check has spoken when the type demands it; an empty text passes there.
        if found is not None and not found.string.strip():
            log.at(found, f'{service.name}: empty "{key}"', f"{key} of the NSD")
    description = templates.files[templates.entry].get("description")
    stated = service.property("flavour_id")
    return Nsd(
        id=NsdId(identity["descriptor_id"]),
        name=identity["name"],
        designer=identity["designer"],
        version=identity["version"],
        description=description.string if description else "",
        flavours=flavours,
        default_flavour=stated.string if stated and stated.string in flavours else next(iter(flavours)),
    )


class _Reader:
    """Reads one NS flavour."""

    def __init__(self, topology: Topology, log: FaultLog) -> None:
        self.topology, self.log = topology, log

    def read(self, flavour_id: str) -> NsFlavour:
        for pnf in self.topology.of_type("PNF"):
            self.log.at(pnf.tree, f"{pnf.name}: physical functions are not provided", "VNFs")
        for policy in self.topology.policies_of("NsScalingAspects"):
            self.log.warn_at(policy.tree, f"{policy.name}: scaling aspects of services are not provided")
        levels, default_level = self._levels()
        nodes = self.topology.of_type("VNF")
        if not nodes and not self.log.has_faults:
            self.log.at(self.topology.tree, "no VNF", "nodes of types derived from tosca.nodes.nfv.VNF")
        profiles = {
            node.name: self._profile(node, levels.get(default_level, {}).get(node.name)) for node in nodes
        }
        rules = affinity_rules(
            self.topology,
            ("NsAffinityRule", "AffinityRule"),
            ("NsAntiAffinityRule", "AntiAffinityRule"),
            self.log,
            placed=profiles,
            links=[node.name for node in self.topology.of_type("NsVirtualLink")],
            loose=_LOOSE_IN_A_SERVICE,
        )
        return NsFlavour(
            id=flavour_id,
            profiles=profiles,
            virtual_links={
                node.name: virtual_link(node, self.log) for node in self.topology.of_type("NsVirtualLink")
            },
            paths=tuple(path for node in self.topology.of_type("NFP") if (path := self._path(node))),
            affinity=tuple(rules.placed),
            links_apart=tuple(rules.links),
            saps=tuple(self._saps()),
            levels=levels,
            default_level=default_level,
        )

    def _profile(self, node: NodeTemplate, instances: int | None) -> VnfProfile:
        vnfd, flavour = node.property("descriptor_id"), node.property("flavour_id")
        if vnfd is None or not vnfd.string:
            self.log.at(vnfd or node.tree, f"{node.name}: no descriptor_id", "the id of the VNFD")
        level = node.property("vnf_profile", "instantiation_level")
        least = integer(node.property("vnf_profile", "min_number_of_instances"))
        if instances is None:
            instances = 1 if least is None else least
        return VnfProfile(
            id=node.name,
            vnfd_id=VnfdId(vnfd.string if vnfd else ""),
            flavour_id=flavour.string if flavour else "",
            level_id=level.string if level else "",
            instances=instances,
            links=self._links(node),
            properties={key: value.plain() for key, value in node.properties.items() if key not in _READ},
        )

    def _links(self, node: NodeTemplate) -> dict[str, str]:
        found: dict[str, str] = {}
        for assignment in node.requirements:
            if not self.topology.is_node(assignment.target, "NsVirtualLink"):
                if assignment.target in self.topology.nodes:
                    what = f"{node.name}.{assignment.name}: {assignment.target} is no virtual link"
                    self.log.at(assignment.tree, what, "a node of type NsVirtualLink")
                continue
            if assignment.name in found:
                self.log.at(assignment.tree, f"{node.name}: {assignment.name} twice", "one virtual link")
            found[assignment.name] = assignment.target
        return found

    def _saps(self) -> list[Sap]:
        found: list[Sap] = []
        for node in self.topology.of_type("Sap"):
            link = one(node, "internal_virtual_link", self.log)
            if link is None:
                self.log.at(
                    node.tree, f"{node.name}: no internal_virtual_link", "a virtual link of the service"
                )
            else:
                found.append(Sap(id=node.name, virtual_link=link.target))
        return found

    def _levels(self) -> tuple[dict[str, Mapping[str, int]], str]:
        levels: dict[str, dict[str, int]] = {}
        default = ""
        for policy in self.topology.policies_of("NsInstantiationLevels"):
            stated = policy.property("ns_levels")
            levels |= {name: {} for name in (stated.items if stated else {})}
            named = policy.property("default_level")
            if named is not None:
                default = named.string
                if default not in levels:
                    near = self.log.nearest(default, list(levels)) or "a level of the policy"
                    self.log.at(named, f'{policy.name}: default_level "{default}" is no level', near)
        for policy in self.topology.policies_of("VnfToInstantiationLevelMapping"):
            stated = policy.property("number_of_instances")
            for name, number in stated.items.items() if stated else ():
                if name not in levels:
                    near = (
                        self.log.nearest(name, list(levels)) or "a level of an NsInstantiationLevels policy"
                    )
                    self.log.at(number, f'{policy.name}: unknown level "{name}"', near)
                    continue
                self._count(policy, levels[name], number)
        if not default and len(levels) == 1:
            (default,) = levels
        elif not default and levels:
            at = self.topology.policies_of("NsInstantiationLevels")[0].tree
            self.log.warn_at(at, "several levels and no default_level: without a level the minima hold")
        return dict(levels), default

    def _count(self, policy: Policy, level: dict[str, int], number: Tree) -> None:
        count = integer(number)
        for target in policy.targets:
            node = self.topology.nodes.get(target)
            if node is None or count is None:
                continue
            least = integer(node.property("vnf_profile", "min_number_of_instances")) or 0
            most = integer(node.property("vnf_profile", "max_number_of_instances"))
            if count < least or (most is not None and count > most):
                self.log.at(
                    number,
                    f"{policy.name}: {count} instances of {target}",
                    f"{least} to {most}, as its vnf_profile says",
                )
            level[target] = count

    def _path(self, node: NodeTemplate) -> ForwardingPath | None:
        """A path: its first position is the source, its last the target, those between are hops."""
        ends = [self._position(entry) for entry in node.requirements if entry.name == "nfp_position"]
        if len(ends) < 2:
            self.log.at(node.tree, f"{node.name}: {len(ends)} positions", "at least a source and a target")
            return None
        positions = [end for end in ends if end is not None]
        if len(positions) < len(ends):
            return None
        source, *hops, target = positions
        return ForwardingPath(
            id=node.name,
            source_profile=source.profile,
            source_cp=source.egress_cp,
            target_profile=target.profile,
            target_cp=target.ingress_cp,
            hops=tuple(hops),
            classifier=self._classifier(node),
            fail_open=any(self._fails_open(entry.target) for entry in node.requirements),
        )

    def _fails_open(self, position: str) -> bool:
        """Our own parameter of a position: `fail_open: true` bypasses it while no instance lives."""
        node = self.topology.nodes.get(position)
        stated = node.property("forwarding_behaviour_input_parameters", "fail_open") if node else None
        return stated is not None and stated.string.lower() == "true"

    def _position(self, at: RequirementAssignment) -> PathHop | None:
        position = self.topology.nodes.get(at.target)
        elements = [entry for entry in position.requirements if entry.name == "element"] if position else []
        if position is None or not self.topology.is_node(position.name, "NfpPosition"):
            return None
        if len(elements) != 1:
            self.log.at(position.tree, f"{position.name}: {len(elements)} elements", "one element")
            return None
        element = self.topology.nodes.get(elements[0].target)
        if element is None or not self.topology.is_node(element.name, "NfpPositionElement"):
            return None
        points = [self._point(entry) for entry in element.requirements if entry.name == "profile_element"]
        known = [point for point in points if point is not None]
        if not 1 <= len(points) <= 2:
            self.log.at(element.tree, f"{element.name}: {len(points)} profile elements", "one or two")
        if len(known) != len(points) or not known:
            return None
        if known[0][0] != known[-1][0]:
            self.log.at(element.tree, f"{element.name}: of {known[0][0]} and {known[-1][0]}", "one VNF")
        return PathHop(profile=known[0][0], ingress_cp=known[0][1], egress_cp=known[-1][1])

    def _point(self, at: RequirementAssignment) -> tuple[str, str] | None:
        """VNF and its external connection point, named by the forwarding capability or a Forwarding node."""
        if self.topology.is_node(at.target, "VNF"):
            return self._vnf_point(at, self.topology.nodes[at.target])
        if self.topology.is_node(at.target, "Sap"):
            self.log.at(at.tree, f"{at.target}: paths from or to a Sap are not provided", "a VNF")
        elif self.topology.is_node(at.target, "Forwarding"):
            further = one(self.topology.nodes[at.target], "virtual_link", self.log)
            if further is not None and self.topology.is_node(further.target, "VNF"):
                return self._vnf_point(further, self.topology.nodes[further.target])
            self.log.at(at.tree, f"{at.target}: leads to no VNF", "a VNF and its connection point")
        elif at.target in self.topology.nodes:
            self.log.at(at.tree, f"{at.target} of type {self.topology.nodes[at.target].type}", "a VNF")
        return None

    def _vnf_point(self, at: RequirementAssignment, vnf: NodeTemplate) -> tuple[str, str] | None:
        declared = {
            name
            for name, kind in self.topology.types.capabilities(vnf.type).items()
            if self.topology.types.derives("capability", kind, "Forwarding")
        }
        if at.capability in declared or (at.capability and not declared):
            return vnf.name, at.capability
        links = [entry.name for entry in vnf.requirements]
        only = sorted(declared) or links
        if not at.capability and len(only) == 1:
            return vnf.name, only[0]
        known = sorted(declared | set(links))
        found = f'{vnf.name}: connection point "{at.capability}"' if at.capability else f"{vnf.name} alone"
        self.log.at(
            at.tree, found, self.log.nearest(at.capability, known) or "a connection point by its capability"
        )
        return None

    def _classifier(self, path: NodeTemplate) -> Classifier:
        rules = [rule for rule in self.topology.policies_of("NfpRule") if path.name in rule.targets]
        if len(rules) > 1:
            self.log.at(rules[1].tree, f"{rules[1].name}: a second rule of {path.name}", "one rule per path")
        if not rules:
            return Classifier()
        rule = rules[0]
        for name in _UNREAD_CRITERIA:
            if name in rule.properties:
                # A criterion left out would lead other people's traffic into the chain.
                self.log.at(rule.properties[name], f"{rule.name}: {name} is not provided", "other criteria")
        ether, protocol = rule.property("ether_type"), rule.property("protocol")
        if protocol is not None and protocol.string.lower() not in _PROTOCOLS:
            self.log.at(protocol, f'{rule.name}: protocol "{protocol.string[:40]}"', ", ".join(_PROTOCOLS))
        ports = rule.property("destination_port_range")
        bounds = [integer(bound) for bound in ports.entries] if ports else [None, None]
        if ports is not None and (None in bounds or len(bounds) != 2 or (bounds[0] or 0) > (bounds[1] or 0)):
            self.log.at(ports, f"{rule.name}: {ports.plain()}", "[first port, last port]")
            bounds = [None, None]
        return Classifier(
            ether_types=(ether.string,) if ether else ("ipv4", "ipv6"),
            protocol=protocol.string.lower() if protocol else "",
            source_prefix=self._prefix(rule, "source_ip_address_prefix"),
            destination_prefix=self._prefix(rule, "destination_ip_address_prefix"),
            destination_port_first=bounds[0],
            destination_port_last=bounds[1],
        )

    def _prefix(self, rule: Policy, name: str) -> str:
        stated = rule.property(name)
        if stated is None:
            return ""
        try:
            return str(ipaddress.ip_network(stated.string, strict=False))
        except ValueError:
            self.log.at(stated, f'{rule.name}: {name} "{stated.string[:60]}"', "a network such as 10.0.0.0/8")
            return ""
