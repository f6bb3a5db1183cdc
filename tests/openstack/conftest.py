"""What tests of OpenStack may ask for: the laboratory, its sites, a project of their own.

Everything below this directory is marked `openstack`, so that only `make test-openstack` runs it. A
developer with a laboratory that is up already sets FARSITE_LAB_DIR to its directory instead.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from laboratory import VARIABLE, LabSite, OpenStackLaboratory
from tenancy import Project

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("openstack")
            # The SDK announces the renaming of its own parts; which of them we use is the driver's concern.
            for category in ("PendingDeprecationWarning", "DeprecationWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}:openstack"))


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
    left = [f"{project.site.name}: {thing}" for project in made for thing in project.remove()]
    assert left == [], "left behind on the VIM"


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
