"""NS instances: which functions, networks and chains make up a running service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from farsite.model.deployment import Chain, NetworkSpec
from farsite.model.ids import NsdId, NsdInfoId, NsInstanceId, ProjectId, VimId, VnfInstanceId
from farsite.model.vnf import InstantiationState


@dataclass(frozen=True, slots=True, kw_only=True)
class NsVnf:
    """One function of the service and where it was placed."""

    vnf_id: VnfInstanceId
    profile: str
    vim_id: VimId


@dataclass(frozen=True, slots=True, kw_only=True)
class NsNetwork:
    """A virtual link of the service as a network, on every VIM that needs it."""

    link: str
    spec: NetworkSpec
    vims: tuple[VimId, ...]
    """Where we make it."""
    named: Mapping[VimId, str] = field(default_factory=dict[VimId, str])
    """Where it is a network that the VIM has already: its name or id there. We neither make nor delete it."""
    physical_networks: Mapping[VimId, str] = field(default_factory=dict[VimId, str])
    """What carries it where a rule keeps it apart from others; on other VIMs it is the VIM's choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NsInstance:
    """An NS instance."""

    id: NsInstanceId
    project_id: ProjectId
    name: str = ""
    description: str = ""
    nsd_info_id: NsdInfoId
    nsd_id: NsdId
    state: InstantiationState = InstantiationState.NOT_INSTANTIATED
    flavour_id: str = ""
    vnfs: tuple[NsVnf, ...] = ()
    networks: tuple[NsNetwork, ...] = ()
    chains: tuple[Chain, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    nsd_choice: str = ""
    """Why it is of this NSD: what was asked for, and what was passed over."""
    created_at: datetime
    version: int = 1
