"""Real packets over real sites: networks, chains, reach, and a deployment as a statement."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from linux_lab import (
    SERVER_V4,
    SERVER_V6,
    Lab,
    deployment,
    inside,
    shell,
    transparent,
    until,
    vnfc,
)

from farsite.model.deployment import (
    Deployment,
    DeploymentState,
    NetworkSpec,
    Port,
    ResourceKind,
    VimEventKind,
)
from farsite.model.errors import VimFault

pytestmark = pytest.mark.linux


async def test_a_network_joins_two_sites(sites: Lab) -> None:
    """A virtual link of a service is one link, wherever its functions stand; both IP versions and
    full-size frames pass the tunnel."""
    await sites.ends()
    assert await sites.fetches(SERVER_V4, 3) == 3
    assert await sites.fetches(SERVER_V6, 3) == 3
    result = await sites.http(
        "north", "client", "POST", "/fetch", {"target": SERVER_V4, "port": 80, "path": "/bytes/100000"}
    )
    assert result["body_bytes"] == 100_000


async def test_a_chain_over_two_sites_spreads_flows_and_brings_replies_back_the_same_way(sites: Lab) -> None:
    """Inspectors drop what they did not see begin: one asymmetric reply and a request fails."""
    await sites.service(ether_types=("ipv4", "ipv6"))
    assert await sites.fetches(SERVER_V4, 24) == 24
    counted = await sites.counters()
    assert set(counted) == {"firewall", "inspector-1", "inspector-2"}
    for each in counted.values():
        assert each.is_alive
        assert each.forward_packets > 0
        assert each.reverse_packets > 0
        assert each.forward_bytes > each.forward_packets

    async def are_equal() -> bool:
        now = await sites.counters()
        through = sum(now[name].forward_packets for name in ("inspector-1", "inspector-2"))
        return through == now["firewall"].forward_packets

    await until(are_equal, "what left the firewall went through the inspectors")
    for site, name in (("north", "inspector-1"), ("south", "inspector-2")):
        counters = await sites.http(site, name, "GET", "/counters")
        assert counters["flows_opened"] > 0
        assert counters["dropped_no_state"] == 0


async def test_ipv6_takes_the_same_chain(sites: Lab) -> None:
    """A service that filters one version only is open to the other."""
    await sites.service()
    assert await sites.fetches(SERVER_V6, 12) == 12
    assert (await sites.counters())["firewall"].forward_packets > 12
    assert not (await sites.fetch(SERVER_V6, port=8081, timeout_s=0.5))["ok"]


async def test_the_firewall_of_a_chain_blocks_what_it_shall(sites: Lab) -> None:
    """The chain is no detour: without passing the firewall there is no way."""
    await sites.service()
    assert (await sites.fetch(SERVER_V4, port=80))["ok"]
    assert not (await sites.fetch(SERVER_V4, port=8081, timeout_s=0.5))["ok"]


async def test_traffic_outside_the_classifier_goes_its_normal_way(sites: Lab) -> None:
    """A path takes what its classifier names; the rest of the link must not suffer from it."""
    await sites.service(protocol="tcp", destination_port_first=80, destination_port_last=80)
    before = (await sites.counters())["firewall"].forward_packets
    assert (await sites.fetch(SERVER_V4, port=8081))["ok"]
    assert (await sites.counters())["firewall"].forward_packets == before
    assert (await sites.fetch(SERVER_V4, port=80))["ok"]
    assert (await sites.counters())["firewall"].forward_packets > before


async def test_a_chain_is_changed_and_deleted_without_touching_the_functions(sites: Lab) -> None:
    """Scaling applies the chain anew under traffic; an older revision that comes late is ignored."""
    await sites.service()
    only = (("firewall", ("firewall", "north")), ("inspector", ("inspector-2", "south")))
    await sites.apply(await sites.chain(only, revision=3))
    await sites.apply(await sites.chain((("firewall", ("firewall", "north")),), revision=2))
    assert await sites.fetches(SERVER_V4, 6) == 6
    assert set(await sites.counters()) == {"firewall", "inspector-2"}
    for driver in sites.sites.values():
        await driver.delete_chain("chain")
        await driver.delete_chain("chain")
    assert await sites.counters() == {}
    assert (await sites.fetch(SERVER_V4, port=8081))["ok"]


async def test_counters_go_on_over_revisions(sites: Lab) -> None:
    """An operator reads totals; a re-steer must not set them back."""
    chain = await sites.service()
    await sites.fetches(SERVER_V4, 4)
    before = (await sites.counters())["firewall"]
    await sites.apply(chain)
    after = (await sites.counters())["firewall"]
    assert after.forward_packets >= before.forward_packets > 0
    assert after.reverse_bytes >= before.reverse_bytes > 0


@pytest.mark.parametrize("is_open", [False, True], ids=["fail_closed", "fail_open"])
async def test_a_hop_without_living_instances_does_what_its_path_says(sites: Lab, is_open: bool) -> None:
    """A filter that is gone must not be bypassed, unless its owner prefers service to filtering."""
    await sites.ends()
    await sites.ready("south", deployment("inspector-2", transparent("inspector-2", "builtin:inspector")))
    chain = await sites.chain((("inspector", ("inspector-2", "south")),), fail_open=is_open)
    await sites.apply(chain)
    assert (await sites.fetch(SERVER_V4))["ok"]
    await sites.sites["south"].undeploy("inspector-2")
    await sites.carries("south", "inspector-2", is_alive=False)

    async def as_the_path_says() -> bool:
        return (await sites.fetch(SERVER_V4, timeout_s=0.5))["ok"] is is_open

    await until(as_the_path_says, "both sites know")


async def test_deploying_twice_and_at_once_makes_one_process_per_vnfc(north: Lab) -> None:
    """A step may run again after a crash, beside the one it repeats; nothing is created twice."""
    wanted = deployment("pair", shell("a"), shell("b"))
    driver, other = north.sites["north"], north.driver("north")
    await asyncio.gather(*(each.deploy(wanted) for each in (driver, other, driver, other)))
    first = await north.settled("north", "pair", DeploymentState.READY)
    again = await north.ready("north", wanted)
    pids = {r.details["pid"] for r in first.resources if r.kind is ResourceKind.COMPUTE}
    assert len(pids) == 2
    assert {r.details["pid"] for r in again.resources if r.kind is ResourceKind.COMPUTE} == pids
    assert again.revision == "r1"


async def test_a_deployment_grows_shrinks_and_replaces_exactly_what_differs(north: Lab) -> None:
    """Scale and heal are the same call; whoever is not concerned must not notice."""
    await north.ready("north", deployment("group", shell("a"), shell("b")))
    kept, replaced = await north.pid("north", "a"), await north.pid("north", "b")
    await north.ready("north", deployment("group", shell("a"), shell("b", incarnation=1), shell("c")))
    assert await north.pid("north", "a") == kept
    assert await north.pid("north", "b") != replaced
    await north.ready("north", deployment("group", shell("a")))
    alive = [r for r in await north.sites["north"].find("") if r.kind is ResourceKind.COMPUTE]
    assert [r.vnfc_id for r in alive] == ["a"]


async def test_undeploying_leaves_nothing(north: Lab) -> None:
    """Months of instantiations on one site must not fill it with leftovers."""
    agent = await north.agent_pid("north")
    processes, interfaces = north.processes(), north.interfaces(agent)
    driver = north.sites["north"]
    internal = NetworkSpec(id="internal", cidr_v4="10.1.0.0/24")
    ports = (Port(name="eth0", network_id="internal", addresses=("10.1.0.5/24",)), Port(name="eth1"))
    wanted = deployment("full", shell("a", *ports), shell("b", *ports[:1]), networks=(internal,))
    await north.ready("north", wanted)
    assert len(north.processes()) > len(processes)
    owned = await driver.find("vnf-full")
    assert {r.kind for r in owned} == {ResourceKind.COMPUTE, ResourceKind.LINKPORT, ResourceKind.VL}
    await driver.undeploy("full")
    await driver.undeploy("full")
    assert (await driver.watch(["full"]))[0].state is DeploymentState.ABSENT
    assert await driver.find("vnf-full") == []
    assert await driver.find("") == []

    async def is_clean() -> bool:
        return north.processes() == processes and north.interfaces(agent) == interfaces

    await until(is_clean, "processes and interfaces are as before")


async def test_ports_carry_the_wanted_names_addresses_and_macs(north: Lab) -> None:
    """A descriptor's MAC and addresses are licences and firewall rules elsewhere; a name too long for the
    kernel gets a derived one."""
    await north.sites["north"].ensure_network(NetworkSpec(id="lan", owner="ns"))
    ports = (
        Port(name="eth0", network_id="lan", mac="02:00:00:aa:bb:cc", addresses=("10.2.0.9/24", "fd02::9/64")),
        Port(name="a-name-beyond-fifteen-characters", network_id="lan", addresses=("10.2.0.10/24",)),
    )
    await north.ready("north", deployment("ports", shell("a", *ports)))
    pid = await north.pid("north", "a")
    found = inside(pid, "[print(link.name, link.mac) for link in links.Links().all()]").splitlines()
    assert "eth0 02:00:00:aa:bb:cc" in found
    assert len(found) == 3
    addresses = inside(pid, "print(open('/proc/net/if_inet6').read())")
    assert "fd020000000000000000000000000009" in addresses
    linkports = [r for r in await north.sites["north"].find("vnf-ports") if r.kind is ResourceKind.LINKPORT]
    assert {r.addresses for r in linkports} == {("10.2.0.9", "fd02::9"), ("10.2.0.10",)}
    assert all(r.is_alive for r in linkports)


async def test_two_silent_ports_on_one_network_do_not_loop_it(north: Lab) -> None:
    """A bump in the wire with both sides on one bridge would multiply every broadcast for ever."""
    await north.sites["north"].ensure_network(NetworkSpec(id="lan", owner="ns"))
    ports = (Port(name="inside", network_id="lan"), Port(name="outside", network_id="lan"))
    await north.ready("north", deployment("bump", vnfc("a", "builtin:inspector", *ports)))
    masters = inside(
        await north.agent_pid("north"),
        "print(*(link.master for link in links.Links().all() if link.kind == 'veth'))",
    )
    assert set(masters.split()) == {"0"}


async def test_a_vnfc_that_does_not_start_says_why(north: Lab) -> None:
    """The operator sees the function's last words, not ours about them; a second try may succeed."""
    one_port = vnfc("a", "builtin:inspector", Port(name="only-one"))
    wanted = deployment("broken", one_port, shell("b"))
    await north.sites["north"].deploy(wanted)
    status = await north.settled("north", "broken", DeploymentState.FAILED)
    assert status.resource == "a"
    assert "Its last words" in status.reason
    mended = deployment("broken", transparent("a", "builtin:inspector"), shell("b"))
    assert (await north.ready("north", mended)).reason == ""


