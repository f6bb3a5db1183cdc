"""External virtual links, link ports and externally managed links: SOL003's structures and ours, both ways.

`cpConfig` is a list in version 1 and a map in version 2; each is read wherever it comes.

Source: ETSI GS NFV-SOL 003 clauses 4.4.1.10 to 4.4.1.12.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from farsite.api.problem import Unusable
from farsite.model.vnf import CpConfig, ExternalLink, IpAddresses, IpType, ManagedLink

Identifier = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
OptionalIdentifier = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Mac = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$")]

_CPS_MAX = 100
_CONFIGS_MAX = 1000
_ADDRESSES_MAX = 100


class Etsi(BaseModel):
    """A body of a standard client: attributes we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _address(text: str) -> str:
    """The address in its canonical form.

    Raises:
        ValueError: it is none.
    """
    return str(ipaddress.ip_address(text))


class AddressRange(Etsi):
    minAddress: str
    maxAddress: str

    @field_validator("minAddress", "maxAddress")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return _address(value)

    @model_validator(mode="after")
    def _is_range(self) -> Self:
        first, last = ipaddress.ip_address(self.minAddress), ipaddress.ip_address(self.maxAddress)
        if first.version != last.version or int(first) > int(last):
            raise ValueError(f"{self.minAddress} to {self.maxAddress} is no range")
        return self


class IpAddressData(Etsi):
    """Fixed addresses, a number of dynamic ones or a range; with none of them, one dynamic address."""

    type: IpType | None = None
    fixedAddresses: Annotated[list[str], Field(max_length=_ADDRESSES_MAX)] = Field(default_factory=list)
    numDynamicAddresses: Annotated[int, Field(ge=0, le=_ADDRESSES_MAX)] = 0
    addressRange: AddressRange | None = None
    subnetId: OptionalIdentifier = ""

    @field_validator("fixedAddresses")
    @classmethod
    def _are_addresses(cls, value: list[str]) -> list[str]:
        return [_address(one) for one in value]

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        forms = [bool(self.fixedAddresses), bool(self.numDynamicAddresses), self.addressRange is not None]
        if sum(forms) > 1:
            raise ValueError("fixedAddresses, numDynamicAddresses and addressRange exclude each other")
        stated = [*self.fixedAddresses, *([self.addressRange.minAddress] if self.addressRange else [])]
        versions = {ipaddress.ip_address(one).version for one in stated}
        wanted = {int(self.type.value[-1])} if self.type else versions
        if len(versions) > 1 or not versions <= wanted:
            raise ValueError(f"addresses of another version than {self.type or 'the first one'}")
        return self

    @property
    def kind(self) -> IpType:
        """The stated version, else that of the addresses, else IPv4."""
        if self.type is not None:
            return self.type
        stated = [*self.fixedAddresses, *([self.addressRange.minAddress] if self.addressRange else [])]
        is_six = bool(stated) and ipaddress.ip_address(stated[0]).version == 6
        return IpType.IPV6 if is_six else IpType.IPV4


class IpOverEthernetAddressData(Etsi):
    macAddress: Mac | None = None
    segmentationId: Annotated[str, Field(max_length=10)] | Annotated[int, Field(ge=0, le=4094)] | None = None
    ipAddresses: Annotated[list[IpAddressData], Field(max_length=_ADDRESSES_MAX)] = Field(
        default_factory=list[IpAddressData]
    )

    @field_validator("segmentationId")
    @classmethod
    def _is_vlan(cls, value: str | int | None) -> str | int | None:
        if isinstance(value, str) and not (value.isascii() and value.isdigit() and int(value) <= 4094):
            raise ValueError("a VLAN is a number from 0 to 4094")
        return value


class CpProtocolData(Etsi):
    layerProtocol: Literal["IP_OVER_ETHERNET"]
    ipOverEthernet: IpOverEthernetAddressData = IpOverEthernetAddressData()


