"""The knobs of the simulated VIM: each breaks what it says, nothing else, and the world tells the truth."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.site_bench import Bench, Site, deployment, gone, ready, settled, until, vnfc
from farsite.model.deployment import (
    Chain,
    ChainEnd,
    ChainHop,
    ChainInstance,
    Deployment,
    DeploymentState,
    NetworkSpec,
    Port,
    ResourceKind,
    VimEvent,
    VimEventKind,
    Volume,
)
from farsite.model.errors import Invalid, VimFault, VimUnreachable
from farsite.model.ids import VimId, VnfcId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.simulated import behaviour, inspect
from farsite.vims.drivers.simulated.driver import SimulatedDriver, world_path
from farsite.vims.drivers.simulated.effects import Effect
from farsite.vims.drivers.simulated.knobs import read_knobs
from farsite.vims.drivers.simulated.state import State
from farsite.vims.drivers.simulated.world import MemoryWorld, Transaction, leave
from farsite.vims.drivers.simulated.world_file import open_world

IMAGE = "builtin:webserver"


@pytest.fixture(params=["memory", "file"])
async def simulated(request: pytest.FixtureRequest, run_dir: Path) -> AsyncIterator[Site]:
    bench = Bench(
        vim_type="simulated",
        image=IMAGE,
        http_image=IMAGE,
        transparent_image=IMAGE,
        impossible_image="none",
        settings={"world": request.param},
    )
    site = Site(request.param, bench, run_dir)
    yield site
    await site.close()


def made(site: Site, name: str = "north", **knobs: object) -> SimulatedDriver:
    driver = site.driver(name, **knobs)
    assert isinstance(driver, SimulatedDriver)
    return driver


def web(*numbers: int, group: str = "", **more: object) -> Deployment:
    members = [vnfc(f"web-{number}", IMAGE, anti_affinity_group=group, **more) for number in numbers or (0,)]
    return deployment("web", *members)


async def state_of(driver: SimulatedDriver, name: str = "web") -> DeploymentState:
    return (await driver.watch([name]))[0].state


async def told(driver: SimulatedDriver, kind: VimEventKind, after: int = 0) -> VimEvent:
    async with asyncio.timeout(20):
        async for event in driver.events(after):
            if event.kind is kind:
                return event
    raise AssertionError("the events ended")


async def test_it_says_that_it_is_simulated(simulated: Site) -> None:
    """No figure from it may be mistaken for one from a real VIM."""
    driver = made(simulated)
    assert (await driver.capabilities()).details["simulated"] == "yes"
    status = await ready(driver, web())
    assert all(
        one.details.get("simulated") == "yes" for one in status.resources if not one.mac or one.host == ""
    )
    assert (await told(driver, VimEventKind.DEPLOYMENT_CHANGED)).details["simulated"] == "yes"


async def test_a_lost_answer_has_taken_effect_and_repeating_adds_nothing(simulated: Site) -> None:
    """The outcome is unknown to the caller; looking or repeating settles it."""
    driver = made(simulated)
    await driver.inject("lost_answer", "deploy", {"calls": 1})
    with pytest.raises(VimUnreachable):
        await driver.deploy(web())
    assert await state_of(driver) is DeploymentState.READY
    await driver.deploy(web())
    assert len(await driver.creations("vnfc:web-0/0")) == 1
    assert await driver.doubled() == []


async def test_a_partition_executes_nothing_and_ends(simulated: Site) -> None:
    """Silence with nothing done, the opposite of a lost answer and indistinguishable from it."""
    driver = made(simulated)
    await driver.inject("partition", "", {})
    for call in (driver.deploy(web()), driver.find(""), driver.zones(), driver.capabilities()):
        with pytest.raises(VimUnreachable):
            await call
    await driver.clear_faults()
    assert await state_of(driver) is DeploymentState.ABSENT


async def test_a_partition_for_a_time_ends_by_itself(simulated: Site) -> None:
    """A game day that forgets to clear must not last."""
    driver = made(simulated)
    await driver.inject("partition", "", {"for_s": 1})

    async def is_back() -> bool:
        return (await driver.health()).services[0].is_up

    assert not await is_back()
    await until(is_back, "the partition ended")


async def test_an_error_strikes_the_named_call_as_often_as_asked(simulated: Site) -> None:
    """And is told in the VIM's own words."""
    driver = made(simulated)
    await driver.inject("error", "deploy", {"calls": 2, "message": "Quota exceeded for cores"})
    assert list(await driver.find("")) == []
    for _ in range(2):
        with pytest.raises(VimFault, match="Quota exceeded for cores"):
            await driver.deploy(web())
    assert await state_of(driver) is DeploymentState.ABSENT
    assert (await ready(driver, web())).state is DeploymentState.READY


