"""What frames a descriptor in its archive: TOSCA.meta, the manifest, and the hashes that either declares.

Both layouts of SOL004 are read: with a `TOSCA-Metadata` directory, and without, where the only YAML file
at the root is the entry. Every declared hash is checked; signatures are named, never verified, in a warning.

Source: ETSI GS NFV-SOL 004, clauses 4.1 (structure), 4.3 (manifest) and 5 (security); OASIS TOSCA CSAR.
"""

import re
from dataclasses import dataclass

from farsite.descriptors.archive import ARCHIVE, Archive
from farsite.descriptors.faults import ArchiveRefused, FaultLog, refusal

TOSCA_META = "TOSCA-Metadata/TOSCA.meta"
_ENTRIES = {
    prefix + name
    for prefix in ("entry-", "etsi-entry-")
    for name in ("manifest", "change-log", "tests", "licenses", "certificate")
}
_YAML = (".yaml", ".yml")
_SIGNATURES = (".cms", ".sig", ".asc", ".p7s")
_ALGORITHMS = {"sha224": "sha224", "sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
_BY_LENGTH = {56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
_HEX = re.compile(r"[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where an archive says its parts are. `metadata` are the files that describe it, not its content."""

    entry: str
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    """A `Key: value` line; keys in lower case."""

    file: str
    line: int
    key: str
    value: str


@dataclass(slots=True)
class _Declared:
    """A file that a manifest or TOSCA.meta declares, with its hash when it has one."""

    source: _Line
    algorithm: _Line | None = None
    hash: _Line | None = None


def read_frame(archive: Archive, log: FaultLog) -> Frame:
    """Find the entry definitions and check everything the archive declares about its files.

    Wrong and missing files are noted in `log`.

    Raises:
        ArchiveRefused: no entry file can be told.
    """
    if archive.is_single_file:
        return Frame(entry=archive.names[0])
    if TOSCA_META in archive:
        return _with_metadata(archive, log)
    return _without_metadata(archive, log)


def hash_name(algorithm: str) -> str | None:
    """hashlib's name of a SOL004 hash algorithm such as `SHA-256`, None when it is not one of SOL004's."""
    return _ALGORITHMS.get(algorithm.lower().replace("-", "").replace("_", ""))


def hash_by_length(checksum: str) -> str | None:
    """The algorithm that a bare checksum must be of, by its length."""
    return _BY_LENGTH.get(len(checksum)) if _HEX.fullmatch(checksum) else None


def _with_metadata(archive: Archive, log: FaultLog) -> Frame:
    lines = _key_values(archive, TOSCA_META, log)
    named = {line.key: line for line in reversed(lines)}
    entry = named.get("entry-definitions")
    metadata = [TOSCA_META]
    for line in named.values():
        if line.key in _ENTRIES:
            metadata += _entry_file(archive, line, log)
    _verify(archive, _declared(lines, "name"), log)
    if entry is None or not entry.value:
        log.fault(TOSCA_META, None, "no Entry-Definitions", "Entry-Definitions: PATH of the VNFD or NSD")
        log.raise_if_any()
        raise AssertionError
    if entry.value not in archive:
        log.at(
            entry,
            f'Entry-Definitions names "{entry.value[:200]}", which is not in the archive',
            log.nearest(entry.value, [name for name in archive.names if name.endswith(_YAML)]),
        )
        log.raise_if_any()
    return Frame(entry=entry.value, metadata=tuple(metadata))


def _entry_file(archive: Archive, line: _Line, log: FaultLog) -> list[str]:
    """The file behind one of TOSCA.meta's entries; tests and licences may be directories."""
    if line.key.endswith("manifest") and line.value in archive:
        _read_manifest(archive, line.value, log)
        return [line.value]
    if line.value in archive:
        return [line.value]
    if any(name.startswith(line.value.rstrip("/") + "/") for name in archive.names):
        return []
    log.at(
        line,
        f'"{line.value[:200]}" is declared and not in the archive',
        log.nearest(line.value, archive.names),
    )
    return []


def _without_metadata(archive: Archive, log: FaultLog) -> Frame:
    roots = [name for name in archive.names if "/" not in name and name.endswith(_YAML)]
    if len(roots) == 1:
        manifest = roots[0].rsplit(".", 1)[0] + ".mf"
        if manifest in archive:
            _read_manifest(archive, manifest, log)
            return Frame(entry=roots[0], metadata=(manifest,))
        return Frame(entry=roots[0])
    below = next((name for name in archive.names if name.endswith("/" + TOSCA_META)), None)
    if below:
        raise refusal(below, None, f"{TOSCA_META} below a directory", "the directory's content at the root")
    if any(name.endswith((".csar", ".zip")) and "/" not in name for name in archive.names):
        raise refusal(ARCHIVE, None, "an archive within the archive", "the inner package itself")
    found = (
        f"{len(roots)} YAML files at the root"
        if roots
        else f"neither {TOSCA_META} nor a YAML file at the root"
    )
    raise refusal(ARCHIVE, None, found, f"{TOSCA_META}, or exactly one YAML file at the root")


def _read_manifest(archive: Archive, path: str, log: FaultLog) -> None:
    _verify(archive, _declared(_key_values(archive, path, log), "source"), log)
    for name in archive.names:
        if name.endswith(_SIGNATURES):
            log.warn(name, None, "signature not verified")


def _key_values(archive: Archive, path: str, log: FaultLog) -> list[_Line]:
    try:
        text = archive.read(path).decode("utf-8-sig")
    except ArchiveRefused as refused:
        log.extend(refused)
        return []
    except UnicodeDecodeError:
        log.fault(path, None, "not UTF-8", "UTF-8 text")
        return []
    found: list[_Line] = []
    is_signature = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("-----"):
            if line.startswith("-----BEGIN"):
                log.warn(path, number, "signature not verified")
            is_signature = line.startswith("-----BEGIN")
            continue
        key, colon, value = line.strip().partition(":")
        if colon and not is_signature:
            found.append(_Line(path, number, key.strip().lower(), value.strip()))
    return found


def _declared(lines: list[_Line], opening: str) -> list[_Declared]:
    """Group lines into declared files; each group opens with `Source:` (manifest) or `Name:` (TOSCA.meta)."""
    found: list[_Declared] = []
    for line in lines:
        if line.key == opening and line.value:
            found.append(_Declared(line))
        elif found and line.key == "algorithm":
            found[-1].algorithm = line
        elif found and line.key == "hash":
            found[-1].hash = line
    return found


def _verify(archive: Archive, declared: list[_Declared], log: FaultLog) -> None:
    for file in declared:
        name = file.source.value.removeprefix("./")
        if "://" in name:
            log.warn_at(file.source, f'"{name[:200]}" lies outside the archive and is not checked')
        elif name not in archive:
            near = log.nearest(name, archive.names)
            log.at(file.source, f'"{name[:200]}" is declared and not in the archive', near or "the file")
        elif file.hash is not None:
            _verify_hash(archive, name, file.algorithm, file.hash, log)


def _verify_hash(archive: Archive, name: str, algorithm: _Line | None, stated: _Line, log: FaultLog) -> None:
    known = hash_name(algorithm.value) if algorithm else hash_by_length(stated.value)
    if known is None:
        log.at(
            algorithm or stated,
            f'hash algorithm "{algorithm.value[:40] if algorithm else ""}" of "{name}"',
            "SHA-224, SHA-256, SHA-384 or SHA-512",
        )
        return
    try:
        actual = archive.digest(name, known)
    except ArchiveRefused as refused:
        log.extend(refused)
        return
    if actual != stated.value.lower():
        log.at(stated, f'wrong hash of "{name}": the file has {actual}', f"the declared {stated.value[:128]}")
