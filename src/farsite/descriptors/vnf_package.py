"""A VNF package: from a SOL004 archive to the VNFD with all its flavours and the files beside it.

Source: ETSI GS NFV-SOL 004; NFV-SOL 001, clause 6.11 (VNFD with several deployment flavours: one
top-level template, and one template per flavour that substitutes the VNF's node type).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from farsite.descriptors.archive import Archive
from farsite.descriptors.base_template import read_base_templates
from farsite.descriptors.csar import read_frame
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.flavour import read_flavour
from farsite.descriptors.property_check import PropertyCheck, is_function
from farsite.descriptors.service_template import ServiceTemplates, load
from farsite.descriptors.software_image import Images
from farsite.descriptors.statement import read_statement
from farsite.descriptors.topology import NodeTemplate, Topology, read_topology
from farsite.descriptors.yaml_tree import Tree
from farsite.model.catalogue import NOTHING_STATED, Statement
from farsite.model.ids import VnfdId
from farsite.model.package import Artifact
from farsite.model.vnfd import DeploymentFlavour, Vnfd

_IDENTITY = ("descriptor_id", "provider", "product_name", "software_version", "descriptor_version")
_READ = {*_IDENTITY, "vnfm_info", "flavour_id", "flavour_description"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VnfPackageContent:
    """What a VNF package holds. `vnfd_files` are the paths of the VNFD's files, the entry first."""

    vnfd: Vnfd
    artifacts: tuple[Artifact, ...]
    warnings: tuple[str, ...]
    vnfd_files: tuple[str, ...]
    statement: Statement = NOTHING_STATED


def read_vnf_package(archive: Archive, image_map: Mapping[str, str] | None = None) -> VnfPackageContent:
    """Read and check a whole VNF package.

    `image_map` names the VIM's image for an image name of the descriptor, which accepts an image whose file
    is declared and absent. Lifecycle scripts are listed in the flavours, never run.

    Raises:
        ArchiveRefused: with every fault found, each with file, line, what was found and what was expected.
    """
    log = FaultLog()
    frame = read_frame(archive, log)
    templates = load(archive, frame.entry, log)
    images = Images(archive=archive, image_map=image_map or {}, log=log)
    vnfd = _Reader(templates, images).read()
    if vnfd is not None:
        bases = read_base_templates(archive, vnfd.flavours, log)
        flavours = {
            name: replace(flavour, base_template=bases.get(name)) for name, flavour in vnfd.flavours.items()
        }
        vnfd = replace(vnfd, flavours=flavours)
    images.check_map(frame.entry)
    statement = read_statement(archive, log)
    described = {*templates.files, *frame.metadata}
    artifacts = tuple(_artifacts(archive, described, log))
    log.raise_if_any()
    assert vnfd is not None, "a package without faults has a VNFD"
    return VnfPackageContent(
        vnfd=vnfd,
        artifacts=artifacts,
        warnings=log.warnings,
        vnfd_files=tuple(templates.files),
        statement=statement,
    )


def _artifacts(archive: Archive, described: set[str], log: FaultLog) -> Iterator[Artifact]:
    for name in archive.names:
        if name in described:
            continue
        try:
            digest = archive.digest(name)
        except ArchiveRefused as refused:
            log.extend(refused)
            continue
        yield Artifact(
            path=name, size_bytes=archive.size(name), checksum_algorithm="sha-256", checksum=digest
        )


