"""How a compute host is, as it is published: one state, since when, and what it was concluded from.

Source: OPNFV, VIM high availability requirements (health of compute nodes is published to MANO).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.ids import VimId


class HostState(StrEnum):
    """How a host is."""

    UP = "up"
    DEGRADED = "degraded"
    """It works, and something of it does not: it cannot be managed, or a part of its networking is gone."""
    MAINTENANCE = "maintenance"
    """Its operators took it out of service; it is given nothing new."""
    DOWN = "down"
    """It was concluded to be dead: nothing that stands there is relied on."""
    UNKNOWN = "unknown"
    """Nobody who could tell did, or what they tell permits no conclusion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostHealth:
    """The health of one compute host of one VIM."""

    vim_id: VimId
    vim: str
    """Name of the VIM."""
    host: str
    region: str = ""
    zone: str = ""
    state: HostState
    since: datetime
    """By our clock: when the state was concluded first, without a break since."""
    verdict: str = ""
    """Of the evidence matrix; empty where there was nothing to judge."""
    confidence: float = 1.0
    reason: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict[str, str])
    """Observer -> `up`, `down` or `unknown`."""
    permitted: tuple[str, ...] = ()
    """What may be done about it and what stands there while this holds."""
