"""What Nova and Neutron are asked for when a server is repaired or fenced, over real HTTP."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from farsite.model.deployment import MIGRATION, Deployment, WantedVnfc
from farsite.model.errors import VimFault
from farsite.model.healing import Rung
from farsite.model.ids import VimId, VnfcId, VnfInstanceId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack import moving, repairs
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.deployments import Deployments
from farsite.vims.drivers.openstack.images import Images
from farsite.vims.drivers.openstack.racks import KnownRacks
from farsite.vims.drivers.openstack.stacks import StackResource
from farsite.vims.drivers.openstack.standing import SERVER, Server
from vims_openstack.small_cloud import Answer, SmallCloud, as_json, small_cloud, whole_cloud

SINCE = datetime.now(UTC).replace(microsecond=0)
SERVER_PATH = "/nova/v2.1/servers/s1"
ACTIONS = f"GET {SERVER_PATH}/os-instance-actions"
ACT = f"POST {SERVER_PATH}/action"


def a_server(image: str = "i1") -> Server:
    document = {"status": "ACTIVE", "image": {"id": image} if image else ""}
    resource = StackResource(name="web", type=SERVER, physical_id="s1", action="CREATE", status="COMPLETE")
    return Server(resource=resource, document=document, vnfc_id="web-0")


def actions(*found: tuple[str, datetime]) -> Answer:
    told = [{"action": name, "start_time": at.strftime("%Y-%m-%dT%H:%M:%S.000000")} for name, at in found]
    return as_json({"instanceActions": told})


class Site:
    """A cloud that answers as it is told to, and what it was asked."""

    def __init__(self, cloud: Cloud, small: SmallCloud, changes: dict[str, Answer]) -> None:
        self.cloud, self.small, self.changes = cloud, small, changes

    async def do(self, work: Callable[..., object], **given: object) -> object:
        return await self.cloud.call("", partial(work, **given), what="repair a server")

    def asked(self, method: str) -> list[str]:
        return [one for one in self.small.asked if one.startswith(method) and "/auth/" not in one]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """One server, which nobody has repaired yet."""
    changes: dict[str, Answer] = {ACTIONS: actions(), ACT: (202, "text/plain", "")}
    with small_cloud(whole_cloud(lambda: small.url, changes=changes)) as small:
        connection = VimConnection(
            vim_id=VimId("v"),
            name="turin",
            site="turin",
            auth_url=f"{small.url}/v3",
            credentials={
                "username": "nfv_user",
                "password": "x",
                "project_name": "nfv",
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
            run_dir=tmp_path,
        )
        cloud = Cloud(connection)
        yield Site(cloud, small, changes)
        await cloud.close()


@pytest.mark.parametrize("kind", [Rung.REBOOT_SOFT, Rung.REBOOT_HARD, Rung.REBUILD, Rung.EVACUATE])
async def test_what_nova_took_already_is_not_asked_for_again(site: Site, kind: Rung) -> None:
    """After a lost answer Nova's own list of actions tells; one of before is another repair."""
    name = "reboot" if kind in (Rung.REBOOT_SOFT, Rung.REBOOT_HARD) else kind.value
    site.changes[ACTIONS] = actions((name, SINCE - timedelta(seconds=30)), ("create", SINCE))
    await site.do(repairs._repair, server=a_server(), kind=kind, since=SINCE)
    assert site.asked("POST") == [ACT]
    site.changes[ACTIONS] = actions((name, SINCE))
    await site.do(repairs._repair, server=a_server(), kind=kind, since=SINCE + timedelta(seconds=0.7))
    assert site.asked("POST") == [ACT]


async def test_a_server_that_boots_from_a_volume_is_not_rebuilt(site: Site) -> None:
    """A rebuild would leave the disk as it is, and so what is wrong with it."""
    with pytest.raises(VimFault, match="respawn"):
        await site.do(repairs._repair, server=a_server(image=""), kind=Rung.REBUILD, since=SINCE)
    assert site.asked("POST") == []


async def test_a_refusal_is_told_in_novas_words(site: Site) -> None:
    """An operator without rights to evacuate must read so."""
    words = "Policy doesn't allow os_compute_api:os-evacuate to be performed."
    site.changes[ACT] = as_json({"forbidden": {"code": 403, "message": words}}, 403)
    with pytest.raises(VimFault, match="os-evacuate"):
        await site.do(repairs._repair, server=a_server(), kind=Rung.EVACUATE, since=SINCE)


