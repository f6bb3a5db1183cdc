"""A site of a laboratory that is up, and a project in it for the length of a benchmark."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openstack
import yaml
from openstack.connection import Connection

from bench.figures import NotMeasured

_GONE_WITHIN_S = 300.0
_LOOK_S = 0.5
_ROLES = ("member", "heat_stack_owner")
_NO_LIMITS = {"instances": -1, "cores": -1, "ram": -1, "server_groups": -1, "server_group_members": -1}
_NO_NETWORK_LIMITS = {"network": -1, "subnet": -1, "port": -1, "security_group": -1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody at a site; domains are all `Default`."""

    auth_url: str
    region: str
    username: str
    password: str
    project: str

    @property
    def auth(self) -> dict[str, str]:
        """As keystoneauth takes it, and a VIM's registration too (less the address)."""
        return {
            "auth_url": self.auth_url,
            "username": self.username,
            "password": self.password,
            "project_name": self.project,
            "project_domain_name": "Default",
            "user_domain_name": "Default",
        }

    @property
    def credentials(self) -> dict[str, str]:
        """As a VIM's registration takes them."""
        return {key: value for key, value in self.auth.items() if key != "auth_url"}

    def connect(self) -> Connection:
        """Plain openstacksdk; neither clouds.yaml nor OS_* variables of this machine reach in."""
        return openstack.connect(
            load_yaml_config=False, load_envvars=False, auth=self.auth, region_name=self.region
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One OpenStack of a laboratory."""

    name: str
    directory: Path
    admin: Account

    @classmethod
    def of(cls, directory: Path, name: str) -> "Site":
        """The site of that name in a laboratory's directory.

        Raises:
            NotMeasured: there is no laboratory, or it has no such site.
        """
        try:
            clouds = yaml.safe_load((directory / "clouds.yaml").read_text())["clouds"]
        except OSError:
            raise NotMeasured(f"{directory} holds no laboratory; `make lab` brings one up") from None
        if f"{name}-admin" not in clouds:
            raise NotMeasured(f"{directory} has no site {name}: {', '.join(clouds)}")
        cloud = clouds[f"{name}-admin"]
        auth = cloud["auth"]
        admin = Account(
            auth_url=auth["auth_url"],
            region=cloud["region_name"],
            username=auth["username"],
            password=auth["password"],
            project=auth["project_name"],
        )
        return cls(name=name, directory=directory, admin=admin)

    @property
    def release(self) -> str:
        """What Heat says it is; empty when it says nothing."""
        with self.admin.connect() as cloud:
            told: Any = cloud.orchestration.get("/build_info").json()
        return str(told.get("engine", {}).get("revision", ""))

    def services(self) -> dict[str, str]:
        """Service name -> `http://host:port` of everything in the catalogue that answers."""
        found: dict[str, str] = {"keystone": _address(self.admin.auth_url)}
        with self.admin.connect() as cloud:
            access: Any = cloud.session.auth
            for service in access.get_access(cloud.session).service_catalog.catalog:
                for endpoint in service["endpoints"]:
                    if (endpoint["interface"], endpoint["region"]) == ("public", self.admin.region):
                        found.setdefault(service["name"], _address(endpoint["url"]))
        return found

    @contextmanager
    def project(self) -> Iterator["Account"]:
        """A project without limits and its user; what is left in it at the end goes with it."""
        with self.admin.connect() as root:
            account, project_id = make_project(root, self.admin)
            try:
                yield account
            finally:
                sweep(account)
                remove_project(root, account, project_id)


def make_project(root: Connection, admin: Account) -> tuple[Account, str]:
    """A project with a user, who may own stacks."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    account = replace(admin, username=name, password=uuid.uuid4().hex, project=name)
    identity: Any = root.identity
    project = identity.create_project(name=name, domain_id="default")
    user = identity.create_user(name=name, password=account.password, domain_id="default")
    for role in _ROLES:
        identity.assign_project_role_to_user(project, user, identity.find_role(role))
    root.compute.put(f"/os-quota-sets/{project.id}", json={"quota_set": _NO_LIMITS})
    root.network.put(f"/quotas/{project.id}", json={"quota": _NO_NETWORK_LIMITS})
    return account, project.id


def remove_project(root: Connection, account: Account, project_id: str) -> None:
    """Remove a project and its user."""
    for group in root.network.security_groups(project_id=project_id):
        root.network.delete_security_group(group)
    identity: Any = root.identity
    user = identity.find_user(account.username)
    if user:
        identity.delete_user(user)
    identity.delete_project(project_id)


def sweep(account: Account) -> None:
    """Remove the stacks of a project, as its own user, and wait until they are gone (five minutes at most).

    Never as an administrator: Heat lists the stacks of every project to one, whatever project the token is
    scoped to, and deletes them too.
    """
    with account.connect() as cloud:
        project_id = str(cloud.current_project_id)
        give_up_at = time.monotonic() + _GONE_WITHIN_S
        while left := [s for s in cloud.orchestration.stacks() if is_of(project_id, s.links[0]["href"])]:
            if time.monotonic() > give_up_at:
                raise NotMeasured(f"project {account.project} keeps {len(left)} stacks: {left[0].name}")
            for stack in left:
                # A deletion that failed is asked for again; one under way would be slowed down by that.
                if stack.status != "DELETE_IN_PROGRESS":
                    cloud.orchestration.delete(f"/stacks/{stack.name}/{stack.id}")
            time.sleep(_LOOK_S)


def is_of(project_id: str, link: str) -> bool:
    """Whether a stack's link says that it is of this project."""
    return bool(project_id) and f"/{project_id}/stacks/" in link


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
