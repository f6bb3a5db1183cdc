"""Where VNFCs stood: from stays that ended follows which hosts fail more often than others."""

from dataclasses import dataclass
from datetime import datetime

from farsite.model.ids import AlarmId, ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A VNFC stands on a host. `host` is the id of its node in the graph: names repeat between VIMs."""

    host: str
    vnf_id: str
    vnfc_id: str
    project_id: ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStay:
    """It failed there by itself, or it left. One that is healed where it stood begins another stay."""

    stay: Stay
    at: datetime
    alarm_id: AlarmId | None = None
    """Of its failure; None: it left."""
    is_explained: bool = False
    """It failed with its host: that says nothing about a host that fails slowly."""
