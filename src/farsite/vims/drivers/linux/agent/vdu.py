"""What a VDU of a site is, and what it is called on the host and within."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from farsite.model.deployment import Port, WantedVnfc
from farsite.vims.drivers.linux import paths

_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class VduState(StrEnum):
    """How a VDU is."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    """Stopped on purpose: a process that does nothing keeps its network namespace and ports."""
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vdu:
    """A VNFC as it stands on this site."""

    vnfc: WantedVnfc
    deployment: str
    vnf_id: str
    state: VduState = VduState.STARTING
    has_served: bool = False
    reason: str = ""
    pid: int = 0
    started: int = 0
    namespace: int = 0
    """Inode of the network namespace."""
    devices: Mapping[str, str] = field(default_factory=dict[str, str])
    """Port -> host-side interface."""
    created_at: str = ""

    @property
    def key(self) -> str:
        """Short name for files and control groups, distinct per incarnation."""
        return paths.short_hash(self.vnfc.id, str(self.vnfc.incarnation))

    @property
    def hostname(self) -> str:
        """What it is called within."""
        return re.sub(r"[^A-Za-z0-9-]", "-", self.vnfc.id)[-63:].strip("-") or "vdu"


def interface_name(port: str) -> str:
    """What a port is called inside its VDU: its own name where the kernel allows it."""
    if _INTERFACE_NAME.fullmatch(port) and port not in ("lo", ".", "..", "all", "default"):
        return port
    return paths.device_name("p", port)


def mac_of(vnfc_id: str, port: Port) -> str:
    """The MAC address wanted, or a locally administered one derived from VNFC and port."""
    if port.mac:
        return port.mac.lower()
    digits = paths.short_hash(vnfc_id, port.name, length=10)
    return ":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))])
