"""Virtual links share no physical network and volumes no storage back end where the descriptor says so, when
a VNF is made, scaled and healed; and what shares one after all is told of."""

import asyncio
from typing import Any

import pytest
import substrate_bench as bench
from racks_bench import HOSTS, inject, scaled
from substrate_bench import HAS, SOFT_PRODUCT, asked, back_ends, physical_networks

from farsite.model.deployment import ResourceKind
from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.simulated.driver import SimulatedDriver
from service_bench import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def apart(service: Service) -> Service:
    """The service with the packages of the bench."""
    bench.onboard(service)
    return service


def register(service: Service, name: str, **has: object) -> None:
    service.register(name, world="file", capacity={**HOSTS, "hosts": 4}, **has)


def told(service: Service, vnf_id: str, kind: str) -> list[Any]:
    found = service.native("GET", "/alarms", params={"filter": f"(eq,managed_object_id,{vnf_id})"}).json()
    return [one for one in found if one["fault_type"] == kind]


def test_links_and_volumes_stand_apart_when_made_and_when_scaled(apart: Service) -> None:
    """A switch or a storage back end that is lost takes one of them along and no more."""
    register(apart, "roomy", **HAS)
    vnf_id, operation = asked(apart, "roomy")
    assert operation["state"] == "COMPLETED", operation
    assert sorted(physical_networks(apart, vnf_id).values()) == ["back", "front"]
    first = back_ends(apart, vnf_id)
    assert len(set(first.values())) == 2
    assert scaled(apart, vnf_id)["state"] == "COMPLETED"
    found = back_ends(apart, vnf_id)
    assert sorted(found.values()) == HAS["storage_back_ends"]
    assert found.items() >= first.items()
    refused = scaled(apart, vnf_id)
    assert refused["state"] in ("FAILED_TEMP", "ROLLED_BACK")
    assert "has 3 storage back end(s) (ssd-a, ssd-b, ssd-c), too few to keep 4 volumes apart" in str(refused)
    assert [told(apart, vnf_id, kind) for kind in (VNFC, LINK)] == [[], []]


VNFC, LINK = "anti-affinity-violated", "link-anti-affinity-violated"


@pytest.mark.parametrize(
    ("name", "has", "why"),
    [
        ("blind", {}, "capability: does not offer physical-networks, storage-back-ends"),
        (
            "narrow",
            {**HAS, "physical_networks": ["front"]},
            "physical-networks: has 1 physical network(s) (front), too few to keep 2 virtual links apart",
        ),
        (
            "flat",
            {**HAS, "storage_back_ends": ["ssd-a"]},
            "storage-back-ends: has 1 storage back end(s) (ssd-a), too few to keep 2 volumes apart",
        ),
    ],
)
def test_a_vim_that_cannot_keep_them_apart_is_refused_by_name(
    apart: Service, name: str, has: dict[str, object], why: str
) -> None:
    """A rule that is ignored in silence is found out on the day of the fault that it was for."""
    register(apart, name, **has)
    _, operation = asked(apart, name)
    assert operation["state"] in ("FAILED_TEMP", "ROLLED_BACK")
    assert f"{name}: {why}" in str(operation["error"])
    vim = apart.native("GET", f"/vims/{name}").json()
    assert ("physical-networks" in vim["missing"]) is (not has)
    # What is best effort is made there all the same, and shares without an alarm.
    soft, done = asked(apart, name, SOFT_PRODUCT)
    assert done["state"] == "COMPLETED", done
    if name == "narrow":
        assert physical_networks(apart, soft) == {"left": "front", "right": "front"}
    if name == "flat":
        assert set(back_ends(apart, soft).values()) == {"ssd-a"}
        assert len(set(physical_networks(apart, soft).values())) == 2
    assert [told(apart, soft, kind) for kind in (VNFC, LINK)] == [[], []]


def test_networks_of_others_are_kept_apart_as_far_as_they_are_not_one(apart: Service) -> None:
    """Two links that are one network share every switch of it."""
    register(apart, "given", provider_networks=["*"], storage_back_ends=HAS["storage_back_ends"])

    def links(*networks: str) -> list[dict[str, str]]:
        pairs = zip(("left", "right"), networks, strict=True)
        return [{"virtual_link": link, "network_id": network} for link, network in pairs]

    _, operation = asked(apart, "given", managed_links=links("one", "one"))
    assert operation["state"] in ("FAILED_TEMP", "ROLLED_BACK")
    assert 'both are bound to network "one". Bind each to its own.' in str(operation["error"])
    _, operation = asked(apart, "given", managed_links=links("one", "two"))
    assert operation["state"] == "COMPLETED", operation