async def test_errors_with_a_probability_are_the_same_for_the_same_seed(run_dir: Path) -> None:
    """A failing run can be repeated."""

    async def run(seed: int) -> list[bool]:
        connection = VimConnection(
            vim_id=VimId("seeded"),
            name="north",
            site="north",
            settings={"seed": seed, "error": {"probability": 0.5}},
            run_dir=run_dir,
        )
        driver = SimulatedDriver(connection)
        outcomes: list[bool] = []
        for _ in range(40):
            try:
                await driver.zones()
                outcomes.append(True)
            except VimFault:
                outcomes.append(False)
        await driver.close()
        return outcomes

    first = await run(7)
    assert set(first) == {True, False}
    assert await run(7) == first
    assert await run(8) != first


async def test_a_late_answer_comes_after_its_effect(simulated: Site) -> None:
    """A caller that gives up waiting has to look: the effect is there."""
    driver = made(simulated)
    await driver.inject("answer_delay_s", "deploy", {"seconds": 30})
    call = asyncio.create_task(driver.deploy(web()))

    async def is_there() -> bool:
        return await state_of(driver) is DeploymentState.READY

    await until(is_there, "the effect of the call")
    assert not call.done()
    call.cancel()


async def test_a_stale_list_answers_from_the_past_and_hides_what_was_created(simulated: Site) -> None:
    """Ghost resources: the classic way to create twice is to trust a list."""
    driver = made(simulated)
    await ready(driver, deployment("old", vnfc("old-0", IMAGE)))
    await driver.inject("stale_list", "", {})
    await driver.deploy(web())
    await driver.undeploy("old")
    assert {one.owner for one in await driver.find("")} == {"vnf-old"}
    assert [one.state for one in await driver.watch(["old", "web"])] == [
        DeploymentState.READY,
        DeploymentState.ABSENT,
    ]
    await driver.clear_faults()
    assert {one.owner for one in await driver.find("")} == {"vnf-web"}


async def test_a_list_that_lags_catches_up(simulated: Site) -> None:
    """Eventual consistency, as a knob."""
    await made(simulated).deploy(web())
    assert list(await made(simulated, stale_list={"lag_s": 3600}).find("")) == []
    driver = made(simulated, stale_list={"lag_s": 0.2})

    async def is_listed() -> bool:
        return await state_of(driver) is DeploymentState.READY and bool(await driver.find("vnf-web"))

    await until(is_listed, "the list caught up")


async def test_naive_duplicates_make_a_second_resource_that_the_journal_shows(simulated: Site) -> None:
    """So that a test can prove that somebody looks before creating."""
    driver = made(simulated, naive_duplicates=True)
    await ready(driver, web())
    assert await driver.doubled() == []
    await driver.deploy(web())
    found = [one for one in await driver.find("vnf-web") if one.kind is ResourceKind.COMPUTE]
    assert len(found) == 2
    assert await driver.doubled() == ["vnfc:web-0/0"]
    await driver.undeploy("web")
    await gone(driver, "web", "vnf-web")


async def test_a_crash_ends_the_listeners_and_the_vim_comes_back_holding_all(simulated: Site) -> None:
    """The return is told, because what happened meanwhile may have been missed."""
    driver = made(simulated)
    await ready(driver, web())
    listening = asyncio.create_task(told(driver, VimEventKind.AGENT_STARTED))
    await driver.inject("crash", "", {"for_s": 1})
    with pytest.raises(VimUnreachable):
        await listening

    async def is_back() -> bool:
        return (await driver.health()).services[0].is_up

    await until(is_back, "the VIM came back")
    assert await state_of(driver) is DeploymentState.READY
    assert (await told(driver, VimEventKind.AGENT_STARTED)).detail