class VnfExtCpConfig(Etsi):
    parentCpConfigId: OptionalIdentifier = ""
    linkPortId: OptionalIdentifier = ""
    cpInstanceId: OptionalIdentifier = ""
    """Version 1: the connection point instance that is meant, as `extCpInfo` names it."""
    cpProtocolData: Annotated[list[CpProtocolData], Field(max_length=10)] = Field(
        default_factory=list[CpProtocolData]
    )


class VnfExtCpData(Etsi):
    cpdId: Identifier
    cpConfig: (
        Annotated[dict[Identifier, VnfExtCpConfig | None], Field(max_length=_CONFIGS_MAX)]
        | Annotated[list[VnfExtCpConfig], Field(max_length=_CONFIGS_MAX)]
    ) = Field(default_factory=dict[Identifier, VnfExtCpConfig | None])

    @property
    def configs(self) -> list[tuple[str, VnfExtCpConfig]]:
        """With their ids; those of version 1 have none. A null of version 2 takes its configuration away."""
        if isinstance(self.cpConfig, list):
            return [("", config) for config in self.cpConfig]
        return [(key, config) for key, config in self.cpConfig.items() if config is not None]


class ResourceHandle(Etsi):
    resourceId: Identifier
    vimConnectionId: OptionalIdentifier = ""


class ExtLinkPortData(Etsi):
    id: Identifier
    resourceHandle: ResourceHandle


class ExtVirtualLinkData(Etsi):
    id: Identifier
    resourceId: Identifier
    vimConnectionId: OptionalIdentifier = ""
    extCps: Annotated[list[VnfExtCpData], Field(min_length=1, max_length=_CPS_MAX)]
    extLinkPorts: Annotated[list[ExtLinkPortData], Field(max_length=_CONFIGS_MAX)] = Field(
        default_factory=list[ExtLinkPortData]
    )


class ExtManagedVirtualLinkData(Etsi):
    id: Identifier
    vnfVirtualLinkDescId: Identifier
    resourceId: Identifier
    vimConnectionId: OptionalIdentifier = ""


ExtVirtualLinks = Annotated[list[ExtVirtualLinkData], Field(max_length=_CPS_MAX)]
ExtManagedVirtualLinks = Annotated[list[ExtManagedVirtualLinkData], Field(max_length=_CPS_MAX)]


def external_links_of(links: Iterable[ExtVirtualLinkData]) -> tuple[ExternalLink, ...]:
    """One external link per connection point.

    Raises:
        Unusable: a connection point bound twice, or a link port that is named and not described.
    """
    found: dict[str, ExternalLink] = {}
    for link in links:
        ports = {port.id: port.resourceHandle.resourceId for port in link.extLinkPorts}
        for cp in link.extCps:
            if cp.cpdId in found:
                raise Unusable(
                    f'Connection point "{cp.cpdId}" is bound twice. Give its instances as entries of one '
                    f"cpConfig."
                )
            found[cp.cpdId] = ExternalLink(
                cp=cp.cpdId,
                network_id=link.resourceId,
                id=link.id,
                configs=tuple(_config(cp.cpdId, key, one, ports) for key, one in cp.configs),
            )
    return tuple(found.values())


def _config(cp: str, key: str, config: VnfExtCpConfig, ports: Mapping[str, str]) -> CpConfig:
    if config.linkPortId and config.linkPortId not in ports:
        raise Unusable(
            f'Connection point "{cp}" uses link port "{config.linkPortId}", which extLinkPorts does not hold.'
        )
    ethernet = [data.ipOverEthernet for data in config.cpProtocolData]
    macs = [one.macAddress for one in ethernet if one.macAddress]
    vlans = [int(one.segmentationId) for one in ethernet if one.segmentationId is not None]
    return CpConfig(
        id=key,
        vnfc_id=config.cpInstanceId.partition("/")[0] if "/" in config.cpInstanceId else "",
        link_port_id=config.linkPortId,
        port_id=ports.get(config.linkPortId, ""),
        mac=macs[0].replace("-", ":").lower() if macs else "",
        ips=tuple(_ips(ip) for one in ethernet for ip in one.ipAddresses),
        segmentation_id=vlans[0] if vlans else None,
        parent_id=config.parentCpConfigId,
    )


