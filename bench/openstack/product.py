"""Farsite as a contender: `farsite serve` as a process of its own, and a client of its API."""

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter

from bench.figures import NotMeasured
from bench.openstack.contest import POLL_S, Turn, turn_of
from bench.openstack.package import Shape, build
from bench.openstack.site import Account
from bench.orchestrator import Service

_VIM_ACTIVE_WITHIN_S = 60.0
FLAVOUR = "m1.tiny"


class Api:
    """Requests to /farsite/v1 over connections that stay open; safe for threads."""

    def __init__(self, running: Service) -> None:
        self._root = f"{running.url}/farsite/v1"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {running.token}"
        self._session.mount("http://", HTTPAdapter(pool_maxsize=32))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's content.

        Raises:
            NotMeasured: the request was refused, in the API's own words.
        """
        if isinstance(body, bytes):
            headers, data, document = {"Content-Type": "application/zip"}, body, None
        else:
            headers, data, document = dict[str, str](), None, body
        answer = self._session.request(
            method, self._root + path, timeout=120, headers=headers, data=data, json=document
        )
        if answer.status_code >= 400:
            raise NotMeasured(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None


def register(api: Api, name: str, account: Account, **settings: object) -> str:
    """Register the account's project as a VIM and wait until it is ACTIVE; its id."""
    body = {
        "name": name,
        "type": "openstack",
        "auth_url": account.auth_url,
        "credentials": account.credentials,
        "settings": {"region": account.region, **settings},
    }
    vim = api.ask("POST", "/vims", body)
    await_usable(api, name)
    return str(vim["id"])


def await_usable(api: Api, name: str) -> None:
    """Wait until a VIM is in a state in which placement takes it.

    Raises:
        NotMeasured: it is not within a minute.
    """
    give_up_at = time.monotonic() + _VIM_ACTIVE_WITHIN_S
    while (now := api.ask("GET", f"/vims/{name}"))["state"] not in ("ACTIVE", "DEGRADED"):
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"VIM {name} is {now['state']}: {now['state_reason']}")
        time.sleep(POLL_S)


def onboard(api: Api, shape: Shape) -> str:
    """Onboard the package in a shape; its VNFD id."""
    content, vnfd_id = build(shape)
    package = api.ask("POST", "/packages", {})
    api.ask("PUT", f"/packages/{package['id']}/content", content)
    while (now := api.ask("GET", f"/packages/{package['id']}"))["state"] not in ("ONBOARDED", "ERROR"):
        if now["failure"]:
            break
        time.sleep(POLL_S)
    if now["state"] != "ONBOARDED":
        raise NotMeasured(f"the package is {now['state']}: {now['failure']}")
    return vnfd_id


class Farsite:
    """A running service that has the VIM and the package."""

    name = "Farsite"

    def __init__(self, api: Api, vnfd_id: str, vim: str) -> None:
        self._api = api
        self._vnfd_id = vnfd_id
        self._vim = vim

    def turn(self, count: int) -> Turn:
        """Instantiate so many at once, then terminate them at once; their records are deleted."""
        return turn_of(self, count)

    def create(self, count: int) -> list[str]:
        """Ids of so many new instances, of which nothing stands yet; waits until the VIM can take them."""
        await_usable(self._api, self._vim)
        return [self._api.ask("POST", "/vnfs", {"package": self._vnfd_id})["id"] for _ in range(count)]

    def instantiate(self, vnf_id: str) -> str:
        """Begin; the operation's id."""
        body = {"vim": self._vim, "compute_flavours": {"VDU1": FLAVOUR, "VDU2": FLAVOUR}}
        return str(self._api.ask("POST", f"/vnfs/{vnf_id}/instantiate", body)["id"])

    def terminate(self, vnf_id: str) -> str:
        """Begin; the operation's id."""
        return str(self._api.ask("POST", f"/vnfs/{vnf_id}/terminate", {"type": "FORCEFUL"})["id"])

    def forget(self, vnfs: Sequence[str]) -> None:
        """Delete the records of instances of which nothing stands."""
        for vnf_id in vnfs:
            self._api.ask("DELETE", f"/vnfs/{vnf_id}")

    def operation(self, operation_id: str) -> Any:
        """The operation as the API shows it."""
        return self._api.ask("GET", f"/operations/{operation_id}")

    def completed(self, operations: Sequence[str]) -> set[str]:
        """Which of the operations are done, asked with one request.

        Raises:
            NotMeasured: one has failed, with its reason.
        """
        if len(operations) == 1:
            found = [self.operation(operations[0])]
        else:
            asked = quote(f"(in,id,{','.join(operations)})")
            found = self._api.ask("GET", f"/operations?filter={asked}")
        for one in found:
            if one["state"] not in ("STARTING", "PROCESSING", "COMPLETED"):
                raise NotMeasured(f"operation {one['id']} is {one['state']}: {one['error']}")
        return {one["id"] for one in found if one["state"] == "COMPLETED"}
