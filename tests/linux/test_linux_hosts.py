"""The host of a Linux site as it is seen from outside its agent: what each observer says, and what is
published."""

import os
import signal
from datetime import UTC, datetime

from linux_lab import Lab, deployment, shell, until

from farsite.assurance.host_health import health_of
from farsite.assurance.redundancy import audit
from farsite.model.control_plane import ControlPlane, HostObservation
from farsite.model.host_health import HostHealth, HostState
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Vim, VimState


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


async def test_an_audit_of_a_site_says_that_it_is_one_machine(sites: Lab) -> None:
    """Who wants more than that registers more sites."""
    elements = tuple(await sites.sites["north"].control_plane())
    found = audit(ControlPlane(read_at=datetime.now(UTC), elements=elements), "linux")
    assert found.single_points == ("local/holder", "local/local", "local/local")
    assert (found.score, found.seen_share) == (0, 1.0)