async def test_a_vnfc_that_died_is_reported_and_not_restarted_behind_the_orchestrators_back(
    north: Lab,
) -> None:
    """Healing is an operation with a budget and a record; the site only tells."""
    wanted = deployment("one", shell("a", script="sleep 0.3; echo out of memory >&2; exit 1"))
    await north.ready("north", wanted)
    event = await north.heard("north", VimEventKind.VNFC_DIED, vnfc_id="a")
    assert "out of memory" in event.detail or event.vnf_id == "vnf-one"
    await north.sites["north"].deploy(wanted)
    status = await north.settled("north", "one", DeploymentState.FAILED)
    assert status.resource == "a"
    assert "out of memory" in status.reason
    dead = await north.compute("north", "a")
    assert not dead.is_alive
    healed = deployment("one", shell("a", incarnation=1))
    assert (await north.ready("north", healed)).resources[0].incarnation == 1


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (deployment("x", vnfc("a", "builtin:teleporter")), "firewall"),
        (deployment("x", vnfc("a", "host:absent")), "shell"),
        (deployment("x", vnfc("a", "ubuntu-24.04")), "builtin:FUNCTION"),
        (deployment("x", shell("a", Port(name="p", network_id="nowhere"))), "nowhere"),
        (deployment("x", shell("a", Port(name="p"), Port(name="p"))), "two ports"),
        (
            deployment("x", replace(shell("a"), vcpus=10_000)),
            "vcpus",
        ),
    ],
    ids=["function", "profile", "image", "network", "ports", "capacity"],
)
async def test_what_a_site_cannot_do_is_refused_by_name_and_leaves_nothing(
    north: Lab, wanted: Deployment, words: str
) -> None:
    """A refusal names what there is instead; nothing half-made remains."""
    with pytest.raises(VimFault, match=words):
        await north.sites["north"].deploy(wanted)
    assert (await north.sites["north"].watch(["x"]))[0].state is DeploymentState.ABSENT
    assert await north.sites["north"].find("") == []


