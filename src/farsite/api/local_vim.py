"""VIM0: the OpenStack that the service finds beside itself, registered by itself as the default VIM.

It is the one that the environment of `farsite serve` names (OS_CLOUD, OS_CLIENT_CONFIG_FILE or OS_*). It is
registered unseen, so that an OpenStack which is away delays no start: the heartbeat tells what is wrong.
When the environment says something else at a later start, that is tried and then taken over.

It belongs to the project `default`; where callers come from the very Keystone that it is registered with, to
the project of its credentials, whose members find it as theirs.
"""

import asyncio
from collections.abc import Mapping

import structlog

from farsite.api import registering
from farsite.api.context import Context
from farsite.api.keystone import keystone_url
from farsite.model.errors import FarsiteError, NotFound, VimUnreachable
from farsite.model.ids import DEFAULT_PROJECT, ProjectId, VimId, new_id
from farsite.model.vim import Vim, endpoint_of
from farsite.store import vims
from farsite.vims.clouds import CloudAccount, cloud_of_environment
from farsite.vims.driver import KnowsItsAccount, connection_to
from farsite.vims.registry import load_driver

log = structlog.get_logger()

NAME = "VIM0"
_SOURCE = "configured_from"
_AGAIN_S = 5.0
_DESCRIPTION = "Configured when the service started"


async def configure(context: Context, environment: Mapping[str, str] | None = None) -> Vim | None:
    """Have VIM0 registered if the environment names a cloud and no VIM is the default; never raises for what
    is wrong with the cloud, which is logged."""
    try:
        account = await asyncio.to_thread(cloud_of_environment, environment)
        if account is None:
            return None
        return await _configured(context, await _project_of(context, account), account)
    except FarsiteError as refusal:
        log.warning("vim0.not_configured", reason=refusal.detail)
        return None


async def _project_of(context: Context, account: CloudAccount) -> ProjectId:
    """Only this Keystone knows the id of the project, so without its answer VIM0 has to wait for it."""
    ours = await asyncio.to_thread(keystone_url, context.settings)
    if not ours or endpoint_of(ours) != endpoint_of(account.auth_url):
        return DEFAULT_PROJECT
    if "project_id" in account.credentials:
        return ProjectId(account.credentials["project_id"])
    now = context.clock.now()
    asking = Vim(
        id=VimId(new_id()),
        name=NAME,
        type="openstack",
        site=NAME,
        project_id=DEFAULT_PROJECT,
        auth_url=account.auth_url,
        state_since=now,
        created_at=now,
    )
    driver = await load_driver(
        "openstack", connection_to(asking, account.credentials, context.settings.run_dir)
    )
    assert isinstance(driver, KnowsItsAccount)
    try:
        while True:
            try:
                return ProjectId((await driver.account())["project_id"])
            except VimUnreachable as silence:
                log.warning("vim0.waiting", reason=silence.detail, again_in_s=_AGAIN_S)
                await asyncio.sleep(_AGAIN_S)
    finally:
        await driver.close()


async def _configured(context: Context, project_id: ProjectId, account: CloudAccount) -> Vim | None:
    standing, default = await asyncio.to_thread(_standing, context, project_id)
    wish = registering.Wish(
        name=NAME,
        type="openstack",
        description=_DESCRIPTION,
        auth_url=account.auth_url,
        credentials=account.credentials,
        extra={_SOURCE: account.name, **({"region": account.region} if account.region else {})},
        is_default=True,
    )
    if standing is None:
        if default is not None:
            log.info("vim0.not_needed", default=default.name)
            return None
        vim = await registering.register(context, project_id, wish, is_checked=False)
        log.info("vim0.configured", vim_id=vim.id, cloud=account.name, auth_url=account.auth_url)
        return vim
    if _SOURCE not in standing.extra:
        return standing
    known = await asyncio.to_thread(registering.known_credentials, context, standing)
    if known == dict(account.credentials) and standing.auth_url == account.auth_url.rstrip("/"):
        return standing
    log.info("vim0.changed", vim_id=standing.id, cloud=account.name, auth_url=account.auth_url)
    change = registering.Wish(auth_url=wish.auth_url, credentials=wish.credentials, extra=wish.extra)
    return await registering.change(context, standing, change)


def _standing(context: Context, project_id: ProjectId) -> tuple[Vim | None, Vim | None]:
    """VIM0 as it is registered, and the default VIM."""
    with context.database.transaction() as connection:
        default = next((one for one in vims.of_project(connection, project_id) if one.is_default), None)
        try:
            return vims.get(connection, project_id, NAME), default
        except NotFound:
            return None, default
