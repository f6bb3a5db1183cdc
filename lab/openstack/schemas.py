"""The databases' schemas, and empty ones kept so that they need not be migrated again.

Migrating takes longer than everything else together. A schema depends on nothing but the release's packages,
so what was migrated once is kept under `.build`, in a directory per set of versions. It is not kept in the
repository: that would save seven seconds of a fresh run, and put a binary file there that every new pin
spoils.
"""

import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.openstack.database import Database, name_of
from lab.openstack.installation import PACKAGED
from lab.openstack.layout import BUILD, Layout, Site
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
