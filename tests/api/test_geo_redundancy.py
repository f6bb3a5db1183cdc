"""Sites that one disaster may take, and a service whose inspectors are to be kept apart by site: where the
operator's policy puts them, and what a disaster leaves of them."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from racks_bench import HOSTS, inject, workers

from farsite.settings import Settings
from service_bench import Service, running

SITES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "turin": ("45.07,7.69", ("alpine-fibre",)),
    "asti": ("44.90,8.21", ("po-grid",)),
    "lyon": ("45.76,4.84", ("alpine-fibre", "po-grid")),
    "rome": ("41.90,12.50", ()),
}
"""Where each is and with what it shares its fate. Turin and Asti are 45 km apart; both share something with
Lyon."""
APART_KM = 100.0


@pytest.fixture
def country() -> Iterator[Service]:
    """A service whose operator wants 100 km between what must not fail together."""
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir, placement_sites_apart_km=APART_KM)) as service:
            for sample in ("firewall", "inspector", "probe", "webserver"):
                service.onboard(sample)
            service.onboard("chain-demo", "nsds")
            yield service
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def register(service: Service, name: str) -> None:
    coordinates, groups = SITES[name]
    # So little in Lyon that nothing goes there by its room.
    size = {**HOSTS, "hosts": 1, "vcpus": 8 if name == "lyon" else 64}
    settings = {"world": "file", "capacity": size}
    extra = {"coordinates": coordinates, "risk_groups": list(groups)}
    body = {"name": name, "type": "simulated", "settings": settings, "extra": extra}
    answer = service.native("POST", "/vims", json=body)
    assert answer.status_code == 201, answer.text


def instantiated(service: Service, name: str) -> Mapping[str, Any]:
    """The operation that instantiates a service, once it has ended."""
    assert service.native("POST", "/ns", json={"nsd": "chain-demo", "name": name}).status_code == 201
    answer = service.native("POST", f"/ns/{name}/instantiate", json={})
    assert answer.status_code == 202, answer.text
    return service.ended(answer.json()["id"])


def inspectors(service: Service, name: str) -> dict[str, str]:
    """VIM -> the inspector there."""
    vims = {one["id"]: one["name"] for one in service.native("GET", "/vims").json()}
    members = service.native("GET", f"/ns/{name}").json()["vnfs"]
    pair = [one for one in members if one["profile"] == "inspector"]
    assert len(pair) == 2
    return {vims[one["vim_id"]]: one["vnf_id"] for one in pair}


def test_a_disaster_takes_one_of_two_functions_that_the_policy_keeps_apart(country: Service) -> None:
    """Three sites that may be lost together, by nearness or by what they share, hold no pair. With a fourth
    they do, and when the three are lost the service still inspects."""
    near = ("turin", "asti", "lyon")
    for name in near:
        register(country, name)
    refused = instantiated(country, "too-near")
    assert refused["state"] == "ROLLED_BACK"
    assert "geo-redundancy: site lyon shares risk group" in refused["error"]["detail"]
    assert " is 45 km from site " in refused["error"]["detail"]
    register(country, "rome")
    done = instantiated(country, "inspected")
    assert done["state"] == "COMPLETED", done["error"]
    pair = inspectors(country, "inspected")
    (other,) = set(pair) - {"rome"}
    for lost in near:
        inject(country, lost, "host_down", "RegionOne-nova-host-1")

    def dead() -> set[str]:
        told = country.native("GET", "/alarms", params={"filter": "(eq,is_open,true)"}).json()
        return {one["managed_object_id"] for one in told if one["fault_type"] == "vnfc-died"}

    assert pair["rome"] not in country.until(dead, lambda seen: pair[other] in seen)
    (left,) = workers(country, pair["rome"])
    standing = country.native("GET", "/vims/rome/resources").json()
    (inspector,) = [one for one in standing if one["vnfc_id"] == left and one["kind"] == "COMPUTE"]
    assert inspector["is_alive"]
