"""Networks and chains: ensured, applied, deleted, any number of times."""

import pytest

from conformance.site_bench import Site, deployment, ready, until, vnfc
from farsite.model.deployment import Chain, ChainEnd, ChainHop, ChainInstance, NetworkSpec, Port, ResourceKind
from farsite.model.ids import VnfcId
from farsite.vims.driver import Chains, Networks, VimDriver


@pytest.fixture(autouse=True)
async def needs_networks_and_chains(driver: VimDriver) -> None:
    missing = {"networks", "chains"} - (await driver.capabilities()).features
    if missing:
        pytest.skip(f"this VIM offers no {' and no '.join(sorted(missing))}")


def data_network(**more: object) -> NetworkSpec:
    fields: dict[str, object] = {"name": "data", "cidr_v4": "10.10.0.0/24", "owner": "ns-1"} | more
    return NetworkSpec(id="net-data", **fields)  # type: ignore[arg-type]


async def found(driver: VimDriver, owner: str, kind: ResourceKind) -> list[str]:
    return [one.id for one in await driver.find(owner) if one.kind is kind]


async def test_a_network_ensured_twice_is_one_and_deleted_twice_is_quiet(driver: VimDriver) -> None:
    """The same rule as for deployments, for the links between them."""
    assert isinstance(driver, Networks)
    await driver.ensure_network(data_network())
    await driver.ensure_network(data_network())
    assert len(await found(driver, "ns-1", ResourceKind.VL)) == 1
    assert len(await found(driver, "", ResourceKind.VL)) == 1
    assert not await driver.find("ns-2")
    await driver.delete_network("net-data")
    await driver.delete_network("net-data")
    await driver.delete_network("never-was")
    assert not await driver.find("")


async def test_a_network_that_gets_another_peer_stays_one(driver: VimDriver) -> None:
    """A service that grows to another site joins it to the network that carries traffic already."""
    assert isinstance(driver, Networks)
    await driver.ensure_network(data_network(vni=4001))
    await driver.ensure_network(data_network(vni=4001, peers=("100.64.0.9",)))
    assert len(await found(driver, "ns-1", ResourceKind.VL)) == 1


async def test_a_network_survives_the_driver(site: Site, driver: VimDriver) -> None:
    """It belongs to the VIM."""
    assert isinstance(driver, Networks)
    await driver.ensure_network(data_network())
    await driver.close()
    assert len(await found(site.driver(), "ns-1", ResourceKind.VL)) == 1


async def chained(site: Site, driver: VimDriver, revision: int, hops: int = 2) -> Chain:
    """A chain client -> {filter-0, filter-1 ...} -> server; its VNFCs are deployed when they are not."""
    assert isinstance(driver, Networks)
    await driver.ensure_network(data_network())
    transparent = (Port(name="in"), Port(name="out"))
    ends = [
        vnfc(name, site.bench.image, ports=(Port(name="eth", network_id="net-data", addresses=(address,)),))
        for name, address in (("client", "10.10.0.1/24"), ("server", "10.10.0.2/24"))
    ]
    filters = [vnfc(f"filter-{number}", site.bench.transparent_image, ports=transparent) for number in (0, 1)]
    await ready(driver, deployment("service", *ends, *filters))
    vim_id = site.vim_id()
    instances = tuple(
        ChainInstance(vnfc_id=VnfcId(f"filter-{number}"), vim_id=vim_id, ingress_port="in", egress_port="out")
        for number in range(hops)
    )
    return Chain(
        id="chain-1",
        owner="ns-1",
        revision=revision,
        source=ChainEnd(vnfc_id=VnfcId("client"), vim_id=vim_id, port="eth"),
        target=ChainEnd(vnfc_id=VnfcId("server"), vim_id=vim_id, port="eth"),
        hops=(ChainHop(name="filter", instances=instances),),
    )


async def steered(driver: VimDriver) -> set[str]:
    assert isinstance(driver, Chains)
    return {str(counters.vnfc_id) for counters in await driver.chain_counters("chain-1")}


async def test_a_chain_applied_twice_is_one_and_deleted_twice_is_quiet(site: Site, driver: VimDriver) -> None:
    """Found by its own id and by its service, until it is deleted."""
    assert isinstance(driver, Chains)
    chain = await chained(site, driver, 1)
    await driver.apply_chain(chain)
    await driver.apply_chain(chain)
    assert len(await found(driver, "chain-1", ResourceKind.CHAIN)) == 1
    assert len(await found(driver, "", ResourceKind.CHAIN)) == 1
    assert await steered(driver) == {"filter-0", "filter-1"}
    await driver.delete_chain("chain-1")
    await driver.delete_chain("chain-1")
    await driver.delete_chain("never-was")
    assert not await found(driver, "", ResourceKind.CHAIN)
    assert not await steered(driver)


async def test_a_lower_revision_of_a_chain_is_ignored(site: Site, driver: VimDriver) -> None:
    """A late repetition of an older step must not undo a re-steering."""
    assert isinstance(driver, Chains)
    await driver.apply_chain(await chained(site, driver, 2, hops=2))
    await driver.apply_chain(await chained(site, driver, 1, hops=1))
    assert await steered(driver) == {"filter-0", "filter-1"}


async def test_a_higher_revision_of_a_chain_replaces_it(site: Site, driver: VimDriver) -> None:
    """Scaling a hop is a new revision of the same chain."""
    assert isinstance(driver, Chains)
    await driver.apply_chain(await chained(site, driver, 1, hops=1))
    assert await steered(driver) == {"filter-0"}
    await driver.apply_chain(await chained(site, driver, 2, hops=2))
    assert await steered(driver) == {"filter-0", "filter-1"}


async def test_a_chain_shows_its_dead_instance_and_survives_the_driver(site: Site, driver: VimDriver) -> None:
    """Counters say which instance carries traffic; a new driver is told the same."""
    assert isinstance(driver, Chains)
    await driver.apply_chain(await chained(site, driver, 1))
    await site.kill(driver, "filter-1")
    await driver.close()
    anew = site.driver()

    async def is_shown() -> bool:
        assert isinstance(anew, Chains)
        counters = await anew.chain_counters("chain-1")
        return {str(one.vnfc_id) for one in counters if one.is_alive} == {"filter-0"}

    await until(is_shown, "filter-1 shown as dead")
