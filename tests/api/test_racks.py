"""What must not fail together stands in different racks, after whatever happens to it."""

import pytest
from racks_bench import (
    HOSTS,
    PRODUCT,
    ZONED_PRODUCT,
    healed,
    inject,
    onboard_racked,
    onboard_zoned,
    onboarded,
    racks,
    scaled,
    workers,
)

from next_package import changed
from service_bench import Service

NSD = "2d9226d8-0001-5d95-999b-0b872585f058"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def racked(service: Service) -> Service:
    """The service with a VNF whose workers, and an NS whose inspectors, stand in different racks."""
    onboard_racked(service)
    return service


def test_workers_stand_in_different_racks_when_made_when_scaled_and_when_healed(racked: Service) -> None:
    """A rack that is lost takes one worker along at most; also one that was healed or added since."""
    racked.register("halls", world="file", capacity={**HOSTS, "hosts": 8, "racks": 4})
    vnf_id = racked.create_vnf(PRODUCT)
    answer = racked.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "halls", "level_id": "pair"})
    assert racked.ended(answer.json()["id"])["state"] == "COMPLETED"
    assert len(set(racks(racked, vnf_id))) == 2
    assert scaled(racked, vnf_id)["state"] == "COMPLETED"
    before = workers(racked, vnf_id)
    assert len({one["rack"] for one in before.values()}) == 3
    # A rack is lost with both its hosts: its worker is made anew in the only rack that holds none.
    victim = min(before)
    lost = before[victim]["rack"]
    hosts = [f"RegionOne-nova-host-{number}" for number in range(1, 9)]
    of_rack = [host for number, host in enumerate(hosts) if f"nova-rack-{number % 4 + 1}" == lost]
    assert before[victim]["host"] in of_rack
    for host in of_rack:
        if host != before[victim]["host"]:
            inject(racked, "halls", "host_down", host)
    inject(racked, "halls", "host_down", before[victim]["host"])
    assert healed(racked, vnf_id, victim)["state"] == "COMPLETED"
    after = workers(racked, vnf_id)
    assert len({one["rack"] for one in after.values()}) == 3
    assert lost not in {one["rack"] for one in after.values()}
    assert {key: one["host"] for key, one in after.items() if key != victim} == {
        key: one["host"] for key, one in before.items() if key != victim
    }
    # No rack is left that holds none of them: a fourth is refused, and the reason says why.
    refused = scaled(racked, vnf_id)
    assert refused["state"] == "ROLLED_BACK"
    assert "racks: zone nova has 3 rack(s)" in refused["error"]["detail"]
    assert racks(racked, vnf_id) == sorted(one["rack"] for one in after.values())


def test_a_zone_that_is_lost_takes_one_worker_along_and_the_others_live(racked: Service) -> None:
    """By what stands afterwards, and not by what was asked for; one that was added since counts too."""
    onboard_zoned(racked)
    racked.register("wings", world="file", capacity={**HOSTS, "hosts": 1, "zones": ["east", "west", "north"]})
    body = {"package": ZONED_PRODUCT, "metadata": {"autoheal": "false"}}
    vnf_id = racked.native("POST", "/vnfs", json=body).json()["id"]
    answer = racked.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "wings", "level_id": "pair"})
    assert racked.ended(answer.json()["id"])["state"] == "COMPLETED"
    assert scaled(racked, vnf_id)["state"] == "COMPLETED"
    before = workers(racked, vnf_id)
    assert len(before) == 3
    victim = min(before)
    inject(racked, "wings", "host_down", f"RegionOne-{before[victim]['zone']}-host-1")

    def dead() -> set[str]:
        standing = racked.native("GET", "/vims/wings/resources").json()
        alive = {one["vnfc_id"] for one in standing if one["kind"] == "COMPUTE" and one["is_alive"]}
        return set(before) - alive

    assert racked.until(dead, bool) == {victim}


def test_a_vim_that_tells_of_no_racks_is_refused_by_name(racked: Service) -> None:
    """A wish that a VIM cannot keep must not be forgotten there."""
    racked.register("flat", world="memory", capacity={**HOSTS, "hosts": 8})
    vnf_id = racked.create_vnf(PRODUCT)
    answer = racked.native("POST", f"/vnfs/{vnf_id}/instantiate", json={"vim": "flat"})
    ended = racked.ended(answer.json()["id"])
    assert ended["state"] == "ROLLED_BACK"
    assert "flat: capability: does not offer racks" in ended["error"]["detail"]
    told = racked.native("GET", "/vims/flat").json()
    assert told["missing"]["racks"] == "No zone has any (setting racks)."


def test_functions_of_a_service_stand_in_different_racks_and_stay_so_when_healed(racked: Service) -> None:
    """Each function of a service is placed by an operation of its own, which must know of the others."""
    onboarded(
        racked,
        "nsds",
        changed(
            "chain-demo",
            (b"2d9226d8-eadb-5d95-999b-0b872585f058", NSD.encode()),
            (b"scope: nfvi_pop", b"scope: zone_group"),
        ),
    )
    racked.register("tower", world="file", capacity={**HOSTS, "hosts": 6, "racks": ["low", "mid", "top"]})
    ns = racked.native("POST", "/ns", json={"nsd": NSD, "name": "in-racks"})
    assert ns.status_code == 201, ns.text
    profiles = ("client", "firewall", "inspector", "server")
    answer = racked.native(
        "POST", "/ns/in-racks/instantiate", json={"vims": dict.fromkeys(profiles, "tower")}
    )
    done = racked.ended(answer.json()["id"])
    assert done["state"] == "COMPLETED", done["error"]
    members = racked.native("GET", "/ns/in-racks").json()["vnfs"]
    pair = [one["vnf_id"] for one in members if one["profile"] == "inspector"]
    (first,), (second,) = (workers(racked, one).values() for one in pair)
    assert first["rack"] != second["rack"]
    numbers = range(1, 7)
    names = {f"RegionOne-nova-host-{number}": ("low", "mid", "top")[(number - 1) % 3] for number in numbers}
    for host in (one for one, rack in names.items() if rack == first["rack"] and one != first["host"]):
        inject(racked, "tower", "host_down", host)
    inject(racked, "tower", "host_down", first["host"])
    assert healed(racked, pair[0], first["vnfc_id"])["state"] == "COMPLETED"
    (now,) = workers(racked, pair[0]).values()
    assert now["rack"] not in (first["rack"], second["rack"])
