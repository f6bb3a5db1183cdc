"""External links in every form of SOL003, read and told back."""

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sol003_bench import Schemas

from farsite.api.problem import Unusable
from farsite.api.sol003.connectivity import (
    ExtManagedVirtualLinkData,
    ExtVirtualLinkData,
    ext_managed_virtual_links,
    ext_virtual_links,
    external_links_of,
    managed_links_of,
)
from farsite.model.vnf import CpConfig, ExternalLink, IpAddresses, IpType, ManagedLink

_LINKS = TypeAdapter(list[ExtVirtualLinkData])
_MANAGED = TypeAdapter(list[ExtManagedVirtualLinkData])

names = st.text("abcdefghij-_0123456789", min_size=1, max_size=12)
v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(str)
macs = st.lists(st.integers(0, 255), min_size=6, max_size=6).map(
    lambda raw: ":".join(f"{b:02x}" for b in raw)
)


@st.composite
def ips(draw: st.DrawFn) -> IpAddresses:
    """Addresses of one subnet, in one of the four forms."""
    kind = draw(st.sampled_from(IpType))
    address = v4 if kind is IpType.IPV4 else v6
    subnet = draw(st.one_of(st.just(""), names))
    form = draw(st.sampled_from(["fixed", "dynamic", "range", "none"]))
    if form == "fixed":
        fixed = draw(st.lists(address, min_size=1, max_size=3, unique=True))
        return IpAddresses(type=kind, fixed=tuple(fixed), subnet_id=subnet)
    if form == "dynamic":
        return IpAddresses(type=kind, dynamic_count=draw(st.integers(1, 9)), subnet_id=subnet)
    if form == "range":
        ends = sorted((draw(address), draw(address)), key=lambda one: int(ipaddress.ip_address(one)))
        return IpAddresses(type=kind, first=ends[0], last=ends[1], subnet_id=subnet)
    return IpAddresses(type=kind, subnet_id=subnet)


@st.composite
def configs(draw: st.DrawFn, major: int) -> CpConfig:
    """One instance of a connection point: an existing port or a new one."""
    port = draw(st.one_of(st.none(), names))
    return CpConfig(
        id=draw(names) if major == 2 else "",
        link_port_id=f"lp-{port}" if port else "",
        port_id=f"port-{port}" if port else "",
        mac=draw(st.one_of(st.just(""), macs)),
        ips=tuple(draw(st.lists(ips(), max_size=3))),
        segmentation_id=draw(st.one_of(st.none(), st.integers(1, 4094))),
        parent_id=draw(st.one_of(st.just(""), names)) if major == 2 else "",
    )


@st.composite
def links(draw: st.DrawFn, major: int) -> tuple[ExternalLink, ...]:
    """Links of different connection points; several may be on one network."""
    found: list[ExternalLink] = []
    for cp in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        place = draw(st.sampled_from(["a", "b"]))
        own = draw(st.lists(configs(major), max_size=3, unique_by=lambda one: one.id or id(one)))
        found.append(ExternalLink(cp=cp, network_id=f"net-{place}", id=f"link-{place}", configs=tuple(own)))
    return tuple(found)


def _by_cp(found: tuple[ExternalLink, ...]) -> dict[str, ExternalLink]:
    return {one.cp: one for one in found}


@given(links(1))
def test_what_version_1_is_told_means_what_was_asked(asked: tuple[ExternalLink, ...]) -> None:
    """operationParams and extVirtualLinkInfo are what a client builds its next request from."""
    told = json.loads(json.dumps(ext_virtual_links(asked, major=1)))
    assert _by_cp(external_links_of(_LINKS.validate_python(told))) == _by_cp(asked)


@given(links(2))
def test_what_version_2_is_told_means_what_was_asked(asked: tuple[ExternalLink, ...]) -> None:
    """As in version 1; the configurations keep their keys, which later requests refer to."""
    told = json.loads(json.dumps(ext_virtual_links(asked, major=2)))
    assert _by_cp(external_links_of(_LINKS.validate_python(told))) == _by_cp(asked)


def test_what_is_told_is_valid_by_etsis_schemas(shared: Path) -> None:
    """Another implementation reads it by those."""
    schemas = Schemas(shared)

    @settings(max_examples=30)
    @given(links(2))
    def check(asked: tuple[ExternalLink, ...]) -> None:
        # A configuration that says nothing is legal for us; ETSI wants a port or addresses in each.
        is_complete = all(
            config.mac or config.ips or (config.port_id and config.segmentation_id is None)
            for link in asked
            for config in link.configs
        )
        for one in ext_virtual_links(asked, major=2) if is_complete else ():
            schemas.check("ExtVirtualLinkData", one)

    check()


