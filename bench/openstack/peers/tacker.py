"""Tacker as a contender: its API version 2, with the VIM given in the request.

Facts that shape this: Tacker shows COMPLETED a moment before it lets go of its lock, so what follows at once
may get 409 and is repeated; terminating gracefully sleeps ten seconds, so it is forceful.
"""

import time
from collections.abc import Sequence
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from bench.figures import NotMeasured
from bench.openstack.contest import POLL_S, Turn, turn_of
from bench.openstack.package import Shape, build, types_in
from bench.openstack.peers.installation import VENV, TackerPeer
from bench.openstack.site import Account

_ONBOARDED_WITHIN_S = 120.0
_UNLOCKED_WITHIN_S = 30.0
_REPEAT_AFTER_S = 0.05


class Tacker:
    """A running Tacker that has the package. `vim` is as whom it deploys, `asker` who asks it: the address
    of the VIM may be another than that of the Keystone which knows the asker."""

    name = "Tacker"

    def __init__(self, peer: TackerPeer, asker: Account, shape: Shape, *, vim: Account | None = None) -> None:
        self._root = peer.url
        self._vim = vim or asker
        self._session = requests.Session()
        self._session.mount("http://", HTTPAdapter(pool_maxsize=32))
        with asker.connect() as cloud:
            self._session.headers["X-Auth-Token"] = str(cloud.session.get_token())
        self._vnfd_id = self._onboard(shape)
        self.locked = 0
        """Requests that were refused because of a lock that should have been let go."""

    def turn(self, count: int) -> Turn:
        """Instantiate so many at once, then terminate them at once; their records are deleted."""
        return turn_of(self, count)

    def create(self, count: int) -> list[str]:
        """Ids of so many new instances, of which nothing stands yet."""
        body = {"vnfdId": self._vnfd_id}
        return [self._ask("POST", "/vnf_instances", json=body).json()["id"] for _ in range(count)]

    def instantiate(self, vnf_id: str) -> str:
        """Begin; the operation's id."""
        account = self._vim
        vim = {
            "vimId": f"bench-{account.project}",
            "vimType": "ETSINFV.OPENSTACK_KEYSTONE.V_3",
            "interfaceInfo": {"endpoint": account.auth_url},
            "accessInfo": {
                "username": account.username,
                "password": account.password,
                "project": account.project,
                "region": account.region,
                "projectDomain": "Default",
                "userDomain": "Default",
            },
        }
        body = {"flavourId": "simple", "vimConnectionInfo": {"vim1": vim}}
        return self._begin(vnf_id, "instantiate", body)

    def terminate(self, vnf_id: str) -> str:
        """Begin; the operation's id."""
        return self._begin(vnf_id, "terminate", {"terminationType": "FORCEFUL"})

    def forget(self, vnfs: Sequence[str]) -> None:
        """Delete the records of instances of which nothing stands."""
        for vnf_id in vnfs:
            self._unlocked("DELETE", f"/vnf_instances/{vnf_id}")

    def completed(self, operations: Sequence[str]) -> set[str]:
        """Which of the operations are done, asked with one request.

        Raises:
            NotMeasured: one has failed, with its reason.
        """
        if len(operations) == 1:
            found = [self._ask("GET", f"/vnf_lcm_op_occs/{operations[0]}").json()]
        else:
            asked = f"(in,id,{','.join(operations)})"
            found = self._ask("GET", f"/vnf_lcm_op_occs?filter={asked}").json()
        for one in found:
            if one["operationState"] not in ("STARTING", "PROCESSING", "COMPLETED"):
                raise NotMeasured(f"Tacker's operation is {one['operationState']}: {one.get('error')}")
        return {one["id"] for one in found if one["operationState"] == "COMPLETED"}

    def _onboard(self, shape: Shape) -> str:
        content, vnfd_id = build(shape, types=types_in(VENV))
        made = self._ask("POST", "/vnf_packages", package=True, json={"userDefinedData": {}}).json()
        path = f"/vnf_packages/{made['id']}"
        headers = {"Content-Type": "application/zip"}
        self._ask("PUT", f"{path}/package_content", package=True, data=content, headers=headers)
        give_up_at = time.monotonic() + _ONBOARDED_WITHIN_S
        while self._ask("GET", path, package=True).json()["onboardingState"] != "ONBOARDED":
            if time.monotonic() > give_up_at:
                raise NotMeasured(f"Tacker has not onboarded the package in {_ONBOARDED_WITHIN_S:g} s")
            time.sleep(POLL_S)
        return vnfd_id

    def _begin(self, vnf_id: str, verb: str, body: object) -> str:
        answer = self._unlocked("POST", f"/vnf_instances/{vnf_id}/{verb}", json=body)
        return answer.headers["Location"].rpartition("/")[2]

    def _unlocked(self, method: str, path: str, **more: Any) -> requests.Response:
        give_up_at = time.monotonic() + _UNLOCKED_WITHIN_S
        while True:
            answer = self._ask(method, path, is_lock_expected=True, **more)
            if answer.status_code != 409:
                return answer
            if time.monotonic() > give_up_at:
                raise NotMeasured(f"{method} {path}: still locked after {_UNLOCKED_WITHIN_S:g} s")
            self.locked += 1
            time.sleep(_REPEAT_AFTER_S)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        package: bool = False,
        is_lock_expected: bool = False,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> requests.Response:
        root, version = ("/vnfpkgm/v1", "1.0.0") if package else ("/vnflcm/v2", "2.0.0")
        answer = self._session.request(
            method,
            f"{self._root}{root}{path}",
            timeout=120,
            headers={"Version": version, "Accept": "application/json"} | (headers or {}),
            **more,
        )
        if answer.status_code >= 400 and not (is_lock_expected and answer.status_code == 409):
            raise NotMeasured(f"Tacker: {method} {path}: {answer.status_code} {answer.text[:400]}")
        return answer