@pytest.mark.parametrize(
    ("in_progress", "delay_s", "state"),
    [("continue", 0.5, DeploymentState.READY), ("fail", 3600, DeploymentState.FAILED)],
)
async def test_a_crash_lets_deployments_go_on_or_fail(
    simulated: Site, in_progress: str, delay_s: float, state: DeploymentState
) -> None:
    """Both happen with real VIMs; the operation has to end in both."""
    driver = made(simulated, deploy_delay_s=delay_s)
    await driver.deploy(web())
    await driver.inject("crash", "", {"for_s": 0.05, "in_progress": in_progress})

    async def is_back() -> bool:
        return (await driver.health()).services[0].is_up

    await until(is_back, "the VIM came back")
    status = await settled(driver, "web")
    assert status.state is state
    assert bool(status.reason) is (state is DeploymentState.FAILED)


async def test_a_deployment_can_be_made_to_fail_and_a_higher_incarnation_mends_it(simulated: Site) -> None:
    """The reason and the failing leaf reach the operator."""
    driver = made(simulated, deploy_delay_s=0.1)
    await driver.inject("fail_deployment", "web", {"reason": "Out of IPs", "resource": "web-1", "calls": 1})
    await driver.deploy(web(0, 1))
    status = await settled(driver, "web")
    assert (status.state, status.reason, status.resource) == (DeploymentState.FAILED, "Out of IPs", "web-1")
    await driver.deploy(web(0, 1))
    assert await state_of(driver) is DeploymentState.FAILED
    wanted = web(0, 1)
    await ready(driver, replace(wanted, vnfcs=(wanted.vnfcs[0], replace(wanted.vnfcs[1], incarnation=1))))


async def test_a_deployment_that_is_being_built_can_be_made_to_fail(simulated: Site) -> None:
    """The fault comes in the middle, as it does."""
    driver = made(simulated, deploy_delay_s=60)
    await driver.deploy(web())
    await driver.inject("fail_deployment", "web", {"reason": "Host lost", "calls": 1})
    status = await settled(driver, "web")
    assert (status.state, status.reason) == (DeploymentState.FAILED, "Host lost")


async def test_the_time_to_ready_runs_without_any_process(simulated: Site) -> None:
    """It counts from the creation, and the event is told to whoever listens later."""
    driver = made(simulated, deploy_delay_s=1)
    await driver.deploy(web())
    assert await state_of(driver) is DeploymentState.IN_PROGRESS
    await driver.close()
    anew = made(simulated)
    assert (await told(anew, VimEventKind.DEPLOYMENT_CHANGED)).details["state"] == "READY"


async def test_beyond_capacity_no_valid_host_is_found_and_room_mends_it(simulated: Site) -> None:
    """What fits stands, the rest is named; the same wish succeeds once there is room."""
    driver = made(simulated, capacity={"vcpus": 4, "memory_mib": 4096, "disk_gib": 100, "hosts": 2})
    await driver.deploy(web(0, 1, 2, vcpus=2))
    status = await settled(driver, "web")
    assert (status.state, status.resource) == (DeploymentState.FAILED, "web-2")
    assert "No valid host was found" in status.reason
    (zone,) = await driver.zones()
    assert (zone.vcpus, zone.vcpus_used, zone.hosts) == (4, 4, 2)
    await driver.inject("capacity", "nova", {"vcpus": 8})
    await ready(driver, web(0, 1, 2, vcpus=2))
    assert await driver.doubled() == []


async def test_a_vnfc_larger_than_a_host_fits_nowhere(simulated: Site) -> None:
    """Capacity is on hosts, not in a pool."""
    driver = made(simulated, capacity={"vcpus": 8, "hosts": 4})
    await driver.deploy(web(vcpus=3))
    assert (await settled(driver, "web")).state is DeploymentState.FAILED


async def test_an_anti_affinity_group_stands_on_different_hosts_or_not_at_all(simulated: Site) -> None:
    """Over deployments too: the group is one for the whole VIM."""
    driver = made(simulated, capacity={"vcpus": 64, "hosts": 3})
    status = await ready(driver, web(0, 1, group="g"))
    await ready(driver, deployment("other", vnfc("other-0", IMAGE, anti_affinity_group="g")))
    hosts = [one.host for one in await driver.find("") if one.kind is ResourceKind.COMPUTE]
    assert len(set(hosts)) == len(hosts) == 3
    assert status.state is DeploymentState.READY
    await driver.deploy(web(0, 1, 2, group="g"))
    assert (await settled(driver, "web")).resource == "web-2"