def _ips(data: IpAddressData) -> IpAddresses:
    return IpAddresses(
        type=data.kind,
        fixed=tuple(data.fixedAddresses),
        dynamic_count=data.numDynamicAddresses,
        first=data.addressRange.minAddress if data.addressRange else "",
        last=data.addressRange.maxAddress if data.addressRange else "",
        subnet_id=data.subnetId,
    )


def managed_links_of(links: Iterable[ExtManagedVirtualLinkData]) -> tuple[ManagedLink, ...]:
    """Networks of somebody else in the place of internal virtual links."""
    return tuple(
        ManagedLink(virtual_link=one.vnfVirtualLinkDescId, network_id=one.resourceId, id=one.id)
        for one in links
    )


Body = dict[str, object]


def ext_virtual_links(links: Iterable[ExternalLink], *, major: int) -> list[Body]:
    """The links as ExtVirtualLinkData of a major version: what a client gave comes back."""
    return [
        {
            "id": link_id,
            "resourceId": network_id,
            "extCps": [ext_cp_data(one, major=major) for one in bound],
            **({"extLinkPorts": ports} if (ports := _link_ports(bound)) else {}),
        }
        for (link_id, network_id), bound in grouped(links).items()
    ]


def ext_managed_virtual_links(links: Iterable[ManagedLink]) -> list[Body]:
    """As ExtManagedVirtualLinkData."""
    return [
        {
            "id": one.id or one.network_id,
            "vnfVirtualLinkDescId": one.virtual_link,
            "resourceId": one.network_id,
        }
        for one in links
    ]


def grouped(links: Iterable[ExternalLink]) -> dict[tuple[str, str], list[ExternalLink]]:
    """Connection points by the virtual link they are bound to, as (identifier, network)."""
    found: dict[tuple[str, str], list[ExternalLink]] = {}
    for link in links:
        found.setdefault((link.id or link.network_id, link.network_id), []).append(link)
    return found


def ext_cp_data(link: ExternalLink, *, major: int) -> Body:
    """One connection point as VnfExtCpData."""
    configs = [_cp_config(one, major=major) for one in link.configs]
    if not configs:
        return {"cpdId": link.cp}
    if major == 1:
        return {"cpdId": link.cp, "cpConfig": configs}
    keys = [one.id or f"{link.cp}_{place}" for place, one in enumerate(link.configs)]
    return {"cpdId": link.cp, "cpConfig": dict(zip(keys, configs, strict=True))}


def _cp_config(config: CpConfig, *, major: int) -> Body:
    found: Body = {}
    if config.link_port_id:
        found["linkPortId"] = config.link_port_id
    if config.parent_id and major == 2:
        found["parentCpConfigId"] = config.parent_id
    over_ethernet: Body = {}
    if config.mac:
        over_ethernet["macAddress"] = config.mac
    if config.segmentation_id is not None:
        over_ethernet["segmentationId"] = str(config.segmentation_id)
    if config.ips:
        over_ethernet["ipAddresses"] = [_ip_data(one) for one in config.ips]
    if over_ethernet:
        found["cpProtocolData"] = [{"layerProtocol": "IP_OVER_ETHERNET", "ipOverEthernet": over_ethernet}]
    return found


def _ip_data(ips: IpAddresses) -> Body:
    found: Body = {"type": ips.type.value}
    if ips.fixed:
        found["fixedAddresses"] = list(ips.fixed)
    elif ips.first:
        found["addressRange"] = {"minAddress": ips.first, "maxAddress": ips.last}
    elif ips.dynamic_count:
        found["numDynamicAddresses"] = ips.dynamic_count
    if ips.subnet_id:
        found["subnetId"] = ips.subnet_id
    return found


def _link_ports(links: Iterable[ExternalLink]) -> list[Body]:
    return [
        {"id": link_port_id, "resourceHandle": {"resourceId": port_id}}
        for link_port_id, port_id in _ports(links)
    ]


def _ports(links: Iterable[ExternalLink]) -> Iterator[tuple[str, str]]:
    for link in links:
        for config in link.configs:
            if config.port_id:
                yield config.link_port_id or config.port_id, config.port_id
