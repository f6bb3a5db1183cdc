"""Death of every process of a site, alone and together, under real traffic."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from linux_lab import (
    SERVER_V4,
    SERVICE_HOPS,
    Lab,
    deployment,
    inside,
    outage_ms,
    remove,
    shell,
    transparent,
    until,
)

from farsite.model.deployment import Chain, DeploymentState, Port, Resource, ResourceKind, VimEventKind
from farsite.model.errors import VimUnreachable
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import daemon, holder

pytestmark = pytest.mark.linux


async def test_a_killed_vdu_is_steered_around_at_once_and_its_successor_takes_its_place(sites: Lab) -> None:
    """The promise of the product: traffic is restored before an orchestrator has even heard of it."""
    await sites.service()
    await sites.traffic(flows=16, rate_pps=800, duration_s=2.5)
    os.kill(await sites.pid("south", "inspector-2"), signal.SIGKILL)
    died = await sites.heard("south", VimEventKind.VNFC_DIED, vnfc_id="inspector-2")
    assert (died.deployment, died.vnf_id) == ("inspector-2", "vnf-inspector-2")
    for site in ("north", "south"):
        event = await sites.heard(site, VimEventKind.CHAIN_RESTEERED, vnfc_id="inspector-2")
        assert (event.chain_id, event.details["hop"], event.details["state"]) == ("chain", "inspector", "out")
        assert float(event.details["ms"]) < 100
    wanted = deployment("inspector-2", transparent("inspector-2", "builtin:inspector", incarnation=1))
    await sites.ready("south", wanted)
    await sites.carries("south", "inspector-2", is_alive=True)
    result = await sites.traffic_result()
    assert result["sent"] > 500
    assert outage_ms(result) < 1000, "a flow was without service for a second"
    assert await sites.fetches(SERVER_V4, 12) == 12


async def test_vdus_forward_without_an_agent_and_a_new_one_adopts_and_heals(sites: Lab) -> None:
    """The agent is no part of the data path; its death costs no packet and no knowledge."""
    await sites.service()
    pids = {name: await sites.pid("north", name) for name in ("firewall", "inspector-1")}
    await sites.traffic(flows=8, rate_pps=400, duration_s=2.0)
    for site in ("north", "south"):
        await sites.kill_agent(site)
    health = await sites.sites["north"].health()
    assert health.services[0].is_up
    assert "started again" in health.services[0].detail
    await sites.sites["south"].validate()
    result = await sites.traffic_result()
    assert result["lost"] == 0
    assert {name: await sites.pid("north", name) for name in pids} == pids
    await sites.settled("north", "firewall", DeploymentState.READY)
    assert set(await sites.counters()) == {"firewall", "inspector-1", "inspector-2"}
    os.kill(pids["inspector-1"], signal.SIGKILL)
    await sites.heard("south", VimEventKind.CHAIN_RESTEERED, vnfc_id="inspector-1")
    assert await sites.fetches(SERVER_V4, 12) == 12


async def test_a_vdu_that_died_together_with_its_agent_is_found_dead_by_the_next_one(sites: Lab) -> None:
    """A host that loses several processes at once is the ordinary case, not the corner."""
    await sites.service()
    vdu = await sites.pid("south", "inspector-2")
    await sites.kill_agent("south")
    os.kill(vdu, signal.SIGKILL)

    async def is_gone() -> bool:
        return daemon.start_time(vdu) == 0

    await until(is_gone, "the VDU is gone")
    await sites.sites["south"].validate()
    await sites.heard("south", VimEventKind.VNFC_DIED, vnfc_id="inspector-2")
    await sites.heard("north", VimEventKind.CHAIN_RESTEERED, vnfc_id="inspector-2")
    status = await sites.settled("south", "inspector-2", DeploymentState.FAILED)
    assert status.resource == "inspector-2"
    assert await sites.fetches(SERVER_V4, 12) == 12


async def test_a_stranger_with_a_vdus_process_id_is_neither_adopted_nor_killed(north: Lab) -> None:
    """Process ids come round again; to kill by number alone would one day hit the database."""
    await north.ready("north", deployment("one", shell("a")))
    pid = await north.pid("north", "a")
    await north.kill_agent("north")
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        (record,) = (paths.site_directory(north.run_dir, "north") / "vdus").glob("*.json")
        document = json.loads(record.read_text())
        record.write_text(json.dumps({**document, "pid": stranger.pid}))
        await north.settled("north", "one", DeploymentState.FAILED)
        assert stranger.poll() is None
        assert daemon.start_time(pid) == 0, "the VDU that nobody knows any more was not swept"
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_stopped_vdu_is_seen_by_the_data_path_probe(sites: Lab) -> None:
    """Its process lives, its links are up, and nothing passes: only the probe can tell."""
    await sites.service()
    pid = await sites.pid("north", "inspector-1")

    async def is_probed() -> bool:
        return (await sites.compute("north", "inspector-1")).details["datapath"] == "passes"

    await until(is_probed, "the probe passes")
    os.kill(pid, signal.SIGSTOP)
    await sites.heard("north", VimEventKind.DATAPATH_LOST, vnfc_id="inspector-1")
    await sites.heard("south", VimEventKind.CHAIN_RESTEERED, vnfc_id="inspector-1")
    assert await sites.fetches(SERVER_V4, 12) == 12
    services = {each.name: each for each in (await sites.sites["north"].health()).services}
    assert not services["datapath"].is_up
    assert "inspector-1" in services["datapath"].detail
    os.kill(pid, signal.SIGCONT)
    await sites.heard("north", VimEventKind.DATAPATH_RESTORED, vnfc_id="inspector-1")
    await sites.carries("north", "inspector-1", is_alive=True)


async def test_a_link_that_goes_down_takes_its_instance_out_until_it_is_back(sites: Lab) -> None:
    """An interface may fail while the process is well."""
    await sites.service()
    pid = await sites.pid("south", "inspector-2")
    inside(pid, "found = links.Links(); found.set_down(found.index('outside'))")
    down = await sites.heard("south", VimEventKind.LINK_DOWN, vnfc_id="inspector-2")
    assert down.details["port"] == "outside"
    await sites.carries("south", "inspector-2", is_alive=False)
    await sites.heard("north", VimEventKind.CHAIN_RESTEERED, vnfc_id="inspector-2")
    assert await sites.fetches(SERVER_V4, 12) == 12
    inside(pid, "found = links.Links(); found.set_up(found.index('outside'))")
    await sites.heard("south", VimEventKind.LINK_UP, vnfc_id="inspector-2")
    await sites.carries("south", "inspector-2", is_alive=True)


async def test_planned_removal_of_an_instance_loses_nothing(sites: Lab) -> None:
    """Scaling in is no fault: traffic is led around an instance before it ends."""
    await sites.service()
    await sites.traffic(flows=16, rate_pps=400, duration_s=2.0)
    await sites.sites["north"].undeploy("inspector-1")
    result = await sites.traffic_result()
    # Without being led around, half the flows would end. How few packets it costs is for a benchmark to say.
    assert result["lost"] <= result["sent"] * 0.15
    assert outage_ms(result) < 1000


async def test_orphans_are_swept(north: Lab) -> None:
    """A crash between two files must not leave a function running that nobody knows."""
    await north.ready("north", deployment("one", shell("a", Port(name="p"))))
    pid = await north.pid("north", "a")
    await north.kill_agent("north")
    site = paths.site_directory(north.run_dir, "north")
    for record in (*(site / "vdus").glob("*.json"), *(site / "deployments").glob("*.json")):
        record.unlink()
    driver = north.sites["north"]
    assert await driver.find("") == []

    async def is_gone() -> bool:
        return daemon.start_time(pid) == 0

    await until(is_gone, "the orphan is gone")
    kinds = inside(await north.agent_pid("north"), "print(*(link.name for link in links.Links().all()))")
    assert set(kinds.split()) == {"lo", "wan0"}


async def test_what_a_function_contains_within_itself_is_nobodys_orphan(north: Lab) -> None:
    """A vendor's machine may run containers of its own. They carry our label, and end with their VDU."""
    script = "unshare --user --pid --fork sleep 86397 & wait"
    await north.ready("north", deployment("one", shell("a", script=script)))

    def contained() -> list[int]:
        found: list[int] = []
        for one in north.processes():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{one}/cmdline").read_bytes() == b"sleep\x0086397\x00":
                    found.append(one)
        return found

    async def is_contained() -> list[int]:
        return contained()

    (within,) = await until(is_contained, "it contains something")
    status = Path(f"/proc/{within}/status").read_text()
    assert next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1] == "1"
    await north.kill_agent("north")
    await north.ready("north", deployment("one", shell("a", script=script)))
    await north.sites["north"].find("")
    assert contained() == [within]
    await north.sites["north"].undeploy("one")
    assert contained() == []


