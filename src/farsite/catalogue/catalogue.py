"""Onboarding: from an upload to an ONBOARDED package, or to ERROR with every fault named.

An archive is kept under its SHA-256, written beside and renamed, so that a half upload is never
taken for a whole one. The descriptor is read in a thread: a large package delays nobody.

Source: ETSI GS NFV-SOL 005 clauses 5.4 (NSD) and 9.4 (VNF package) states.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from farsite.catalogue import entries
from farsite.catalogue.fetching import fetch
from farsite.catalogue.signing import SigningKeys
from farsite.descriptors.archive import Archive, open_archive
from farsite.descriptors.faults import ArchiveRefused
from farsite.descriptors.nsd_archive import NsdContent, read_nsd_archive
from farsite.descriptors.vnf_package import VnfPackageContent, read_vnf_package
from farsite.model.catalogue import Entry
from farsite.model.clock import Clock
from farsite.model.errors import Conflict, FarsiteError, Invalid, NotFound
from farsite.model.ids import NsdInfoId, ProjectId, VnfPackageId, new_id
from farsite.model.nsd import Nsd
from farsite.model.package import Fault, NsdInfo, OnboardingState, OperationalState, VnfPackage
from farsite.model.vnfd import SwImage
from farsite.notifications.destinations import Destinations
from farsite.settings import Settings
from farsite.store import packages
from farsite.store.database import Connection, Database, Patient, is_away
from farsite.vnfs.dictionary import Folder
from farsite.vnfs.registry import Adapters

log = structlog.get_logger()

_YOUNG_S = 3600.0
_ROOM_PAUSE_S = 1.0
T = TypeVar("T", VnfPackage, NsdInfo)


def _waiting(one: T) -> T:
    """A package or an NSD that waits for content."""
    return replace(one, state=OnboardingState.CREATED, digest="")


class Catalogue:
    """VNF packages and NSDs: their archives on disk, their states and descriptors in the store."""

    def __init__(
        self, settings: Settings, database: Database, clock: Clock, adapters: Adapters | None = None
    ) -> None:
        self._settings = settings
        self._database = database
        self._patient = Patient(database)
        self._clock = clock
        self._by = settings.executor_id
        self._archives = settings.data_dir / "archives"
        self._images = settings.images_dir
        self._adapters = adapters or Adapters(settings.adapter_dirs)
        self.signing_keys = SigningKeys(settings.data_dir / "keys" / "catalogue")
        self._destinations = Destinations(settings.allowed_destinations)
        self._under_way: set[asyncio.Task[object]] = set()

    async def create_package(
        self, project_id: ProjectId, user_defined_data: Mapping[str, str] | None = None
    ) -> VnfPackage:
        """Record a package without content."""
        package = VnfPackage(
            id=VnfPackageId(new_id()),
            project_id=project_id,
            user_defined_data=dict(user_defined_data or {}),
            created_at=self._clock.now(),
        )
        await self._database.run(packages.put_package, package)
        return package

    async def upload_package(
        self,
        project_id: ProjectId,
        package_id: str,
        content: AsyncIterator[bytes],
        *,
        image_map: Mapping[str, str] | None = None,
    ) -> VnfPackage:
        """Take in the content of a CREATED package (or one in ERROR, anew) and read it.

        Returns the package ONBOARDED, or in ERROR with all its faults.

        Raises:
            NotFound: no such package.
            Conflict: it has content already.
            Invalid: the upload is larger than allowed.
        """
        package = await self._take_package(project_id, package_id, content, image_map or {})
        try:
            return await self._process_package(package)
        except Exception as trouble:
            if is_away(trouble):
                await self._put_back(packages.put_package, _waiting(package))
            raise

    async def receive_package(
        self,
        project_id: ProjectId,
        package_id: str,
        content: AsyncIterator[bytes],
        *,
        image_map: Mapping[str, str] | None = None,
    ) -> VnfPackage:
        """Take in the content like `upload_package`; the package comes back PROCESSING and is read after."""
        package = await self._take_package(project_id, package_id, content, image_map or {})
        self._later(self._process_when_there_is_room(package))
        return package

    async def fetch_package(
        self,
        project_id: ProjectId,
        package_id: str,
        address: str,
        *,
        user: str = "",
        password: str = "",
        image_map: Mapping[str, str] | None = None,
    ) -> VnfPackage:
        """Have the content of a CREATED package fetched; it comes back UPLOADING. What goes wrong on the way
        ends in ERROR. Credentials are kept in memory only: after a restart the package is CREATED again.

        Raises:
            NotFound: no such package.
            Conflict: it has content already.
            Refused: the address is not one that we let ourselves be sent to.
        """
        await self._destinations.judge(address)
        package = await self._database.run(
            packages.claim_package, project_id, package_id, dict(image_map or {}), self._by
        )
        content = fetch(address, self._destinations, user=user, password=password)
        self._later(self._fetch(package, content))
        return package

    async def _fetch(self, package: VnfPackage, content: AsyncGenerator[bytes, None]) -> None:
        try:
            async with contextlib.aclosing(content):
                digest = await self._take_in(content)
        except (FarsiteError, OSError) as trouble:
            reason = trouble.detail if isinstance(trouble, FarsiteError) else str(trouble)
            fault = Fault(file="", line=None, found=reason.rstrip("."))
            failed = replace(package, state=OnboardingState.ERROR, failure=(fault,))
            await self._patient.run(packages.put_package, failed)
            log.info("package.not_fetched", package_id=package.id, reason=reason)
            return
        package = replace(package, state=OnboardingState.PROCESSING, digest=digest)
        await self._patient.run(packages.put_package, package)
        await self._process_when_there_is_room(package)

    async def _process_when_there_is_room(self, package: VnfPackage) -> None:
        """Read a package that was accepted already: however long its record cannot be written."""
        while True:
            try:
                await self._process_package(package)
            except Exception as trouble:
                if not is_away(trouble):
                    raise
                await asyncio.sleep(_ROOM_PAUSE_S)
            else:
                return

    def _later(self, work: Coroutine[None, None, object]) -> None:
        """Go on after the answer. What a stop cuts off is taken up by `recover`."""
        task = asyncio.create_task(work, name="onboarding")
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (trouble := task.exception()) is not None:
            log.error("package.onboarding_broke", exc_info=trouble)

    async def stop(self) -> None:
        """Cut off what is under way; the next start takes it up."""
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _take_package(
        self,
        project_id: ProjectId,
        package_id: str,
        content: AsyncIterator[bytes],
        image_map: Mapping[str, str],
    ) -> VnfPackage:
        package = await self._database.run(
            packages.claim_package, project_id, package_id, dict(image_map), self._by
        )
        try:
            taken = replace(package, state=OnboardingState.PROCESSING, digest=await self._take_in(content))
            await self._database.run(packages.put_package, taken)
        except BaseException:
            # The client went away or sent too much, or the disk is full: it waits for content as before.
            await self._put_back(packages.put_package, _waiting(package))
            raise
        return taken

    async def _put_back(self, put: Callable[[Connection, T], None], unchanged: T) -> None:
        """Record what is again as it was. Where the database is full, or away, that is when it is so no more:
        what nobody works on must not stay UPLOADING or PROCESSING."""
        try:
            await self._database.run(put, unchanged)
        except Exception as trouble:
            if not is_away(trouble):
                raise
            self._later(self._patient.run(put, unchanged))

    async def _process_package(self, package: VnfPackage) -> VnfPackage:
        try:
            content = await asyncio.to_thread(self._read_package, package)
            package = self.onboarded(package, content)
            await self._check_arrival(package.project_id, entries.package_entry(package))
            await self._database.run(packages.put_package, package, content.vnfd)
        except (ArchiveRefused, Conflict) as refusal:
            faults = (
                refusal.faults
                if isinstance(refusal, ArchiveRefused)
                else (Fault(file="", line=None, found=refusal.detail),)
            )
            package = replace(
                package, state=OnboardingState.ERROR, failure=faults, vnfd_id=None,
                operational_state=OperationalState.DISABLED,
            )  # fmt: skip
            await self._database.run(packages.put_package, package)
        log.info("package.onboarding_ended", package_id=package.id, state=package.state.value)
        return package

    def onboarded(self, package: VnfPackage, content: VnfPackageContent) -> VnfPackage:
        """The package once its content was read."""
        return replace(
            package,
            state=OnboardingState.ONBOARDED,
            operational_state=OperationalState.ENABLED,
            vnfd_id=content.vnfd.id,
            provider=content.vnfd.provider,
            product_name=content.vnfd.product_name,
            software_version=content.vnfd.software_version,
            vnfd_version=content.vnfd.version,
            artifacts=content.artifacts,
            warnings=content.warnings,
            statement=content.statement,
        )

    def _read_package(self, package: VnfPackage) -> VnfPackageContent:
        with self._path(package.digest).open("rb") as file:
            archive = open_archive(file)
            content = read_vnf_package(archive, package.image_map)
            self._unpack_images(archive, content, self._images / package.digest)
            return content

    def keep_archive(self, source: Path, digest: str) -> None:
        """Move an archive, whose digest was checked, to where it lies; one that is there already stays."""
        self._archives.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._path(digest).exists():
            # Young again, so that no sweep takes it before a row names it.
            self._path(digest).touch()
        else:
            source.rename(self._path(digest))

    def unpack_images(self, package: VnfPackage) -> None:
        """Lay out the disk images of a package whose archive is kept."""
        self._read_package(package)

    def _unpack_images(self, archive: Archive, content: VnfPackageContent, folder: Path) -> None:
        """Lay the package's disk images where a driver can read them, each under its digest.

        Unpacked once here: an upload to a VIM must not unpack gigabytes while an operation waits.
        """
        for image in _images_of(content):
            target = folder / image.sha256
            if target.exists():
                continue
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = folder / f"partial-{image.sha256}"
            with partial.open("wb") as file:
                file.writelines(archive.chunks(image.artifact_path))
                file.flush()
                os.fsync(file.fileno())
            partial.rename(target)

    async def create_nsd(self, project_id: ProjectId) -> NsdInfo:
        """Record an NSD without content."""
        info = NsdInfo(id=NsdInfoId(new_id()), project_id=project_id, created_at=self._clock.now())
        await self._database.run(packages.put_nsd_info, info)
        return info

    async def upload_nsd(
        self, project_id: ProjectId, nsd_info_id: str, content: AsyncIterator[bytes]
    ) -> NsdInfo:
        """Take in the content of a CREATED NSD (or one in ERROR, anew) and read it; see `upload_package`.

        An NSD that names a VNFD which is not onboarded ends in ERROR.
        """
        info = await self._database.run(packages.claim_nsd, project_id, nsd_info_id, self._by)
        try:
            taken = replace(
                info, state=OnboardingState.PROCESSING, digest=await self._take_in(content), failure=()
            )
            await self._database.run(packages.put_nsd_info, taken)
        except BaseException:
            await self._put_back(packages.put_nsd_info, _waiting(info))
            raise
        try:
            return await self._process_nsd(taken)
        except Exception as trouble:
            if is_away(trouble):
                await self._put_back(packages.put_nsd_info, _waiting(info))
            raise

    async def _process_nsd(self, info: NsdInfo) -> NsdInfo:
        try:
            content = await asyncio.to_thread(self._read_nsd, info)
            await self._check_vnfds(info, content)
            info = replace(
                info,
                state=OnboardingState.ONBOARDED,
                operational_state=OperationalState.ENABLED,
                nsd_id=content.nsd.id,
                name=content.nsd.name,
                designer=content.nsd.designer,
                version=content.nsd.version,
                statement=content.statement,
            )
            await self._check_arrival(info.project_id, entries.nsd_entry(info))
            await self._database.run(packages.put_nsd_info, info, content.nsd)
        except (ArchiveRefused, Conflict) as refusal:
            faults = (
                refusal.faults
                if isinstance(refusal, ArchiveRefused)
                else (Fault(file="", line=None, found=refusal.detail),)
            )
            info = replace(info, state=OnboardingState.ERROR, failure=faults, nsd_id=None)
            await self._database.run(packages.put_nsd_info, info)
        log.info("nsd.onboarding_ended", nsd_info_id=info.id, state=info.state.value)
        return info

    def _read_nsd(self, info: NsdInfo) -> NsdContent:
        with self._path(info.digest).open("rb") as file:
            return read_nsd_archive(open_archive(file))

    async def missing_vnfds(self, project_id: ProjectId, nsd: Nsd, coming: Collection[str] = ()) -> list[str]:
        """VNFDs that an NSD uses and that are neither onboarded nor among those that are coming."""
        wanted = {
            profile.vnfd_id for flavour in nsd.flavours.values() for profile in flavour.profiles.values()
        }
        missing: list[str] = []
        for vnfd_id in sorted(wanted - set(coming)):
            try:
                await self._database.run(packages.vnfd_of, project_id, vnfd_id)
            except NotFound:
                missing.append(vnfd_id)
        return missing

    async def _check_vnfds(self, info: NsdInfo, content: NsdContent) -> None:
        missing = await self.missing_vnfds(info.project_id, content.nsd)
        if missing:
            raise Conflict(
                f"The NSD uses VNFDs that are not onboarded: {', '.join(missing)}. "
                f"Onboard their packages first, then upload the NSD again."
            )

    def adapter_entries(self) -> list[Entry]:
        """The entries of all adapters; reads their folders."""
        return entries.adapter_entries(self._adapters, self._settings)

    def check_rules(self, connection: Connection, project_id: ProjectId, *used: Entry) -> None:
        """See that the rules of what is to be used hold now.

        Raises:
            Conflict: one does not; names the rule, the fact and what to do.
        """
        ruled = [one for one in used if one.statement.requires or one.statement.conflicts]
        if ruled:
            there = entries.entries(connection, project_id, self.adapter_entries())
            for one in ruled:
                entries.check_rules(one, there)

    def check_adapter(self, connection: Connection, project_id: ProjectId, folder: Folder) -> None:
        """See that the rules of an adapter that is to be used hold now.

        Raises:
            Conflict: one does not; names the rule, the fact and what to do.
        """
        if folder.dictionary.requires or folder.dictionary.conflicts:
            known = {one.name: one for one in self.adapter_entries()}
            self.check_rules(connection, project_id, known[folder.dictionary.name])

    async def _check_arrival(self, project_id: ProjectId, *arriving: Entry) -> None:
        adapters = await asyncio.to_thread(self.adapter_entries)
        there = await self._database.read(entries.entries, project_id, adapters)
        entries.check_arrival(arriving, there)

    async def set_operational_state(
        self, project_id: ProjectId, package_id: str, state: OperationalState
    ) -> VnfPackage:
        """Enable or disable an onboarded package.

        Raises:
            Conflict: it is so already, or not onboarded.
        """
        package = await self._database.run(packages.get_package, project_id, package_id)
        if package.state is not OnboardingState.ONBOARDED:
            raise Conflict(f"Package {package.id} is {package.state}, not ONBOARDED.")
        if package.operational_state is state:
            raise Conflict(f"Package {package.id} is {state} already.")
        package = replace(package, operational_state=state)
        await self._database.run(packages.put_package, package)
        return package

    async def modify_package(
        self,
        project_id: ProjectId,
        package_id: str,
        *,
        state: OperationalState | None = None,
        user_defined_data: Mapping[str, str | None] | None = None,
    ) -> VnfPackage:
        """Change a package's operational state and its user-defined data together.

        A value of None removes its key; None in place of the mapping removes all.

        Raises:
            Conflict: the operational state is so already, or the package is not onboarded.
        """
        return await self._database.run(_modify, project_id, package_id, state, user_defined_data)

    async def set_nsd_operational_state(
        self, project_id: ProjectId, nsd_info_id: str, state: OperationalState
    ) -> NsdInfo:
        """Enable or disable an onboarded NSD; see `set_operational_state`."""
        info = await self._database.run(packages.get_nsd_info, project_id, nsd_info_id)
        if info.state is not OnboardingState.ONBOARDED:
            raise Conflict(f"NSD {info.id} is {info.state}, not ONBOARDED.")
        if info.operational_state is state:
            raise Conflict(f"NSD {info.id} is {state} already.")
        info = replace(info, operational_state=state)
        await self._database.run(packages.put_nsd_info, info)
        return info

    async def delete_package(self, project_id: ProjectId, package_id: str) -> None:
        """Forget a package and its archive.

        Raises:
            Conflict: VNF instances were made from it, or it is still being read.
        """
        package = await self._database.run(packages.get_package, project_id, package_id)
        if package.state in (OnboardingState.UPLOADING, OnboardingState.PROCESSING):
            raise Conflict(f"Package {package.id} is {package.state}. Wait until that has ended.")
        await self._database.run(packages.delete_package, package)
        await self.sweep(package.digest)

    async def delete_nsd(self, project_id: ProjectId, nsd_info_id: str) -> None:
        """Forget an NSD and its archive.

        Raises:
            Conflict: NS instances were made from it.
        """
        info = await self._database.run(packages.get_nsd_info, project_id, nsd_info_id)
        await self._database.run(packages.delete_nsd, info)
        await self.sweep(info.digest)

    def archive_path(self, digest: str) -> Path:
        """Where an archive lies.

        Raises:
            NotFound: it has none.
        """
        if not digest or not self._path(digest).exists():
            raise NotFound("It has no content yet.")
        return self._path(digest)

    async def recover(self, alive: frozenset[str] = frozenset()) -> None:
        """After a crash: read again what was being read, and let cut-off uploads be uploaded anew.

        What processes that are `alive` (executor ids) take in is theirs.
        """
        for package in await self._database.run(packages.take_unfinished_packages, alive=alive, by=self._by):
            if package.state is OnboardingState.PROCESSING and self._path(package.digest).exists():
                await self._process_package(package)
            else:
                await self._database.run(
                    packages.put_package, replace(package, state=OnboardingState.CREATED)
                )
        for info in await self._database.run(packages.take_unfinished_nsds, alive=alive, by=self._by):
            if info.state is OnboardingState.PROCESSING and self._path(info.digest).exists():
                await self._process_nsd(info)
            else:
                await self._database.run(packages.put_nsd_info, replace(info, state=OnboardingState.CREATED))
        await self.sweep()

    async def sweep(self, digest: str = "") -> None:
        """Delete archives that no row refers to: the one of that digest, and all that are old.

        A young one may be an upload, here or in another process, whose row is not written yet.
        """
        known = await self._database.run(packages.digests)
        await asyncio.to_thread(self._sweep, known, digest)

    def _sweep(self, known: set[str], digest: str) -> None:
        for folder in (self._archives, self._images):
            for path in folder.iterdir() if folder.exists() else ():
                if path.name in known or path.name.startswith("partial-"):
                    continue
                if path.name != digest and not is_old(path):
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    async def _take_in(self, content: AsyncIterator[bytes]) -> str:
        """Write an upload under its digest; nothing is left of one that breaks off."""
        self._archives.mkdir(parents=True, exist_ok=True, mode=0o700)
        limit = self._settings.max_package_mib * 1024 * 1024
        descriptor, name = tempfile.mkstemp(dir=self._archives, prefix="partial-")
        partial = Path(name)
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in content:
                    size += len(chunk)
                    if size > limit:
                        raise Invalid(
                            f"The upload is larger than {self._settings.max_package_mib} MiB "
                            f"(setting max_package_mib)."
                        )
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            await asyncio.to_thread(partial.rename, self._path(digest.hexdigest()))
        finally:
            await asyncio.to_thread(partial.unlink, missing_ok=True)
        return digest.hexdigest()

    def _path(self, digest: str) -> Path:
        return self._archives / digest


def _modify(
    connection: Connection,
    project_id: ProjectId,
    package_id: str,
    state: OperationalState | None,
    data: Mapping[str, str | None] | None,
) -> VnfPackage:
    package = packages.lock_package(connection, project_id, package_id)
    if state is not None:
        if package.state is not OnboardingState.ONBOARDED:
            raise Conflict(f"Package {package.id} is {package.state}, not ONBOARDED.")
        if package.operational_state is state:
            raise Conflict(f"Package {package.id} is {state} already.")
    merged = {} if data is None else {**package.user_defined_data, **data}
    package = replace(
        package,
        operational_state=state or package.operational_state,
        user_defined_data={key: value for key, value in merged.items() if value is not None},
    )
    packages.put_package(connection, package)
    return package


def is_old(path: Path) -> bool:
    """Whether nobody can be about to name it in a row any more."""
    try:
        return time.time() - path.stat().st_mtime > _YOUNG_S
    except FileNotFoundError:
        return False


def _images_of(content: VnfPackageContent) -> Iterator[SwImage]:
    """Images whose files the package holds."""
    for flavour in content.vnfd.flavours.values():
        for holder in (*flavour.vdus.values(), *flavour.storages.values()):
            if holder.image is not None and holder.image.sha256:
                yield holder.image
