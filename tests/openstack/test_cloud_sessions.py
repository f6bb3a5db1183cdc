"""One login per VIM, whatever happens to the token, and one VIM's trouble is nobody else's."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from lab.faults import kinds
from lab.openstack.front import SiteFront
from laboratory import LabSite
from openstack.connection import Connection
from registrations import cloud_of, driver_of, registration
from tenancy import Project

from farsite.model.errors import FarsiteError, VimFault, VimUnreachable
from farsite.vims.drivers.openstack.cloud import THREADS, Cloud
from farsite.vims.drivers.openstack.health import HealthCheck

LOGIN = "keystone POST /v3/auth/tokens password"


def names_of_stacks(sdk: Connection) -> list[str]:
    return [stack.name for stack in sdk.orchestration.stacks()]


def servers(sdk: Connection) -> Sequence[object]:
    return list(sdk.compute.servers())


def networks(sdk: Connection) -> Sequence[object]:
    return list(sdk.network.networks())


async def revoke(cloud: Cloud) -> None:
    """Have Keystone forget the token in use, as it does when a user's roles change."""

    def work(sdk: Connection) -> None:
        token = sdk.session.get_token()
        assert sdk.session.delete(
            f"{cloud.registration.auth_url}/auth/tokens",
            headers={"X-Subject-Token": str(token)},
        ).ok

    await cloud.call("", work, what="revoke the token")


async def test_many_calls_at_once_share_one_login(front: SiteFront, site1: LabSite, tmp_path: Path) -> None:
    """Tacker logs in eight times per instantiation; a Keystone under load feels that."""
    async with cloud_of(registration(site1.nfv.through(front), tmp_path)) as cloud:
        await asyncio.gather(
            *(cloud.call("", work, what="list") for work in (names_of_stacks, servers) * THREADS)
        )
        assert front.counts()[LOGIN] == 1
        assert cloud.logins == 1


async def test_a_revoked_token_costs_one_login_however_many_calls_are_under_way(
    front: SiteFront, project: Project, tmp_path: Path
) -> None:
    """Roles are changed and users are moved while operations run; none of them may fail of it."""
    async with cloud_of(registration(project.account.through(front), tmp_path)) as cloud:
        await cloud.call("", servers, what="list servers")
        await revoke(cloud)
        # Nova would believe the token for minutes, for it has looked it up; Neutron has not seen it yet.
        await asyncio.gather(*(cloud.call("", networks, what="list networks") for _ in range(2 * THREADS)))
        assert front.counts()[LOGIN] == 2


async def test_health_finds_a_revoked_token_and_gets_another(
    front: SiteFront, project: Project, tmp_path: Path
) -> None:
    """A VIM is not down because somebody revoked a token."""
    connection = registration(project.account.through(front), tmp_path, settings={"health_timeout_s": 8})
    async with cloud_of(connection) as cloud:
        health = HealthCheck(cloud)
        assert all(one.is_up for one in (await health.check()).services)
        await revoke(cloud)
        for _ in range(2):
            assert all(one.is_up for one in (await health.check()).services)
        await health.close()
    assert front.counts()[LOGIN] == 2


