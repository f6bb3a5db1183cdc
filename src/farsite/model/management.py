"""How the inside of a VNF is managed: by which adapter, by which way, and what was asked of it.

Secrets are references (`secret:NAME`) into the VNF's own secrets, never values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.configuration import Configuration
from farsite.model.ids import OperationId, ProjectId, VnfInstanceId


class Way(StrEnum):
    """Who talks to the function."""

    DIRECT = "direct"
    """Farsite does."""
    BROKER = "broker"
    """A broker does, which stands where the function is reachable and fetches its jobs from Farsite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the function answers and how we log in.

    `vnfc_id`: through the VIM's own way to the management address of that VNFC; else `host`. `host_keys` are
    lines `TYPE BASE64`, pinned: no device is taken on trust. One of private key and password is needed.
    """

    vnfc_id: str = ""
    host: str = ""
    port: int = 22
    user: str = "root"
    host_keys: tuple[str, ...] = ()
    private_key: str = ""
    password: str = ""

    @property
    def place(self) -> str:
        """What people call the device."""
        return self.vnfc_id or self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """How one VNF is managed. `broker` is the name of the broker when the way is through one; `keep_in` is
    the directory on the device where what guards a change is kept; `confirm_within_s` is how long a change
    stands unconfirmed before the device takes it back."""

    vnf_id: VnfInstanceId
    project_id: ProjectId
    adapter: str
    way: Way = Way.DIRECT
    broker: str = ""
    access: Access = field(default_factory=Access)
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    keep_in: str = "/var/lib/farsite"
    confirm_within_s: float = 60.0


class VersionState(StrEnum):
    """What became of a version of a configuration."""

    PROPOSED = "PROPOSED"
    """An operation is at it."""
    CURRENT = "CURRENT"
    """It shall be what runs."""
    SUPERSEDED = "SUPERSEDED"
    """It was what ran, until a later one took its place."""
    REVERTED = "REVERTED"
    """It was refused, or taken back; it never stood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationVersion:
    """One version of the configuration of a VNF. `diff` is what it changed on the device, in native text
    with secrets masked; `restores` is the number of the version that it brings back, 0 when none."""

    vnf_id: VnfInstanceId
    project_id: ProjectId
    number: int
    document: Configuration
    state: VersionState
    created_at: datetime
    requested_by: str = ""
    cause: str = ""
    restores: int = 0
    backup: int = 0
    """The number of the backup that it puts back, 0 when none: more may run than the document says."""
    operation_id: OperationId | None = None
    diff: str = ""
    said: str = ""
    """Why it was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VnfBackup:
    """What is told of a backup of a VNF. What is in it is kept encrypted and shown to nobody.

    `configuration` is the version that was current, 0 when none was; `size_bytes` of the native texts by the
    name of their place, None where the device had nothing.
    """

    vnf_id: VnfInstanceId
    project_id: ProjectId
    number: int
    taken_at: datetime
    taken_by: str = ""
    cause: str = ""
    adapter: str
    software_version: str = ""
    configuration: int = 0
    size_bytes: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