async def test_a_missing_program_of_the_host_is_named_with_its_package(lab: Lab) -> None:
    """The operator gets the line to type, not a stack trace."""
    profiles = lab.run_dir.parent / "profiles"
    profiles.mkdir()
    (profiles / "lb.json").write_text('{"command": ["/opt/lb"], "requires": {"/opt/lb": "load-balancer"}}')
    (profiles / "escape.json").write_text('{"command": ["/bin/sh"], "files": {"../../x": "y"}}')
    driver = lab.driver("north", profiles_dir=str(profiles))
    with pytest.raises(VimFault, match="apt-get install load-balancer"):
        await driver.deploy(deployment("x", vnfc("a", "host:lb")))
    with pytest.raises(VimFault, match="outside"):
        await driver.deploy(deployment("x", vnfc("a", "host:escape")))


async def test_a_host_program_sees_the_host_read_only_and_writes_where_it_may(north: Lab) -> None:
    """A function of the host's own programs must not change the host."""
    script = (
        "touch /usr/farsite-was-here 2>/dev/null && echo wrote >> result;"
        "touch /tmp/farsite-private-$$ && ls /tmp >> result; echo done >> result; sleep 600"
    )
    await north.ready("north", deployment("confined", shell("a", script=script)))
    works = list((north.run_dir / "sites").glob("*/work/*"))
    assert len(works) == 1

    async def has_written() -> bool:
        result = works[0] / "result"
        return result.exists() and "done" in result.read_text()

    await until(has_written, "the script ran")
    lines = (works[0] / "result").read_text().split()
    assert "wrote" not in lines
    assert "farsite-private-1" in lines
    assert not list(Path("/tmp").glob("farsite-private-*"))


