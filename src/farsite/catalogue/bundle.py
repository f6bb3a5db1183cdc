"""The bundle: one file with packages, NSDs, adapters and their evidence, signed, the same bytes every time.

It is a plain tar archive, so that anybody can look into it, of which the reader believes nothing. First
comes the manifest, then its signature. From the manifest follows every other byte of the file: the header of
each member (a plain file of that name and size, all else zero), the SHA-256 of its content, the padding, the
end. The reader does not interpret headers; it compares them with those that must be there. So there are no
links, no paths out of the archive, no second member of a name and no slack in which a bit could change
unseen, and writing is the same function run the other way. Nothing of a stranger is parsed before his key
was found to be one we trust.

A zip archive was the other choice: its headers leave room for bytes that nobody checks, and `zipfile` writes
them differently from one Python to the next.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from farsite.catalogue.signing import KEY_BYTES, SIGNATURE_BYTES, SigningKeys, TrustedKey
from farsite.model.catalogue import Certification, EntryKind, Evidence, SuiteResult
from farsite.model.errors import Invalid

FORMAT = "farsite-catalogue-bundle-1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
ENTRIES_MAX, FILES_MAX, EVIDENCE_MAX = 500, 10_000, 10_000
MANIFEST_BYTES_MAX = 8 * 1024 * 1024
_SIGNED_FOR = b"farsite catalogue bundle, manifest:\n"
_BLOCK, _CHUNK = 512, 256 * 1024
_END = bytes(2 * _BLOCK)
_DIGEST = r"^[0-9a-f]{64}$"
_ADAPTER_FILE = re.compile(r"adapter\.yaml|[a-z0-9][a-zA-Z0-9._-]{0,80}\.j2")


class BundleRefused(Invalid):
    """A bundle that was not taken; nothing of it was written."""

    def __init__(self, found: str) -> None:
        super().__init__(f"The bundle is refused: {found} Nothing was changed.")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BundleFile(_Strict):
    path: str = Field(max_length=200)
    size: int = Field(ge=0, lt=8 * 1024**3)
    sha256: str = Field(pattern=_DIGEST)


class BundleEntry(_Strict):
    """An entry and its files. The digest is that of a package's only file, or of an adapter's folder."""

    kind: EntryKind
    vendor: str = Field(max_length=255)
    name: str = Field(min_length=1, max_length=255)
    version: str = Field(max_length=255)
    digest: str = Field(pattern=_DIGEST)
    image_map: dict[str, str] = {}
    files: list[BundleFile] = Field(min_length=1, max_length=200)


class BundleEvidence(_Strict):
    kind: EntryKind
    vendor: str
    name: str
    version: str
    digest: str = Field(pattern=_DIGEST)
    suite: str = Field(min_length=1, max_length=500)
    level: Certification
    result: SuiteResult
    at: AwareDatetime
    stated_by: str = Field(max_length=500)
    detail: str = Field(max_length=4000)

    @classmethod
    def of(cls, evidence: Evidence) -> "BundleEvidence":
        return cls(**{name: getattr(evidence, name) for name in cls.model_fields})

    def evidence(self, signed_by: str) -> Evidence:
        return Evidence(
            kind=self.kind,
            vendor=self.vendor,
            name=self.name,
            version=self.version,
            digest=self.digest,
            suite=self.suite,
            level=self.level,
            result=self.result,
            at=self.at,
            stated_by=self.stated_by,
            detail=self.detail,
            signed_by=signed_by,
        )


class Manifest(_Strict):
    format: Literal["farsite-catalogue-bundle-1"] = FORMAT
    entries: list[BundleEntry] = Field(min_length=1, max_length=ENTRIES_MAX)
    evidence: list[BundleEvidence] = Field(default=[], max_length=EVIDENCE_MAX)

    @property
    def files(self) -> list[BundleFile]:
        """Every file once, in the order of the archive."""
        return sorted(
            {one.path: one for entry in self.entries for one in entry.files}.values(),
            key=lambda one: one.path,
        )

    def text(self) -> bytes:
        """The one spelling of it."""
        return (
            json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode() + b"\n"
        )


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def folder_digest(files: Mapping[str, str]) -> str:
    """An adapter's digest from those of its files, as `vnfs.folder_contents.digest_of` makes it."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def is_adapter_file(name: str) -> bool:
    """Whether a file of an adapter's folder may be in a bundle: data, no code."""
    return _ADAPTER_FILE.fullmatch(name) is not None


def path_of(kind: EntryKind, digest: str) -> str:
    """Where the archive of a package or NSD lies in a bundle."""
    return f"{'packages' if kind is EntryKind.VNF else 'services'}/{digest}.zip"


def write(
    manifest: Manifest, sign: Callable[[bytes], bytes], content: Callable[[BundleFile], Iterator[bytes]]
) -> Iterator[bytes]:
    """The bundle, piece by piece; the same manifest, key and content give the same bytes.

    Raises:
        BundleRefused: a file is not what the manifest says; it was changed meanwhile.
    """
    text = manifest.text()
    yield from _member(MANIFEST, text)
    yield from _member(SIGNATURE, sign(_SIGNED_FOR + text))
    for file in manifest.files:
        yield _header(file.path, file.size)
        digest, size = hashlib.sha256(), 0
        for chunk in content(file):
            digest.update(chunk)
            size += len(chunk)
            yield chunk
        if (size, digest.hexdigest()) != (file.size, file.sha256):
            raise BundleRefused(f"{file.path} changed while it was written.")
        yield bytes(-size % _BLOCK)
    yield _END


