"""Export and import of bundles.

An import has four parts. The upload is put aside under our own name and every byte of it is verified; then
every package and adapter in it is read, and every rule checked, against what is there together with what
comes. Then contents are laid where they belong, each under its digest, where nobody looks for what no row
names. Last, one transaction makes all of it the catalogue's: that is the moment of the import, and before it
there is nothing. Which adapter of a name is the imported one follows from the rows (`settle`), so that a
death right after the transaction is made good at the next start.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog

from farsite.catalogue import bundle, entries
from farsite.catalogue.bundle import (
    BundleEntry,
    BundleEvidence,
    BundleFile,
    BundleRefused,
    Manifest,
    Verified,
)
from farsite.catalogue.catalogue import Catalogue, is_old
from farsite.descriptors.archive import open_archive
from farsite.descriptors.faults import ArchiveRefused
from farsite.descriptors.nsd_archive import read_nsd_archive
from farsite.descriptors.vnf_package import read_vnf_package
from farsite.model.catalogue import Entry, EntryKind, Evidence
from farsite.model.clock import Clock
from farsite.model.errors import Conflict, Invalid, NotSupported
from farsite.model.ids import NsdInfoId, ProjectId, VnfPackageId, new_id
from farsite.model.nsd import Nsd
from farsite.model.package import NsdInfo, OnboardingState, OperationalState, VnfPackage
from farsite.model.vnfd import Vnfd
from farsite.settings import Settings
from farsite.store import catalogue as rows
from farsite.store import packages
from farsite.store.database import Connection, Database
from farsite.store.exclusion import hold
from farsite.vnfs.dictionary import FILE, Folder, read
from farsite.vnfs.folder_contents import contents
from farsite.vnfs.registry import Adapters

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What became of one entry of a bundle: `added`, `there already`, or which version it replaces."""

    entry: Entry
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import brought, and whose key signed it."""

    signer: str
    fingerprint: str
    arrived: tuple[Arrived, ...]
    evidence: int


@dataclass(frozen=True, slots=True)
class _Read:
    """The content of a bundle, read and not yet anybody's."""

    packages: list[tuple[VnfPackage, Vnfd]]
    nsds: list[tuple[NsdInfo, Nsd]]
    adapters: list[tuple[Folder, Entry]]

    @property
    def entries(self) -> list[Entry]:
        return [
            *(entries.package_entry(one) for one, _ in self.packages),
            *(entries.nsd_entry(one) for one, _ in self.nsds),
            *(entry for _, entry in self.adapters),
        ]