async def test_reach_refuses_what_is_not_there(north: Lab) -> None:
    """An adapter must tell a function that is gone from one that is slow."""
    await north.ready("north", deployment("quiet", shell("a")))
    with pytest.raises(VimFault, match="accepts no connection"):
        await north.sites["north"].reach("a", 8080)
    with pytest.raises(VimFault, match="does not run"):
        await north.sites["north"].reach("nobody", 8080)


async def test_zones_count_what_is_wanted(lab: Lab) -> None:
    """Placement trusts these figures."""
    driver = lab.driver("north", vcpus=8, memory_mib=1024, zones=["rack-1", "rack-2"])
    lab.sites["north"] = driver
    await lab.ready("north", deployment("one", shell("a")))
    first, second = await driver.zones()
    assert (first.name, first.vcpus, first.vcpus_used, first.memory_mib_used) == ("rack-1", 4, 1, 64)
    assert (second.name, second.vcpus_used) == ("rack-2", 0)
    with pytest.raises(VimFault, match="vcpus"):
        await driver.deploy(deployment("more", *(shell(f"m{n}") for n in range(16))))


async def test_a_network_in_use_is_not_deleted(north: Lab) -> None:
    """Deleting a link under running functions would cut them off without a word."""
    driver = north.sites["north"]
    await driver.ensure_network(NetworkSpec(id="lan", owner="ns-1"))
    await north.ready("north", deployment("one", shell("a", Port(name="p", network_id="lan"))))
    with pytest.raises(VimFault, match="still has ports of a"):
        await driver.delete_network("lan")
    assert [r.id for r in await driver.find("ns-1")] == ["lan"]
    await driver.undeploy("one")
    await driver.delete_network("lan")
    await driver.delete_network("lan")
    assert await driver.find("ns-1") == []


async def test_two_chains_share_a_firewall_and_are_told_apart_by_their_classifiers(sites: Lab) -> None:
    """A function may serve several paths; each frame must go on by its own."""
    await sites.ends()
    await asyncio.gather(
        sites.ready("north", deployment("firewall", transparent("firewall", "builtin:firewall"))),
        sites.ready("south", deployment("inspector-2", transparent("inspector-2", "builtin:inspector"))),
    )
    through_both = (("firewall", ("firewall", "north")), ("inspector", ("inspector-2", "south")))
    first = await sites.chain(
        through_both, protocol="tcp", destination_port_first=80, destination_port_last=80
    )
    second = replace(
        await sites.chain(through_both[:1], protocol="tcp", destination_port_first=8081),
        id="second",
        vni_first=2000,
    )
    await sites.apply(first)
    await sites.apply(second)
    assert (await sites.fetch(SERVER_V4, port=8081))["ok"]
    assert (await sites.counters("chain"))["inspector-2"].forward_packets == 0
    assert (await sites.counters("second"))["firewall"].forward_packets > 0
    assert (await sites.fetch(SERVER_V4, port=80))["ok"]
    assert (await sites.counters("chain"))["inspector-2"].forward_packets > 0
    for driver in sites.sites.values():
        await driver.delete_chain("chain")
    assert (await sites.fetch(SERVER_V4, port=8081))["ok"]


