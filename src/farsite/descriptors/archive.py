"""A zip archive from a stranger: opened with suspicion, read lazily and within bounds.

`zipfile` reads the whole central directory into objects before one can object, and believes what headers
say about sizes. So the directory is counted first, names and types are judged before anything is read,
and sizes are measured while unpacking. Nothing is ever unpacked to a path.

Source: ETSI GS NFV-SOL 004 (VNF and NSD archives are zip files); OASIS TOSCA CSAR.
"""

import hashlib
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from farsite.descriptors.faults import FaultLog, refusal

ARCHIVE = "archive"
"""Name under which faults of the archive as a whole are reported."""

_CHUNK = 256 * 1024
_MIB = 1024 * 1024
_END_SIGNATURE, _END64_SIGNATURE, _LOCATOR64_SIGNATURE = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY_SIGNATURE = b"PK\x01\x02"
_ENTRY_HEADER_BYTES = 46
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much we take from an archive. Sizes are bytes, unpacked unless said otherwise."""

    entries: int = 10_000
    total_size: int = 16 * 1024 * _MIB
    yaml_size: int = 4 * _MIB
    """Per YAML, metadata or manifest file."""
    ratio: int = 400
    """Unpacked to packed size of one entry; judged beyond the first MiB, where small files end."""
    path_depth: int = 20
    path_length: int = 512
    import_depth: int = 16
    imports: int = 500
    """Files of one descriptor."""
    yaml_nodes: int = 200_000
    """Per file, aliases counted as often as they are used."""
    yaml_depth: int = 64
    yaml_aliases: int = 1_000


@dataclass(frozen=True, slots=True)
class _End:
    """What the end-of-central-directory record says, and where the directory must start by it."""

    entries: int
    size: int
    offset: int
    start: int


class Archive:
    """An opened archive, or a single descriptor file that stands for one.

    `names` are the files (no directories), in the archive's order. Reading is not thread-safe.
    """

    def __init__(
        self, limits: Limits, *, members: dict[str, zipfile.ZipInfo], source: zipfile.ZipFile | bytes
    ) -> None:
        self.limits = limits
        self._members = members
        self._source = source
        self._unpacked: dict[str, int] = {}
        self._total = 0
        self._digests: dict[tuple[str, str], str] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    @property
    def is_single_file(self) -> bool:
        """Whether a bare descriptor was given instead of a zip archive."""
        return isinstance(self._source, bytes)

    def __contains__(self, path: str) -> bool:
        return path in self._members

    def size(self, path: str) -> int:
        """Unpacked size in bytes: measured when the file was read before, else as the archive states it."""
        return self._unpacked.get(path, self._members[path].file_size)

    def read(self, path: str, max_size: int | None = None) -> bytes:
        """The whole file, at most `max_size` bytes (default: the limit for YAML files).

        Raises:
            ArchiveRefused: larger than allowed, damaged, or a zip bomb.
        """
        allowed = self.limits.yaml_size if max_size is None else max_size
        data = bytearray()
        for chunk in self.chunks(path):
            data += chunk
            if len(data) > allowed:
                raise refusal(path, None, f"more than {allowed} bytes", f"a file of at most {allowed} bytes")
        return bytes(data)

    def digest(self, path: str, algorithm: str = "sha256") -> str:
        """Hash of the unpacked file as lower-case hex. `algorithm` is hashlib's name for it.

        Raises:
            ArchiveRefused: damaged, or a zip bomb.
        """
        if (path, algorithm) not in self._digests:
            digest = hashlib.new(algorithm)
            for chunk in self.chunks(path):
                digest.update(chunk)
            self._digests[path, algorithm] = digest.hexdigest()
        return self._digests[path, algorithm]

    def chunks(self, path: str) -> Iterator[bytes]:
        """The file piece by piece, measured against the limits and the archive's own checksum.

        Raises:
            ArchiveRefused: damaged, or a zip bomb.
        """
        if isinstance(self._source, bytes):
            self._unpacked[path] = len(self._source)
            yield self._source
            return
        member = self._members[path]
        elsewhere = self._total - self._unpacked.get(path, 0)
        unpacked = 0
        try:
            with self._source.open(member) as stream:
                while chunk := stream.read(_CHUNK):
                    unpacked += len(chunk)
                    self._judge(member, unpacked, elsewhere)
                    yield chunk
        except _BROKEN as error:
            raise refusal(path, None, f"cannot be unpacked: {error}", "an undamaged file") from error
        self._unpacked[path] = unpacked
        self._total = elsewhere + unpacked

    def _judge(self, member: zipfile.ZipInfo, unpacked: int, elsewhere: int) -> None:
        if unpacked > _MIB and unpacked > member.compress_size * self.limits.ratio:
            raise refusal(
                member.filename,
                None,
                f"unpacks to more than {self.limits.ratio} times its packed size (a zip bomb)",
                f"a compression ratio of at most {self.limits.ratio}",
            )
        if unpacked + elsewhere > self.limits.total_size:
            raise refusal(
                ARCHIVE,
                None,
                f"unpacks to more than {self.limits.total_size} bytes",
                f"at most {self.limits.total_size} bytes in all",
            )


def open_archive(file: BinaryIO, limits: Limits | None = None) -> Archive:
    """Open a VNF package or NSD archive; plain YAML instead of a zip is taken as a single descriptor.

    The file must be seekable and stay open as long as the archive is used. Only the directory is read here.

    Raises:
        ArchiveRefused: not a zip, damaged, or with entries no honest package has.
    """
    limits = limits or Limits()
    file.seek(0)
    start = file.read(4)
    length = file.seek(0, 2)
    if not start.startswith(b"PK") and _could_be_yaml(start):
        return _single_descriptor(file, length, limits)
    end = _end_of_directory(file, length)
    if end.entries > limits.entries:
        raise refusal(ARCHIVE, None, f"{end.entries} entries", f"at most {limits.entries} entries")
    _count_entries(file, end, limits)
    try:
        source = zipfile.ZipFile(file)
    except _BROKEN as error:
        raise refusal(ARCHIVE, None, f"damaged zip file: {error}", "an undamaged zip archive") from error
    return Archive(limits, members=_accepted(source.infolist(), limits), source=source)


def _could_be_yaml(start: bytes) -> bool:
    return bool(start) and all(byte in b"\t\n\r" or 0x20 <= byte < 0x7F or byte >= 0xC2 for byte in start)


def _single_descriptor(file: BinaryIO, length: int, limits: Limits) -> Archive:
    if length > limits.yaml_size:
        raise refusal(
            ARCHIVE,
            None,
            "not a zip file",
            f"a zip archive, or one YAML file of up to {limits.yaml_size} bytes",
        )
    file.seek(0)
    data = file.read(limits.yaml_size + 1)
    # Every template opens with its version; without it the user meant an archive and sent something else.
    if b"tosca_definitions_version" not in data:
        raise refusal(ARCHIVE, None, "neither a zip file nor a TOSCA template", "a SOL004 zip archive")
    info = zipfile.ZipInfo("descriptor.yaml")
    info.file_size = len(data)
    return Archive(limits, members={info.filename: info}, source=data)


def _end_of_directory(file: BinaryIO, length: int) -> _End:
    window = min(length, 65_557)
    file.seek(length - window)
    tail = file.read(window)
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < 22:
        raise refusal(ARCHIVE, None, "not a zip file, or cut short", "a complete zip archive")
    disk, directory_disk, _, entries, size, offset = struct.unpack("<HHHHII", tail[at + 4 : at + 20])
    if disk or directory_disk not in (0, 0xFFFF):
        raise refusal(ARCHIVE, None, "one part of a split zip archive", "a zip archive in one file")
    end_at = length - window + at
    if entries == 0xFFFF or 0xFFFFFFFF in (size, offset):
        return _end64(file, end_at) or _End(entries, size, offset, end_at - size)
    return _End(entries, size, offset, end_at - size)


def _end64(file: BinaryIO, end_at: int) -> _End | None:
    if end_at < 20:
        return None
    file.seek(end_at - 20)
    locator = file.read(20)
    if not locator.startswith(_LOCATOR64_SIGNATURE):
        return None
    (record_at,) = struct.unpack("<Q", locator[8:16])
    if record_at > end_at:
        raise refusal(ARCHIVE, None, "damaged zip file: no zip64 directory", "an undamaged zip archive")
    file.seek(record_at)
    record = file.read(56)
    if len(record) < 56 or not record.startswith(_END64_SIGNATURE):
        raise refusal(ARCHIVE, None, "damaged zip file: no zip64 directory", "an undamaged zip archive")
    entries, size, offset = struct.unpack("<QQQ", record[32:56])
    return _End(entries, size, offset, record_at - size)


def _count_entries(file: BinaryIO, end: _End, limits: Limits) -> None:
    """Count the directory's headers before `zipfile` makes objects of them: the stated count may lie."""
    allowed_bytes = limits.entries * (_ENTRY_HEADER_BYTES + limits.path_length + 256)
    if end.size > allowed_bytes:
        raise refusal(ARCHIVE, None, f"a directory of {end.size} bytes", f"at most {limits.entries} entries")
    # `zipfile` finds the directory from its end; a package whose own offset disagrees hides something.
    if end.start < 0 or end.start != end.offset:
        raise refusal(
            ARCHIVE, None, "data before the zip archive, or a damaged directory", "a plain zip archive"
        )
    file.seek(end.start)
    directory = file.read(end.size)
    counted, at = 0, 0
    while directory.startswith(_ENTRY_SIGNATURE, at) and at + _ENTRY_HEADER_BYTES <= len(directory):
        name, extra, comment = struct.unpack_from("<HHH", directory, at + 28)
        at += _ENTRY_HEADER_BYTES + name + extra + comment
        counted += 1
        if counted > limits.entries:
            raise refusal(
                ARCHIVE, None, f"more than {limits.entries} entries", f"at most {limits.entries} entries"
            )


