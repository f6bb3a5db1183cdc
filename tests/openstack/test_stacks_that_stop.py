"""Stacks that stop in the middle: nothing fails, nothing happens."""

from pathlib import Path

from lab.openstack.raising import Laboratory
from registrations import driver_of, registration
from tenancy import Project
from test_deployments import computes, ready, removed, settled, wish, worker

from farsite.model.deployment import DeploymentState

COMPUTES = ("site1-compute1", "site1-compute2")


async def test_a_stack_in_which_nothing_happens_is_a_fault_and_goes_on_when_it_is_asked_again(
    breakable: Laboratory, project: Project, tmp_path: Path
) -> None:
    """No event for the time that is set: an operator hears of it long before Heat's own limit of an hour."""
    patience = {"stack_silence_s": 6}
    async with driver_of(registration(project.account, tmp_path, settings=patience)) as driver:
        for _ in range(3):
            await driver.deploy(wish(worker(0)))
            # Not before: Nova must still take the hosts for alive when it chooses one for the server.
            breakable.processes.freeze(*COMPUTES)
            status = await settled(driver, "1")
            if "No valid host" not in status.reason:
                break
            # So busy a machine that Nova came to choose only when it took them for dead.
            breakable.processes.thaw(*COMPUTES)
            await removed(driver)
        assert status.state is DeploymentState.FAILED
        assert "nothing has happened in the stack" in status.reason
        assert "last event" in status.reason
    breakable.processes.thaw(*COMPUTES)
    # On a busy machine a stack that works is silent for as long as that, too.
    async with driver_of(registration(project.account, tmp_path)) as driver:
        again = await ready(driver, wish(worker(0), revision="2"))
        assert [one.id for one in project.admin.compute.servers()] == [computes(again)["web-A-0"].id]
        await removed(driver)