async def test_a_scattered_group_uses_every_host_before_it_shares_one(simulated: Site) -> None:
    """As Nova does it by soft-anti-affinity: best effort, and never a refusal."""
    driver = made(simulated, capacity={"vcpus": 64, "hosts": 3})
    # Two hosts are half full, so what goes by room alone goes to the third.
    full = (vnfc(f"full-{number}", IMAGE, vcpus=10, anti_affinity_group="f") for number in range(2))
    await ready(driver, deployment("full", *full))
    names = [f"web-{number}" for number in range(4)]
    found = await ready(driver, deployment("web", *(vnfc(one, IMAGE, scattered_group="g") for one in names)))
    hosts = [one.host for one in found.resources if one.kind is ResourceKind.COMPUTE]
    assert sorted(map(hosts.count, set(hosts))) == [1, 1, 2]


async def test_networks_and_volumes_come_to_what_was_asked_for_and_stay(simulated: Site) -> None:
    """Where a network is is decided when it is made; another wish later does not move it."""
    has = {"physical_networks": ["front", "back"], "storage_back_ends": ["ssd-a", "ssd-b"]}
    driver = made(simulated, provider_networks=["*"], **has)
    told = await driver.capabilities()
    assert [list(told.physical_networks), list(told.storage_back_ends)] == list(has.values())

    async def stands(line: str, disk: str) -> set[tuple[str, str]]:
        disks = (Volume(name="data", size_gib=1, back_end=disk), Volume(name="log", size_gib=1))
        wanted = deployment("web", vnfc("web-0", IMAGE, volumes=disks))
        network = NetworkSpec(id="web-left", name="left", physical_network=line)
        found = (await ready(driver, replace(wanted, networks=(network,)))).resources
        return {(one.name, one.physical_network or one.back_end) for one in found if one.kind in BELOW}

    first = {("left", "back"), ("data", "ssd-b"), ("log", "ssd-a")}
    assert await stands("back", "ssd-b") == first
    assert await stands("front", "ssd-b") == first
    with pytest.raises(VimFault, match="Physical network side could not be found"):
        await driver.ensure_network(NetworkSpec(id="n", owner="ns", physical_network="side"))
    with pytest.raises(VimFault, match="Storage back end ssd-z could not be found"):
        await stands("back", "ssd-z")


BELOW = (ResourceKind.VL, ResourceKind.STORAGE)


async def test_regions_and_zones_are_as_set_and_honoured(simulated: Site) -> None:
    """Placement is told zones, and a VNFC stands where it was placed."""
    driver = made(simulated, regions=["east", "west"], zones={"a": {"vcpus": 8}, "b": {"vcpus": 16}})
    assert [(zone.region, zone.name, zone.vcpus) for zone in await driver.zones()] == [
        ("east", "a", 8),
        ("east", "b", 16),
        ("west", "a", 8),
        ("west", "b", 16),
    ]
    wanted = replace(web(zone="b"), region="west")
    stands = (await ready(driver, wanted)).resources
    assert [one.zone for one in stands if one.kind is ResourceKind.COMPUTE] == ["b"]
    used = [zone for zone in await driver.zones() if zone.vcpus_used]
    assert [(zone.region, zone.name) for zone in used] == [("west", "b")]
    with pytest.raises(VimFault, match="availability zone"):
        await driver.deploy(replace(web(zone="c"), region="west"))
    with pytest.raises(VimFault, match="Region north"):
        await driver.deploy(replace(web(), region="north"))


async def test_a_port_on_a_network_that_is_not_there_is_refused(simulated: Site) -> None:
    """A step in the wrong order shows here, not first on a real VIM."""
    driver = made(simulated, provider_networks=["public"])
    wanted = web(ports=(Port(name="a", network_id="net-x"),))
    with pytest.raises(VimFault, match="Network net-x could not be found"):
        await driver.deploy(wanted)
    await driver.ensure_network(NetworkSpec(id="net-x", owner="ns"))
    await ready(driver, wanted)
    await ready(driver, deployment("web2", vnfc("w", IMAGE, ports=(Port(name="a", network_id="public"),))))


