"""The databases' schemas, and empty ones kept so that they need not be migrated again.

Migrating is more work for the machine than anything else here: half a minute of both cores. A schema depends
on nothing but the release's packages, so what was migrated once is kept under `.build`, in a directory per
set of versions, and for the pinned release also in the repository (70 KB): a fresh checkout is what is tested
most. `python -m lab.openstack pack-schemas` makes that file anew; with other pins it is not used.
"""

import hashlib
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.openstack.database import Database, name_of
from lab.openstack.installation import PACKAGED
from lab.openstack.layout import BUILD, LaboratoryFault, Layout, Site
from lab.openstack.programs import manage

AT_ONCE = 3
# The longest first: the short ones fill what is left of the cores.
DATABASES = {
    "nova": ("nova_api", "nova", "nova_cell0"),
    "neutron": ("neutron",),
    "keystone": ("keystone",),
    "heat": ("heat",),
    "cinder": ("cinder",),
    "glance": ("glance",),
    "placement": ("placement",),
}
MIGRATIONS = {
    "nova": (("api_db", "sync"), ("db", "sync", "--local_cell")),
    "neutron": (("upgrade", "heads"), ("--subproject", "networking-sfc", "upgrade", "heads")),
    "keystone": (("db_sync",),),
    "heat": (("db_sync",),),
    "cinder": (("db", "sync"),),
    "glance": (("db_sync",),),
    "placement": (("db", "sync"),),
}


def make(layout: Layout, sites: list[Site]) -> None:
    """Give each of these sites, which have none yet, its databases with their schemas."""
    database = Database(layout)
    wanted = {
        site: [project for project in DATABASES if project != "keystone" or site.has_keystone]
        for site in sites
    }
    database.execute(
        "".join(
            f"CREATE DATABASE IF NOT EXISTS {name_of(site, name)};"
            for site, projects in wanted.items()
            for project in projects
            if project in layout.projects
            for name in DATABASES[project]
        )
    )
    kept = _kept_at(layout)
    _unpack(layout, kept)
    first = sites[0]
    missing = [
        project
        for project in wanted[first]
        if project in layout.projects
        and not all((kept / f"{name}.sql").is_file() for name in DATABASES[project])
    ]
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        list(lanes.map(lambda project: _migrate(layout, database, first, project), missing))
    kept.mkdir(parents=True, exist_ok=True)
    for project in missing:
        for name in DATABASES[project]:
            # Renamed when whole: whoever is killed here leaves nothing that is taken for a schema.
            database.dump(name_of(first, name), kept / f"{name}.part")
            (kept / f"{name}.part").rename(kept / f"{name}.sql")
    copies = [
        (site, name)
        for site, projects in wanted.items()
        for project in projects
        if project in layout.projects and not (site is first and project in missing)
        for name in DATABASES[project]
    ]
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        list(
            lanes.map(lambda copy: database.load(name_of(copy[0], copy[1]), kept / f"{copy[1]}.sql"), copies)
        )


def _migrate(layout: Layout, database: Database, site: Site, project: str) -> None:
    for arguments in MIGRATIONS[project]:
        manage(layout, site, project, *arguments)
    if project == "nova":
        # The same schema as the cell's; a copy takes no time.
        copy = layout.directory / "nova_cell0.sql"
        database.dump(name_of(site, "nova"), copy)
        database.load(name_of(site, "nova_cell0"), copy)
        copy.unlink()


def _kept_at(layout: Layout) -> Path:
    if layout.is_packaged:
        versions = subprocess.run(
            [
                *("dpkg-query", "--show", "--showformat", "${Package}=${Version}\\n"),
                *(package for package in PACKAGED if package.startswith("python3-")),
            ],
            capture_output=True,
            check=True,
        ).stdout
    else:
        versions = layout.pins.read_bytes()
    return BUILD / "openstack-schemas" / hashlib.sha256(versions).hexdigest()[:16]


def packed(layout: Layout) -> Path:
    """The file of the repository that has this release's schemas, whether it is there or not."""
    return layout.pins.with_name(f"{layout.release}-schemas.tar.xz")


def pack(layout: Layout) -> Path:
    """Write the schemas that are kept for this release into the repository's file.

    Raises:
        LaboratoryFault: none are kept; `up` migrates and keeps them.
    """
    kept, path = _kept_at(layout), packed(layout)
    if not all((kept / f"{name}.sql").is_file() for names in DATABASES.values() for name in names):
        raise LaboratoryFault(f"{kept} has not all schemas; `up` migrates and keeps them")
    with tarfile.open(path, "w:xz") as archive:
        for file in sorted(kept.glob("*.sql")):
            # The same whoever packs them, so that a change of the file is a change of a schema.
            fact = archive.gettarinfo(file, f"{kept.name}/{file.name}")
            fact.uid = fact.gid = fact.mtime = 0
            fact.uname = fact.gname = ""
            with file.open("rb") as content:
                archive.addfile(fact, content)
    return path


def _unpack(layout: Layout, kept: Path) -> None:
    if not packed(layout).is_file():
        return
    with tarfile.open(packed(layout)) as archive:
        for member in archive.getmembers():
            directory, _, name = member.name.partition("/")
            content = archive.extractfile(member)
            if directory != kept.name or content is None or (kept / name).exists():
                continue
            kept.mkdir(parents=True, exist_ok=True)
            part = kept / f"{name}.part"
            part.write_bytes(content.read())
            part.rename(kept / name)