def test_the_sample_of_the_standard_client_is_read() -> None:
    """Every form in one request, as the client's documentation has it, less what no VIM would take."""
    (link,) = external_links_of(
        _LINKS.validate_python(
            [
                {
                    "id": "ext-vl",
                    "vimConnectionId": "vim",
                    "resourceProviderId": "ignored",
                    "resourceId": "network",
                    "extCps": [
                        {
                            "cpdId": "CP1",
                            "cpConfig": [
                                {
                                    "cpInstanceId": "cp-instance",
                                    "linkPortId": "link-port",
                                    "cpProtocolData": [
                                        {
                                            "layerProtocol": "IP_OVER_ETHERNET",
                                            "ipOverEthernet": {
                                                "macAddress": "00-25-96-FF-FE-12",
                                                "ipAddresses": [
                                                    {
                                                        "addressRange": {
                                                            "minAddress": "192.168.11.1",
                                                            "maxAddress": "192.168.21.201",
                                                        },
                                                        "subnetId": "subnet",
                                                    }
                                                ],
                                            },
                                        }
                                    ],
                                }
                            ],
                        }
                    ],
                    "extLinkPorts": [{"id": "link-port", "resourceHandle": {"resourceId": "neutron-port"}}],
                }
            ]
        )
    )
    (config,) = link.configs
    assert (config.port_id, config.mac) == ("neutron-port", "00:25:96:ff:fe:12")
    assert config.ips == (IpAddresses(first="192.168.11.1", last="192.168.21.201", subnet_id="subnet"),)


def test_a_null_takes_a_configuration_away() -> None:
    """The merge-patch way of version 2 to say which instance is no longer bound."""
    body = [{"id": "l", "resourceId": "n", "extCps": [{"cpdId": "a", "cpConfig": {"x": None, "y": {}}}]}]
    (link,) = external_links_of(_LINKS.validate_python(body))
    assert [one.id for one in link.configs] == ["y"]


def test_managed_links_come_back() -> None:
    """An internal link on somebody else's network is told as it was given."""
    asked = (ManagedLink(virtual_link="VL3", network_id="net", id="managed"),)
    told = json.loads(json.dumps(ext_managed_virtual_links(asked)))
    assert managed_links_of(_MANAGED.validate_python(told)) == asked


@pytest.mark.parametrize(
    "ethernet",
    [
        {"macAddress": "00:25:96:FF:FE:12:34:56"},
        {"macAddress": "nonsense"},
        {"segmentationId": "5000"},
        {"ipAddresses": [{"type": "IPV4", "fixedAddresses": ["10.0.0.300"]}]},
        {"ipAddresses": [{"type": "IPV4", "fixedAddresses": ["::1"]}]},
        {"ipAddresses": [{"fixedAddresses": ["::1", "10.0.0.1"]}]},
        {"ipAddresses": [{"fixedAddresses": ["10.0.0.1"], "numDynamicAddresses": 1}]},
        {"ipAddresses": [{"addressRange": {"minAddress": "10.0.0.9", "maxAddress": "10.0.0.1"}}]},
        {"ipAddresses": [{"addressRange": {"minAddress": "10.0.0.9", "maxAddress": "::1"}}]},
    ],
)
def test_addresses_that_cannot_be_are_refused_before_anything_is_accepted(ethernet: object) -> None:
    """A VIM would refuse them minutes later, in words of its own."""
    protocol = {"layerProtocol": "IP_OVER_ETHERNET", "ipOverEthernet": ethernet}
    body = [
        {
            "id": "l",
            "resourceId": "n",
            "extCps": [{"cpdId": "a", "cpConfig": {"x": {"cpProtocolData": [protocol]}}}],
        }
    ]
    with pytest.raises(ValidationError):
        _LINKS.validate_python(body)


def test_a_link_port_that_is_not_described_is_refused() -> None:
    """Its port on the VIM would be unknown."""
    body = [
        {"id": "l", "resourceId": "n", "extCps": [{"cpdId": "a", "cpConfig": [{"linkPortId": "absent"}]}]}
    ]
    with pytest.raises(Unusable, match="absent"):
        external_links_of(_LINKS.validate_python(body))