class _Reader:
    """Puts a VNFD together from its templates."""

    def __init__(self, templates: ServiceTemplates, images: Images) -> None:
        self.templates, self.images, self.log = templates, images, images.log
        self.types = templates.types

    def read(self) -> Vnfd | None:
        entry = read_topology(self.templates, self.templates.entry, {}, self.log)
        vnf = self._vnf(entry)
        values = (
            {key: value for key, value in vnf.properties.items() if not is_function(value)} if vnf else {}
        )
        flavours: dict[str, DeploymentFlavour] = {}
        first: NodeTemplate | None = vnf
        for file in self._flavour_files(entry):
            topology = read_topology(self.templates, file, values | self._substituted(file), self.log)
            if topology is None:
                continue
            own = self._vnf(topology)
            first = first or own
            self._read_flavour(topology, own, vnf, values, flavours)
        if not flavours:
            if not self.log.has_faults:
                self.log.fault(
                    self.templates.entry, None, "no deployment flavour", "a topology with a VNF and its VDUs"
                )
            return None
        return self._vnfd(first, entry, flavours)

    def _vnf(self, topology: Topology | None) -> NodeTemplate | None:
        nodes = topology.of_type("VNF") if topology else []
        if len(nodes) > 1:
            self.log.at(
                nodes[1].tree, f"{nodes[1].name}: a second VNF node", "one node of a type derived from VNF"
            )
        return nodes[0] if nodes else None

    def _flavour_files(self, entry: Topology | None) -> list[str]:
        """Files whose topology substitutes a VNF; failing these, the entry itself."""
        found: list[str] = []
        for file, root in self.templates.files.items():
            mapping = root.get("topology_template", "substitution_mappings")
            if mapping is None:
                continue
            stated = mapping.get("node_type")
            name = stated.string if stated else ""
            if self.types.derives("node", name, "VNF"):
                found.append(file)
                continue
            known = self.types.get("node", name) is not None
            self.log.at(
                stated or mapping,
                f'substitution of "{name}", which is {"not derived from VNF" if known else "unknown"}',
                "a node type derived from tosca.nodes.nfv.VNF"
                if known
                else self.log.nearest(name, self.types.names("node")) or "a known node type",
            )
        has_vdus = entry is not None and bool(entry.of_type("Vdu.Compute"))
        if entry is not None and entry.file not in found and (has_vdus or not found):
            found.append(entry.file)
        return found

    def _substituted(self, file: str) -> dict[str, Tree]:
        stated = self.templates.files[file].get("topology_template", "substitution_mappings", "properties")
        return {key: value for key, value in (stated.items if stated else {}).items() if value.is_scalar}

    def _read_flavour(
        self,
        topology: Topology,
        own: NodeTemplate | None,
        vnf: NodeTemplate | None,
        values: Mapping[str, Tree],
        flavours: dict[str, DeploymentFlavour],
    ) -> None:
        substituted = self._substituted(topology.file)
        node_type = topology.substitution.get("node_type") if topology.substitution else None
        if node_type is not None and substituted:
            PropertyCheck(self.types, self.templates.copies, self.log).check_properties(
                "node", node_type.string, substituted, node_type, "substitution_mappings", is_complete=False
            )
        if own is not None and vnf is not None:
            self._check_identity(own, values)
        stated = substituted.get("flavour_id") or (own.property("flavour_id") if own else None)
        if stated is None and vnf is not None:
            stated = vnf.property("flavour_id")
        if stated is None or not stated.string:
            self.log.fault(
                topology.file, topology.tree.line, "no flavour_id", "flavour_id in the substitution"
            )
            return
        if stated.string in flavours:
            self.log.at(stated, f'flavour "{stated.string}" again', "each flavour_id once")
            return
        described = own.property("flavour_description") if own else None
        flavours[stated.string] = read_flavour(
            stated.string, described.string if described else "", topology, self.images
        )

    def _check_identity(self, own: NodeTemplate, values: Mapping[str, Tree]) -> None:
        """A flavour's VNF node may not say it is of another VNF."""
        for key in _IDENTITY:
            stated = own.property(key) if own.tree.get("properties", key) else None
            if stated is not None and key in values and stated.string != values[key].string:
                self.log.at(
                    stated, f'{own.name}.{key}: "{stated.string[:100]}"', f'"{values[key].string[:100]}"'
                )

    def _vnfd(
        self, vnf: NodeTemplate | None, entry: Topology | None, flavours: dict[str, DeploymentFlavour]
    ) -> Vnfd | None:
        if vnf is None:
            at = entry.tree if entry else None
            self.log.fault(
                self.templates.entry, at.line if at else None, "no VNF node", "a node derived from VNF"
            )
            return None
        identity = {key: self._identity(vnf, key) for key in _IDENTITY}
        info = vnf.property("vnfm_info")
        root = self.templates.files[self.templates.entry]
        description = root.get("description")
        return Vnfd(
            id=VnfdId(identity["descriptor_id"]),
            provider=identity["provider"],
            product_name=identity["product_name"],
            software_version=identity["software_version"],
            version=identity["descriptor_version"],
            description=description.string if description else "",
            vnfm_info=tuple(entry.string for entry in info.entries) if info else (),
            flavours=flavours,
            default_flavour=self._default_flavour(vnf, flavours),
            type_name=vnf.type,
            properties={key: value.plain() for key, value in vnf.properties.items() if key not in _READ},
        )

    def _identity(self, vnf: NodeTemplate, key: str) -> str:
        found = vnf.property(key)
        if found is None or not found.string.strip():
            self.log.at(
                found or vnf.tree, f'{vnf.name}: no "{key}"', f"{key} on the node or as default of {vnf.type}"
            )
            return ""
        return found.string

    def _default_flavour(self, vnf: NodeTemplate, flavours: Mapping[str, DeploymentFlavour]) -> str:
        declared = self.types.properties("node", vnf.type).get("flavour_id")
        stated = vnf.property("flavour_id") or (declared.default if declared else None)
        return stated.string if stated is not None and stated.string in flavours else next(iter(flavours))