async def test_a_silent_host_is_forced_down_where_we_may(site: Site) -> None:
    """Nova must not let what is there come back as if nothing had been; without the rights it is told so."""
    services = as_json({"services": [{"host": "h1", "binary": "nova-compute", "state": "down"}]})
    site.changes["GET /nova/v2.1/os-services"] = services
    assert await site.do(repairs._service, host="h1") == "down"
    assert await site.do(repairs._service, host="") == ""
    forbidden = as_json({"forbidden": {"code": 403, "message": "no"}}, 403)
    site.changes["GET /nova/v2.1/os-services"] = forbidden
    assert await site.do(repairs._service, host="h1") == ""
    force = "PUT /nova/v2.1/os-services/force-down"
    site.changes[force] = as_json({"service": {"forced_down": True}})
    assert await site.do(repairs._force_down, host="h1") is True
    site.changes[force] = forbidden
    assert await site.do(repairs._force_down, host="h1") is False


@pytest.mark.parametrize("status", [202, 404, 409])
async def test_a_stop_that_is_late_or_in_vain_is_quiet(site: Site, status: int) -> None:
    """It is off, gone, or at something else: looking tells, and the fence looks."""
    site.changes[ACT] = (status, "application/json", "{}")
    await site.do(repairs._stop, server=a_server())
    assert site.asked("POST") == [ACT]


async def test_every_port_of_a_fenced_server_is_taken_down(site: Site) -> None:
    """One that is left would go on answering for the address."""
    both = [{"id": port, "admin_state_up": True} for port in ("p1", "p2")]
    site.changes["GET /neutron/v2.0/ports"] = as_json({"ports": both})
    for port in ("p1", "p2"):
        site.changes[f"PUT /neutron/v2.0/ports/{port}"] = as_json({"port": {"id": port}})
        site.changes[f"PUT /neutron/v2.0/ports/{port}/tags"] = as_json({"tags": []})
    await site.do(moving.cut_off, server=a_server())
    # The reason before the deed: a port that is down for a reason nobody knows stays down.
    asked = [f"PUT /neutron/v2.0/ports/{port}{what}" for port in ("p1", "p2") for what in ("/tags", "")]
    assert site.asked("PUT") == asked


async def test_what_its_descriptor_does_not_let_be_moved_is_not_evacuated(site: Site) -> None:
    """Whoever asks: a ladder that an operator wrote by hand included."""
    fixed = WantedVnfc(id=VnfcId("web-0"), vdu="web", image="i1", requirements={MIGRATION: "live_migration"})
    wanted = Deployment(name="vnf-1", vnf_id=VnfInstanceId("1"), revision="1", vnfcs=(fixed,))
    mending = repairs.ServerRepairs(site.cloud, Deployments(site.cloud, KnownRacks({})))
    with pytest.raises(VimFault, match="allows live_migration only"):
        await mending.repair(wanted, VnfcId("web-0"), Rung.EVACUATE, since=SINCE)
    assert site.asked("POST") == []


async def test_an_image_of_the_vims_own_must_promise_what_is_asked_of_its_guest(site: Site) -> None:
    """Nova gives a guest a channel for its agent by its image alone, and says nothing where it does not."""
    agent = {"hw_qemu_guest_agent": "yes"}
    links = [{"rel": "self", "href": f"{site.small.url}/glance/v2/"}]
    versions = as_json({"versions": [{"id": "v2.9", "status": "CURRENT", "links": links}]})
    site.changes["GET /glance"] = site.changes["GET /glance/"] = versions
    site.changes["GET /glance/v2/images/cirros"] = (404, "text/plain", "")
    site.changes["GET /glance/v2/images"] = as_json({"images": [{"id": "i1", "name": "cirros"}]})
    with pytest.raises(VimFault, match="openstack image set --property hw_qemu_guest_agent=yes cirros"):
        await Images(site.cloud).check("", "cirros", agent)
    promising = {"images": [{"id": "i1", "name": "cirros", **agent}]}
    site.changes["GET /glance/v2/images"] = as_json(promising)
    await Images(site.cloud).check("", "cirros", agent)