async def test_torn_records_do_not_keep_an_agent_from_starting(north: Lab) -> None:
    """A full disk or a power cut tears files; the site comes up with what is whole."""
    await north.ready("north", deployment("one", shell("a")))
    await north.kill_agent("north")
    site = paths.site_directory(north.run_dir, "north")
    for name in ("vdus", "deployments", "networks", "chains"):
        (site / name / "torn.json").write_text('{"vnfc": {"id": "x"')
    with (site / "events.jsonl").open("a") as journal:
        journal.write('{"sequence": 99')
    await north.settled("north", "one", DeploymentState.READY)


async def test_two_orchestrators_that_start_a_site_at_once_get_one_agent(lab: Lab) -> None:
    """Two agents on one site would each take the other's VDUs for orphans."""
    drivers = [lab.driver("north") for _ in range(4)]
    await asyncio.gather(*(driver.validate() for driver in drivers))
    answers = await asyncio.gather(*(driver.capabilities() for driver in drivers))
    assert len({answer.details["agent_pid"] for answer in answers}) == 1


async def test_an_agent_that_dies_while_it_works_leaves_no_half_made_vdu(north: Lab) -> None:
    """The next agent finishes what was stated: nothing doubled, nothing forgotten."""
    driver = north.sites["north"]
    wanted = deployment("many", *(shell(f"v{number}", Port(name="p")) for number in range(12)))
    agent = await north.agent_pid("north")
    await driver.deploy(wanted)
    assert daemon.kill(agent)
    await north.settled("north", "many", DeploymentState.READY)
    compute = [r for r in await driver.find("") if r.kind is ResourceKind.COMPUTE]
    assert len(compute) == 12
    known = {int(r.details["pid"]) for r in compute}
    # Agent, launcher, holder, and per VDU the shell and its sleep.
    strangers = [pid for pid in north.processes() if pid not in known and "FARSITE_VDU" in _environment(pid)]
    assert all(_parent(pid) in known for pid in strangers)


