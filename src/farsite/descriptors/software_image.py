"""Software images of a descriptor, and other files that node templates name: there, mapped, or refused.

Source: ETSI GS NFV-SOL 001, SwImageData and the artifact type SwImage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from farsite.descriptors.archive import Archive
from farsite.descriptors.csar import hash_by_length, hash_name
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.service_template import inside
from farsite.descriptors.topology import ArtifactDefinition, NodeTemplate, Topology
from farsite.descriptors.type_system import scalar
from farsite.descriptors.yaml_tree import Tree
from farsite.model.vnfd import SwImage

_REFERENCES = ("builtin:", "host:", "rootfs:")
GIB, MIB = 1024**3, 1024**2


@dataclass(slots=True, kw_only=True)
class Images:
    """Reads images of one package. `image_map` gives the VIM's image for an image name of the descriptor."""

    archive: Archive
    image_map: Mapping[str, str]
    log: FaultLog
    names: set[str] = field(default_factory=set[str])
    """Image names met so far."""

    def of(self, node: NodeTemplate, topology: Topology) -> SwImage | None:
        """The image that a VDU or a block storage starts from, None when it has none."""
        data = node.property("sw_image_data")
        artifact = self._artifact(node, topology)
        if data is None and artifact is None:
            return None
        stated = dict(artifact.properties) if artifact else {}
        stated |= data.items if data else {}
        name = _text(stated, "name") or (_file_name(artifact) if artifact else "")
        self.names.add(name)
        checksum = stated.get("checksum")
        path = self._path(node, name, artifact, checksum)
        return SwImage(
            name=name,
            version=_text(stated, "version"),
            reference=self._reference(name, artifact),
            artifact_path=path,
            checksum_algorithm=_checksum(checksum)[0],
            checksum=_checksum(checksum)[1],
            container_format=_text(stated, "container_format"),
            disk_format=_text(stated, "disk_format"),
            min_disk_gib=_size(stated, "min_disk", GIB),
            min_ram_mib=_size(stated, "min_ram", MIB),
            size_gib=_size(stated, "size", GIB),
            sha256=self._digest(path),
        )

    def check_other_artifacts(self, node: NodeTemplate, topology: Topology) -> None:
        """Every file that is neither an image nor a script must be in the archive."""
        for artifact in node.artifacts:
            is_special = any(
                topology.types.derives("artifact", artifact.type, kind)
                for kind in ("SwImage", "tosca.artifacts.Deployment.Image", "tosca.artifacts.Implementation")
            )
            if artifact.file and not is_special and locate(self.archive, artifact) is None:
                self.log.at(
                    artifact.tree,
                    f'{node.name}: artifact file "{artifact.file[:200]}" is declared and not in the archive',
                    "the file",
                )

    def check_map(self, entry: str) -> None:
        """Refuse a mapping for an image that the descriptor does not have: a typing error, most likely."""
        for name in self.image_map:
            if name not in self.names:
                known = ", ".join(f'"{image}"' for image in sorted(self.names)) or "none"
                self.log.fault(
                    entry, None, f'--image names "{name[:100]}"', f"an image of the VNFD ({known})"
                )

    def _artifact(self, node: NodeTemplate, topology: Topology) -> ArtifactDefinition | None:
        images = [
            artifact
            for artifact in node.artifacts
            if topology.types.derives("artifact", artifact.type, "tosca.artifacts.Deployment.Image")
        ]
        if len(images) > 1:
            self.log.warn_at(images[1].tree, f"{node.name}: several images, the first one is used")
        return images[0] if images else None

    def _reference(self, name: str, artifact: ArtifactDefinition | None) -> str:
        if name in self.image_map:
            return self.image_map[name]
        if artifact and artifact.file.startswith(_REFERENCES):
            return artifact.file
        return name

    def _path(
        self, node: NodeTemplate, name: str, artifact: ArtifactDefinition | None, checksum: Tree | None
    ) -> str:
        if artifact is None or not artifact.file or artifact.file.startswith(_REFERENCES):
            return ""
        path = locate(self.archive, artifact)
        if path is None:
            if name not in self.image_map:
                self.log.at(
                    artifact.tree,
                    f'{node.name}: image file "{artifact.file[:200]}" is declared and not in the archive',
                    f'the file, or an image that the VIM has: --image "{name}=VIM-IMAGE"',
                )
            return ""
        self._verify(node, path, checksum)
        return path

    def _digest(self, path: str) -> str:
        if not path:
            return ""
        try:
            return self.archive.digest(path)
        except ArchiveRefused as refused:
            self.log.extend(refused)
            return ""

    def _verify(self, node: NodeTemplate, path: str, checksum: Tree | None) -> None:
        algorithm, value = _checksum(checksum)
        if checksum is None or not value:
            return
        known = hash_name(algorithm) if algorithm else None
        if known is None:
            self.log.at(checksum, f"{node.name}: a checksum of unknown kind", "sha-224, 256, 384 or 512")
            return
        try:
            actual = self.archive.digest(path, known)
        except ArchiveRefused as refused:
            self.log.extend(refused)
            return
        if actual != value.lower():
            self.log.at(
                checksum,
                f'{node.name}: wrong checksum of "{path}": the file has {actual}',
                f"the declared {value[:128]}",
            )


def locate(archive: Archive, artifact: ArtifactDefinition) -> str | None:
    """Path of an artifact's file in the archive: relative to the file that names it, else to the root."""
    for base in (artifact.tree.file, ""):
        path = inside(base, artifact.file)
        if path is not None and path in archive:
            return path
    return None


def _checksum(stated: Tree | None) -> tuple[str, str]:
    """Algorithm and hash; version 2.5.1 states the hash alone, whose length tells the algorithm."""
    if stated is None:
        return "", ""
    if stated.is_scalar:
        return hash_by_length(stated.string) or "", stated.string
    return _text(stated.items, "algorithm"), _text(stated.items, "hash")


def _file_name(artifact: ArtifactDefinition) -> str:
    return artifact.file.rsplit("/", 1)[-1] or artifact.name


def _text(stated: Mapping[str, Tree], key: str) -> str:
    return stated[key].string if key in stated else ""


def _size(stated: Mapping[str, Tree], key: str, unit: int) -> float:
    return (scalar(_text(stated, key), "size") or 0) / unit
