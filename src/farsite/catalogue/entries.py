"""The entries of the catalogue: packages and NSDs from the store, adapters from their folders, each with the
evidence that counts for it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from farsite import __version__
from farsite.model.catalogue import Entry, EntryKind, Evidence, Statement, with_evidence
from farsite.model.catalogue_rules import Breach, Shelf, breaches
from farsite.model.errors import Conflict, Invalid, NotFound
from farsite.model.ids import ProjectId
from farsite.model.package import NsdInfo, VnfPackage
from farsite.settings import Settings
from farsite.store import catalogue as rows
from farsite.store.database import Connection
from farsite.vnfs import shipped_evidence
from farsite.vnfs.adapter import Evidence as Claim
from farsite.vnfs.dictionary import Folder
from farsite.vnfs.folder_contents import contents, digest_of
from farsite.vnfs.registry import SHIPPED, Adapters


def package_entry(package: VnfPackage) -> Entry:
    """The entry of an onboarded package, without its evidence."""
    return Entry(
        id=f"{EntryKind.VNF}:{package.id}",
        kind=EntryKind.VNF,
        vendor=package.provider,
        name=package.product_name,
        product=package.product_name,
        version=package.software_version,
        digest=package.digest,
        state=package.operational_state.value,
        origin="onboarded",
        statement=package.statement,
    )


def nsd_entry(info: NsdInfo) -> Entry:
    """The entry of an onboarded NSD, without its evidence."""
    return Entry(
        id=f"{EntryKind.NS}:{info.id}",
        kind=EntryKind.NS,
        vendor=info.designer,
        name=info.name,
        product=info.name,
        version=info.version,
        digest=info.digest,
        state=info.operational_state.value,
        origin="onboarded",
        statement=info.statement,
    )


def adapter_entry(folder: Folder, path: Path, *, origin: str) -> Entry:
    """The entry of an adapter, without its evidence."""
    of = folder.dictionary
    return Entry(
        id=f"{EntryKind.ADAPTER}:{of.name}",
        kind=EntryKind.ADAPTER,
        vendor=of.vendor,
        name=of.name,
        product=of.product,
        version=of.release,
        digest=digest_of(contents(path)),
        state="ENABLED",
        origin=origin,
        statement=of.statement,
        description=of.description,
        claim="proved" if of.evidence is Claim.REAL else "emulated",
    )


def adapter_entries(adapters: Adapters, settings: Settings) -> list[Entry]:
    """The entries of all adapters. A folder that is none is in state ERROR, with the fault as its
    description."""
    found: list[Entry] = []
    for name, path in adapters.folders().items():
        origin = _origin(path, settings)
        try:
            found.append(adapter_entry(adapters.read(name, path), path, origin=origin))
        except (Invalid, OSError) as error:
            fault = error.detail if isinstance(error, Invalid) else str(error)
            found.append(
                Entry(
                    id=f"{EntryKind.ADAPTER}:{name}", kind=EntryKind.ADAPTER, vendor="", name=name,
                    product="", version="", digest="", state="ERROR", origin=origin, statement=Statement(),
                    description=fault,
                )
            )  # fmt: skip
    return found


def _origin(path: Path, settings: Settings) -> str:
    if path.parent == SHIPPED:
        return "shipped"
    if path.parent == settings.imported_adapters_dir:
        return "imported"
    return "directory" if path.parent in settings.adapter_dirs else "installed"


def entries(connection: Connection, project_id: ProjectId, adapters: Sequence[Entry]) -> list[Entry]:
    """Everything that a project's catalogue holds, with its evidence, in order of id. `adapters` come from
    `adapter_entries`, which reads files and so is not called within a transaction."""
    found = [
        *adapters,
        *(package_entry(one) for one in rows.packages_of(connection, project_id)),
        *(nsd_entry(one) for one in rows.nsds_of(connection, project_id)),
    ]
    known = evidence_of(connection, project_id)
    return sorted((judged(one, known) for one in found), key=lambda one: one.id)


def evidence_of(connection: Connection, project_id: ProjectId) -> list[Evidence]:
    """All evidence that a project has: what was recorded or imported, and what comes with Farsite of its own
    adapters. A statement that came both ways is one."""
    told = [*shipped_evidence.recorded().values(), *rows.evidence_of(connection, project_id)]
    return list({one.id: one for one in told}.values())


def judged(entry: Entry, evidence: Sequence[Evidence]) -> Entry:
    """An entry with its certification and what it rests on."""
    level, counts, stale = with_evidence(entry, evidence)
    return replace(entry, certification=level, evidence=tuple(counts), stale=tuple(stale))


def find(known: Sequence[Entry], key: str) -> Entry:
    """An entry by its id, or by its name when only one has it.

    Raises:
        NotFound: there is none.
        Conflict: several are called so.
    """
    by_id = [one for one in known if one.id == key]
    if by_id:
        return by_id[0]
    called = [one for one in known if key in (one.name, f"{one.vendor}/{one.name}", f"{one.kind}:{one.name}")]
    if not called:
        raise NotFound(f'The catalogue has no entry "{key}". See farsite catalogue search.')
    if len(called) > 1:
        ids = ", ".join(f"{one.id} ({one.version or 'no version'})" for one in called)
        raise Conflict(f'{len(called)} entries are called "{key}": {ids}. Name one by its id.')
    return called[0]


def speaks_of(entry: Entry, text: str) -> bool:
    """Whether every word of a text occurs in what the entry says of itself, without regard to case."""
    said = " ".join(
        (entry.vendor, entry.name, entry.product, entry.description, *entry.statement.tags)
    ).casefold()
    return all(word in said for word in text.casefold().split())


def unmet(entry: Entry, there: Sequence[Entry]) -> list[str]:
    """The rules of an entry that do not hold now."""
    return [
        str(one) for one in breaches(entry.statement, Shelf(entries=there, farsite=__version__), but=entry.id)
    ]


def check_arrival(arriving: Sequence[Entry], there: Sequence[Entry]) -> None:
    """See that what arrives may be used beside what is there: its own rules, and those of what is there.

    Raises:
        Conflict: with every rule that does not hold, the fact, and what to do.
    """
    gone = {one.id for one in arriving}
    after = Shelf(entries=[*(one for one in there if one.id not in gone), *arriving], farsite=__version__)
    before = Shelf(entries=there, farsite=__version__)
    told = [
        f"{one.name} {one.version}: {breach}"
        for one in arriving
        for breach in breaches(one.statement, after, but=one.id)
    ]
    told += [
        f"{one.name} {one.version}, which is here: {breach}"
        for one in there
        if one.id not in gone and one.is_enabled
        for breach in _new(one, before, after)
    ]
    if told:
        raise Conflict(" ".join(told))


def _new(entry: Entry, before: Shelf, after: Shelf) -> list[Breach]:
    known = breaches(entry.statement, before, but=entry.id)
    return [one for one in breaches(entry.statement, after, but=entry.id) if one not in known]


def check_rules(entry: Entry, there: Sequence[Entry]) -> None:
    """See that an entry's rules hold among what is there now.

    Raises:
        Conflict: one does not; names the rule, the fact and what to do.
    """
    found = breaches(entry.statement, Shelf(entries=there, farsite=__version__), but=entry.id)
    if found:
        raise Conflict(
            f"{entry.name} {entry.version} cannot be used: {' '.join(str(one) for one in found)}",
            about={"entry": entry.id},
        )