async def test_links_and_data_paths_break_and_are_mended(simulated: Site) -> None:
    """Told as events, seen in the resources, gone with clear_faults."""
    driver = made(simulated)
    await ready(driver, web())
    await driver.inject("link_down", "web-0", {"port": "data"})
    assert (await told(driver, VimEventKind.LINK_DOWN)).details["port"] == "data"
    ports = [one for one in await driver.find("vnf-web") if one.kind is ResourceKind.LINKPORT]
    assert [one.is_alive for one in ports] == [False]
    await driver.inject("datapath_lost", "web-0", {})
    assert (await told(driver, VimEventKind.DATAPATH_LOST)).vnfc_id == "web-0"
    await driver.clear_faults()
    assert (await told(driver, VimEventKind.LINK_UP)).vnfc_id == "web-0"
    assert (await told(driver, VimEventKind.DATAPATH_RESTORED)).vnfc_id == "web-0"
    assert all(one.is_alive for one in await driver.find("vnf-web"))
    with pytest.raises(VimFault, match="nothing"):
        await driver.inject("kill_vnfc", "nothing", {})
    with pytest.raises(VimFault, match="Ports: data"):
        await driver.inject("link_down", "web-0", {"port": "eth9"})


async def test_a_death_in_a_chain_is_resteered_at_once(simulated: Site) -> None:
    """The reflex of a site's agent; counters are zero unless set."""
    driver = made(simulated)
    await ready(driver, web(0, 1, 2, 3))
    vim_id = simulated.vim_id()
    instances = tuple(
        ChainInstance(vnfc_id=VnfcId(name), vim_id=vim_id, ingress_port="data", egress_port="data")
        for name in ("web-1", "web-2")
    )
    ends = [ChainEnd(vnfc_id=VnfcId(name), vim_id=vim_id, port="data") for name in ("web-0", "web-3")]
    hop = ChainHop(name="filter", instances=instances)
    await driver.apply_chain(
        Chain(id="c", owner="ns", revision=1, source=ends[0], target=ends[1], hops=(hop,))
    )
    await driver.inject("kill_vnfc", "web-2", {"reason": "OOM"})
    assert (await told(driver, VimEventKind.VNFC_DIED)).detail == "OOM"
    event = await told(driver, VimEventKind.CHAIN_RESTEERED)
    assert (event.chain_id, event.vnfc_id) == ("c", "web-2")
    counts = {"hop": "filter", "vnfc_id": "web-1", "forward_packets": 7}
    await driver.inject("chain_counters", "c", counts)
    assert [(one.is_alive, one.forward_packets) for one in await driver.chain_counters("c")] == [
        (True, 7),
        (False, 0),
    ]


async def asked(stream: socket.socket, request: str, body: str = "") -> tuple[int, dict[str, object]]:
    """One request to the inside of a VNFC on a stream of its own."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(sock=stream)
        head = f"{request} HTTP/1.1\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        answer = await reader.read()
        writer.close()
    head, _, document = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(document)


async def test_a_configuration_given_to_a_vnfc_lasts_until_it_is_replaced(simulated: Site) -> None:
    """As with a real function: a heal starts from the recorded initial state."""
    driver = made(simulated)
    worker = vnfc("web-0", IMAGE, configuration={"port": 80})
    await ready(driver, deployment("web", worker))

    async def ask(request: str, body: str = "") -> tuple[int, dict[str, object]]:
        return await asked(await driver.reach(VnfcId("web-0"), 8080), request, body)

    assert await ask("PUT /configuration", '{"port": 81}') == (200, {"port": 81})
    await driver.close()
    driver = made(simulated)
    assert await ask("GET /configuration") == (200, {"port": 81})
    await ready(driver, deployment("web", replace(worker, incarnation=1)))
    assert await ask("GET /configuration") == (200, {"port": 80})
    assert (await ask("GET /counters"))[1]["simulated"] is True
    assert [(await ask(request, body))[0] for request, body in BAD_REQUESTS] == [404, 405, 400, 400]


BAD_REQUESTS = [
    ("GET /nowhere", ""),
    ("DELETE /health", ""),
    ("PUT /configuration", "{no json"),
    ("PUT /configuration", "[1]"),
]


async def test_wrong_settings_are_refused_and_every_one_is_named(simulated: Site) -> None:
    """A knob that is misspelt would otherwise test nothing."""
    with pytest.raises(Invalid, match=r"(?s)deploy_delay_s.*capacity.*error\.probability"):
        made(simulated, deploy_delay_s="soon", capacity=5, error={"probability": "often"})
    with pytest.raises(Invalid, match="deploy_dealy_s"):
        await made(simulated, deploy_dealy_s=1).validate()
    driver = made(simulated)
    with pytest.raises(Invalid, match="answer_delay_s needs seconds"):
        await driver.inject("answer_delay_s", "", {})
    with pytest.raises(Invalid, match="before or after"):
        await driver.inject("crash_orchestrator_after", "", {"calls": 1, "when": "later"})


# -- a world that outlives its process

CHILD = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from farsite.model.deployment import Deployment, WantedVnfc
    from farsite.vims.driver import VimConnection
    from farsite.vims.registry import make_driver

    async def main():
        driver = make_driver("simulated", VimConnection(
            vim_id="shared", name="north", site="north", run_dir=Path(sys.argv[1])))
        for number in range(int(sys.argv[2])):
            name = f"{sys.argv[3]}{number}"
            await driver.deploy(Deployment(name=name, vnf_id=f"vnf-{name}", revision="r", vnfcs=(
                WantedVnfc(id=f"{name}-0", vdu="v", image="builtin:webserver"),)))
            print(name, flush=True)

    asyncio.run(main())
    """
)


