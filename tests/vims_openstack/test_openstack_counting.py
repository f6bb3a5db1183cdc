"""Capacity and abilities from what services tell: the arithmetic, and what evidence proves."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.model.errors import VimFault
from farsite.model.vim import UNLIMITED
from farsite.vims.drivers.openstack.abilities import FEATURES, Sight, evidence, judge
from farsite.vims.drivers.openstack.capacity import (
    Host,
    Quota,
    Room,
    as_admin,
    as_member,
    counted_host,
)
from farsite.vims.drivers.openstack.reaching import addresses_of, connect

amounts = st.integers(0, 10_000)


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    has = Room(vcpus=draw(amounts), memory_mib=draw(amounts), disk_gib=draw(amounts))
    used = Room(
        vcpus=draw(st.integers(0, has.vcpus)),
        memory_mib=draw(st.integers(0, has.memory_mib)),
        disk_gib=draw(st.integers(0, has.disk_gib)),
    )
    return Host(zone=draw(st.sampled_from(["a", "b"])), has=has, used=used)


@st.composite
def quotas(draw: st.DrawFn) -> Quota:
    limits = st.just(UNLIMITED) | amounts
    return Quota(
        has=Room(vcpus=draw(limits), memory_mib=draw(limits), disk_gib=UNLIMITED),
        used=Room(vcpus=draw(amounts), memory_mib=draw(amounts)),
    )


@given(st.lists(hosts(), max_size=8), quotas())
def test_what_is_free_is_neither_more_than_the_hosts_nor_than_the_quota_leaves(
    found: list[Host], quota: Quota
) -> None:
    """Either too much, and the VIM refuses what placement promised."""
    zone = as_admin("one", "a", found, quota)
    mine = [host for host in found if host.zone == "a"]
    free = zone.vcpus - zone.vcpus_used
    assert free <= sum(host.has.vcpus - host.used.vcpus for host in mine)
    assert free <= max(0, quota.has.vcpus - quota.used.vcpus)
    free_mib = zone.memory_mib - zone.memory_mib_used
    assert free_mib <= sum(host.has.memory_mib - host.used.memory_mib for host in mine)
    assert free_mib <= max(0, quota.has.memory_mib - quota.used.memory_mib)
    assert zone.hosts == len(mine)
    unlimited = as_admin("one", "a", found, Quota(has=_plenty(), used=Room()))
    assert unlimited.vcpus == sum(host.has.vcpus for host in mine)
    assert (unlimited.disk_gib, unlimited.disk_gib_used) == (zone.disk_gib, zone.disk_gib_used)


def _plenty() -> Room:
    return Room(vcpus=UNLIMITED, memory_mib=UNLIMITED, disk_gib=UNLIMITED)


@given(quotas())
def test_a_member_is_told_the_quota_and_its_use(quota: Quota) -> None:
    """Nothing else can be read with those rights."""
    zone = as_member("one", "a", quota)
    assert (zone.vcpus, zone.vcpus_used) == (quota.has.vcpus, quota.used.vcpus)
    assert (zone.memory_mib, zone.memory_mib_used) == (quota.has.memory_mib, quota.used.memory_mib)
    assert zone.hosts > 1, "anti-affinity would be refused for want of hosts that are only not seen"


HYPERVISOR = {
    "id": "h1",
    "vcpus": 8,
    "memory_mb": 1000,
    "local_gb": 50,
    "vcpus_used": 3,
    "memory_mb_used": 300,
    "local_gb_used": 5,
}
RESOURCES = {
    "VCPU": {"capacity": 32, "used": 4},
    "PCPU": {"capacity": 4, "used": 1},
    "MEMORY_MB": {"capacity": 900, "used": 100},
    "DISK_GB": {"capacity": 40, "used": 2},
}


def summary(*without: str) -> dict[str, object]:
    return {"h1": {"resources": {key: one for key, one in RESOURCES.items() if key not in without}}}


def test_a_host_is_counted_as_placement_counts_it() -> None:
    """With overcommitment and reservations, which Nova's statistics do not know."""
    host = counted_host(HYPERVISOR, "a", summary())
    assert host.has == Room(vcpus=32, memory_mib=900, disk_gib=40)
    assert host.used == Room(vcpus=4, memory_mib=100, disk_gib=2)


def test_a_host_with_dedicated_cpus_only_offers_those() -> None:
    """Such hosts are there for network functions; counting nothing would hide them."""
    assert counted_host(HYPERVISOR, "a", summary("VCPU")).has.vcpus == 4


def test_a_disk_that_hosts_share_is_counted_by_their_statistics() -> None:
    """It is the inventory of another provider, which is not asked for."""
    assert counted_host(HYPERVISOR, "a", summary("DISK_GB")).has.disk_gib == 50


def test_a_host_that_placement_does_not_list_is_full() -> None:
    """It lists those with room."""
    full = counted_host(HYPERVISOR, "a", {"h2": {"resources": RESOURCES}})
    assert full.has == full.used == Room(vcpus=8, memory_mib=1000, disk_gib=50)


def test_without_placement_the_statistics_count() -> None:
    """An administrator of an old or of a restricted cloud."""
    host = counted_host(HYPERVISOR, "a", {})
    assert host.used == Room(vcpus=3, memory_mib=300, disk_gib=5)


# -- abilities


