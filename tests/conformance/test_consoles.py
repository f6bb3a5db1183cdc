"""console(): what a VNFC wrote where its VIM keeps it."""

import asyncio
import time

import pytest

from conformance.site_bench import BOUND_S, Site, deployment, ready, vnfc
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import CONSOLE_MOST, ShowsConsoles, VimDriver, ability


@pytest.fixture
async def consoles(driver: VimDriver) -> ShowsConsoles:
    capabilities = await driver.capabilities()
    if "console" not in capabilities.features:
        pytest.skip(f"this VIM shows no console: {capabilities.missing.get('console', 'no reason given')}")
    return ability(driver, ShowsConsoles, "console")


async def test_what_a_vnfc_writes_is_shown(site: Site, driver: VimDriver, consoles: ShowsConsoles) -> None:
    """A guest tells of its first boot there; for those of the laboratory their hypervisor does."""
    has_guests = site.bench.has_guests
    image, words = ("host:shell", "hello from inside") if has_guests else (site.bench.http_image, "")
    talks = vnfc("talks-0", image, configuration={"script": f"echo {words}; exec sleep 1000"})
    await ready(driver, deployment("talks", talks))
    ends = time.monotonic() + BOUND_S
    while not (text := await consoles.console(VnfcId("talks-0"))) and time.monotonic() < ends:
        await asyncio.sleep(0.05)
    assert text
    assert words in text
    assert len(text.encode()) <= CONSOLE_MOST


async def test_the_console_of_what_is_not_there_is_refused(consoles: ShowsConsoles) -> None:
    """And not empty: nobody would look for it then."""
    with pytest.raises(VimFault) as refused:
        await consoles.console(VnfcId("nobody-0"))
    assert "nobody-0" in str(refused.value)