def test_a_volume_on_the_back_end_of_another_is_an_alarm_until_a_heal_made_it_anew_apart(
    apart: Service,
) -> None:
    """Nothing has failed and nothing shows it, and the next fault takes the data of both."""
    register(apart, "wilful-disks", **HAS)
    vnf_id, _ = asked(apart, "wilful-disks")
    victim, other = sorted(back_ends(apart, vnf_id))
    before = back_ends(apart, vnf_id)
    inject(apart, "wilful-disks", "misplace_substrate", "", back_end=before[other], calls=1)
    inject(apart, "wilful-disks", "kill_vnfc", victim)
    (alarm,) = apart.until(lambda: told(apart, vnf_id, VNFC), bool)
    assert alarm["faulty_resource"] == victim
    (detail,) = alarm["fault_details"]
    assert detail == (
        f"volume data of {victim} shares storage back end {before[other]} with volume data of {other} "
        f"(anti-affinity, scope nfvi_node)"
    )
    answer = apart.native("POST", f"/vnfs/{vnf_id}/heal", json={"vnfc_ids": [victim]})
    assert apart.ended(answer.json()["id"])["state"] == "COMPLETED"
    assert back_ends(apart, vnf_id) == before
    apart.until(lambda: told(apart, vnf_id, VNFC), lambda seen: all(one["cleared_at"] for one in seen))


def test_a_link_on_the_physical_network_of_another_is_an_alarm_and_no_heal(apart: Service) -> None:
    """Whoever reads it can have it moved; a heal would cost the traffic and move nothing."""
    register(apart, "wilful-lines", **HAS)
    inject(apart, "wilful-lines", "misplace_substrate", "", physical_network="front", calls=1)
    vnf_id, operation = asked(apart, "wilful-lines")
    assert operation["state"] == "COMPLETED", operation
    (alarm,) = apart.until(lambda: told(apart, vnf_id, LINK), bool)
    assert alarm["faulty_resource"] == "right"
    (detail,) = alarm["fault_details"]
    assert detail == (
        "virtual link right shares physical network front with virtual link left "
        "(anti-affinity, scope network_link_and_node)"
    )
    answer = apart.native("POST", f"/vnfs/{vnf_id}/terminate", json={"type": "FORCEFUL"})
    assert apart.ended(answer.json()["id"])["state"] == "COMPLETED"
    apart.until(lambda: told(apart, vnf_id, LINK), lambda seen: all(one["cleared_at"] for one in seen))


def test_virtual_links_of_a_service_are_made_on_different_physical_networks_of_a_vim(apart: Service) -> None:
    """Whether or not one function is on both: the service is on both."""
    bench.onboard_service(apart)
    register(apart, "two-lines", **HAS)
    ns_id, operation = bench.service_asked(apart, "two-lines")
    assert operation["state"] == "COMPLETED", operation
    networks = apart.native("GET", f"/ns/{ns_id}").json()["networks"]
    vim_id = apart.native("GET", "/vims/two-lines").json()["id"]
    chosen = {one["spec"]["id"]: one["physical_networks"][vim_id] for one in networks}
    assert sorted(chosen.values()) == ["back", "front"]
    assert made_of(apart, "two-lines", ns_id) == chosen
    register(apart, "one-line", physical_networks=["front"])
    _, operation = bench.service_asked(apart, "one-line")
    assert operation["state"] in ("FAILED_TEMP", "ROLLED_BACK")
    why = 'VIM "one-line" has 1 physical network(s) (front), too few for what must not share one'
    assert why in operation["error"]["detail"]


def made_of(service: Service, vim: str, ns_id: str) -> dict[str, str]:
    """Physical network of each network that a VIM has for a service, by its own word."""
    vim_id = VimId(service.native("GET", f"/vims/{vim}").json()["id"])
    connection = VimConnection(
        vim_id=vim_id, name=vim, site=vim, settings={}, run_dir=service.settings.run_dir
    )

    async def find() -> dict[str, str]:
        driver = SimulatedDriver(connection)
        found = await driver.find(ns_id)
        await driver.close()
        return {one.id: one.physical_network for one in found if one.kind is ResourceKind.VL}

    return asyncio.run(find())
