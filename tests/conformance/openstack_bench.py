"""A real OpenStack as a bench: a project for every VIM of a test, on the laboratory of FARSITE_LAB_DIR."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenancy import Project

VARIABLE = "FARSITE_LAB_DIR"
SIZES = ((1, 64), (2, 128))
"""vCPUs and MiB of the VNFCs of the suite: a member of a project finds flavours and makes none."""


def why_no_laboratory() -> str:
    if os.environ.get(VARIABLE):
        return ""
    return f"{VARIABLE} names no OpenStack laboratory (make test-openstack-full runs the suite on one)"


class Projects:
    """The projects of one test."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        # The modules of the tests on OpenStack, and of the laboratory.
        sys.path[:0] = [
            one for one in map(str, (here.parent / "openstack", here.parents[1])) if one not in sys.path
        ]
        from laboratory import OpenStackLaboratory

        self._site = OpenStackLaboratory(Path(os.environ[VARIABLE])).sites["site1"]
        self._made: dict[str, Project] = {}

    def registration(self, name: str) -> Mapping[str, Any]:
        from tenancy import Project

        if name not in self._made:
            self._made[name] = Project(self._site)
            self._make_flavours(self._made[name])
        account = self._made[name].account
        return {"auth_url": account.auth_url, "credentials": account.credentials}

    def _make_flavours(self, project: "Project") -> None:
        root = project.site.admin.connect()
        for vcpus, memory_mib in SIZES:
            flavour = root.compute.create_flavor(
                name=f"{vcpus}-{memory_mib}-{project.name}",
                vcpus=vcpus,
                ram=memory_mib,
                disk=1,
                is_public=False,
            )
            root.compute.flavor_add_tenant_access(flavour, project.project_id)
        root.close()

    def kill(self, vnfc_id: str) -> None:
        """A guest that halts: Nova has its server still, and it is off."""
        for project in self._made.values():
            for server in project.admin.compute.servers(name=f"^{vnfc_id}$"):
                project.admin.compute.stop_server(server)
                project.admin.compute.wait_for_server(server, "SHUTOFF", interval=0.2)

    def remove(self) -> None:
        for project in self._made.values():
            project.remove()


@contextmanager
def tenancy() -> Iterator[Projects]:
    """Projects that are removed after the test with everything in them."""
    projects = Projects()
    try:
        yield projects
    finally:
        projects.remove()
