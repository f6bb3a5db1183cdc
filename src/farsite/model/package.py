"""VNF packages and NSD archives at rest, in SOL003/SOL005 words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from farsite.model.catalogue import NOTHING_STATED, Statement
from farsite.model.ids import NsdId, NsdInfoId, ProjectId, VnfdId, VnfPackageId


class OnboardingState(StrEnum):
    """Source: ETSI GS NFV-SOL 005, PackageOnboardingStateType."""

    CREATED = "CREATED"
    UPLOADING = "UPLOADING"
    PROCESSING = "PROCESSING"
    ONBOARDED = "ONBOARDED"
    ERROR = "ERROR"


class OperationalState(StrEnum):
    """Source: ETSI GS NFV-SOL 005, PackageOperationalStateType."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class UsageState(StrEnum):
    """Source: ETSI GS NFV-SOL 005, PackageUsageStateType."""

    IN_USE = "IN_USE"
    NOT_IN_USE = "NOT_IN_USE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong in an archive: where, what, and what was expected."""

    file: str
    line: int | None
    found: str
    expected: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.found}" + (f" (expected {self.expected})" if self.expected else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file of a package other than its descriptor."""

    path: str
    size_bytes: int
    checksum_algorithm: str
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VnfPackage:
    """An onboarded or onboarding VNF package."""

    id: VnfPackageId
    project_id: ProjectId
    state: OnboardingState = OnboardingState.CREATED
    operational_state: OperationalState = OperationalState.DISABLED
    vnfd_id: VnfdId | None = None
    provider: str = ""
    product_name: str = ""
    software_version: str = ""
    vnfd_version: str = ""
    digest: str = ""
    """sha256 of the archive, as hex; also its name in the artefact store."""
    artifacts: tuple[Artifact, ...] = ()
    image_map: Mapping[str, str] = field(default_factory=dict[str, str])
    """Image name of the descriptor -> image of the VIM, given at onboarding (`--image NAME=VIM-IMAGE`)."""
    warnings: tuple[str, ...] = ()
    failure: tuple[Fault, ...] = ()
    user_defined_data: Mapping[str, str] = field(default_factory=dict[str, str])
    statement: Statement = NOTHING_STATED
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NsdInfo:
    """An onboarded or onboarding NSD archive."""

    id: NsdInfoId
    project_id: ProjectId
    state: OnboardingState = OnboardingState.CREATED
    operational_state: OperationalState = OperationalState.DISABLED
    nsd_id: NsdId | None = None
    name: str = ""
    designer: str = ""
    version: str = ""
    digest: str = ""
    failure: tuple[Fault, ...] = ()
    statement: Statement = NOTHING_STATED
    created_at: datetime
