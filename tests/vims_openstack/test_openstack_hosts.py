"""What an OpenStack's own lists say of its compute hosts, asked over real HTTP, and what is
published of it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from farsite.assurance.host_health import health_of
from farsite.assurance.redundancy import Result, audit
from farsite.model.control_plane import ControlPlane
from farsite.model.host_health import HostHealth, HostState
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Vim, VimState
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack.driver import OpenStackDriver
from vims_openstack.small_cloud import Answer, as_json, small_cloud, whole_cloud

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SERVICES = "GET /nova/v2.1/os-services"
SERVERS = "GET /nova/v2.1/servers/detail"
AGENTS = "GET /neutron/v2.0/agents"
HYPERVISORS = "GET /nova/v2.1/os-hypervisors/detail"


def compute(host: str, **told: Any) -> dict[str, Any]:
    moment = told.pop("at", NOW)
    return {
        "binary": "nova-compute",
        "host": host,
        "zone": "nova",
        "state": "up",
        "status": "enabled",
        "forced_down": False,
        "disabled_reason": None,
        "updated_at": moment.strftime("%Y-%m-%dT%H:%M:%S.000000"),
        **told,
    }


def agent(host: str, binary: str = "neutron-openvswitch-agent", *, alive: bool = True) -> dict[str, Any]:
    return {"binary": binary, "host": host, "alive": alive, "admin_state_up": True, "agent_type": binary}


@dataclass
class Cloud:
    """A cloud whose lists a test writes, looked at through the driver."""

    driver: OpenStackDriver
    answers: dict[str, Answer]

    def lists(self, services: list[dict[str, Any]], agents: list[dict[str, Any]] | None = None) -> None:
        self.answers[SERVICES] = as_json({"services": services})
        self.answers[AGENTS] = as_json({"agents": agents or []})

    async def health(self) -> dict[str, HostHealth]:
        sight = await self.driver.look()
        elements = tuple(await self.driver.control_plane())
        vim = Vim(
            id=VimId("v"),
            project_id=ProjectId("default"),
            name="turin",
            type="openstack",
            site="turin",
            state=VimState.ACTIVE,
            state_since=NOW,
            created_at=NOW,
        )
        plane = ControlPlane(read_at=NOW, hosts=sight.hosts, vim_time=sight.vim_time, elements=elements)
        return {one.host: one for one in health_of(vim, plane, NOW)}

    async def states(self) -> dict[str, HostState]:
        return {host: one.state for host, one in (await self.health()).items()}


def connection(auth_url: str, run_dir: Path, settings: dict[str, object]) -> VimConnection:
    return VimConnection(
        vim_id=VimId("v"),
        name="turin",
        site="turin",
        auth_url=auth_url,
        credentials={
            "username": "nfv_user",
            "password": "x",
            "project_name": "nfv",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        settings=settings,
        run_dir=run_dir,
    )


@pytest.fixture
def settings() -> dict[str, object]:
    return {}


@pytest.fixture
async def cloud(tmp_path: Path, settings: dict[str, object]) -> AsyncIterator[Cloud]:
    answers: dict[str, Answer] = {SERVERS: as_json({"servers": []})}
    with small_cloud(whole_cloud(lambda: small.url, changes=answers)) as small:
        driver = OpenStackDriver(connection(f"{small.url}/v3", tmp_path, settings))
        yield Cloud(driver, answers)
        await driver.close()


async def test_each_state_of_a_host_is_read_from_the_lists_that_operators_read(cloud: Cloud) -> None:
    """`openstack compute service list` and `network agent list`, put together by host."""
    cloud.lists(
        [
            compute("well"),
            compute("planned", status="disabled", disabled_reason="new memory"),
            compute("sick", status="disabled", disabled_reason="AUTO: Connection to libvirt lost: 1"),
            compute("half"),
            compute("silent", state="down", at=NOW - timedelta(seconds=90)),
        ],
        [agent("well"), agent("half", alive=False)],
    )
    found = await cloud.health()
    assert {host: one.state for host, one in found.items()} == {
        "well": HostState.UP,
        "planned": HostState.MAINTENANCE,
        "sick": HostState.DEGRADED,
        "half": HostState.DEGRADED,
        # What was concluded of it decides between down and degraded; nobody looked at the host itself yet.
        "silent": HostState.DEGRADED,
    }
    assert (found["silent"].verdict, found["silent"].evidence["others"]) == ("host-silent", "up")
    assert "neutron-openvswitch-agent" in found["half"].reason
    assert found["planned"].zone == "nova"


async def test_a_network_agent_that_reports_from_a_silent_host_proves_that_it_lives(cloud: Cloud) -> None:
    """Only nova-compute is dead there; evacuating would make twins."""
    cloud.lists(
        [compute("well"), compute("h", state="down", at=NOW - timedelta(seconds=90))],
        [agent("well"), agent("h")],
    )
    found = (await cloud.health())["h"]
    assert (found.state, found.verdict, found.permitted) == (
        HostState.DEGRADED,
        "service-down",
        ("restart-service",),
    )


async def test_hosts_that_fall_silent_together_are_not_down(cloud: Cloud) -> None:
    """The message bus is dead (conductors go on writing); Nova calls the hosts down one after the other."""
    ago = NOW - timedelta(seconds=61)
    conductor = compute("control", binary="nova-conductor")
    second = compute("second", at=ago + timedelta(seconds=2))
    cloud.lists([compute("first", state="down", at=ago), second, conductor])
    found = (await cloud.health())["first"]
    assert (found.state, found.permitted) == (HostState.UNKNOWN, ())


async def test_a_member_sees_no_hosts(cloud: Cloud) -> None:
    """Most registrations are members; they are told nothing and nothing is made up."""
    cloud.answers[SERVICES] = as_json({"forbidden": {"code": 403, "message": "no"}}, 403)
    assert await cloud.states() == {}


class Late(dict[str, Answer]):
    """Answers of which Nova's list of servers takes its time."""

    def __init__(self, late_s: float) -> None:
        self.late_s = late_s
        self.asked = 0
        super().__init__({SERVERS: as_json({"servers": []}), SERVICES: as_json({"services": []})})

    def get(self, key: str, default: Any = None) -> Any:
        if key == SERVERS:
            self.asked += 1
            time.sleep(self.late_s)
        return super().get(key, default)


