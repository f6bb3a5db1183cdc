"""How VNFs are managed, their secrets, and the configuration inside them, as our API shows them."""

from typing import TypedDict, cast

from farsite.client.connection import ASKING_VIM_S, ROOT, Connection, Document, in_path
from farsite.client.operations import Operation


class Named(TypedDict):
    name: str


class ConfigurationDifference(TypedDict):
    place: str
    diff: str


class ConfigurationPlan(TypedDict):
    changes: bool
    differences: list[ConfigurationDifference]
    running_version: str


class Drift(TypedDict):
    number: int
    has_drifted: bool
    differences: list[ConfigurationDifference]


class ConfigurationVersion(TypedDict):
    number: int
    state: str
    created_at: str
    requested_by: str
    cause: str
    restores: int
    backup: int
    operation_id: str
    said: str
    document: Document
    diff: str


class BackupPlace(TypedDict):
    place: str
    size_bytes: int | None


class VnfBackup(TypedDict):
    number: int
    taken_at: str
    taken_by: str
    cause: str
    adapter: str
    software_version: str
    configuration: int
    places: list[BackupPlace]


class Configurations(Connection):
    """How VNFs are managed, their secrets, the configuration inside them, and its backups."""

    def manage(self, vnf: str, body: Document) -> Document:
        return cast("Document", self.request("PUT", f"{ROOT}/vnfs/{in_path(vnf)}/management", body).json())

    def management_of(self, vnf: str) -> Document:
        return cast("Document", self._get(f"/vnfs/{in_path(vnf)}/management"))

    def forget_management(self, vnf: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{in_path(vnf)}/management")

    def set_secret(self, vnf: str, name: str, value: str) -> None:
        path = f"{ROOT}/vnfs/{in_path(vnf)}/secrets/{in_path(name)}"
        self.request("PUT", path, {"value": value})

    def secrets_of(self, vnf: str) -> list[Named]:
        return cast("list[Named]", list(self._list(f"/vnfs/{in_path(vnf)}/secrets")))

    def delete_secret(self, vnf: str, name: str) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{in_path(vnf)}/secrets/{in_path(name)}")

    def plan_configuration(self, vnf: str, document: Document) -> ConfigurationPlan:
        path = f"{ROOT}/vnfs/{in_path(vnf)}/configuration/plan"
        answer = self.request("POST", path, document, timeout_s=ASKING_VIM_S)
        return cast("ConfigurationPlan", answer.json())

    def configure(self, vnf: str, body: Document) -> Operation:
        return cast("Operation", self._post(f"/vnfs/{in_path(vnf)}/configure", body))

    def configuration(self, vnf: str, number: int | None = None) -> ConfigurationVersion:
        """That which shall run, or one by its number."""
        of = f"/vnfs/{in_path(vnf)}/configuration"
        return cast("ConfigurationVersion", self._get(of if number is None else f"{of}/versions/{number}"))

    def configurations(self, vnf: str) -> list[ConfigurationVersion]:
        path = f"/vnfs/{in_path(vnf)}/configuration/versions"
        return cast("list[ConfigurationVersion]", list(self._list(path)))

    def take_backup(self, vnf: str, cause: str = "") -> VnfBackup:
        path = f"{ROOT}/vnfs/{in_path(vnf)}/backups"
        answer = self.request("POST", path, {"cause": cause}, timeout_s=ASKING_VIM_S)
        return cast("VnfBackup", answer.json())

    def backups(self, vnf: str) -> list[VnfBackup]:
        return cast("list[VnfBackup]", list(self._list(f"/vnfs/{in_path(vnf)}/backups")))

    def backup(self, vnf: str, number: int) -> VnfBackup:
        return cast("VnfBackup", self._get(f"/vnfs/{in_path(vnf)}/backups/{number}"))

    def delete_backup(self, vnf: str, number: int) -> None:
        self.request("DELETE", f"{ROOT}/vnfs/{in_path(vnf)}/backups/{number}")

    def plan_restore(self, vnf: str, number: int) -> ConfigurationPlan:
        path = f"{ROOT}/vnfs/{in_path(vnf)}/backups/{number}/plan"
        return cast("ConfigurationPlan", self.request("POST", path, timeout_s=ASKING_VIM_S).json())

    def restore(self, vnf: str, number: int, body: Document) -> Operation:
        return cast("Operation", self._post(f"/vnfs/{in_path(vnf)}/backups/{number}/restore", body))

    def drift(self, vnf: str) -> Drift:
        return cast("Drift", self._get(f"/vnfs/{in_path(vnf)}/configuration/drift"))