def _environment(pid: int) -> str:
    try:
        return open(f"/proc/{pid}/environ").read()
    except OSError:
        return ""


def _parent(pid: int) -> int:
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])


async def test_events_are_numbered_on_across_agents_and_can_be_resumed(north: Lab) -> None:
    """A reader that was away misses nothing and sees nothing twice."""
    await north.ready("north", deployment("one", shell("a")))
    before = await north.events("north")
    await north.kill_agent("north")
    await north.sites["north"].validate()
    after = await north.events("north", before[-1].sequence)
    assert after[0].kind is VimEventKind.AGENT_STARTED
    assert after[0].details["adopted"] == "1"
    numbers = [event.sequence for event in (*before, *after)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_the_namespace_holder_can_die_and_then_the_agent(sites: Lab) -> None:
    """The site's namespace has two keepers; whichever dies, the other brings it to the next."""
    await sites.service()
    first = holder.process_id(sites.run_dir)
    daemon.kill(first)

    async def is_replaced() -> bool:
        """Whether both agents have given their namespaces to a new holder."""
        for driver in sites.sites.values():
            services = {each.name: each for each in (await driver.health()).services}
            if not services["holder"].is_up or str(first) in services["holder"].detail:
                return False
        return True

    await until(is_replaced, "a new holder")
    assert await sites.fetches(SERVER_V4, 4) == 4
    pid = await sites.pid("north", "firewall")
    await asyncio.gather(sites.kill_agent("north"), sites.kill_agent("south"))
    await asyncio.gather(*(driver.validate() for driver in sites.sites.values()))
    assert await sites.pid("north", "firewall") == pid
    assert await sites.fetches(SERVER_V4, 12) == 12


async def test_a_site_that_lost_its_namespaces_is_told_of_and_can_be_healed(sites: Lab) -> None:
    """With holder and agents dead at once the ports are gone: VDUs that cannot be reached are no VDUs."""
    await sites.service()
    for site in ("north", "south"):
        await sites.kill_agent(site)
    daemon.kill(holder.process_id(sites.run_dir))
    await asyncio.gather(*(driver.validate() for driver in sites.sites.values()))
    for site, name in (("north", "firewall"), ("south", "server")):
        await sites.heard(site, VimEventKind.VNFC_DIED, vnfc_id=name)
        await sites.settled(site, name, DeploymentState.FAILED)
    await sites.heal_all()
    await sites.network()
    await sites.apply(await sites.chain(SERVICE_HOPS, revision=2))
    assert await sites.fetches(SERVER_V4, 12) == 12
    assert (await sites.counters())["inspector-2"].forward_packets > 0


@pytest.mark.slow
async def test_an_agent_that_hangs_is_told_of_and_replaced(north: Lab) -> None:
    """A process that accepts connections and never answers must not hold a site for ever."""
    await north.ready("north", deployment("one", shell("a")))
    pid = await north.pid("north", "a")
    agent = await north.agent_pid("north")
    os.kill(agent, signal.SIGSTOP)
    health = await north.sites["north"].health()
    assert not health.services[0].is_up
    assert health.services[0].is_vital

    async def is_up() -> bool:
        return (await north.sites["north"].health()).services[0].is_up

    await until(is_up, "the agent is replaced", bound_s=40)
    assert await north.agent_pid("north") != agent
    assert await north.pid("north", "a") == pid


@pytest.mark.slow
async def test_an_agent_that_hangs_is_replaced_though_nobody_waits_for_its_answer(north: Lab) -> None:
    """Heartbeats lose patience before the driver does; so it never came to count its silence."""
    agent = await north.agent_pid("north")
    await north.sites["north"].health()
    os.kill(agent, signal.SIGSTOP)

    async def is_replaced() -> bool:
        try:
            async with asyncio.timeout(1.8):
                return (await north.sites["north"].health()).services[0].is_up
        except TimeoutError:
            return False

    await until(is_replaced, "the agent is replaced", bound_s=60)
    assert await north.agent_pid("north") != agent


async def test_a_lower_incarnation_that_comes_late_changes_nothing(north: Lab) -> None:
    """A step that was overtaken and runs again must not undo what came after."""
    wanted = deployment("one", shell("a", incarnation=2))
    await north.ready("north", wanted)
    pid = await north.pid("north", "a")
    await north.ready("north", replace(wanted, vnfcs=(shell("a", incarnation=1),)))
    assert await north.pid("north", "a") == pid


async def test_removing_a_run_directory_leaves_no_process_and_no_file(sites: Lab) -> None:
    """`make clean-demo` promises to remove every trace, also of half-dead sites."""
    await sites.service()
    await sites.kill_agent("south")
    os.kill(await sites.pid("north", "inspector-1"), signal.SIGSTOP)
    assert sites.processes()
    remove(sites.run_dir)
    assert sites.processes() == []
    assert list(sites.run_dir.iterdir()) == []
    remove(sites.run_dir)


@pytest.mark.slow
async def test_a_site_whose_directory_was_deleted_ends_itself(north: Lab) -> None:
    """Nobody could find such a site again; its processes would stay for ever."""
    await north.ready("north", deployment("one", shell("a")))
    processes = north.processes()
    assert len(processes) >= 4
    gone = north.run_dir.with_name("gone")
    north.run_dir.rename(gone)
    deadline = time.monotonic() + 30
    while any(daemon.start_time(pid) for pid in processes):
        assert time.monotonic() < deadline, "the site still runs"
        await asyncio.sleep(0.1)
    assert json.loads((gone / "holder.json").read_text())["tier"]


@pytest.mark.slow
async def test_an_agent_killed_at_any_moment_leaves_the_site_as_it_was_stated(sites: Lab) -> None:
    """Whatever it was doing: nothing doubled, nothing left over, nothing forgotten, traffic flows."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    chain = await sites.service()
    wanted: dict[str, int] = {}
    for round_number in range(12):
        name, size = f"group-{chance.randrange(3)}", chance.randrange(4)
        work = asyncio.ensure_future(_change(sites, name, size, round_number, chain))
        await asyncio.sleep(chance.random() * 0.12)
        await sites.kill_agent("north")
        # The outcome of what was cut off is unknown; an orchestrator says it again until it is answered.
        if isinstance((await asyncio.gather(work, return_exceptions=True))[0], VimUnreachable):
            await _change(sites, name, size, round_number, chain)
        wanted[name] = size
        expected = DeploymentState.READY if size else DeploymentState.ABSENT
        await sites.settled("north", name, expected)
    found = [
        r
        for r in await sites.sites["north"].find("")
        if r.kind is ResourceKind.COMPUTE and r.name != "client"
    ]
    groups = {name: sum(r.details["deployment"] == name for r in found) for name in wanted}
    assert groups == wanted
    known = {int(r.details["pid"]) for r in await _all_compute(sites)}
    leaders = {
        pid for pid in sites.processes() if "FARSITE_VDU" in _environment(pid) and _parent(pid) not in known
    }
    assert leaders == known
    ports = sum(r.kind is ResourceKind.LINKPORT for r in await sites.sites["north"].find(""))
    interfaces = sites.interfaces(await sites.agent_pid("north"))
    assert sum(name.startswith("v") for name in interfaces) == ports
    assert await sites.fetches(SERVER_V4, 12) == 12


async def _change(sites: Lab, name: str, size: int, round_number: int, chain: Chain) -> None:
    driver = sites.sites["north"]
    if size:
        vnfcs = (shell(f"{name}-{number}", Port(name="p")) for number in range(size))
        await driver.deploy(deployment(name, *vnfcs))
    else:
        await driver.undeploy(name)
    await driver.apply_chain(replace(chain, revision=2 + round_number))


async def _all_compute(sites: Lab) -> list[Resource]:
    found = [r for driver in sites.sites.values() for r in await driver.find("")]
    return [r for r in found if r.kind is ResourceKind.COMPUTE]