async def test_a_list_of_servers_that_is_dear_is_asked_for_seldom_and_the_hosts_every_time(
    tmp_path: Path,
) -> None:
    """While many servers change Nova needs its time for them; that a host is lost is told by another list."""
    answers = Late(0.2)
    with small_cloud(whole_cloud(lambda: small.url, changes=answers)) as small:
        driver = OpenStackDriver(connection(f"{small.url}/v3", tmp_path, {}))
        try:
            for _ in range(10):
                await driver.look()
            looks, asked = 10, answers.asked
            ends = time.monotonic() + 30
            while answers.asked == asked and time.monotonic() < ends:
                await driver.look()
                looks += 1
                await asyncio.sleep(0.05)
        finally:
            await driver.close()
        services = [one.partition("?")[0] for one in small.asked].count(SERVICES)
    assert (asked, answers.asked) == (1, 2)
    assert services == looks


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


class TestHostsThatAreAsked:
    """Where the registration names a port that its hosts have."""

    @pytest.fixture
    def settings(self, listener: socket.socket) -> dict[str, object]:
        return {"host_probe_port": listener.getsockname()[1], "host_probe_timeout_s": 0.5}

    async def test_a_host_that_answers_has_a_dead_service_and_no_more(
        self, cloud: Cloud, listener: socket.socket
    ) -> None:
        """And a refused connection was refused by a host that lives."""
        hypervisors = [{"service": {"host": "h"}, "host_ip": "127.0.0.1"}]
        cloud.answers[HYPERVISORS] = as_json({"hypervisors": hypervisors})
        cloud.lists([compute("well"), compute("h", state="down", at=NOW - timedelta(seconds=90))])
        for _ in range(2):
            found = (await cloud.health())["h"]
            assert (found.verdict, found.evidence["management"]) == ("service-down", "up")
            listener.close()


async def test_an_audit_reads_copies_from_the_lists_and_says_what_they_cannot_show(cloud: Cloud) -> None:
    """Nova's, Neutron's and Heat's own lists of processes, and the endpoints of the catalogue."""
    cloud.lists(
        [
            compute("h1"),
            compute("h2"),
            compute("ctl-1", binary="nova-conductor", zone="internal"),
            compute("ctl-2", binary="nova-conductor", zone="internal"),
            compute("ctl-1", binary="nova-scheduler", zone="internal"),
        ],
        [
            agent("h1"),
            agent("ctl-1", "neutron-dhcp-agent"),
            agent("ctl-2", "neutron-dhcp-agent", alive=False),
        ],
    )
    engine = {
        "binary": "heat-engine",
        "hostname": "ctl-1",
        "status": "up",
        "updated_at": "2026-11-28T12:00:00",
    }
    cloud.answers["GET /heat/v1/p1/services"] = as_json({"services": [engine]})
    elements = tuple(await cloud.driver.control_plane())
    found = audit(ControlPlane(read_at=NOW, elements=elements), "openstack")
    results = {one.about: one.result for one in found.checks if one.name != "zones"}
    assert results == {
        "nova-conductor": Result.PASSED,
        "nova-scheduler": Result.FAILED,
        "heat-engine": Result.FAILED,
        "neutron-dhcp-agent": Result.REDUCED,
        "nova": Result.PASSED,
        "database": Result.UNSEEN,
        "message bus": Result.UNSEEN,
        **{f"{kind} API": Result.UNSEEN for kind in ("compute", "network", "image", "orchestration")},
    }
    assert found.score is not None
    assert 0 < found.score < 100
