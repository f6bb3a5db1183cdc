"""What somebody changes on a VIM past us, and the VIM tells nothing of it: how late we tell it at most."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farsite.lifecycle.sizing import deployment_name
from farsite.model.ids import VimId, VnfInstanceId
from farsite.settings import Settings
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.simulated.driver import SimulatedDriver
from service_bench import Service, running

PERIOD_S = 2.0
MACHINE_S = 10.0
"""What a machine with other work adds to a period."""


def removed_past_us(service: Service, vim: str, vnf_id: str) -> None:
    """As by another client of the VIM: no death is told, the deployment is just not there any more."""
    vim_id = VimId(service.native("GET", f"/vims/{vim}").json()["id"])
    connection = VimConnection(
        vim_id=vim_id, name=vim, site=vim, settings={}, run_dir=service.settings.run_dir
    )

    async def do() -> None:
        driver = SimulatedDriver(connection)
        await driver.undeploy(deployment_name(VnfInstanceId(vnf_id)))
        await driver.close()

    asyncio.run(do())


def deaths(service: Service, vnf_id: str) -> list[Any]:
    told = service.native("GET", "/alarms", params={"filter": f"(eq,managed_object_id,{vnf_id})"}).json()
    return [one for one in told if one["fault_type"] == "vnfc-died"]


def test_what_was_deleted_past_us_is_told_within_a_period_and_stands_again(data_dir: Path) -> None:
    """No event says it, so it is found by looking; how often that is done is what the setting promises."""
    with running(Settings(data_dir=data_dir, inventory_period_s=PERIOD_S)) as service:
        service.register("sim", world="file")
        service.onboard("webserver")
        vnf_id = service.instantiated(vim="sim")
        removed_past_us(service, "sim", vnf_id)
        removed_at = datetime.now(UTC)
        (death,) = service.until(lambda: deaths(service, vnf_id), bool)
        late_s = (datetime.fromisoformat(death["raised_at"]) - removed_at).total_seconds()
        assert late_s <= PERIOD_S + MACHINE_S
        service.until(lambda: deaths(service, vnf_id), lambda seen: all(one["cleared_at"] for one in seen))
        standing = service.native("GET", "/vims/sim/resources").json()
        assert [one["is_alive"] for one in standing if one["kind"] == "COMPUTE"] == [True]
