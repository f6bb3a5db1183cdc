"""Which operations of ETSI's VNF lifecycle management interface are not served, and why.

What is served is what the router holds; a test compares the two with ETSI's OpenAPI files.
"""

from collections.abc import Mapping

_INSTANCE = "/vnf_instances/{vnfInstanceId}"
_SNAPSHOTS = "Farsite keeps no snapshots of VNFs; a function is healed into its recorded initial state."

TASKS_NOT_SERVED: Mapping[str, str] = {
    f"{_INSTANCE}/scale_to_level": "Scaling to a level is not offered; scale along an aspect (scale).",
    f"{_INSTANCE}/change_flavour": "A running VNF keeps its flavour; terminate and instantiate it anew.",
    f"{_INSTANCE}/create_snapshot": _SNAPSHOTS,
    f"{_INSTANCE}/revert_to_snapshot": _SNAPSHOTS,
}
"""POST on these answers 404, as SOL003 has it for a task that a VNF does not support."""

RESOURCES_NOT_SERVED: Mapping[tuple[str, str], str] = {
    ("GET", "/vnf_snapshots"): _SNAPSHOTS,
    ("POST", "/vnf_snapshots"): _SNAPSHOTS,
    ("GET", "/vnf_snapshots/{vnfSnapshotInfoId}"): _SNAPSHOTS,
    ("PATCH", "/vnf_snapshots/{vnfSnapshotInfoId}"): _SNAPSHOTS,
    ("DELETE", "/vnf_snapshots/{vnfSnapshotInfoId}"): _SNAPSHOTS,
    ("GET", "/vnf_snapshots/{vnfSnapshotInfoId}/vnf_state_snapshot"): _SNAPSHOTS,
}
"""These answer 501."""

NOT_SERVED: Mapping[tuple[str, str], str] = {
    **{("POST", path): why for path, why in TASKS_NOT_SERVED.items()},
    **RESOURCES_NOT_SERVED,
}
"""SOL003's operations, in both versions."""
