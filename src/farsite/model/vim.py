"""VIMs and the sites they stand in.

A *site* is a place (NFVI-PoP); a *VIM* is a registered manager of resources in that place.
States are those of every surface: API, command line, metrics, alarms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.ids import ProjectId, SiteId, VimId


class VimState(StrEnum):
    """Health of a VIM as we know it."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    DEGRADED = "DEGRADED"
    UNREACHABLE = "UNREACHABLE"
    ERROR = "ERROR"
    MAINTENANCE = "MAINTENANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place: its name, where it is, and with which other places it shares a fate."""

    id: SiteId
    name: str
    project_id: ProjectId
    latitude: float | None = None
    longitude: float | None = None
    risk_groups: tuple[str, ...] = ()
    jurisdiction: str = ""
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Vim:
    """A registered VIM. Credentials are not here: see the `vim_auth` table."""

    id: VimId
    name: str
    type: str
    site: str
    """Name of the site the VIM stands in."""
    project_id: ProjectId
    description: str = ""
    auth_url: str = ""
    """Where the driver finds the VIM. Linux: `unix:DIR` or empty for an agent of this host."""
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    """Driver settings that are not secret, e.g. the capacity of a Linux site or the simulator's knobs."""
    is_default: bool = False
    state: VimState = VimState.PENDING
    state_reason: str = "not yet checked"
    state_since: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealth:
    """One service of a VIM (Keystone, Heat; the agent of a Linux site)."""

    name: str
    is_vital: bool
    is_up: bool
    detail: str = ""
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VimHealth:
    """What one check of all services found."""

    services: tuple[ServiceHealth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a VIM can do, found by trying, with the reason for everything it cannot.

    `features` are words shared by all drivers: `networks`, `chains`, `inter-site`, `events`,
    `reach`, `limits`, `images:builtin`, `images:host` ...
    """

    features: frozenset[str]
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Feature -> why it is missing and what would enable it."""
    tunnel_endpoint: str = ""
    """Underlay address that VXLAN peers on other VIMs send to; empty: no tunnels."""
    details: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """An availability zone of a region, with what it has and what is used.

    vCPU counts are threads, memory is MiB, disk is GiB. `hosts` is how many separate
    compute hosts the zone can spread anti-affine VNFCs over.
    """

    region: str
    name: str
    vcpus: int
    vcpus_used: int = 0
    memory_mib: int
    memory_mib_used: int = 0
    disk_gib: int
    disk_gib_used: int = 0
    hosts: int = 1
