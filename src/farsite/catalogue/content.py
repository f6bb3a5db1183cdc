"""Single files out of an archive at rest: the descriptor's, and artefacts.

An archive that was onboarded is opened with the same suspicion again: every bound holds for every reading.
"""

from pathlib import Path
from typing import Protocol

from farsite.descriptors.archive import Archive, open_archive
from farsite.descriptors.csar import read_frame
from farsite.descriptors.faults import ArchiveRefused, FaultLog
from farsite.descriptors.service_template import load
from farsite.model.errors import NotFound


def vnfd_files(archive_path: Path) -> dict[str, bytes]:
    """The files of the descriptor by their path: what TOSCA.meta names, the entry, and all it imports.

    Source: ETSI GS NFV-SOL 005 clause 9.4.4.3.2 (VNFD in an individual VNF package).
    """
    with archive_path.open("rb") as file:
        archive = open_archive(file)
        log = FaultLog()
        frame = read_frame(archive, log)
        templates = load(archive, frame.entry, log)
        paths = dict.fromkeys([*frame.metadata, *templates.files])
        return {path: archive.read(path) for path in paths if path in archive}


class Writes(Protocol):
    """What bytes can be written to."""

    def write(self, chunk: bytes, /) -> int: ...


def read_artifact(archive_path: Path, path: str, into: Writes) -> None:
    """Write one file of the archive.

    Raises:
        NotFound: the archive has no such file.
    """
    with archive_path.open("rb") as file:
        archive = open_archive(file)
        _check_has(archive, path)
        try:
            for chunk in archive.chunks(path):
                into.write(chunk)
        except ArchiveRefused as refused:
            raise NotFound(f'"{path[:200]}" cannot be read: {refused.faults[0]}.') from refused


def _check_has(archive: Archive, path: str) -> None:
    if path not in archive:
        near = ", ".join(sorted(archive.names)[:5])
        raise NotFound(f'The package has no file "{path[:200]}". It has: {near} ...')
