"""VIMs as they are registered: a driver for an account of the laboratory, closed when a test is done."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from laboratory import Account

from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.driver import OpenStackDriver


def registration(
    account: Account,
    run_dir: Path,
    *,
    auth_url: str = "",
    settings: Mapping[str, object] | None = None,
    **credentials: str,
) -> VimConnection:
    """The account as a VIM named `turin`; an empty credential leaves that one out."""
    given = {**account.credentials, **credentials}
    return VimConnection(
        vim_id=VimId("vim-turin"),
        name="turin",
        site="turin",
        auth_url=auth_url or account.auth_url,
        settings=settings or {},
        credentials={key: value for key, value in given.items() if value},
        run_dir=run_dir,
    )


@asynccontextmanager
async def driver_of(connection: VimConnection) -> AsyncIterator[OpenStackDriver]:
    """A driver of the registration."""
    driver = OpenStackDriver(connection)
    try:
        yield driver
    finally:
        await driver.close()


@asynccontextmanager
async def cloud_of(connection: VimConnection) -> AsyncIterator[Cloud]:
    """The way to the registered VIM, without the rest of the driver."""
    cloud = Cloud(connection)
    try:
        yield cloud
    finally:
        await cloud.close()
