"""ETSI's schemas of SOL003's faults, lifecycles and their notifications, less the defects that are known."""

from pathlib import Path
from typing import Any, cast

import yaml

_ROOT = "etsi/openapi/sol002-sol003-v3.7.1/SOL003"
_FILES = (
    "General_Definitions/SOL003_def.yaml",
    "VNFLifecycleManagement/definitions/SOL003VNFLifecycleManagement_def.yaml",
    "VNFLifecycleManagementNotification/definitions/SOL003VNFLifecycleManagementNotification_def.yaml",
    "VNFFaultManagement/definitions/SOL003VNFFaultManagement_def.yaml",
    "VNFFaultManagementNotification/definitions/SOL003VNFFaultManagementNotification_def.yaml",
)
_DEFECTS = ("IpOverEthernetAddressInfo", "IpOverEthernetAddressData", "VnfLcmOpOcc")
"""Their `oneOf` stands one level too high."""


class EtsiSchemas:
    """Checks bodies against the definitions by name."""

    def __init__(self, shared: Path) -> None:
        definitions: dict[str, Any] = {}
        for name in _FILES:
            definitions |= yaml.safe_load((shared / _ROOT / name).read_text())["definitions"]
        for name in _DEFECTS:
            definitions[name].pop("oneOf", None)
        # Wants a property `vnfdId` that it does not have.
        definitions["VnfInstanceSubscriptionFilter"].pop("anyOf", None)
        self._definitions = cast("dict[str, Any]", self._local(definitions))

    def _local(self, node: object) -> object:
        if isinstance(node, dict):
            found = {key: self._local(value) for key, value in cast("dict[str, object]", node).items()}
            reference = found.get("$ref")
            if isinstance(reference, str):
                return {"$ref": "#/definitions/" + reference.rpartition("/")[2]}
            return found
        return [self._local(one) for one in node] if isinstance(node, list) else node

    def faults(self, name: str, body: object) -> list[str]:
        import jsonschema_rs

        schema = {"$ref": f"#/definitions/{name}", "definitions": self._definitions}
        return [
            f"{list(fault.instance_path)}: {fault.message}"
            for fault in jsonschema_rs.Draft4Validator(schema).iter_errors(body)
        ]

    def check(self, name: str, body: object) -> None:
        assert not (faults := self.faults(name, body)), faults
