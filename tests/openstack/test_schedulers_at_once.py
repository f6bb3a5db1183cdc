"""Several schedulers of a real Nova at once, and more functions than there is room for: who stands, by Nova's
and Placement's word and by our own books, and what becomes of the others."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from guests import Cloud, Guests, guests
from host_loss import document_of
from lab.openstack.raising import Laboratory
from laboratory import LabSite
from openstack.connection import Connection
from tenancy import Project

from farsite.store.tables import allocations, capacity_claims

SCHEDULERS = 3
ON_EACH = 5
MORE = 5
"""So many are asked for beyond what there is room for."""


@pytest.fixture
def bench() -> Iterator[Guests]:
    with guests(heartbeat_timeout_s=10.0) as found:
        yield found


@pytest.fixture
def schedulers(site2: LabSite, breakable: Laboratory) -> Iterator[list[str]]:
    """The control nodes of those that a site has, by Nova's word."""
    breakable.schedulers(site2.name, SCHEDULERS)
    try:
        told = site2.admin.connect().compute.get("/os-services?binary=nova-scheduler").json()["services"]
        yield [one["host"] for one in told if one["state"] == "up"]
    finally:
        breakable.schedulers(site2.name, 1)


class Providers:
    """The compute hosts of a site as Placement counts them."""

    def __init__(self, admin: Connection) -> None:
        self._placement = admin.placement
        # Their devices are providers below them, with a name that is longer.
        told = admin.placement.resource_providers()
        self.ids = {one.name: one.id for one in told if re.fullmatch(r"[a-z0-9]+-cmp\d+", one.name)}

    def has(self, host: str) -> int:
        """MiB that a host may give away."""
        told = self._told(host, "inventories")["inventories"]["MEMORY_MB"]
        return int((told["total"] - told["reserved"]) * told["allocation_ratio"])

    def used(self, host: str) -> int:
        return self._told(host, "usages")["usages"]["MEMORY_MB"]

    def allocated(self, server_ids: Iterable[str]) -> dict[str, int]:
        """MiB that these servers have, by host."""
        names = {provider_id: host for host, provider_id in self.ids.items()}
        found: Counter[str] = Counter()
        for one in server_ids:
            told = self._placement.get(f"/allocations/{one}").json()["allocations"]
            found.update(
                {names[key]: what["resources"]["MEMORY_MB"] for key, what in told.items() if key in names}
            )
        return dict(found)

    def _told(self, host: str, what: str) -> Any:
        return self._placement.get(f"/resource_providers/{self.ids[host]}/{what}").json()


@pytest.fixture
def providers(site2: LabSite) -> Providers:
    return Providers(site2.admin.connect())


@pytest.fixture
def large(site2: LabSite, project2: Project, providers: Providers) -> Iterator[tuple[str, int]]:
    """A flavour of the project's own that fits on each host exactly so often, and its MiB. Half of one is
    left free, so that it is no matter what small things others have there."""
    free = {providers.has(one) - providers.used(one) for one in providers.ids}
    memory_mib = 2 * min(free) // (2 * ON_EACH + 1)
    assert {room // memory_mib for room in free} == {ON_EACH}, free
    nova = site2.admin.connect().compute
    flavour = nova.create_flavor(name=project2.name, ram=memory_mib, vcpus=1, disk=1, is_public=False)
    nova.flavor_add_tenant_access(flavour.id, project2.project_id)
    yield project2.name, memory_mib
    nova.delete_flavor(flavour)


def books(bench: Guests) -> tuple[int, set[str]]:
    """How many servers are claimed by the sums in our books, and which functions hold one each. A server of
    the guest has one vCPU."""
    with bench.service.farsite.database.transaction() as connection:
        sums = connection.execute(sa.select(capacity_claims.c.vcpus)).scalars().all()
        held = connection.execute(sa.select(allocations.c.vnf_id, allocations.c.vcpus)).all()
    assert all(vcpus == 1 for _, vcpus in held)
    return sum(sums), {vnf_id for vnf_id, _ in held}


@pytest.mark.slow
def test_of_many_at_once_exactly_those_stand_for_whom_three_schedulers_find_room(
    bench: Guests,
    name: str,
    project2: Project,
    schedulers: list[str],
    providers: Providers,
    large: tuple[str, int],
) -> None:
    """A member of a project sees no hosts, so our books have room for all, and the three schedulers decide,
    each for itself, who of those that come at once has the last places."""
    assert len(schedulers) == SCHEDULERS, schedulers
    places = ON_EACH * len(providers.ids)
    bench.register_account(name, project2.account, stacks_in_flight=places + MORE)
    cloud = Cloud(project2.admin, project2.project_id)
    vnf_ids = [bench.create(autoheal="false") for _ in range(places + MORE)]
    with ThreadPoolExecutor(16) as at_once:
        begun = list(
            at_once.map(
                lambda one: bench.instantiate(one, name, compute_flavours={"server": large[0]}), vnf_ids
            )
        )
    ended = dict(zip(vnf_ids, map(bench.ended, begun), strict=True))
    states = Counter(one["state"] for one in ended.values())
    assert states == {"COMPLETED": places, "FAILED_TEMP": MORE}, states
    standing = {vnf_id for vnf_id, one in ended.items() if one["state"] == "COMPLETED"}

    # By Nova, host by host, and by Placement, which counts what others have there, too.
    servers = {one: document_of(cloud, one) for one in cloud.servers()}
    assert {one["status"] for one in servers.values()} == {"ACTIVE"}
    on_hosts = Counter(one["OS-EXT-SRV-ATTR:host"] for one in servers.values())
    assert on_hosts == dict.fromkeys(providers.ids, ON_EACH)
    assert {one.name for one in cloud.stacks()} == {f"vnf-{one}" for one in standing}
    for host in providers.ids:
        assert providers.used(host) <= providers.has(host)
    assert providers.allocated(servers) == dict.fromkeys(providers.ids, ON_EACH * large[1])

    # By our own books, as a sum and one by one.
    assert books(bench) == (places, standing)

    # Who was refused has Nova's words, holds nothing, and has nothing left to be rolled back.
    for vnf_id in ended.keys() - standing:
        assert "No valid host was found" in ended[vnf_id]["error"]["detail"]
        assert f"{name}: turned-away" in ended[vnf_id]["error"]["detail"]
        assert bench.control(ended[vnf_id]["id"], "rollback")["state"] == "ROLLED_BACK"
        assert bench.service.native("DELETE", f"/vnfs/{vnf_id}").status_code == 204
    with ThreadPoolExecutor(8) as at_once:
        list(at_once.map(bench.terminated, standing))
    assert cloud.left() == []
    assert books(bench) == (0, set())
    assert providers.allocated(servers) == {}