async def test_a_hundred_checks_and_a_deployment_looked_for_need_one_login(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """The goal is no password authentication per operation after the first."""
    connection = registration(site1.nfv.through(front), tmp_path, settings={"health_timeout_s": 8})
    async with driver_of(connection) as driver:
        await driver.validate()
        await driver.capabilities()
        await driver.zones()
        for _ in range(100):
            await driver.health()
        await driver.watch(["nobody"])
        assert front.counts()[LOGIN] == 1


async def test_the_password_is_not_tried_again_at_every_check(
    front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """Keystone locks users out after some failures; a check each second would do that in a moment."""
    connection = registration(site1.nfv.through(front), tmp_path, password="not that one")
    async with driver_of(connection) as driver:
        for _ in range(10):
            with pytest.raises(VimFault, match="401"):
                await driver.health()
        assert front.counts()[LOGIN] == 1


async def test_a_vim_that_hangs_delays_no_other(front: SiteFront, site1: LabSite, tmp_path: Path) -> None:
    """Threads are few; if they were shared, one frozen VIM would take them all."""
    async with (
        cloud_of(registration(site1.nfv.through(front), tmp_path, settings={"read_timeout_s": 5})) as frozen,
        cloud_of(registration(site1.nfv, tmp_path)) as sound,
    ):
        await asyncio.gather(*(one.call("", servers, what="list servers") for one in (frozen, sound)))
        front["nova"].hold()
        stuck = [
            asyncio.ensure_future(frozen.call("", servers, what="list servers", limit_s=1.5))
            for _ in range(3 * THREADS)
        ]
        began = time.monotonic()
        await sound.call("", servers, what="list servers")
        assert time.monotonic() - began < 1.5
        told = await asyncio.gather(*stuck, return_exceptions=True)
        assert all(isinstance(one, VimUnreachable) for one in told), told
        front["nova"].mend()


UNKNOWN = {
    "reset": kinds.Reset(),
    "answer lost": kinds.Lose(),
    "cut short": kinds.Cut(),
    "server error": kinds.server_error(500),
    "bad gateway": kinds.unavailable_page(502),
    "unavailable": kinds.unavailable_page(503),
    "too many requests": kinds.too_many_requests(),
    "half of the JSON": kinds.short_json(),
    "other JSON": kinds.wrong_json(),
    "HTML with status 200": kinds.html_instead(200),
}


@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_what_leaves_the_outcome_open_is_unknown_and_passes(
    fault: kinds.Fault, front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """A caller that took it for a refusal would undo, or create again, what may well stand."""
    async with cloud_of(registration(site1.nfv.through(front), tmp_path)) as cloud:
        await cloud.call("", servers, what="list servers")
        injection = front["nova"].inject(fault, method="GET", path="/servers/detail")
        with pytest.raises(VimUnreachable) as raised:
            await cloud.call("", servers, what="list servers")
        assert injection.hits == 1
        assert 'VIM "turin"' in raised.value.detail
        await cloud.call("", servers, what="list servers")


@pytest.mark.parametrize("name", ["nova", "heat", "neutron"])
async def test_a_service_that_was_away_at_the_first_call_is_found_later(
    name: str, front: SiteFront, site1: LabSite, tmp_path: Path
) -> None:
    """The SDK takes a service whose versions it could not read for one that has none that it knows."""
    ask = {"nova": servers, "heat": names_of_stacks, "neutron": networks}[name]
    async with cloud_of(registration(site1.nfv.through(front), tmp_path)) as cloud:
        front[name].refuse()
        with pytest.raises(VimUnreachable):
            await cloud.call("", ask, what="list")
        front[name].mend()
        await cloud.call("", ask, what="list")


async def test_a_refusal_carries_the_vims_words_and_the_request_id(site1: LabSite, tmp_path: Path) -> None:
    """The request id is what an operator of the VIM greps for."""

    async def refusal(work: object) -> FarsiteError:
        with pytest.raises(VimFault) as raised:
            await cloud.call("", work, what="do that")  # type: ignore[arg-type]
        return raised.value

    async with cloud_of(registration(site1.nfv, tmp_path)) as cloud:
        missing = await refusal(lambda sdk: sdk.compute.get_server("no-such-server"))
        assert "Nova says 404" in missing.detail
        assert "no-such-server" in missing.detail
        assert missing.about["request_id"].startswith("req-")
        assert missing.about["request_id"] in missing.detail
        forbidden = await refusal(lambda sdk: list(sdk.compute.services()))
        assert "os_compute_api:os-services:list" in forbidden.detail
        too_large = await refusal(lambda sdk: sdk.block_storage.create_volume(size=10**7))
        assert "quota" in too_large.detail
        malformed = await refusal(lambda sdk: sdk.network.create_port(network_id="not-an-id"))
        assert "Neutron says 400" in malformed.detail
        template = await refusal(
            lambda sdk: sdk.orchestration.create_stack(name="x", template="no template", timeout_mins=1)
        )
        assert "Template not in valid format" in template.detail
        absent = await refusal(lambda sdk: sdk.dns.get("/"))
        assert "catalogue" in absent.detail


async def test_an_unknown_region_is_named_with_those_there_are(site1: LabSite, tmp_path: Path) -> None:
    """A region is often misspelt, and seldom known by heart."""
    async with cloud_of(registration(site1.nfv, tmp_path)) as cloud:
        with pytest.raises(VimFault, match=f'no region "mars". Its regions: {site1.region}'):
            await cloud.call("mars", servers, what="list servers")
    async with cloud_of(registration(site1.nfv, tmp_path, settings={"region": "mars"})) as cloud:
        with pytest.raises(VimFault, match='no region "mars"'):
            await cloud.regions()


async def test_a_mistake_of_ours_is_not_blamed_on_the_vim(site1: LabSite, tmp_path: Path) -> None:
    """A bug that passes for silence would be retried for ever."""

    def mistaken(_: Connection) -> str:
        return {"a": "b"}["c"]

    async with cloud_of(registration(site1.nfv, tmp_path)) as cloud:
        with pytest.raises(KeyError):
            await cloud.call("", mistaken, what="list servers")