def child(run_dir: Path, count: int, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(run_dir), str(count), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
async def shared(run_dir: Path) -> AsyncIterator[SimulatedDriver]:
    """The VIM that the children use too, in this process."""
    driver = SimulatedDriver(
        VimConnection(vim_id=VimId("shared"), name="north", site="north", run_dir=run_dir)
    )
    yield driver
    await driver.close()


async def names_held(driver: SimulatedDriver) -> list[str]:
    found = await driver.find("")
    return sorted(one.details["deployment"] for one in found if one.kind is ResourceKind.COMPUTE)


async def test_what_was_accepted_survives_sigkill(run_dir: Path, shared: SimulatedDriver) -> None:
    """deploy has returned, so the VIM holds it, whatever became of us."""
    process = child(run_dir, 100_000, "a")
    assert process.stdout
    accepted = [process.stdout.readline().strip() for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    accepted += process.stdout.read().split()
    process.wait()
    held = await names_held(shared)
    # The last one may have been written without anybody having been told.
    assert set(accepted) <= set(held)
    assert len(held) - len(accepted) in (0, 1)
    assert await shared.doubled() == []


async def test_several_processes_share_one_world(run_dir: Path, shared: SimulatedDriver) -> None:
    """Each sees what the others did, nothing is lost between them, and a listener hears of it."""
    listening = asyncio.create_task(told(shared, VimEventKind.DEPLOYMENT_CHANGED))
    both = [child(run_dir, 100, name) for name in ("a", "b")]
    for process in both:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
    assert (await listening).details["state"] == "READY"
    assert len(await names_held(shared)) == 200
    sequences = [effect.sequence for effect in await shared.world_journal()]
    assert sequences == list(range(1, len(sequences) + 1))
    world = open_world(world_path(run_dir, "shared"))
    assert len(await world.journal()) == len(sequences)
    leave(world)


async def test_two_processes_that_deploy_the_same_make_it_once(
    run_dir: Path, shared: SimulatedDriver
) -> None:
    """Looking and creating are one step of the VIM, also between processes."""
    both = [child(run_dir, 300, "a") for _ in range(2)]
    for process in both:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
    assert len(await names_held(shared)) == 300
    assert await shared.doubled() == []


@pytest.mark.parametrize(("when", "held"), [("before", 2), ("after", 3)])
async def test_our_own_process_is_killed_at_the_nth_call_and_only_once(
    run_dir: Path, shared: SimulatedDriver, when: str, held: int
) -> None:
    """SIGKILL right before or right after an effect: the two moments that a durable step has to survive."""
    await shared.inject("crash_orchestrator_after", "deploy", {"calls": 3, "when": when})
    first = child(run_dir, 5, "a")
    await asyncio.to_thread(first.communicate)
    assert first.returncode == -signal.SIGKILL
    assert len(await names_held(shared)) == held
    again = child(run_dir, 5, "a")
    await asyncio.to_thread(again.communicate)
    assert again.returncode == 0
    assert len(await names_held(shared)) == 5
    assert await shared.doubled() == []


async def test_a_world_that_cannot_be_opened_is_unreachable_and_says_why(run_dir: Path) -> None:
    """A broken file is silence of the VIM, not a crash of ours."""
    world_path(run_dir, "shared").write_bytes(b"this is no database" * 100)
    driver = SimulatedDriver(
        VimConnection(vim_id=VimId("shared"), name="north", site="north", run_dir=run_dir)
    )
    with pytest.raises(VimUnreachable, match="not a database"):
        await driver.find("")
    assert not (await driver.health()).services[0].is_up
    await driver.close()


async def test_inspecting_a_world_shows_what_stands_and_what_was_created_twice(
    run_dir: Path, shared: SimulatedDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a game day, people compare this with what the orchestrator believes."""
    path = str(world_path(run_dir, "shared"))
    assert inspect.main([path]) == 2
    await ready(shared, web())
    assert await asyncio.to_thread(inspect.main, [path]) == 0
    shown = capsys.readouterr().out
    assert "web-0/0" in shown
    assert "READY" in shown
    await shared.inject("naive_duplicates", "", {"calls": 1})
    await shared.deploy(web())
    assert await asyncio.to_thread(inspect.main, [path, "--journal"]) == 1
    assert "CREATED TWICE: vnfc:web-0/0" in capsys.readouterr().out


async def test_a_thousand_deployments_at_once_are_all_told(run_dir: Path) -> None:
    """More than one look settles at once: the rest must not be forgotten."""
    connection = VimConnection(
        vim_id=VimId(f"thousand-{run_dir.name}"),
        name="north",
        site="north",
        settings={"world": "memory", "deploy_delay_s": 0.2},
        run_dir=run_dir,
    )
    driver = SimulatedDriver(connection)
    names = {f"web{number}" for number in range(1000)}
    await asyncio.gather(*(driver.deploy(deployment(name, vnfc(f"{name}-0", IMAGE))) for name in names))
    async with asyncio.timeout(20):
        async for event in driver.events(0):
            if event.kind is VimEventKind.DEPLOYMENT_CHANGED:
                names.discard(event.deployment)
            if not names:
                break
    await driver.close()


# -- the algebra of the seam

wishes = st.dictionaries(st.sampled_from(["w0", "w1", "w2", "w3"]), st.integers(0, 3), max_size=4)


@given(steps=st.lists(st.one_of(st.none(), wishes), max_size=8))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_wishes_ends_in_the_last_one_and_repeats_change_nothing(
    steps: list[Mapping[str, int] | None],
) -> None:
    """deploy is declarative: what stands follows from the wishes, each VNFC exists once, and replaying the
    journal gives the same state."""
    knobs = read_knobs({})
    state, journal = State(), list[Effect]()
    expected: dict[str, int] | None = None
    for step in steps:
        tx = Transaction(state, 0)
        for _ in range(2):
            tx = Transaction(state, 0)
            if step is None:
                behaviour.undeploy(tx, "web")
            else:
                wanted = deployment(
                    "web", *(vnfc(name, IMAGE, incarnation=inc) for name, inc in step.items())
                )
                behaviour.deploy(tx, wanted, behaviour.Creation(delay_s=0), knobs.zones)
            journal += tx.emitted
        assert not tx.emitted, "the repetition changed something"
        if step is None:
            expected = None
        else:
            # A higher incarnation that stands already is not taken back by a late, older wish.
            before = expected or {}
            expected = {name: max(inc, before.get(name, 0)) for name, inc in step.items()}
    again = State()
    for effect in journal:
        again.apply(effect)
    for one in (state, again):
        held = one.deployments.get("web")
        standing = {vnfc.vnfc_id: vnfc.incarnation for vnfc in held.vnfcs.values()} if held else None
        assert standing == expected
        assert one.find("", 0) == state.find("", 0)
        assert sum(used.vcpus for name, used in one.used.items() if "/" in name) == len(expected or {})


async def test_a_reader_that_knows_a_later_world_gets_everything_of_the_new_one() -> None:
    """After a restart a memory world counts from 1 again; the reader must not wait for its old number."""
    world = MemoryWorld()
    body = {"id": "x", "is_return": True}
    await world.run(lambda tx: tx.emit("fault.ended", "fault:x", body))
    assert [event.sequence for event in await world.run(lambda tx: tx.state.events_after(5000))] == [1]
    assert await world.run(lambda tx: tx.state.events_after(1)) == []
