"""From external links to ports: every form that SOL003 has, and addresses that nobody else has."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.lifecycle import binding
from farsite.model.deployment import Port, Subport
from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId, VnfcId, VnfdId, VnfInstanceId, VnfPackageId
from farsite.model.vnf import CpConfig, ExternalLink, IpAddresses, IpType, ManagedLink, VnfInstance
from farsite.model.vnfd import DeploymentFlavour, ExternalCp, Vdu, VduCp, VirtualLink

VNF = VnfInstance(
    id=VnfInstanceId("vnf"),
    project_id=ProjectId("default"),
    package_id=VnfPackageId("package"),
    vnfd_id=VnfdId("vnfd"),
    provider="",
    product_name="",
    software_version="",
    vnfd_version="",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
FLAVOUR = DeploymentFlavour(
    id="default",
    vdus={"worker": Vdu(id="worker", name="worker")},
    cps=(
        VduCp(id="outer", vdu="worker", order=0, external="public"),
        VduCp(id="inner", vdu="worker", order=1, virtual_link="mesh"),
        VduCp(id="exposed", vdu="worker", order=2, virtual_link="shared"),
    ),
    external_cps={
        "public": ExternalCp(id="public", cp="outer"),
        "shared_cp": ExternalCp(id="shared_cp", cp="shared_cp", virtual_link="shared"),
    },
    virtual_links={"mesh": VirtualLink(id="mesh"), "shared": VirtualLink(id="shared")},
)


def ports(vnf: VnfInstance, index: int = 0, flavour: DeploymentFlavour = FLAVOUR) -> dict[str, Port]:
    found = binding.ports_of(vnf, flavour, "worker", VnfcId(f"vnf-worker-{index}"), index)
    return {port.name: port for port in found}


def linked(*configs: CpConfig, **more: str) -> VnfInstance:
    link = ExternalLink(cp="public", network_id="net", configs=configs, **more)  # type: ignore[arg-type]
    return replace(VNF, external_links=(link,))


def test_an_existing_port_is_used_as_it_is() -> None:
    """A link port of the consumer has its own addresses; we give it none."""
    port = ports(linked(CpConfig(link_port_id="lp", port_id="neutron-port")))["outer"]
    assert (port.port_id, port.network_id, port.addresses, port.subnet_ids) == ("neutron-port", "net", (), ())


def test_fixed_and_dynamic_addresses_keep_their_subnets() -> None:
    """The driver must know to which subnet each address belongs, and how many more the VIM chooses."""
    config = CpConfig(
        mac="02:00:00:00:00:AA",
        ips=(
            IpAddresses(fixed=("10.0.0.5", "10.0.0.6"), subnet_id="v4"),
            IpAddresses(type=IpType.IPV6, subnet_id="v6", dynamic_count=2),
        ),
    )
    port = ports(linked(config, cidr_v4="10.0.0.0/24"))["outer"]
    assert port.mac == "02:00:00:00:00:aa"
    assert port.addresses == ("10.0.0.5/24", "10.0.0.6/24")
    assert port.subnet_ids == ("v4", "v4", "v6", "v6")


def test_dynamic_addresses_without_a_subnet_are_counted() -> None:
    """A number is all that the VIM can be told then."""
    port = ports(linked(CpConfig(ips=(IpAddresses(dynamic_count=3),))))["outer"]
    assert (port.addresses, port.subnet_ids, port.address_count) == ((), (), 3)


def test_each_vnfc_gets_its_own_configuration_and_a_later_one_only_what_can_be_shared() -> None:
    """Two ports with one MAC or one address would fight; scaling out must not make them."""
    first = CpConfig(mac="02:00:00:00:00:01", ips=(IpAddresses(fixed=("10.0.0.5",), subnet_id="a"),))
    named = CpConfig(vnfc_id="vnf-worker-5", mac="02:00:00:00:00:05")
    vnf = linked(first, named)
    assert ports(vnf, 0)["outer"].mac == "02:00:00:00:00:01"
    assert ports(vnf, 5)["outer"].mac == "02:00:00:00:00:05"
    later = ports(vnf, 1)["outer"]
    assert (later.mac, later.addresses, later.subnet_ids) == ("", (), ("a",))


def test_internal_links_become_networks_of_the_vnf_or_of_somebody_else() -> None:
    """An externally managed link is not made a second time, and one that is exposed is the outer network."""
    assert [one.id for one in binding.internal_networks(VNF, FLAVOUR)] == ["vnf-mesh", "vnf-shared"]
    vnf = replace(
        VNF,
        managed_links=(ManagedLink(virtual_link="mesh", network_id="theirs"),),
        external_links=(ExternalLink(cp="shared_cp", network_id="outside"),),
    )
    assert binding.internal_networks(vnf, FLAVOUR) == ()
    assert ports(vnf)["inner"].network_id == "theirs"
    assert ports(vnf)["exposed"].network_id == "outside"


def test_subports_of_a_trunk_are_nested_by_the_request_or_by_the_descriptor() -> None:
    """A sub-port is no interface of its own: it is a VLAN of its parent."""
    vnf = replace(
        VNF,
        external_links=(
            ExternalLink(cp="public", network_id="trunk-net", configs=(CpConfig(id="parent"),)),
            ExternalLink(
                cp="inner", network_id="vlan-net", configs=(CpConfig(parent_id="parent", segmentation_id=7),)
            ),
        ),
    )
    by_request = ports(vnf)
    assert "inner" not in by_request
    assert by_request["outer"].subports == (Subport(vlan=7, network_id="vlan-net"),)
    cps = tuple(
        replace(cp, trunk="outer", segmentation_id=9) if cp.id == "inner" else cp for cp in FLAVOUR.cps
    )
    by_descriptor = ports(linked(), flavour=replace(FLAVOUR, cps=cps))
    assert by_descriptor["outer"].subports == (Subport(vlan=9, network_id="vnf-mesh"),)


@pytest.mark.parametrize(
    ("link", "named"),
    [
        (ExternalLink(cp="nothing", network_id="net"), "nothing"),
        (ExternalLink(cp="public", network_id="net", cidr_v4="10.0.0.0/99"), "10.0.0.0/99"),
        (ExternalLink(cp="public", network_id="net", cidr_v6="10.0.0.0/24"), "10.0.0.0/24"),
        (
            ExternalLink(
                cp="public", network_id="net", configs=(CpConfig(ips=(IpAddresses(fixed=("fd00::1",)),)),)
            ),
            "fd00::1",
        ),
        (
            ExternalLink(
                cp="public", network_id="net", configs=(CpConfig(ips=(IpAddresses(first="10.0.0.1"),)),)
            ),
            "range",
        ),
    ],
)
def test_a_link_that_cannot_be_is_named(link: ExternalLink, named: str) -> None:
    """Refused at the door, not by a VIM half way through."""
    with pytest.raises(Invalid, match=named):
        binding.check_links(FLAVOUR, (link,))


ADDRESS = st.integers(1, 254).map(lambda number: f"10.0.0.{number}")
IPS = st.one_of(
    st.builds(
        IpAddresses,
        fixed=st.lists(ADDRESS, min_size=1, max_size=3, unique=True).map(tuple),
        subnet_id=st.sampled_from(["", "a", "b"]),
    ),
    st.builds(IpAddresses, dynamic_count=st.integers(0, 3), subnet_id=st.sampled_from(["", "a", "b"])),
)


@given(st.lists(IPS, max_size=5))
def test_no_address_is_lost_and_none_is_invented(ips: list[IpAddresses]) -> None:
    """As many addresses reach the VIM as were asked for, each in its place."""
    port = binding.addressed(Port(name="p", network_id="net"), ips, ("10.0.0.0/24",))
    fixed = [address for ip in ips for address in ip.fixed]
    assert [one.partition("/")[0] for one in port.addresses] == fixed
    dynamic = [ip for ip in ips if not ip.fixed]
    named = sum(max(ip.dynamic_count, 1) for ip in dynamic if ip.subnet_id)
    counted = sum(max(ip.dynamic_count, 1) for ip in dynamic if not ip.subnet_id)
    assert port.address_count == counted
    if named:
        assert len(port.subnet_ids) == len(fixed) + named
    subnets = [ip.subnet_id for ip in ips for _ in ip.fixed]
    padded = [*port.subnet_ids, *[""] * len(fixed)][: len(fixed)]
    assert padded == subnets
