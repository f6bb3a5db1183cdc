"""reach(): a byte stream to the management address inside a VNFC."""

import asyncio
import json
import socket
from dataclasses import replace

import pytest

from conformance.site_bench import BOUND_S, Site, deployment, ready, vnfc
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import VimDriver

PORT = 8080


@pytest.fixture(autouse=True)
async def needs_reach(site: Site, driver: VimDriver) -> None:
    if not site.bench.has_guests:
        pytest.skip("the servers of the laboratory run no guest")
    capabilities = await driver.capabilities()
    if "reach" not in capabilities.features:
        pytest.skip(f"this VIM cannot reach: {capabilities.missing.get('reach', 'no reason given')}")


async def get(stream: socket.socket, path: str) -> tuple[int, dict[str, object]]:
    """One HTTP request over the stream, which is closed afterwards."""
    async with asyncio.timeout(BOUND_S):
        reader, writer = await asyncio.open_connection(sock=stream)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: vnfc\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


async def test_reach_gives_a_working_health_answer(site: Site, driver: VimDriver) -> None:
    """Adapters and health checks open no sockets of their own; this one has to carry them."""
    await ready(driver, deployment("web", vnfc("web-0", site.bench.http_image)))
    stream = await driver.reach(VnfcId("web-0"), PORT)
    assert not stream.getblocking()
    status, health = await get(stream, "/health")
    assert status == 200
    assert health["status"] == "ok"


async def test_several_streams_into_one_vnfc_work_at_the_same_time(site: Site, driver: VimDriver) -> None:
    """A health check must not wait for a long configuration."""
    await ready(driver, deployment("web", vnfc("web-0", site.bench.http_image)))
    streams = [await driver.reach(VnfcId("web-0"), PORT) for _ in range(5)]
    answers = await asyncio.gather(*(get(stream, "/health") for stream in streams))
    assert [status for status, _ in answers] == [200] * 5


async def test_a_replaced_vnfc_starts_in_its_recorded_initial_state(site: Site, driver: VimDriver) -> None:
    """A heal gives the function the configuration that it was instantiated with."""
    web = vnfc("web-0", site.bench.http_image, configuration={"port": 8088})
    for incarnation in (0, 1):
        await ready(driver, deployment("web", replace(web, incarnation=incarnation)))
        status, configuration = await get(await driver.reach(VnfcId("web-0"), PORT), "/configuration")
        assert (status, configuration["port"]) == (200, 8088)


async def test_reaching_an_absent_vnfc_is_a_fault_that_names_it(driver: VimDriver) -> None:
    """Not a hang and not a broken stream."""
    with pytest.raises(VimFault, match="never-was"):
        await driver.reach(VnfcId("never-was"), PORT)


async def test_reaching_a_dead_vnfc_is_a_fault(site: Site, driver: VimDriver) -> None:
    """The dead stay listed; they must not look reachable."""
    await ready(driver, deployment("web", vnfc("web-0", site.bench.http_image)))
    await site.kill(driver, "web-0")
    ends = asyncio.get_running_loop().time() + BOUND_S
    with pytest.raises(VimFault):  # noqa: PT012 -- the death takes a moment to be seen
        while asyncio.get_running_loop().time() < ends:
            (await driver.reach(VnfcId("web-0"), PORT)).close()
            await asyncio.sleep(0.02)


async def test_a_port_where_nobody_listens_is_a_fault(site: Site, driver: VimDriver) -> None:
    """The VNFC's refusal, told as a refusal."""
    await ready(driver, deployment("web", vnfc("web-0", site.bench.http_image)))
    with pytest.raises(VimFault):
        await driver.reach(VnfcId("web-0"), 9)
