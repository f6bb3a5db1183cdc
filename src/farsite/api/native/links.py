"""External and externally managed links as a request states them (SOL003, in our spelling)."""

from typing import Annotated

from pydantic import Field

from farsite.api.wire import Label, Name, Wire
from farsite.model.vnf import CpConfig, ExternalLink, IpAddresses, IpType, ManagedLink

Mac = Annotated[str, Field(pattern=r"^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})?$")]


class Addresses(Wire):
    """Addresses on one subnet: fixed ones, one out of a range, or a number that the VIM chooses."""

    type: IpType = IpType.IPV4
    fixed: Annotated[list[Label], Field(max_length=64)] = Field(default_factory=list)
    dynamic_count: Annotated[int, Field(ge=0, le=64)] = 0
    first: Label = ""
    last: Label = ""
    subnet_id: Label = ""


class Config(Wire):
    """How one instance of an external connection point is bound."""

    id: Label = ""
    vnfc_id: Label = ""
    link_port_id: Label = ""
    port_id: Label = ""
    """A port that stands on the VIM already."""
    mac: Mac = ""
    ips: Annotated[list[Addresses], Field(max_length=16)] = Field(default_factory=list[Addresses])
    segmentation_id: Annotated[int, Field(ge=0, le=4094)] | None = None
    parent_id: Label = ""


class Link(Wire):
    """An external connection point of the VNF bound to a network of its VIM."""

    cp: Name
    network_id: Label
    cidr_v4: Label = ""
    cidr_v6: Label = ""
    id: Label = ""
    configs: Annotated[list[Config], Field(max_length=1000)] = Field(default_factory=list[Config])
    security_groups: Annotated[list[Label], Field(max_length=20)] = Field(default_factory=list)


class Managed(Wire):
    """An internal virtual link of the VNF that is a network made by somebody else."""

    virtual_link: Name
    network_id: Name
    id: Label = ""
    cidr_v4: Label = ""
    cidr_v6: Label = ""


def link_of(stated: Link) -> ExternalLink:
    return ExternalLink(
        cp=stated.cp,
        network_id=stated.network_id,
        cidr_v4=stated.cidr_v4,
        cidr_v6=stated.cidr_v6,
        id=stated.id,
        configs=tuple(_config_of(one) for one in stated.configs),
        security_groups=tuple(stated.security_groups),
    )


def _config_of(stated: Config) -> CpConfig:
    return CpConfig(
        id=stated.id,
        vnfc_id=stated.vnfc_id,
        link_port_id=stated.link_port_id,
        port_id=stated.port_id,
        mac=stated.mac,
        ips=tuple(
            IpAddresses(
                type=one.type,
                fixed=tuple(one.fixed),
                dynamic_count=one.dynamic_count,
                first=one.first,
                last=one.last,
                subnet_id=one.subnet_id,
            )
            for one in stated.ips
        ),
        segmentation_id=stated.segmentation_id,
        parent_id=stated.parent_id,
    )


def managed_of(stated: Managed) -> ManagedLink:
    return ManagedLink(
        virtual_link=stated.virtual_link,
        network_id=stated.network_id,
        id=stated.id,
        cidr_v4=stated.cidr_v4,
        cidr_v6=stated.cidr_v6,
    )
