"""What tests of OpenStack may ask for: the laboratory, its sites, a project of their own.

Everything below this directory is marked `openstack`, so that only `make test-openstack` runs it. A
developer with a laboratory that is up already sets FARSITE_LAB_DIR to its directory instead.
"""

import os
import ssl
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from guests import Guests
from lab.faults.certificates import Authority
from lab.faults.proxy import Loop
from lab.openstack import isolation
from lab.openstack.front import SiteFront
from lab.openstack.raising import Laboratory, existing
from laboratory import VARIABLE, LabSite, OpenStackLaboratory
from tenancy import Project

HERE = Path(__file__).parent
MAY_BREAK = "FARSITE_LAB_MAY_BREAK"


class MakesFronts(Protocol):
    """Puts proxies before all services of a site."""

    def __call__(self, site: LabSite, *, tls: ssl.SSLContext | None = None) -> SiteFront: ...


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("openstack")
            # The SDK announces the renaming of its own parts; which of them we use is the driver's concern.
            for category in ("PendingDeprecationWarning", "DeprecationWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}:openstack"))
            if "breakable" in getattr(item, "fixturenames", ()):
                item.add_marker("alone")
            if "region2" in getattr(item, "fixturenames", ()):
                item.add_marker("regions")


@pytest.fixture(scope="session")
def laboratory() -> OpenStackLaboratory:
    """The laboratory that FARSITE_LAB_DIR names. Where none is named, every test that needs it skips."""
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no OpenStack laboratory (make test-openstack starts one)")
    # Named and not there is a fault: a run in which everything skips has shown nothing.
    return OpenStackLaboratory(Path(os.environ[VARIABLE]))


@pytest.fixture(scope="session")
def site1(laboratory: OpenStackLaboratory) -> LabSite:
    """The first site: `.auth_url`, `.region`, `.admin` and `.nfv` (accounts that connect), `.clouds_yaml`."""
    return laboratory.sites["site1"]


@pytest.fixture(scope="session")
def site2(laboratory: OpenStackLaboratory) -> LabSite:
    """The second site, with a Keystone of its own."""
    if "site2" not in laboratory.sites:
        pytest.skip("the laboratory has one site only (make lab starts two)")
    return laboratory.sites["site2"]


@pytest.fixture(scope="session")
def region2(laboratory: OpenStackLaboratory, site1: LabSite) -> LabSite:
    """A second region under the first site's Keystone. A test that asks for it is marked `regions` by that.

    `make test-openstack` adds it when all other tests are done, who know a site with one region.
    """
    for site in laboratory.sites.values():
        if site.auth_url == site1.auth_url and site.region != site1.region:
            return site
    pytest.skip("the laboratory has no second region under one Keystone (up --regions 1)")


@pytest.fixture
def breakable(laboratory: OpenStackLaboratory) -> Iterator[Laboratory]:
    """The laboratory to break: `.processes.kill("site1-heat-engine")`, `.freeze`, `.cut("site1")`.

    A test that asks for it is marked `alone` by that. Afterwards everything that was killed, frozen or cut
    off works again. Where others may use the laboratory it is not given out.
    """
    if not os.environ.get(MAY_BREAK):
        pytest.skip(f"others may use this laboratory; {MAY_BREAK}=1 says that nobody does")
    found = existing(laboratory.directory)
    yield found
    for site in found.layout.sites:
        if isolation.is_cut(site):
            found.mend(site.name)
    known = found.processes.names()
    found.processes.thaw(*known)
    found.processes.start(*known)


@pytest.fixture
def make_project() -> Iterator[Callable[[LabSite], Project]]:
    """Make projects of the test's own, at any site; they go afterwards, and nothing may be left in them.

    A test that leaves something on purpose calls `project.sweep()` itself before it ends.
    """
    made: list[Project] = []

    def make(site: LabSite) -> Project:
        project = Project(site)
        made.append(project)
        return project

    yield make
    left: list[str] = []
    faults: list[Exception] = []
    for project in made:
        try:
            left += [f"{project.site.name}: {thing}" for thing in project.remove()]
        except Exception as fault:  # the others are removed all the same
            faults.append(fault)
    assert left == [], "left behind on the VIM"
    if faults:
        raise ExceptionGroup("projects that could not be removed", faults)


@pytest.fixture
def project(site1: LabSite, make_project: Callable[[LabSite], Project]) -> Project:
    """A project of the test's own at the first site.

    `.account` has the credentials of its user, `.connect()` a connection as that user, `.admin` one as an
    administrator of the same project.
    """
    return make_project(site1)


@pytest.fixture
def project2(site2: LabSite, make_project: Callable[[LabSite], Project]) -> Project:
    """A project of the test's own at the second site."""
    return make_project(site2)


@pytest.fixture(scope="session")
def proxy_loop() -> Iterator[Loop]:
    """The thread on which the proxies of this worker run."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def make_front(proxy_loop: Loop) -> Iterator[MakesFronts]:
    """Put proxies before all services of a site, so that faults can be made and requests counted.

    `front = make_front(site1)`; whoever uses `front.auth_url` (`project.account.through(front)`) passes
    through the proxies whatever it asks: the catalogue names them. `front["heat"].inject(kinds.Lose(),
    method="POST", path="/stacks$")` loses the answer to one creation; `lab.faults.kinds` has them all.
    """
    made: list[SiteFront] = []

    def make(site: LabSite, *, tls: ssl.SSLContext | None = None) -> SiteFront:
        front = SiteFront(site.services(), loop=proxy_loop, tls=tls)
        made.append(front)
        return front

    yield make
    for front in made:
        front.close()


@pytest.fixture
def front(make_front: MakesFronts, site1: LabSite) -> SiteFront:
    """Proxies before the services of the first site."""
    return make_front(site1)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts yet: `.certificate` is its file, `.server()` a front's `tls`.

    `.server(is_expired=True)` and `.server(names=["elsewhere.example"])` are those that clients must refuse.
    """
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def name(bench: Guests) -> Iterator[str]:
    """Name of the test's VIM at the orchestrator of its module, which is forgotten at the end. A VIM in use
    would be refused."""
    chosen = f"vim-{uuid.uuid4().hex[:8]}"
    yield chosen
    answer = bench.service.native("DELETE", f"/vims/{chosen}")
    assert answer.status_code in (204, 404), answer.text