def _accepted(entries: list[zipfile.ZipInfo], limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """The files by name, once every entry has been judged.

    Raises:
        ArchiveRefused: with a fault for each entry that is not acceptable.
    """
    log = FaultLog()
    seen: dict[str, str] = {}
    directories: set[str] = set()
    members: dict[str, zipfile.ZipInfo] = {}
    stated = 0
    for entry in entries:
        name = entry.orig_filename
        shown = name.encode("unicode_escape").decode()[:200]
        problem = _name_problem(name, limits) or _kind_problem(entry)
        if problem:
            log.fault(shown, None, *problem)
            continue
        folded = _folded(name.rstrip("/"))
        if folded in seen and not (entry.is_dir() and seen[folded].endswith("/")):
            log.fault(shown, None, f'same name as "{seen[folded]}"', "names that differ, also in lower case")
            continue
        seen[folded] = name
        if entry.is_dir():
            directories.add(folded)
            continue
        directories.update(_parents(folded))
        members[name] = entry
        stated += entry.file_size
    for name in members:
        if _folded(name) in directories:
            log.fault(name, None, "both a file and a directory", "one of the two")
    if stated > limits.total_size:
        log.fault(
            ARCHIVE, None, f"states {stated} bytes unpacked", f"at most {limits.total_size} bytes in all"
        )
    if not members and not log.has_faults:
        log.fault(ARCHIVE, None, "no files", "a SOL004 archive")
    log.raise_if_any()
    return members


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")[:-1]
    return ("/".join(parts[: count + 1]) for count in range(len(parts)))


def _name_problem(name: str, limits: Limits) -> tuple[str, str] | None:
    parts = name.rstrip("/").split("/")
    if "\0" in name or any(ord(character) < 0x20 or ord(character) == 0x7F for character in name):
        return "a control character in the name", "a printable name"
    if "\\" in name:
        return "a backslash in the name", "forward slashes"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "an absolute path", "a path inside the archive"
    if ".." in parts:
        return 'a path with ".."', "a path inside the archive"
    if "" in parts or "." in parts:
        return "an empty part in the path", "a plain path"
    if len(name) > limits.path_length:
        return f"a path of {len(name)} characters", f"at most {limits.path_length}"
    if len(parts) > limits.path_depth:
        return f"a path of {len(parts)} levels", f"at most {limits.path_depth}"
    return None


def _kind_problem(entry: zipfile.ZipInfo) -> tuple[str, str] | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a symbolic link", "a file or directory"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a device, pipe or socket", "a file or directory"
    if entry.flag_bits & 0x1:
        return "encrypted", "an unencrypted file"
    if entry.compress_type not in _METHODS:
        return f"compression method {entry.compress_type}", "stored or deflated"
    return None
