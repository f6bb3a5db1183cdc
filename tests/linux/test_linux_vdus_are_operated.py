"""VDUs of Linux sites that are stopped, started and wired otherwise: what stays, whoever dies."""

import asyncio
import contextlib
import os
import signal
from dataclasses import replace

import pytest
from linux_lab import SERVER_V4, Lab, deployment, outage_ms, shell, transparent, until, vnfc

from farsite.model.deployment import DeploymentState, NetworkSpec, Port, VimEventKind
from farsite.vims.drivers.linux.agent import daemon

pytestmark = pytest.mark.linux


async def test_a_stopped_vdu_keeps_its_namespace_over_the_death_of_its_agent(north: Lab) -> None:
    """Who stopped it may be away for weeks; an agent is not."""
    web = vnfc("web", "builtin:webserver", Port(name="data", addresses=("10.1.0.1/24",)))
    await north.ready("north", deployment("web", web))
    before = await north.compute("north", "web")
    stopped = deployment("web", replace(web, is_stopped=True))
    await north.ready("north", stopped)
    keeper = await north.pid("north", "web")
    assert not daemon.start_time(int(before.details["pid"]))
    await north.kill_agent("north")
    await north.ready("north", stopped)
    during = await north.compute("north", "web")
    assert (during.is_stopped, during.details["netns"]) == (True, before.details["netns"])
    assert await north.pid("north", "web") == keeper
    await north.ready("north", deployment("web", web))
    after = await north.compute("north", "web")
    assert (after.is_stopped, after.details["netns"]) == (False, before.details["netns"])
    assert (await north.http("north", "web", "GET", "/health"))["status"] == "ok"
    assert not daemon.start_time(keeper)
    assert not [one for one in await north.events("north") if one.kind is VimEventKind.VNFC_DIED]


async def test_a_function_gets_the_time_it_was_given_and_no_more(north: Lab) -> None:
    """A graceful stop asks first; what does not listen is ended when its time is over."""
    deaf = replace(shell("deaf"), configuration={"script": "trap '' TERM; while :; do sleep 0.1; done"})
    await north.ready("north", deployment("deaf", deaf))
    began = asyncio.get_running_loop().time()
    await north.ready("north", deployment("deaf", replace(deaf, is_stopped=True, stop_grace_s=0.5)))
    assert asyncio.get_running_loop().time() - began >= 0.5
    await north.ready("north", deployment("deaf", deaf))
    await north.sites["north"].deploy(deployment("deaf", replace(deaf, is_stopped=True, stop_grace_s=3600)))
    await asyncio.wait_for(north.sites["north"].undeploy("deaf"), 10)
    assert await north.sites["north"].find("vnf-deaf") == []


async def test_the_death_of_what_keeps_a_stopped_vdu_is_a_death(north: Lab) -> None:
    """Its namespace is lost with it, so it can only be replaced."""
    web = replace(vnfc("web", "builtin:webserver"), is_stopped=True)
    await north.ready("north", deployment("web", web))
    os.kill(await north.pid("north", "web"), signal.SIGKILL)
    await north.heard("north", VimEventKind.VNFC_DIED, vnfc_id="web")
    await north.settled("north", "web", DeploymentState.FAILED)
    await north.ready("north", deployment("web", replace(web, incarnation=1)))
    assert (await north.compute("north", "web")).is_stopped


async def test_an_agent_killed_at_any_moment_of_a_stop_or_start_leaves_it_as_stated(north: Lab) -> None:
    """The statement is stored first, so the next agent goes on with it."""
    web = vnfc("web", "builtin:webserver", Port(name="data", addresses=("10.1.0.1/24",)))
    await north.ready("north", deployment("web", web))
    for number in range(8):
        wanted = replace(web, is_stopped=number % 2 == 0)
        with contextlib.suppress(Exception):
            await north.sites["north"].deploy(deployment("web", wanted))
        await asyncio.sleep(0.004 * number)
        await north.kill_agent("north")
        await north.ready("north", deployment("web", wanted))
        assert (await north.compute("north", "web")).is_stopped is wanted.is_stopped
    leaders = [one for one in north.processes() if "sleep" in _name(one)]
    assert leaders == []


def _name(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as file:
        return file.read()
    return ""


async def test_a_chain_goes_around_what_is_stopped_and_loses_nothing(sites: Lab) -> None:
    """A planned stop is no fault: the other instance has the flows before this one ends."""
    await sites.service()
    inspector = transparent("inspector-1", "builtin:inspector")
    await sites.traffic(flows=16, rate_pps=400, duration_s=2.0)
    await sites.ready("north", deployment("inspector-1", replace(inspector, is_stopped=True)))
    await sites.carries("north", "inspector-1", is_alive=False)
    result = await sites.traffic_result()
    assert result["lost"] <= result["sent"] * 0.15
    assert outage_ms(result) < 1000
    await sites.ready("north", deployment("inspector-1", inspector))
    await sites.carries("north", "inspector-1", is_alive=True)
    assert await sites.fetches(SERVER_V4, 6) == 6


async def test_packets_follow_a_port_to_another_network(sites: Lab) -> None:
    """Moved for real: reachable at the new address on the new network, and no longer at the old one."""
    await sites.ends()
    assert (await sites.fetch(SERVER_V4))["ok"]
    await sites.network("other", vni=101)
    moved = Port(name="data", network_id="other", mac="02:00:00:00:0a:01", addresses=("10.10.0.2/24",))
    server = vnfc("server", "builtin:webserver", moved, ports=[8081])
    await sites.ready("south", deployment("server", server))
    assert not (await sites.fetch(SERVER_V4, timeout_s=0.5))["ok"]
    client = Port(name="data", network_id="other", addresses=("10.10.0.9/24",))
    await sites.ready("north", deployment("client", vnfc("client", "builtin:probe", client)))

    async def answers() -> bool:
        return (await sites.fetch(SERVER_V4, timeout_s=0.5))["ok"]

    await until(answers, "the server answers on the other network")
    assert await sites.sites["south"].find("ns")
    await sites.sites["north"].ensure_network(NetworkSpec(id="other", vni=101, owner="ns"))
