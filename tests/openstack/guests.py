"""The whole program against projects of the laboratory, with the sample guest; and what stands there."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laboratory import Account
from openstack.connection import Connection
from tenancy import Project

from farsite.functions.packaging import build_sample
from farsite.settings import Settings
from service_bench import Service, running

BOUND_S = 240.0
IMAGE = "cirros"
NETWORK = "mgmt"
AT_REST = ("COMPLETED", "FAILED", "ROLLED_BACK", "FAILED_TEMP")


@dataclass(frozen=True, slots=True)
class Cloud:
    """A project as its administrator sees it, past Farsite."""

    admin: Connection
    project_id: str

    def stacks(self) -> list[Any]:
        # Heat lists an administrator the stacks of all projects, and a deleted one for a moment longer.
        mine = f"/{self.project_id}/stacks/"
        return [
            one
            for one in self.admin.orchestration.stacks()
            if one.status != "DELETE_COMPLETE" and any(mine in link["href"] for link in one.links)
        ]

    def servers(self) -> dict[str, Any]:
        return {one.id: one for one in self.admin.compute.servers()}

    def ports(self) -> dict[str, Any]:
        return {one.id: one for one in self.admin.network.ports(project_id=self.project_id)}

    def left(self) -> list[str]:
        """What stands there of a VNF: a line each."""
        return [
            *(f"stack {one.name} {one.status}" for one in self.stacks()),
            *(f"server {one.name}" for one in self.servers().values()),
            *(f"port {one.name}" for one in self.ports().values()),
            *(f"server group {one.name}" for one in self.admin.compute.server_groups()),
        ]


class Guests:
    """A running service, with the guest onboarded."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def onboard_guest(self, image: str = IMAGE) -> None:
        created = self.service.native("POST", "/packages").json()
        answer = self.service.native(
            "PUT", f"/packages/{created['id']}/content", content=build_sample("guest"),
            headers={"Content-Type": "application/zip"}, params={"image": f"guest-image={image}"},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text

    def register(self, name: str, body: Mapping[str, object]) -> None:
        """Register a VIM and wait until its zones are known."""
        answer = self.service.native("POST", "/vims", json={"name": name, **body})
        assert answer.status_code == 201, answer.text
        self.until(
            lambda: self.service.native("GET", f"/vims/{name}").json(),
            lambda seen: bool(seen["zones"]) and seen["state"] == "ACTIVE",
        )

    def register_account(self, name: str, account: Account, **settings: object) -> None:
        """Register an account's project as a VIM, in its region: tests may be making others meanwhile."""
        if "regions" not in settings:
            settings["region"] = account.region
        # A busy laboratory is slow, and that is not what is tried.
        settings = {"health_timeout_s": 8, **settings}
        self.register(
            name,
            {
                "type": "openstack",
                "auth_url": account.auth_url,
                "credentials": account.credentials,
                "settings": settings,
            },
        )

    def register_project(self, name: str, project: Project, **settings: object) -> Cloud:
        """Register a test's project as a VIM; the project as it is seen from beside."""
        self.register_account(name, project.account, **settings)
        return Cloud(project.admin, project.project_id)

    def create(self, **metadata: str) -> str:
        """Record a guest; its id."""
        answer = self.service.native("POST", "/vnfs", json={"package": "Farsite guest", "metadata": metadata})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def begin(self, kind: str, instance_id: str, verb: str, **body: object) -> str:
        """Start an operation; its id."""
        answer = self.service.native("POST", f"/{kind}/{instance_id}/{verb}", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def ask(self, kind: str, instance_id: str, verb: str, **body: object) -> Mapping[str, Any]:
        """Start an operation and wait until it ends or rests."""
        return self.ended(self.begin(kind, instance_id, verb, **body))

    def instantiate(self, vnf_id: str, vim: str, **more: object) -> str:
        """Begin to instantiate a guest on the network that every project sees; the operation's id."""
        links = [{"cp": "net", "network_id": NETWORK}]
        return self.begin("vnfs", vnf_id, "instantiate", **{"vim": vim, "external_links": links, **more})

    def running(self, vim: str, **more: object) -> str:
        """A guest that runs, and that only an operator heals; its id."""
        vnf_id = self.create(autoheal="false")
        seen = self.ended(self.instantiate(vnf_id, vim, **more))
        assert seen["state"] == "COMPLETED", seen.get("error") or seen
        return vnf_id

    def terminated(self, vnf_id: str) -> None:
        """Take a guest down and forget it."""
        seen = self.ask("vnfs", vnf_id, "terminate")
        assert seen["state"] == "COMPLETED", seen.get("error") or seen
        assert self.service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204

    def control(self, operation_id: str, what: str) -> Mapping[str, Any]:
        """Retry, roll back or fail an operation that rests; how it came out."""
        answer = self.service.native("POST", f"/operations/{operation_id}/{what}")
        assert answer.status_code in (200, 202), answer.text
        self.until(
            lambda: self.service.native("GET", f"/operations/{operation_id}").json(),
            lambda seen: seen["control"] is None,
        )
        return self.ended(operation_id)

    def ended(self, operation_id: str) -> Mapping[str, Any]:
        """The operation once it has ended or rests."""
        return self.until(
            lambda: self.service.native("GET", f"/operations/{operation_id}").json(),
            lambda seen: seen["state"] in AT_REST and not seen["control"],
        )

    def until(self, look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
        """What is seen once it is so, as long as real clouds take."""
        return self.service.until(look, is_so, within_s=BOUND_S)

    def vnf(self, vnf_id: str) -> Mapping[str, Any]:
        return self.service.native("GET", f"/vnfs/{vnf_id}").json()


@contextmanager
def guests(**settings: Any) -> Iterator[Guests]:
    """A service in a directory of its own, with the guest onboarded."""
    data_dir = Path(tempfile.mkdtemp(prefix="fso-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir, **settings)) as service:
            found = Guests(service)
            found.onboard_guest()
            yield found
    finally:
        if (data_dir / "run" / "sites").is_dir():
            module = "farsite.vims.drivers.linux.agent.remove"
            subprocess.run([sys.executable, "-m", module, str(data_dir / "run")], check=True, timeout=60)
        shutil.rmtree(data_dir, ignore_errors=True)