def _member(name: str, content: bytes) -> Iterator[bytes]:
    yield _header(name, len(content))
    yield content
    yield bytes(-len(content) % _BLOCK)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A bundle of which every byte was checked, and where its files lie in it."""

    manifest: Manifest
    signer: TrustedKey
    offsets: Mapping[str, int]
    file: BinaryIO

    def content(self, file: BundleFile) -> Iterator[bytes]:
        """A file of the bundle, piece by piece."""
        self.file.seek(self.offsets[file.path])
        left = file.size
        while left:
            chunk = self.file.read(min(left, _CHUNK))
            assert chunk, "a verified bundle is whole"
            left -= len(chunk)
            yield chunk


def verify(file: BinaryIO, keys: SigningKeys) -> Verified:
    """Check a whole bundle: who signed it, then every byte of it. Reads and writes nothing else.

    Raises:
        BundleRefused: it is none, was cut or changed, or holds what no bundle holds.
        Invalid: its signer is not trusted, or the signature does not fit.
    """
    length = file.seek(0, 2)
    file.seek(0)
    text = _read_manifest(file)
    _expect(file, _header(SIGNATURE, KEY_BYTES + SIGNATURE_BYTES), "the header of its signature")
    signed = file.read(KEY_BYTES + SIGNATURE_BYTES)
    _expect(file, bytes(-len(signed) % _BLOCK), "what follows its signature")
    signer = keys.check(_SIGNED_FOR + text, signed)
    manifest = _manifest(text)
    stands = file.tell()
    expected = stands + sum(_BLOCK + one.size + -one.size % _BLOCK for one in manifest.files) + len(_END)
    if length != expected:
        raise BundleRefused(
            f"it has {length} bytes, and its manifest makes {expected}: it was cut, or added to."
        )
    offsets: dict[str, int] = {}
    for one in manifest.files:
        _expect(file, _header(one.path, one.size), f"the header of {one.path}")
        offsets[one.path] = file.tell()
        _check_content(file, one)
    _expect(file, _END, "its end")
    return Verified(manifest=manifest, signer=signer, offsets=offsets, file=file)


def _read_manifest(file: BinaryIO) -> bytes:
    header = file.read(_BLOCK)
    try:
        size = tarfile.TarInfo.frombuf(header, "ascii", "strict").size
    except (tarfile.HeaderError, ValueError) as error:
        raise BundleRefused("this is no bundle of a catalogue; those begin with their manifest.") from error
    if not 0 < size <= MANIFEST_BYTES_MAX or header != _header(MANIFEST, size):
        raise BundleRefused("this is no bundle of a catalogue; those begin with their manifest.")
    text = file.read(size)
    _expect(file, bytes(-size % _BLOCK), "what follows its manifest")
    return text


def _manifest(text: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the manifest"
        raise BundleRefused(f"its manifest cannot be read: {where}: {first['msg']}.") from error
    if manifest.text() != text:
        raise BundleRefused("its manifest is not written as this Farsite writes manifests.")
    for entry in manifest.entries:
        _check_entry(entry)
    if len({(one.kind, one.digest) for one in manifest.entries}) < len(manifest.entries):
        raise BundleRefused("its manifest names an entry twice.")
    adapters = [one.name for one in manifest.entries if one.kind is EntryKind.ADAPTER]
    if len(set(adapters)) < len(adapters):
        raise BundleRefused("it holds two adapters of one name.")
    if len(manifest.files) > FILES_MAX:
        raise BundleRefused(f"it holds {len(manifest.files)} files; at most {FILES_MAX} are taken.")
    there = {one.digest for one in manifest.entries}
    strange = next((one for one in manifest.evidence if one.digest not in there), None)
    if strange is not None:
        raise BundleRefused(
            f"it has evidence about {strange.name} {strange.version}, of a digest that is not in it."
        )
    return manifest


def _check_entry(entry: BundleEntry) -> None:
    """Which files an entry may have follows from its kind and digest; all else is refused by its name."""
    if entry.kind is not EntryKind.ADAPTER:
        if [(one.path, one.sha256) for one in entry.files] != [
            (path_of(entry.kind, entry.digest), entry.digest)
        ]:
            raise BundleRefused(f"{entry.name} has other files than its archive.")
        return
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", entry.name):
        raise BundleRefused("an adapter's name in it is none.")
    digests: dict[str, str] = {}
    for one in entry.files:
        name = one.path.removeprefix(f"adapters/{entry.name}/")
        if name == one.path or not is_adapter_file(name):
            raise BundleRefused(
                f"the file {one.path[:100]!r} of adapter {entry.name} is neither adapter.yaml nor a "
                "template (*.j2)."
            )
        digests[name] = one.sha256
    if len(digests) < len(entry.files) or folder_digest(digests) != entry.digest:
        raise BundleRefused(f"the digest of adapter {entry.name} is not that of its files.")


def _check_content(file: BinaryIO, one: BundleFile) -> None:
    digest, left = hashlib.sha256(), one.size
    while left and (chunk := file.read(min(left, _CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    if left or digest.hexdigest() != one.sha256:
        raise BundleRefused(
            f"{one.path} is not what its manifest says; it was changed or damaged on the way."
        )
    _expect(file, bytes(-one.size % _BLOCK), f"what follows {one.path}")


def _expect(file: BinaryIO, expected: bytes, what: str) -> None:
    if file.read(len(expected)) != expected:
        raise BundleRefused(f"{what} is not as it must be; it was cut, changed or damaged on the way.")