def test_everything_that_is_not_found_is_missing_with_a_reason() -> None:
    """An operator reads there what would enable it."""
    found = judge([Sight(region="one")])
    repairs = {"fence", "repair:reboot_soft", "repair:reboot_hard", "repair:rebuild"}
    assert found.features == {"reach", "console", "networks", *repairs}
    assert set(FEATURES) <= set(found.missing)
    assert "registration's features" in found.missing["epa:pci"]
    assert "registration" not in found.missing["volumes"]


EVIDENCE: dict[str, tuple[Sight, set[str]]] = {
    "dedicated CPUs": (
        Sight(region="one", providers=[(frozenset({"VCPU", "PCPU"}), frozenset())]),
        {"epa:cpu-pinning", "epa:numa"},
    ),
    "shared CPUs only": (Sight(region="one", providers=[(frozenset({"VCPU"}), frozenset())]), set()),
    "libvirt": (
        Sight(region="one", hypervisor_types=frozenset({"QEMU"})),
        {"epa:numa", "epa:multiqueue", "epa:watchdog", "epa:guest-agent"},
    ),
    "VMware": (Sight(region="one", hypervisor_types=frozenset({"VMware vCenter Server"})), set()),
    "two hypervisors of one type": (
        Sight(region="one", hypervisors={"VMware vCenter Server": 2, "QEMU": 1}),
        {"migration:live"},
    ),
    "a catalogue in which nobody moves servers": (
        Sight(region="one", movers=frozenset()),
        {"migration:none"},
    ),
    "Masakari": (Sight(region="one", movers=frozenset({"Masakari"})), set()),
    "virtual functions": (
        Sight(region="one", providers=[(frozenset({"SRIOV_NET_VF"}), frozenset())]),
        {"epa:sriov"},
    ),
    "SR-IOV agents": (Sight(region="one", sriov_agents=2), {"epa:sriov"}),
    "VLAN networks": (Sight(region="one", physical_networks=frozenset({"p1"})), {"epa:sriov"}),
    "PCI devices": (
        Sight(region="one", providers=[(frozenset({"CUSTOM_PCI_8086_1234"}), frozenset())]),
        {"epa:pci"},
    ),
    "flavours": (
        Sight(
            region="one",
            flavours=[
                ("a", {"hw:cpu_policy": "dedicated", "hw:mem_page_size": "1GB"}),
                ("b", {"pci_passthrough:alias": "qat:1", "hw:watchdog_action": "reset"}),
            ],
        ),
        {"epa:cpu-pinning", "epa:hugepages", "epa:pci", "epa:watchdog"},
    ),
    "flavours that ask for nothing": (
        Sight(region="one", flavours=[("a", {"hw:cpu_policy": "shared", "hw:mem_page_size": "small"})]),
        set(),
    ),
    "half of service chaining": (Sight(region="one", extensions=frozenset({"sfc"})), set()),
    "service chaining": (
        Sight(region="one", extensions=frozenset({"sfc", "flow_classifier", "trunk", "qos"})),
        {"sfc", "trunk", "qos"},
    ),
}


@pytest.mark.parametrize(("seen", "features"), EVIDENCE.values(), ids=EVIDENCE.keys())
def test_evidence_proves_what_it_proves_and_no_more(seen: Sight, features: set[str]) -> None:
    """Demands for EPA are refused, or promised, by this."""
    assert set(evidence(seen)) == features


def test_a_feature_of_one_region_says_which_one() -> None:
    """Placement takes the VIM, and the operator has to choose the region."""
    found = judge([Sight(region="one", sriov_agents=1), Sight(region="two")])
    assert "epa:sriov" in found.features
    assert found.details["regions:epa:sriov"] == "one"
    both = judge([Sight(region="one", sriov_agents=1), Sight(region="two", sriov_agents=1)])
    assert "regions:epa:sriov" not in both.details


def test_what_the_registration_says_counts_and_is_told_as_such() -> None:
    """An operator knows hardware that no API shows."""
    found = judge([Sight(region="one")], ["epa:pci"])
    assert found.details["evidence:epa:pci"] == "the registration says so"
    assert "epa:pci" not in found.missing


# -- reach


def test_floating_addresses_come_first() -> None:
    """They are made for being reached."""
    networks = {
        "mgmt": [
            {"addr": "10.0.0.5", "OS-EXT-IPS:type": "fixed"},
            {"addr": "203.0.113.9", "OS-EXT-IPS:type": "floating"},
        ],
        "data": [{"addr": "fd00::5", "OS-EXT-IPS:type": "fixed"}],
    }
    assert addresses_of(networks) == ["203.0.113.9", "10.0.0.5", "fd00::5"]


async def test_of_several_addresses_one_that_answers_is_taken() -> None:
    """Only trying tells which of them is routed to us."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        stream = await connect(["127.0.0.3", "127.0.0.2", "::1"], port, whose="VNFC v")
        assert stream.getpeername() == ("127.0.0.2", port)
        assert not stream.getblocking()
        stream.close()


async def test_without_an_answer_each_address_is_told_with_its_reason() -> None:
    """What is needed is somebody else's work: a route, a floating IP, a rule."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(VimFault, match=r"127\.0\.0\.1: connection refused.*floating IP"):
            await connect(["127.0.0.1"], port, whose="VNFC v")
    with pytest.raises(VimFault, match="has no address"):
        await connect([], 80, whose="VNFC v")
