"""The host of a Linux site as it is seen from outside its agent: what each observer says, and what is
published."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from cut_hosts import MANAGEMENT, office, run, what_is_missing
from linux_lab import Lab, deployment, shell, until

from farsite.assurance.host_health import health_of
from farsite.assurance.redundancy import audit
from farsite.model.audit_rules import AuditRules
from farsite.model.control_plane import ControlPlane, HostObservation
from farsite.model.host_health import HostHealth, HostState
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Vim, VimState
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import holder


async def seen(lab: Lab, site: str) -> HostObservation:
    (host,) = (await lab.sites[site].look()).hosts
    return host


async def health(lab: Lab, site: str) -> HostHealth:
    now = datetime.now(UTC)
    sight = await lab.sites[site].look()
    vim = Vim(
        id=VimId(site),
        project_id=ProjectId("default"),
        name=site,
        type="linux",
        site=site,
        state=VimState.ACTIVE,
        state_since=now,
        created_at=now,
    )
    plane = ControlPlane(read_at=now, hosts=sight.hosts, vim_time=sight.vim_time)
    return health_of(vim, plane, now)[0]


async def test_a_site_is_one_host_and_is_up_while_its_agent_answers(sites: Lab) -> None:
    """The name is the machine's, which VNFCs that stand there have too."""
    await sites.ready("north", deployment("one", shell("a")))
    found = await health(sites, "north")
    assert found.state is HostState.UP
    assert found.host == (await sites.compute("north", "a")).host
    assert found.evidence["service"] == "up"
    elements = {one.service: one.state for one in await sites.sites["north"].control_plane()}
    assert elements == {"agent": "up", "holder": "up"}


async def test_the_way_to_other_sites_is_part_of_what_is_seen(sites: Lab) -> None:
    """Nothing is said of it where no network goes there."""
    assert (await seen(sites, "north")).tenant is None
    await sites.network()
    assert (await seen(sites, "north")).tenant is True


async def test_looking_starts_no_agent_and_tells_a_dead_one_from_a_dead_host(sites: Lab) -> None:
    """The site's namespace stands and its kernel answers the neighbour, so only the agent is gone."""
    await sites.ready("north", deployment("one", shell("a")))
    await seen(sites, "north")
    await sites.kill_agent("north")
    found = await seen(sites, "north")
    assert (found.service, found.agent, found.management, found.power) == (False, False, True, True)
    assert (found.neighbours, found.others) == (True, True)
    published = await health(sites, "north")
    assert (published.state, published.verdict) == (HostState.DEGRADED, "service-down")
    assert published.permitted == ("restart-service",)
    assert [one.state for one in await sites.sites["north"].control_plane()] == ["down", "up"]
    await sites.sites["north"].validate()
    assert (await health(sites, "north")).state is HostState.UP


async def test_a_frozen_agent_is_a_service_that_is_down(sites: Lab) -> None:
    """It accepts connections for as long as the kernel's queue lasts, and answers none."""
    await seen(sites, "north")
    pid = await sites.agent_pid("north")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert (await health(sites, "north")).verdict == "service-down"
    finally:
        os.kill(pid, signal.SIGCONT)

    async def is_up() -> bool:
        return (await health(sites, "north")).state is HostState.UP

    await until(is_up, "the host is up again")


CABLE = "to-north"


@contextmanager
def cut_off(lab: Lab, *names: str) -> Iterator[None]:
    """Nothing of ours gets to the agents of these sites: where their sockets were nobody listens. They live,
    and what they have in hand goes on."""
    addresses = [paths.agent_socket(paths.site_directory(lab.run_dir, name)) for name in names]
    for address in addresses:
        address.rename(address.with_suffix(".aside"))
        paths.listen(address).close()
    try:
        yield
    finally:
        for address in addresses:
            address.with_suffix(".aside").replace(address)


@contextmanager
def data_cut(pid: int) -> Iterator[None]:
    """No packet passes the underlay of the site whose agent this is, in either direction."""
    rules = """table inet cut {
        chain in  { type filter hook input priority -300; iifname "wan0" drop; }
        chain out { type filter hook output priority -300; oifname "wan0" drop; }
    }"""
    inside_ = ("nsenter", "-t", str(pid), "-n", "nft")
    run(*inside_, "-f", "-", text=rules)
    try:
        yield
    finally:
        run(*inside_, "delete", "table", "inet", "cut")


async def managed_over_a_cable(lab: Lab, name: str) -> None:
    """The host of a site is registered with an address, which it answers at over a cable of its own."""
    inside = ("nsenter", "-t", str(await lab.agent_pid(name)), "-n")
    run("ip", "link", "add", CABLE, "type", "veth", "peer", "name", "office", "netns", inside[2])
    run("ip", "link", "set", CABLE, "master", "switch", "up")
    run(*inside, "ip", "addr", "add", f"{MANAGEMENT}.10/24", "dev", "office")
    run(*inside, "ip", "link", "set", "office", "up")
    await lab.sites[name].close()
    lab.sites[name] = lab.driver(name, host_probe=f"{MANAGEMENT}.10:22")


async def test_a_host_that_is_cut_off_is_told_from_a_dead_one_and_from_our_own_isolation(
    lab: Lab,
) -> None:
    """All are the same silence to whoever asks the agent alone. Its functions serve on, and what may be done
    about them differs: fence first, make anew at once, or nothing."""
    if missing := what_is_missing():
        pytest.skip(missing)
    with office():
        await lab.start("north", "south", "west")
        await managed_over_a_cable(lab, "north")
        await lab.ready("north", deployment("one", shell("a")))
        function, agent = await lab.pid("north", "a"), await lab.agent_pid("north")
        assert (await health(lab, "north")).evidence["management"] == "up"
        run("ip", "link", "set", CABLE, "down")
        with cut_off(lab, "north"):
            isolated = await health(lab, "north")
            with data_cut(agent):
                hung = await health(lab, "north")
        with cut_off(lab, "north", "south", "west"):
            ours = await health(lab, "north")
        assert await lab.pid("north", "a") == function, "it has not noticed"
        await lab.kill_agent("north")
        os.kill(function, signal.SIGKILL)
        holder.forget(lab.run_dir, paths.site_namespace(VimId("north")))
        dead = await health(lab, "north")
    fenced_first = ("fence", "recover-after-fence")
    assert {
        what: (one.verdict, one.permitted)
        for what, one in {"cut": isolated, "on both planes": hung, "we": ours, "dead": dead}.items()
    } == {
        "cut": ("host-isolated", fenced_first),
        "on both planes": ("host-hung", fenced_first),
        "we": ("partition-of-us", ()),
        "dead": ("power-lost", ("fence", "recover")),
    }


async def test_an_audit_of_a_site_says_that_it_is_one_machine(sites: Lab) -> None:
    """Who wants more than that registers more sites."""
    elements = tuple(await sites.sites["north"].control_plane())
    plane = ControlPlane(read_at=datetime.now(UTC), elements=elements)
    found = audit(plane, "linux")
    assert (found.rules, found.score) == (AuditRules.SINGLE, None)
    assert {(one.name, one.about) for one in found.checks} == {("restart", "agent"), ("restart", "holder")}
    as_a_pair = audit(plane, "linux", rules=AuditRules.SMALL)
    assert as_a_pair.single_points == ("local/holder", "local/local")
    assert (as_a_pair.score, as_a_pair.seen_share) == (0, 1.0)
