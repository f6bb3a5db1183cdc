"""Packages, adapters and installations for tests of the catalogue."""

import asyncio
import hashlib
import importlib
import io
import os
import signal
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from farsite.catalogue.catalogue import Catalogue
from farsite.catalogue.exchange import Exchange
from farsite.functions.packaging import sample_files
from farsite.model.clock import SystemClock
from farsite.model.ids import DEFAULT_PROJECT
from farsite.model.package import NsdInfo, VnfPackage
from farsite.settings import Settings
from farsite.store.database import Database
from farsite.vnfs.registry import Adapters

FIREWALL = "Farsite firewall"
_EPOCH = (2026, 1, 1, 0, 0, 0)


def vnfd_id(sample: str) -> bytes:
    """The id that a sample's descriptor states."""
    for content in sample_files(sample).values():
        for line in content.decode(errors="replace").splitlines():
            value = line.partition(":")[2].strip().strip("\"'")
            if line.strip().startswith("descriptor_id:") and len(value) == 36:
                return value.encode()
    raise AssertionError(sample)


def package(
    version: str = "1.0",
    *,
    sample: str = "firewall",
    provider: str = "Farsite",
    statement: Mapping[str, object] | None = None,
) -> bytes:
    """The archive of a sample in another version, or by another vendor, with a statement for the catalogue.

    The same bytes every time; a VNFD id of its own for each version and vendor.
    """
    files = sample_files(sample)
    manifest = f"{sample}.mf"
    head = files.pop(manifest).partition(b"\nSource:")[0]
    changes = {b"'1.0'": f"'{version}'".encode()}
    if (version, provider) != ("1.0", "Farsite"):
        own = hashlib.sha256(f"{sample} {version} {provider}".encode()).hexdigest()
        changes[vnfd_id(sample)] = f"{own[:8]}-{own[8:12]}-5{own[13:16]}-a{own[17:20]}-{own[20:32]}".encode()
    if provider != "Farsite":
        for key in (
            b"provider: Farsite",
            b"default: Farsite\n",
            b"valid_values: [ Farsite ]",
            b"[ [ Farsite ] ]",
        ):
            changes[key] = key.replace(b"Farsite", provider.encode())
    for old, new in changes.items():
        files = {path: content.replace(old, new) for path, content in files.items()}
    if statement is not None:
        files["Files/catalogue.yaml"] = yaml.safe_dump(dict(statement)).encode()
    entries = b"".join(
        f"\nSource: {path}\nAlgorithm: SHA-256\nHash: {hashlib.sha256(content).hexdigest()}\n".encode()
        for path, content in files.items()
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for path, content in {**files, manifest: head + entries}.items():
            archive.writestr(zipfile.ZipInfo(path, _EPOCH), content)
    return written.getvalue()


ADAPTER = """\
name: {name}
vendor: Example
product: Example router
versions: "1 or newer"
release: "{release}"
licence: MIT
tags: [routing]
description: An adapter for tests.
evidence: emulated
access: {{method: shell}}
services: [dns, native]
places:
  - {{name: dns, path: /etc/example.conf, template: dns.conf.j2}}
activate: "true"
{more}"""


def adapter(directory: Path, name: str = "example", *, release: str = "1.0", more: str = "") -> Path:
    """A folder with an adapter."""
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter.yaml").write_text(ADAPTER.format(name=name, release=release, more=more))
    (folder / "dns.conf.j2").write_text("# by Farsite\n")
    return folder


class Installation:
    """A catalogue with its exchange, on a data directory of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings)
        adapters = Adapters(settings.adapter_dirs)
        self.clock = SystemClock()
        self.adapters = adapters
        self.catalogue = Catalogue(settings, self.database, self.clock, adapters)
        self.exchange = Exchange(settings, self.database, self.clock, self.catalogue, adapters)
        self.keys = self.catalogue.signing_keys

    async def onboard(self, archive: bytes) -> VnfPackage:
        made = await self.catalogue.create_package(DEFAULT_PROJECT)
        return await self.catalogue.upload_package(DEFAULT_PROJECT, made.id, stream(archive))

    async def onboard_nsd(self, archive: bytes) -> NsdInfo:
        made = await self.catalogue.create_nsd(DEFAULT_PROJECT)
        return await self.catalogue.upload_nsd(DEFAULT_PROJECT, made.id, stream(archive))

    async def bundle(self, *entries: str) -> bytes:
        return b"".join(await self.exchange.export(DEFAULT_PROJECT, entries))

    def files(self) -> dict[str, bytes]:
        """Everything in the data directory but the database and its keys."""
        return {
            str(path.relative_to(self.settings.data_dir)): path.read_bytes()
            for path in sorted(self.settings.data_dir.rglob("*"))
            if path.is_file() and not path.name.startswith("farsite.db") and "keys" not in path.parts
        }


@contextmanager
def installed(settings: Settings) -> Iterator[Installation]:
    found = Installation(settings)
    try:
        yield found
    finally:
        found.database.close()


def die_at(place: str, settings: Settings, bundle: Path) -> None:
    """Import a bundle, and be killed where the function at `place` (`module:attribute`) would be called."""
    module, _, path = place.partition(":")
    *owners, last = path.split(".")
    owner: object = importlib.import_module(module)
    for name in owners:
        owner = getattr(owner, name)
    setattr(owner, last, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
    with installed(settings) as ours:
        asyncio.run(ours.exchange.take_in(DEFAULT_PROJECT, stream(bundle.read_bytes())))


async def stream(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 65536):
        yield content[at : at + 65536]
