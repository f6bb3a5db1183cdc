"""A VNF whose workers must stand in different racks, and faults of the simulated VIM under it."""

import asyncio
from typing import Any

from farsite.model.ids import VimId
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.simulated.driver import SimulatedDriver
from next_package import changed
from service_bench import Service

VNFD = "1d23a86f-0001-5e6a-bb28-3a524899d1c0"
PRODUCT = "Farsite inspector in racks"
ZONED_VNFD = "1d23a86f-0003-5e6a-bb28-3a524899d1c0"
ZONED_PRODUCT = "Farsite inspector in zones"
APART = b"""    - apart:
        type: tosca.policies.nfv.AntiAffinityRule
        properties: {scope: zone_group}
        targets: [ worker ]

    - instantiation_levels:"""
HOSTS = {"vcpus": 64, "memory_mib": 1_000_000, "disk_gib": 100_000}


def onboarded(service: Service, kind: str, archive: bytes) -> None:
    created = service.native("POST", f"/{kind}").json()
    answer = service.native(
        "PUT", f"/{kind}/{created['id']}/content", content=archive,
        headers={"Content-Type": "application/zip"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text


def onboard_racked(service: Service) -> None:
    """A VNF whose workers stand in different racks."""
    _onboard_apart(service, VNFD, PRODUCT, APART)


def onboard_zoned(service: Service) -> None:
    """A VNF whose workers stand in different zones."""
    _onboard_apart(service, ZONED_VNFD, ZONED_PRODUCT, APART.replace(b"zone_group", b"zone"))


def _onboard_apart(service: Service, vnfd: str, product: str, apart: bytes) -> None:
    onboarded(
        service,
        "packages",
        changed(
            "inspector",
            (b"1d23a86f-9d31-5e6a-bb28-3a524899d1c0", vnfd.encode()),
            (b"Farsite inspector", product.encode()),
            (b"    - instantiation_levels:", apart),
        ),
    )


def workers(service: Service, vnf_id: str) -> dict[str, Any]:
    """The VNFCs that stand, by their id."""
    found = service.native("GET", f"/vnfs/{vnf_id}").json()["resources"]
    return {one["vnfc_id"]: one for one in found if one["kind"] == "COMPUTE"}


def racks(service: Service, vnf_id: str) -> list[str]:
    return sorted(one["rack"] for one in workers(service, vnf_id).values())


def inject(service: Service, vim: str, kind: str, target: str, **fault: object) -> None:
    vim_id = VimId(service.native("GET", f"/vims/{vim}").json()["id"])
    connection = VimConnection(
        vim_id=vim_id, name=vim, site=vim, settings={}, run_dir=service.settings.run_dir
    )

    async def do() -> None:
        driver = SimulatedDriver(connection)
        await driver.inject(kind, target, fault)
        await driver.close()

    asyncio.run(do())


def scaled(service: Service, vnf_id: str) -> Any:
    body = {"type": "SCALE_OUT", "aspect_id": "workers", "steps": 1}
    answer = service.native("POST", f"/vnfs/{vnf_id}/scale", json=body)
    assert answer.status_code == 202, answer.text
    return service.ended(answer.json()["id"])


def healed(service: Service, vnf_id: str, *vnfc_ids: str) -> Any:
    """The heal that the death of these VNFCs brought about, once it has ended."""

    def is_meant(one: Any) -> bool:
        return one["type"] == "HEAL" and set(vnfc_ids) <= set(one["parameters"]["vnfc_ids"])

    def heals() -> list[Any]:
        told = service.native("GET", "/operations", params={"filter": f"(eq,instance_id,{vnf_id})"}).json()
        return [one for one in told if is_meant(one)]

    return service.ended(service.until(heals, bool)[0]["id"])
