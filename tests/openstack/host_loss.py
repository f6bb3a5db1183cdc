"""Hosts of a site that are lost and come back, and guests that stand on one of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from guests import Cloud, Guests
from lab.openstack.raising import Laboratory
from laboratory import Account, LabSite
from tenancy import Project

WITHIN_S = 90.0
_HOST = "OS-EXT-SRV-ATTR:host"


def administrator_of(project: Project) -> Account:
    """The site's administrator, inside the project: who sees hosts, and may evacuate from them."""
    return replace(project.site.admin, project_name=project.name)


class Hosts:
    """The compute hosts of a site, to be killed."""

    def __init__(self, site: LabSite, laboratory: Laboratory) -> None:
        self._site = site
        self._processes = laboratory.processes
        self._nova = site.admin.connect().compute

    def name(self, number: int) -> str:
        return f"{self._site.name}-cmp{number}"

    def states(self) -> dict[str, dict[str, Any]]:
        """Nova's word on each."""
        told = self._nova.get("/os-services?binary=nova-compute", microversion="2.11").json()
        return {one["host"]: one for one in told["services"]}

    def kill(self, number: int) -> None:
        self._processes.kill(f"{self._site.name}-compute{number}")

    def force(self, number: int, *, is_down: bool) -> int:
        """Declare a host dead, or take that back; Nova's answer."""
        body = {"host": self.name(number), "binary": "nova-compute", "forced_down": is_down}
        return self._nova.put("/os-services/force-down", json=body, microversion="2.11").status_code

    @contextmanager
    def only(self, number: int) -> Iterator[None]:
        """What is made meanwhile stands on this host."""
        others = [one for one in self.states() if one != self.name(number)]
        for host in others:
            self._switch(host, "disable")
        try:
            yield
        finally:
            for host in others:
                self._switch(host, "enable")

    def _switch(self, host: str, what: str) -> None:
        body = {"host": host, "binary": "nova-compute"}
        self._nova.put(f"/os-services/{what}", json=body, microversion="2.11").raise_for_status()

    def bring_back(self, number: int) -> None:
        """Start the host's program and have Nova give it work again."""
        name = f"{self._site.name}-compute{number}"
        self._processes.thaw(name)
        self._processes.start(name)
        self.until(lambda: self.force(number, is_down=False) < 400)
        self.until(lambda: self.states()[self.name(number)]["state"] == "up")

    @staticmethod
    def until(is_so: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        ends = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < ends, f"not within {within_s:g} s"
            time.sleep(0.2)


def guests_on(bench: Guests, hosts: Hosts, number: int, vim: str, count: int) -> list[str]:
    """So many guests that run on one host; their ids. They heal by the policies that there are."""
    with hosts.only(number):
        vnf_ids = [bench.create() for _ in range(count)]
        started = [bench.instantiate(one, vim) for one in vnf_ids]
        for operation_id in started:
            seen = bench.ended(operation_id)
            assert seen["state"] == "COMPLETED", seen.get("error") or seen
    return vnf_ids


def document_of(cloud: Cloud, server_id: str) -> dict[str, Any]:
    """Nova's document of a server, as an administrator sees it."""
    return cloud.admin.compute.get(f"/servers/{server_id}", microversion="2.16").json()["server"]


def host_of(cloud: Cloud, server_id: str) -> str:
    return document_of(cloud, server_id)[_HOST]


def open_alarms(bench: Guests, *types: str) -> list[dict[str, Any]]:
    """Alarms that stand, of these kinds."""
    found = bench.service.native("GET", "/alarms", params={"filter": "(eq,is_open,true)"})
    assert found.status_code == 200, found.text
    return [one for one in found.json() if not types or one["fault_type"] in types]


def terminate_all(bench: Guests, vnf_ids: Sequence[str]) -> None:
    with ThreadPoolExecutor(5) as at_once:
        list(at_once.map(bench.terminated, vnf_ids))
