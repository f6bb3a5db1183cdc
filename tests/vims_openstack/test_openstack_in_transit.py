"""What a VIM is asked while it is at work on servers (evacuated, rebuilt, rebooted), over real HTTP."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from farsite.model.deployment import DeploymentState, DeploymentStatus
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack import standing
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.deployments import Deployments
from farsite.vims.drivers.openstack.racks import KnownRacks
from vims_openstack.small_cloud import Answer, SmallCloud, as_json, small_cloud, whole_cloud

NAMES = [f"vnf-{number}" for number in range(12)]
HEAT, NOVA, NEUTRON = "/heat/v1/p1", "/nova/v2.1", "/neutron/v2.0"
SERVERS = f"GET {NOVA}/servers/detail"


def stack_of(url: str, name: str) -> dict[str, object]:
    return {
        "id": f"id-{name}",
        "stack_name": name,
        "stack_status": "CREATE_COMPLETE",
        "creation_time": "2026-11-30T10:00:00Z",
        "tags": ["farsite", f"farsite-vnf={name}", "farsite-revision=1"],
        "links": [{"rel": "self", "href": f"{url}/heat/v1/p1/stacks/{name}/id-{name}"}],
    }


def server_of(name: str, status: str) -> dict[str, object]:
    return {"id": f"server-{name}", "name": name, "status": status, "metadata": {}}


class Site:
    """Twelve stacks of one server each, in the state that is told."""

    def __init__(self, cloud: Cloud, small: SmallCloud, changes: dict[str, Answer]) -> None:
        self.deployments = Deployments(cloud, KnownRacks({}))
        self._small, self._changes = small, changes

    def are(self, status: str, names: Sequence[str] = NAMES) -> None:
        """Nova's word for these servers from now on."""
        known = {
            one["id"]: one
            for one in json.loads(self._changes.get(SERVERS, (0, "", "{}"))[2] or "{}").get("servers", [])
        }
        known |= {f"server-{name}": server_of(name, status) for name in names}
        self._changes[SERVERS] = as_json({"servers": list(known.values())})
        for server_id, document in known.items():
            self._changes[f"GET {NOVA}/servers/{server_id}"] = as_json({"server": document})

    async def watched(self) -> list[DeploymentStatus]:
        """As by operations that each wait for one."""
        found = await asyncio.gather(*(self.deployments.watch([name]) for name in NAMES))
        return [status for (status,) in found]

    def asked(self) -> Counter[str]:
        """What the services were asked since this was looked at last."""
        kinds = {HEAT: "heat", NOVA: "nova", NEUTRON: "neutron"}
        asked = Counter(
            "lists of stacks" if path == f"GET {HEAT}/stacks" else kind
            for path in self._small.asked
            for prefix, kind in kinds.items()
            if path.startswith(f"GET {prefix}")
        )
        self._small.asked.clear()
        return asked


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    changes: dict[str, Answer] = {}
    with small_cloud(whole_cloud(lambda: small.url, changes=changes)) as small:
        changes[f"GET {HEAT}/stacks"] = as_json({"stacks": [stack_of(small.url, name) for name in NAMES]})
        changes[f"GET {NEUTRON}/ports"] = as_json({"ports": []})
        for name in NAMES:
            record = {"incarnations": {f"{name}-0": 0}, "vdus": {}, "servers": {f"{name}-0": "server"}}
            path = f"GET {HEAT}/stacks/{name}/id-{name}"
            changes[path] = as_json({"stack": {"parameters": {"farsite": json.dumps(record)}}})
            resource = {
                "resource_name": "server", "resource_type": standing.SERVER,
                "physical_resource_id": f"server-{name}", "resource_status": "CREATE_COMPLETE",
                "links": [{"rel": "stack", "href": f"{small.url}/heat/v1/p1/stacks/{name}/id-{name}"}],
            }  # fmt: skip
            changes[f"{path}/resources"] = as_json({"resources": [resource]})
        registration = VimConnection(
            vim_id=VimId("v"), name="turin", site="turin", auth_url=f"{small.url}/v3", settings={},
            credentials={
                "username": "u", "password": "x", "project_name": "nfv", "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            run_dir=tmp_path,
        )  # fmt: skip
        cloud = Cloud(registration)
        found = Site(cloud, small, changes)
        found.are("ACTIVE")
        yield found
        await cloud.close()


async def test_of_many_that_are_evacuated_at_once_no_more_is_asked_than_their_servers(site: Site) -> None:
    """Who looks at all that stands of each keeps Heat, Nova and Neutron from the work that is waited for."""
    site.are("REBUILD")
    await site.watched()
    site.asked()
    for _ in range(3):
        assert {one.state for one in await site.watched()} == {DeploymentState.FAILED}
    asked = site.asked()
    assert (asked["heat"], asked["neutron"]) == (0, 0)
    assert asked["nova"] <= 6, "once, or twice, for all of them together"


async def test_one_that_has_arrived_is_looked_at_whole_at_once(site: Site) -> None:
    """Its ports have to be connected; the others are still waited for."""
    site.are("REBUILD")
    await site.watched()
    site.asked()
    site.are("ACTIVE", NAMES[:1])
    states = [one.state for one in await site.watched()]
    assert states == [DeploymentState.READY, *[DeploymentState.FAILED] * 11]
    assert site.asked()["neutron"] == 1


async def test_one_that_is_gone_or_broken_meanwhile_is_told_as_that(site: Site) -> None:
    """What is known of it is no older than the question."""
    site.are("REBUILD")
    await site.watched()
    site.are("ERROR", NAMES[:1])
    first, *_ = await site.watched()
    assert "ERROR" in first.reason
