"""SOL003 lifecycle management as the standard client asks: one major version with its header and statuses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx2
import yaml

from farsite.api.sol003.interfaces import Interface
from service_bench import Service

ENDED = ("COMPLETED", "FAILED_TEMP", "ROLLED_BACK", "FAILED")


class Lcm:
    """Asks a service with the version that python-tackerclient sends: 1.3.0 or 2.0.0."""

    def __init__(self, service: Service, interface: Interface) -> None:
        self.service = service
        self.root = interface.path
        self.version = "1.3.0" if interface.major == 1 else "2.0.0"

    def ask(self, method: str, path: str, **how: Any) -> httpx2.Response:
        headers = {"Version": self.version, "Accept": "application/json", **how.pop("headers", {})}
        url = path if path.startswith(("/vnflcm", "http")) else self.root + path
        return self.service.http.request(method, url, headers=headers, **how)

    def get(self, path: str, **how: Any) -> Any:
        answer = self.ask("GET", path, **how)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, vnfd_id: str, name: str = "", **more: object) -> Mapping[str, Any]:
        answer = self.ask("POST", "/vnf_instances", json={"vnfdId": vnfd_id, "vnfInstanceName": name, **more})
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"].endswith(answer.json()["id"])
        return answer.json()

    def task(self, vnf_id: str, task: str, body: object) -> Mapping[str, Any]:
        """Start a task; the occurrence once it ended or rests."""
        answer = self.ask("POST", f"/vnf_instances/{vnf_id}/{task}", json=body)
        assert answer.status_code == 202, answer.text
        # The client takes any content for a result of its own and says nothing then.
        assert answer.content == b""
        assert answer.headers["version"] == self.version
        return self.ended(answer.headers["location"])

    def ended(self, occurrence: str) -> Mapping[str, Any]:
        return self.service.until(lambda: self.get(occurrence), lambda seen: seen["operationState"] in ENDED)

    def vnf(self, vnf_id: str) -> Mapping[str, Any]:
        return self.get(f"/vnf_instances/{vnf_id}")


class Schemas:
    """ETSI's schemas with references resolved and the defects of the handbook corrected."""

    def __init__(self, shared: Path) -> None:
        root = shared / "etsi/openapi/sol002-sol003-v3.7.1/SOL003"
        definitions: dict[str, Any] = {}
        for path in (
            root / "General_Definitions/SOL003_def.yaml",
            root / "VNFLifecycleManagement/definitions/SOL003VNFLifecycleManagement_def.yaml",
        ):
            definitions |= yaml.safe_load(path.read_text())["definitions"]
        definitions["VnfLcmOpOcc"].pop("oneOf", None)
        definitions["IpOverEthernetAddressInfo"].pop("oneOf", None)
        definitions["IpOverEthernetAddressData"].pop("oneOf", None)
        self._definitions = cast("dict[str, Any]", self._local(definitions))

    def _local(self, node: object) -> object:
        if isinstance(node, dict):
            found = {key: self._local(value) for key, value in cast("dict[str, object]", node).items()}
            reference = found.get("$ref")
            if isinstance(reference, str):
                return {"$ref": "#/definitions/" + reference.rpartition("/")[2]}
            return found
        return [self._local(one) for one in node] if isinstance(node, list) else node

    def check(self, name: str, body: object) -> None:
        import jsonschema_rs

        schema = {"$ref": f"#/definitions/{name}", "definitions": self._definitions}
        faults = [
            f"{list(fault.instance_path)}: {fault.message}"
            for fault in jsonschema_rs.Draft4Validator(schema).iter_errors(body)
        ]
        assert not faults, faults
