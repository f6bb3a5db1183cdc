"""The software inside VNFs, and what they tell of themselves, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ASKING_VIM_S, ROOT, Connection, Document, in_path
from farsite.client.operations import Operation


class InstalledSoftware(TypedDict):
    version: str
    sha256: str


class FunctionSoftware(TypedDict):
    running: str
    previous: str
    installed: list[InstalledSoftware]


class Upgrade(TypedDict):
    operation_id: str
    state: str
    started_at: str
    ended_at: str | None
    requested_by: str
    cause: str
    image: str
    from_version: str
    to_version: str
    running_version: str
    backup: str
    said: str


class GroupUpgradeMember(TypedDict):
    vnf_id: str
    vnf: str
    stage: int
    state: str
    running_version: str
    operation_id: str | None
    said: str


class GroupUpgrade(TypedDict):
    operation_id: str
    state: str
    stage: int
    stages: list[int]
    pause_s: float
    rolls_back: bool
    members: list[GroupUpgradeMember]


class FunctionProbe(TypedDict):
    name: str
    is_well: bool
    said: str


class FunctionSample(TypedDict):
    name: str
    value: float
    labels: dict[str, str]


class FunctionLicence(TypedDict):
    name: str
    state: str
    expires_at: str | None
    said: str


class Software(Connection):
    """The software inside VNFs, and what they tell of themselves."""

    def software_of(self, vnf: str) -> FunctionSoftware:
        """Which versions lie on the device and which runs; it is asked now."""
        path = f"{ROOT}/vnfs/{in_path(vnf)}/software"
        return cast("FunctionSoftware", self.request("GET", path, timeout_s=ASKING_VIM_S).json())

    def upgrade(self, vnf: str, body: Document) -> Operation:
        path = f"{ROOT}/vnfs/{in_path(vnf)}/upgrade"
        return cast("Operation", self.request("POST", path, body, timeout_s=ASKING_VIM_S).json())

    def upgrades_of(self, vnf: str) -> list[Upgrade]:
        """What became of every upgrade, the newest first."""
        return cast("list[Upgrade]", list(self._list(f"/vnfs/{in_path(vnf)}/upgrades")))

    def upgrade_group(self, body: Document) -> Operation:
        path = f"{ROOT}/group-upgrades"
        return cast("Operation", self.request("POST", path, body, timeout_s=ASKING_VIM_S).json())

    def group_upgrade(self, operation_id: str) -> GroupUpgrade:
        """Which stage it is at, and who is done, failed or left."""
        return cast("GroupUpgrade", self._get(f"/group-upgrades/{in_path(operation_id)}"))

    def function_health(self, vnf: str) -> list[FunctionProbe]:
        return cast("list[FunctionProbe]", self._get(f"/vnfs/{in_path(vnf)}/function/health"))

    def function_metrics(self, vnf: str) -> list[FunctionSample]:
        return cast("list[FunctionSample]", self._get(f"/vnfs/{in_path(vnf)}/function/metrics"))

    def function_licences(self, vnf: str) -> list[FunctionLicence]:
        return cast("list[FunctionLicence]", self._get(f"/vnfs/{in_path(vnf)}/function/licences"))
