"""The OpenStack laboratory as tests see it: its sites, who may use them, and a connection as anybody.

A laboratory is a directory with a `clouds.yaml` that names `SITE-admin` and `SITE-nfv` for every site; the
rest (pid files, logs) belongs to `lab.openstack`. `FARSITE_LAB_DIR` says which one the tests use.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openstack
import yaml
from lab.openstack.front import SiteFront
from openstack.connection import Connection

VARIABLE = "FARSITE_LAB_DIR"


class NoLaboratory(Exception):
    """There is no laboratory to test with; the text says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may log in at a site, and where to. Domains are given by name."""

    auth_url: str
    region: str
    username: str
    password: str
    project_name: str
    project_domain_name: str = "Default"
    user_domain_name: str = "Default"

    @property
    def auth(self) -> dict[str, str]:
        """As keystoneauth takes it."""
        return {
            "auth_url": self.auth_url,
            "username": self.username,
            "password": self.password,
            "project_name": self.project_name,
            "project_domain_name": self.project_domain_name,
            "user_domain_name": self.user_domain_name,
        }

    @property
    def credentials(self) -> dict[str, str]:
        """As a VIM's registration takes them: all but the address."""
        return {key: value for key, value in self.auth.items() if key != "auth_url"}

    def through(self, front: SiteFront) -> "Account":
        """The same person, who knows only the front's address."""
        return replace(self, auth_url=front.auth_url)

    def connect(self, **more: Any) -> Connection:
        """A connection that reads neither this machine's clouds.yaml nor its OS_* variables."""
        return openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            auth=self.auth,
            region_name=self.region,
            compute_default_microversion=more.pop("compute_default_microversion", "2.90"),
            **more,
        )


def clouds_yaml(directory: Path, **accounts: Account) -> Path:
    """A clouds.yaml with these clouds by name."""
    path = directory / "clouds.yaml"
    clouds = {name: {"auth": one.auth, "region_name": one.region} for name, one in accounts.items()}
    path.write_text(yaml.safe_dump({"clouds": clouds}))
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSite:
    """One OpenStack of the laboratory: a Keystone, and a region of it."""

    name: str
    directory: Path
    admin: Account
    nfv: Account
    """A member of the project `nfv`, with the right to own stacks."""

    @property
    def auth_url(self) -> str:
        return self.nfv.auth_url

    @property
    def region(self) -> str:
        return self.nfv.region

    @property
    def clouds_yaml(self) -> Path:
        return self.directory / "clouds.yaml"

    def services(self) -> dict[str, str]:
        """Where the services of this region listen, by name: `{"heat": "http://127.0.0.1:18004"}`.

        What the catalogue announces and nobody serves is left out.
        """
        cloud = self.admin.connect()
        found = {"keystone": _address(self.auth_url)}
        for service in cloud.session.auth.get_access(cloud.session).service_catalog.catalog:
            for endpoint in service["endpoints"]:
                if (endpoint["interface"], endpoint["region"]) == ("public", self.region):
                    found.setdefault(service["name"], _address(endpoint["url"]))
        cloud.close()
        return {name: address for name, address in found.items() if _is_served(address)}


class OpenStackLaboratory:
    """A laboratory that is up, in its directory.

    Raises:
        NoLaboratory: nothing has come up there.
    """

    def __init__(self, directory: Path) -> None:
        if not (directory / "clouds.yaml").is_file():
            raise NoLaboratory(f"{directory}: no OpenStack laboratory has come up there (make lab)")
        self.directory = directory

    @cached_property
    def sites(self) -> Mapping[str, LabSite]:
        """By name: site1, site2, and whatever regions there are beside."""
        clouds = yaml.safe_load((self.directory / "clouds.yaml").read_text())["clouds"]
        names = sorted({name.removesuffix("-nfv") for name in clouds if name.endswith("-nfv")})
        return {
            name: LabSite(
                name=name,
                directory=self.directory,
                admin=_account(clouds[f"{name}-admin"]),
                nfv=_account(clouds[f"{name}-nfv"]),
            )
            for name in names
        }


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_served(address: str) -> bool:
    parts = urlsplit(address)
    with socket.socket() as attempt:
        attempt.settimeout(1)
        return attempt.connect_ex((parts.hostname, parts.port)) == 0


def _account(cloud: Mapping[str, Any]) -> Account:
    auth = cloud["auth"]
    return Account(
        auth_url=auth["auth_url"],
        region=cloud["region_name"],
        username=auth["username"],
        password=auth["password"],
        project_name=auth["project_name"],
        project_domain_name=auth["project_domain_name"],
        user_domain_name=auth["user_domain_name"],
    )
