"""VDUs of Linux sites that are rebooted and fenced: what hangs runs again, what is fenced serves nobody."""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from linux_lab import Lab, deployment, vnfc

from farsite.model.deployment import DeploymentState, Port, VimEventKind
from farsite.model.errors import NotSupported, VimFault
from farsite.model.healing import FenceResult, Rung
from farsite.vims.drivers.linux.agent import daemon

pytestmark = pytest.mark.linux


@pytest.mark.parametrize("kind", [Rung.REBOOT_SOFT, Rung.REBOOT_HARD])
async def test_a_function_that_hangs_runs_again_in_the_same_namespace(north: Lab, kind: Rung) -> None:
    """Stopped in its tracks it heeds no signal but one; ports and addresses must outlive it."""
    web = vnfc("web", "builtin:webserver", Port(name="data", addresses=("10.1.0.1/24",)))
    wanted = deployment("web", web)
    await north.ready("north", wanted)
    before = await north.compute("north", "web")
    pid = await north.pid("north", "web")
    os.kill(pid, signal.SIGSTOP)
    site, since = north.sites["north"], datetime.now(UTC)
    await site.repair(wanted, web.id, kind, since=since)
    await north.ready("north", wanted)
    after = await north.compute("north", "web")
    assert after.details["netns"] == before.details["netns"]
    assert not daemon.start_time(pid)
    assert (await north.http("north", "web", "GET", "/health"))["status"] == "ok"
    again = await north.pid("north", "web")
    await site.repair(wanted, web.id, kind, since=since)
    await north.ready("north", wanted)
    assert await north.pid("north", "web") == again


async def test_what_is_fenced_is_gone_before_the_answer(north: Lab) -> None:
    """Until every process of it has ended, another with its addresses would be a second one."""
    web = vnfc("web", "builtin:webserver", Port(name="data", addresses=("10.1.0.1/24",)))
    wanted = deployment("web", web)
    await north.ready("north", wanted)
    pid = await north.pid("north", "web")
    site = north.sites["north"]
    for _ in range(2):
        fence = await site.fence(wanted, web.id)
        assert fence.result is FenceResult.CONFIRMED
        assert not daemon.start_time(pid)
    await north.ready("north", deployment("web", replace(web, incarnation=1)))


async def test_what_is_fenced_stays_so_when_another_of_the_same_function_is_fenced(north: Lab) -> None:
    """Each is told by the whole deployment; both at once, as when a function's VNFCs are healed together."""
    names = ("web-1", "web-2", "web-3")
    vnfcs = [
        vnfc(name, "builtin:webserver", Port(name="data", addresses=(f"10.1.0.{n}/24",)))
        for n, name in enumerate(names, 1)
    ]
    wanted = deployment("web", *vnfcs)
    await north.ready("north", wanted)
    pids = [await north.pid("north", name) for name in names]
    site = north.sites["north"]
    await site.fence(wanted, vnfcs[0].id)
    await asyncio.gather(*(site.fence(wanted, one.id) for one in vnfcs[1:]))
    (status,) = await site.watch(["web"])
    stopped = {one.vnfc_id for one in status.resources if one.is_stopped}
    assert stopped == set(names)
    assert not any(daemon.start_time(pid) for pid in pids)


async def test_a_repair_of_what_was_replaced_or_died_is_refused(north: Lab) -> None:
    """A late request must not touch the one that came after; a dead VDU has no namespace to start in."""
    web = vnfc("web", "builtin:webserver", Port(name="data", addresses=("10.1.0.1/24",)))
    old, new = deployment("web", web), deployment("web", replace(web, incarnation=1))
    await north.ready("north", new)
    site, since = north.sites["north"], datetime.now(UTC)
    with pytest.raises(VimFault, match="incarnation 1, not 0"):
        await site.repair(old, web.id, Rung.REBOOT_HARD, since=since)
    with pytest.raises(NotSupported, match="respawn"):
        await site.repair(new, web.id, Rung.REBUILD, since=since)
    os.kill(await north.pid("north", "web"), signal.SIGKILL)
    await north.heard("north", VimEventKind.VNFC_DIED, vnfc_id="web")
    await north.settled("north", "web", DeploymentState.FAILED)
    with pytest.raises(VimFault, match="only be replaced"):
        await site.repair(new, web.id, Rung.REBOOT_HARD, since=since)