async def test_a_vdu_gets_no_more_memory_than_its_share(north: Lab) -> None:
    """One function that leaks must not take its neighbours down."""
    script = (
        f"{sys.executable} -c 'x = bytearray(300 << 20); print(len(x))' > result 2>&1;"
        " echo ended with $? >> result; sleep 600"
    )
    await north.ready("north", deployment("hog", shell("a", script=script)))
    (work,) = (north.run_dir / "sites").glob("*/work/*")

    async def has_ended() -> str:
        result = work / "result"
        told = result.read_text() if result.exists() else ""
        return told if "ended with" in told else ""

    told = str(await until(has_ended, "the hog ends"))
    assert "ended with 0" not in told
    assert str(300 << 20) not in told


async def test_a_host_that_forbids_namespaces_is_told_what_to_allow(tmp_path: Path) -> None:
    """The first message a user of a hardened distribution sees decides whether there is a second try."""
    code = """
import asyncio, pathlib, sys
from farsite.model.errors import VimFault
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.linux.agent import namespaces
from farsite.vims.drivers.linux.driver import LinuxDriver
namespaces.new_user_namespace()
for name in ("user", "net"):
    open(f"/proc/sys/user/max_{name}_namespaces", "w").write("0")
try:
    connection = VimConnection(vim_id="n", name="n", site="turin", run_dir=pathlib.Path(sys.argv[1]))
    asyncio.run(LinuxDriver(connection).validate())
except VimFault as refusal:
    print(refusal.detail)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if "new_user_namespace" in done.stderr:
        pytest.skip("user namespaces are forbidden here already")
    assert 'The agent of site "turin" does not start' in done.stdout, done.stdout + done.stderr
    assert "user namespace: unshare: No space left on device" in done.stdout
    assert "sysctl -w user.max_user_namespaces=15000" in done.stdout


async def test_programs_of_the_host_serve_as_functions(north: Lab) -> None:
    """A load balancer or name server that the distribution maintains beats one of ours."""
    driver = north.sites["north"]
    missing = (await driver.capabilities()).missing
    programs = ("images:host:haproxy", "images:host:dnsmasq")
    lacking = [reason for name, reason in missing.items() if name in programs]
    if lacking:
        pytest.skip("; ".join(lacking))
    await driver.ensure_network(NetworkSpec(id="lan", owner="ns"))

    def at(address: str) -> Port:
        return Port(name="eth0", network_id="lan", addresses=(f"{address}/24",))

    balancer = vnfc("lb", "host:haproxy", at("10.1.0.3"), servers="server web 10.1.0.2:80 check")
    names = vnfc("dns", "host:dnsmasq", at("10.1.0.4"), records="address=/x.example/10.1.0.2")
    web = vnfc("web", "builtin:webserver", at("10.1.0.2"))
    client = vnfc("client", "builtin:probe", at("10.1.0.1"))
    await north.ready("north", deployment("all", web, client, balancer, names))

    async def answers() -> bool:
        return bool((await north.fetch("10.1.0.3"))["ok"])

    # HAProxy takes a server that came up after it for dead until its next check, two seconds later.
    await until(answers, "the web server is reached through the load balancer")
    answer = inside(
        await north.pid("north", "client"),
        """
import socket, struct
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.settimeout(5)
query = struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + b"\\1x\\7example\\0" + struct.pack("!2H", 1, 1)
asking.sendto(query, ("10.1.0.4", 53))
print(socket.inet_ntoa(asking.recv(512)[-4:]))
""",
    )
    assert answer.strip() == "10.1.0.2"


async def test_a_web_server_without_any_network_runs_and_says_that_it_serves_nobody(north: Lab) -> None:
    """It used to take 8080 on all addresses, the management's among them, and then failed to start."""
    lonely = vnfc("web-1", "builtin:webserver", Port(name="data"), ports=[8080])

    await north.ready("north", deployment("web", lonely))

    assert (await north.http("north", "web-1", "GET", "/health"))["status"] == "degraded"
