"""A VIM that was deleted leaves nothing of ours on the host."""

import pytest
from linux_lab import Lab, deployment, shell

from farsite.vims.drivers.linux.agent import holder

pytestmark = pytest.mark.linux


async def test_a_retired_site_leaves_no_process_and_the_other_site_goes_on(sites: Lab) -> None:
    """`farsite vim delete` used to leave the agent and the namespace behind."""
    await sites.ready("south", deployment("kept", shell("kept-1")))
    kept = await sites.pid("south", "kept-1")
    gone = await sites.agent_pid("north")

    await sites.sites["north"].retire()

    assert gone not in sites.processes()
    assert kept in sites.processes()
    assert holder.process_id(sites.run_dir)
    await sites.ready("south", deployment("more", shell("more-1")))
    del sites.sites["north"]


async def test_with_the_last_site_the_holder_goes_too_and_a_second_time_is_quiet(north: Lab) -> None:
    """Nothing of ours runs on a host without sites."""
    await north.sites["north"].retire()
    await north.sites["north"].retire()

    assert north.processes() == []
    assert not holder.process_id(north.run_dir)
