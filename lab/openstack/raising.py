"""Bringing a laboratory up and taking it down, in the order that OpenStack's services need.

Each part that is done once leaves a mark, so that `up` goes on where a run before it was broken off, and
brings up a laboratory whose processes were all killed, with its data.
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import yaml

from lab.openstack import bus, database, isolation, schemas
from lab.openstack.configuration import Configuration
from lab.openstack.daemons import SiteDaemons
from lab.openstack.database import Database
from lab.openstack.layout import ADMIN_PASSWORD, MEMBER_PASSWORD, LaboratoryFault, Layout, Site
from lab.openstack.processes import Processes
from lab.openstack.programs import bootstrap, environment

# They must outlive the services, which say good-bye to them.
SHARED = (*bus.NAMES, database.NAME)
SCHEDULERS_MAX = 5
T = TypeVar("T")
Say = Callable[[str], None]


class Laboratory:
    """A laboratory by its layout."""

    def __init__(self, layout: Layout, say: Say = print) -> None:
        self.layout = layout
        self.processes = Processes(layout.directory)
        self._began = time.monotonic()
        self._tell = say

    def _say(self, what: str) -> None:
        self._tell(f"[{time.monotonic() - self._began:6.1f} s] {what}")

    def up(self) -> None:
        """Bring everything up and wait until both compute hosts of every site can be used.

        Raises:
            LaboratoryFault: something did not come up; names its log.
        """
        layout = self.layout
        self._began = time.monotonic()
        layout.save()
        if layout.isolated:
            isolation.prepare(layout)
        for site in layout.sites:
            Configuration(layout, site).write()
        variables = environment()
        self._at_once(
            lambda start: start(),
            [
                lambda: Database(layout).start(self.processes, variables),
                lambda: bus.start(layout, self.processes, variables),
            ],
        )
        self._say("database and bus are there")
        self._once("schemas", lambda sites: schemas.make(layout, sites))
        self._say("schemas are there")
        daemons = {site: SiteDaemons(layout, site, self.processes) for site in layout.sites}
        self._at_once(lambda site: daemons[site].start_keystone(), self._with_keystone())
        self._say("Keystone answers")
        self._once("identity", self._identify)
        self._once("cells", lambda sites: [daemons[site].map_cells() for site in sites])
        for site in layout.sites:
            daemons[site].start_others()
        for site in layout.sites:
            daemons[site].start_computes()
        for site in layout.sites:
            self.processes.wait_until_ready(daemons[site].started)
        self._say("all services answer")
        self._once("tenant", lambda sites: self._at_once(self._bootstrap("tenant"), sites))
        self._at_once(self._bootstrap("ready"), list(layout.sites))
        # Nova moves no host that has guests, so that only a site that is new gets another zone.
        if layout.zones > 1:
            self._once("zones", lambda sites: self._at_once(self._bootstrap("zones"), sites))
        self._write_clouds()
        self._say("all sites can be used")

    def _with_keystone(self) -> list[Site]:
        return [site for site in self.layout.sites if site.has_keystone]

    def _bootstrap(self, what: str) -> Callable[[Site], None]:
        return lambda site: bootstrap(self.layout, site, what)

    def _identify(self, sites: list[Site]) -> None:
        # A region is added to a Keystone that has its users already.
        self._at_once(self._bootstrap("identity"), [site for site in sites if site.has_keystone])
        self._at_once(self._bootstrap("identity"), [site for site in sites if not site.has_keystone])

    def _mark(self, site: Site, what: str) -> Path:
        return self.layout.state(site) / f"{what}.done"

    def _once(self, what: str, do: Callable[[list[Site]], object]) -> None:
        """Do it for the sites that it was not done for yet."""
        waiting = [site for site in self.layout.sites if not self._mark(site, what).exists()]
        if waiting:
            do(waiting)
        for site in waiting:
            self._mark(site, what).touch()

    @staticmethod
    def _at_once(do: Callable[[T], object], things: list[T]) -> None:
        with ThreadPoolExecutor(max(1, len(things))) as lanes:
            list(lanes.map(do, things))

    def _write_clouds(self) -> None:
        """Write the `clouds.yaml` that says the laboratory is up: written last and at once."""
        clouds: dict[str, object] = {}
        for site in self.layout.sites:
            for suffix, user, password, project in (
                ("admin", "admin", ADMIN_PASSWORD, "admin"),
                ("nfv", "nfv_user", MEMBER_PASSWORD, "nfv"),
            ):
                clouds[f"{site.name}-{suffix}"] = {
                    "region_name": site.name,
                    "identity_api_version": 3,
                    "auth": {
                        "auth_url": site.auth_url,
                        "username": user,
                        "password": password,
                        "project_name": project,
                        "user_domain_name": "Default",
                        "project_domain_name": "Default",
                    },
                }
        part = self.layout.directory / "clouds.yaml.part"
        part.write_text(yaml.safe_dump({"clouds": clouds}, sort_keys=False))
        part.rename(self.layout.directory / "clouds.yaml")

    def down(self) -> None:
        """End every process and remove the namespaces; the data stays. What is down stays down."""
        self._began = time.monotonic()
        known = self.processes.names()
        self.processes.stop([name for name in known if name not in SHARED])
        self.processes.stop([name for name in known if name in SHARED])
        isolation.remove(self.layout)
        (self.layout.directory / "clouds.yaml").unlink(missing_ok=True)
        self._say("everything is down")

    def wipe(self) -> None:
        """Take it down and remove its data."""
        self.down()
        shutil.rmtree(self.layout.directory, ignore_errors=True)

    def schedulers(self, name: str, count: int) -> None:
        """Have so many nova-schedulers at a site, each on a control node of its own as Nova sees it; one ends
        those that were added, and has Nova forget them. Returns when Nova says that they are up.

        Raises:
            LaboratoryFault: there is no such site, or they did not come up; names the log.
        """
        site = self.layout.named(name)
        if not 1 <= count <= SCHEDULERS_MAX:
            raise LaboratoryFault(f"{count} schedulers: there may be 1 to {SCHEDULERS_MAX}")
        wanted, surplus = range(2, count + 1), range(count + 1, SCHEDULERS_MAX + 1)
        started = self.processes.names()
        names = [f"{site.name}-nova-scheduler{number}" for number in surplus]
        self.processes.stop([one for one in names if one in started])
        daemons = SiteDaemons(self.layout, site, self.processes)
        for number in wanted:
            daemons.start_scheduler(number)
        bootstrap(
            self.layout,
            site,
            "schedulers",
            present=[site.control_node(number) for number in wanted],
            absent=[site.control_node(number) for number in surplus],
        )

    def cut(self, name: str, *, reject: bool = False) -> None:
        """Cut a site off from everybody outside it."""
        isolation.cut(self.layout, self.layout.named(name), reject=reject)

    def mend(self, name: str) -> None:
        """Let a site be reached again."""
        isolation.mend(self.layout.named(name))


def existing(directory: Path, say: Say = print) -> Laboratory:
    """The laboratory that was brought up in `directory`.

    Raises:
        LaboratoryFault: there is none.
    """
    return Laboratory(Layout.load(directory), say)