class Exchange:
    """Makes bundles of a catalogue's entries and takes them in."""

    def __init__(
        self, settings: Settings, database: Database, clock: Clock, catalogue: Catalogue, adapters: Adapters
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._catalogue = catalogue
        self._adapters = adapters
        self._place = settings.data_dir / "catalogue"
        """Uploads that are being looked at (`incoming-`), and adapters' folders by digest (`folders`)."""

    # -- Export -------------------------------------------------------------------------------------------

    async def export(self, project_id: ProjectId, keys: Sequence[str]) -> Iterator[bytes]:
        """A bundle of these entries (ids or names) with the evidence that counts for them, piece by piece.

        The same entries with the same evidence and key give the same bytes.

        Raises:
            NotFound: there is no such entry.
            Conflict: a name is that of several, there is no key to sign with, or an adapter's folder is none.
            NotSupported: an adapter with a Python module or a playbook, which no bundle carries.
        """
        adapters = await asyncio.to_thread(self._catalogue.adapter_entries)
        known = await self._database.read(entries.entries, project_id, adapters)
        chosen = {one.id: one for one in (entries.find(known, key) for key in keys)}
        folders = self._adapters.folders()
        parts: list[BundleEntry] = []
        sources: dict[str, Path | bytes] = {}
        for one in chosen.values():
            part, files = await asyncio.to_thread(self._part, one, folders.get(one.name))
            if one.kind is EntryKind.VNF:
                images = await self._database.read(self._image_map, project_id, one)
                part = part.model_copy(update={"image_map": images})
            parts.append(part)
            sources |= files
        parts.sort(key=lambda one: (one.kind, one.name, one.version, one.digest))
        unique = {(one.kind, one.digest): one for one in parts}
        evidence = {e.id: e for one in chosen.values() for e in one.evidence}
        manifest = Manifest(
            entries=list(unique.values()),
            evidence=[BundleEvidence.of(evidence[key]) for key in sorted(evidence)],
        )
        self._catalogue.signing_keys.sign(b"")  # refused here rather than in the middle of the answer
        return bundle.write(
            manifest, self._catalogue.signing_keys.sign, lambda file: _chunks(sources[file.path])
        )

    def _image_map(self, connection: Connection, project_id: ProjectId, entry: Entry) -> dict[str, str]:
        package = packages.get_package(connection, project_id, entry.id.partition(":")[2])
        return dict(package.image_map)

    def _part(self, entry: Entry, folder: Path | None) -> tuple[BundleEntry, dict[str, Path | bytes]]:
        sources: dict[str, Path | bytes] = {}
        if entry.kind is EntryKind.ADAPTER:
            if folder is None or entry.state != "ENABLED":
                raise Conflict(f"Adapter {entry.name} cannot be exported: {entry.description}")
            if self._adapters.read(entry.name, folder).dictionary.has_code:
                raise NotSupported(
                    f"Adapter {entry.name} has a Python module or a playbook, and no bundle carries code. "
                    f"Install it where it is wanted; packages that require it can be exported without it."
                )
            files = contents(folder.resolve())
            strange = [name for name in files if not bundle.is_adapter_file(name)]
            if strange:
                raise NotSupported(
                    f"The folder of adapter {entry.name} holds {strange[0]}; a bundle carries adapter.yaml "
                    "and templates "
                    f"(*.j2) alone. Take it out, and export again."
                )
            sources = {f"adapters/{entry.name}/{name}": content for name, content in files.items()}
            listed = [
                BundleFile(path=path, size=len(content), sha256=bundle.sha256(content))
                for path, content in sorted(sources.items())
                if isinstance(content, bytes)
            ]
        else:
            source = self._catalogue.archive_path(entry.digest)
            path = bundle.path_of(entry.kind, entry.digest)
            sources = {path: source}
            listed = [BundleFile(path=path, size=source.stat().st_size, sha256=entry.digest)]
        part = BundleEntry(
            kind=entry.kind,
            vendor=entry.vendor,
            name=entry.name,
            version=entry.version,
            digest=entry.digest,
            files=listed,
        )
        return part, sources

    # -- Import -------------------------------------------------------------------------------------------

    async def take_in(self, project_id: ProjectId, content: AsyncIterator[bytes]) -> Imported:
        """Import a bundle: all of it, or nothing. Importing it again changes nothing.

        Raises:
            BundleRefused: it is none, was cut or changed, holds what no bundle holds, or is not what it says.
            Invalid: it is too large, its signer is not trusted, or the signature does not fit.
            Conflict: a rule does not hold, or a descriptor of that id is here with another content.
        """
        self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
        staging = Path(tempfile.mkdtemp(prefix=_staging_of(self._settings.executor_id), dir=self._place))
        try:
            await self._receive(content, staging / "bundle")
            return await self._import(project_id, staging)
        finally:
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)

    async def _receive(self, content: AsyncIterator[bytes], path: Path) -> None:
        limit, size = self._settings.max_bundle_mib * 1024 * 1024, 0
        with path.open("wb") as file:
            async for chunk in content:
                size += len(chunk)
                if size > limit:
                    raise Invalid(
                        f"The bundle is larger than {self._settings.max_bundle_mib} MiB (setting "
                        "max_bundle_mib)."
                    )
                await asyncio.to_thread(file.write, chunk)

    async def _import(self, project_id: ProjectId, staging: Path) -> Imported:
        with (staging / "bundle").open("rb") as file:
            verified = await asyncio.to_thread(bundle.verify, file, self._catalogue.signing_keys)
            read_ = await asyncio.to_thread(self._read, project_id, verified, staging)
        arriving, there = await self._check(project_id, read_)
        await asyncio.to_thread(self._lay_out, verified.manifest, read_, staging)
        evidence = [one.evidence(verified.signer.fingerprint) for one in verified.manifest.evidence]
        arrived = await self._database.run(
            self._make_ours, project_id, read_, arriving, there, evidence, verified.signer.fingerprint
        )
        await self.settle()
        log.info("catalogue.imported", signer=verified.signer.name, entries=len(arrived))
        return Imported(
            signer=verified.signer.name,
            fingerprint=verified.signer.fingerprint,
            arrived=tuple(arrived),
            evidence=len(evidence),
        )

    def _read(self, project_id: ProjectId, verified: Verified, staging: Path) -> _Read:
        """Read every entry with the suspicion of onboarding. Nothing of it is executed."""
        found = _Read([], [], [])
        for entry in verified.manifest.entries:
            for file in entry.files:
                path = staging / file.path
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with path.open("wb") as out:
                    out.writelines(verified.content(file))
                    out.flush()
                    os.fsync(out.fileno())
            try:
                self._read_entry(project_id, entry, staging, found)
            except ArchiveRefused as refused:
                raise BundleRefused(
                    f"{entry.name} {entry.version} in it is no package: {refused.detail}."
                ) from refused
        for told, is_so in zip(
            verified.manifest.entries, _in_order(verified.manifest.entries, found), strict=True
        ):
            if (told.vendor, told.name, told.version) != (is_so.vendor, is_so.name, is_so.version):
                raise BundleRefused(
                    f"its manifest calls {is_so.vendor} {is_so.name} {is_so.version} something else "
                    f"({told.vendor} {told.name} {told.version})."
                )
        return found

    def _read_entry(self, project_id: ProjectId, entry: BundleEntry, staging: Path, found: _Read) -> None:
        now = self._clock.now()
        if entry.kind is EntryKind.ADAPTER:
            folder = read(staging / "adapters" / entry.name)
            if folder.dictionary.has_code or folder.dictionary.name != entry.name:
                raise BundleRefused(
                    f"adapter {entry.name} in it has a Python module or a playbook, or another name; no "
                    "bundle carries code."
                )
            told = entries.adapter_entry(folder, staging / "adapters" / entry.name, origin="imported")
            found.adapters.append((folder, told))
            return
        with (staging / entry.files[0].path).open("rb") as file:
            archive = open_archive(file)
            if entry.kind is EntryKind.NS:
                service = read_nsd_archive(archive)
                info = NsdInfo(
                    id=NsdInfoId(new_id()),
                    project_id=project_id,
                    state=OnboardingState.ONBOARDED,
                    operational_state=OperationalState.ENABLED,
                    nsd_id=service.nsd.id,
                    name=service.nsd.name,
                    designer=service.nsd.designer,
                    version=service.nsd.version,
                    digest=entry.digest,
                    statement=service.statement,
                    created_at=now,
                )
                found.nsds.append((info, service.nsd))
                return
            content = read_vnf_package(archive, entry.image_map)
        package = VnfPackage(
            id=VnfPackageId(new_id()),
            project_id=project_id,
            digest=entry.digest,
            image_map=entry.image_map,
            created_at=now,
        )
        found.packages.append((self._catalogue.onboarded(package, content), content.vnfd))

    async def _check(self, project_id: ProjectId, read_: _Read) -> tuple[list[Entry], Mapping[str, Entry]]:
        adapters = await asyncio.to_thread(self._catalogue.adapter_entries)
        there = await self._database.read(entries.entries, project_id, adapters)
        known = {(one.kind, one.digest): one for one in there}
        arriving = [known.get((one.kind, one.digest), one) for one in read_.entries]
        await self._check_vnfds(project_id, read_)
        # What is here already, and is disabled, is still disabled after the import.
        entries.check_arrival(arriving, there)
        return arriving, {one.id: one for one in there}

    async def _check_vnfds(self, project_id: ProjectId, read_: _Read) -> None:
        coming = {str(one.vnfd_id) for one, _ in read_.packages}
        for info, nsd in read_.nsds:
            missing = await self._catalogue.missing_vnfds(project_id, nsd, coming)
            if missing:
                raise Conflict(
                    f"{info.name} {info.version} uses VNFDs that are neither here nor in the bundle: "
                    f"{', '.join(missing)}. Export it together with their packages, or onboard those first."
                )

    def _lay_out(self, manifest: Manifest, read_: _Read, staging: Path) -> None:
        """Put contents where they belong, each under its digest; no row names them yet."""
        for entry in manifest.entries:
            if entry.kind is EntryKind.ADAPTER:
                _keep(staging / "adapters" / entry.name, self._folders / entry.digest)
            else:
                self._catalogue.keep_archive(staging / entry.files[0].path, entry.digest)
        for package, _ in read_.packages:
            self._catalogue.unpack_images(package)

    def _make_ours(
        self,
        connection: Connection,
        project_id: ProjectId,
        read_: _Read,
        arriving: Sequence[Entry],
        there: Mapping[str, Entry],
        evidence: Sequence[Evidence],
        signed_by: str,
    ) -> list[Arrived]:
        """The moment of the import."""
        hold(connection, f"catalogue of {project_id}")
        outcomes: dict[str, str] = {}
        for package, vnfd in read_.packages:
            if not packages.is_there(connection, package):
                packages.put_package(connection, package, vnfd)
                outcomes[f"{EntryKind.VNF}:{package.id}"] = "added"
        for info, nsd in read_.nsds:
            if not packages.is_nsd_there(connection, info):
                packages.put_nsd_info(connection, info, nsd)
                outcomes[f"{EntryKind.NS}:{info.id}"] = "added"
        digests: dict[str, str] = {}
        for _, entry in read_.adapters:
            was = there.get(entry.id)
            # What came with us, or lies in the operator's directory, is not put over itself: it would hide
            # the next version from there.
            if was is None or was.digest != entry.digest:
                digests[entry.name] = entry.digest
                outcomes[entry.id] = (
                    "added" if was is None else f"replaces {was.version or '?'} ({was.origin})"
                )
        rows.put_adapters(connection, project_id, digests, signed_by=signed_by, at=self._clock.now())
        rows.put_evidence(connection, project_id, evidence)
        known = entries.evidence_of(connection, project_id)
        return [
            Arrived(entry=entries.judged(one, known), outcome=outcomes.get(one.id, "there already"))
            for one in arriving
        ]

    # -- What a death may leave ---------------------------------------------------------------------------

    @property
    def _folders(self) -> Path:
        return self._place / "folders"

    async def settle(self) -> None:
        """Have the imported adapters be those that the rows name."""
        await asyncio.to_thread(self._settle, await self._database.read(rows.adapters))

    def _settle(self, wanted: dict[str, str]) -> None:
        links = self._settings.imported_adapters_dir
        for name, digest in wanted.items():
            folder = self._folders / digest
            if not (folder / FILE).is_file():
                log.error("catalogue.adapter_lost", adapter=name, folder=str(folder))
                continue
            links.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (links / name).is_symlink() and (links / name).resolve() == folder.resolve():
                continue
            fresh = links / f".{name}-{new_id()}"
            fresh.symlink_to(os.path.relpath(folder, links))
            fresh.replace(links / name)

    async def recover(self, alive: frozenset[str] = frozenset()) -> None:
        """After a crash: finish what an import had decided, and clear away what it had not."""
        await self.settle()
        wanted = await self._database.read(rows.adapters)
        await asyncio.to_thread(self._clear, set(wanted.values()), alive)

    def _clear(self, wanted: set[str], alive: frozenset[str]) -> None:
        for path in self._place.glob("incoming-*"):
            if not any(path.name.startswith(_staging_of(one)) for one in alive):
                shutil.rmtree(path, ignore_errors=True)
        for path in self._folders.glob("*"):
            if path.name not in wanted and is_old(path):
                shutil.rmtree(path, ignore_errors=True)


def _staging_of(executor_id: str) -> str:
    """How the directories begin in which a process looks at uploads."""
    return f"incoming-{quote(executor_id, safe='')}-"


def _in_order(told: Sequence[BundleEntry], found: _Read) -> Iterator[Entry]:
    """What was read, in the order of the manifest."""
    by_digest = {(one.kind, one.digest): one for one in found.entries}
    for one in told:
        yield by_digest[one.kind, one.digest]


def _keep(folder: Path, place: Path) -> None:
    """Move a folder to its place, unless it is there."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Somebody else may have put the same there a moment ago.
    with contextlib.suppress(OSError):
        folder.rename(place)
    if not (place / FILE).is_file():
        raise Conflict(f"{place} cannot be written. Look at the disk and the rights of the data directory.")


def _chunks(source: Path | bytes, size: int = 256 * 1024) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(size):
            yield chunk
