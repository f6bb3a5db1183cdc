"""How our operations look in ETSI's words.

Source: ETSI GS NFV-SOL 003 clause 5.5.2.13 (VnfLcmOpOcc), V3.7.1, less the defects of its OpenAPI files.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import cast

from farsite.api.sol003.connectivity import (
    Body,
    ext_cp_data,
    ext_managed_virtual_links,
    ext_virtual_links,
    grouped,
)
from farsite.api.sol003.interfaces import Spoken
from farsite.api.starting import can_roll_back
from farsite.model.deployment import ResourceKind
from farsite.model.operation import CONTROLS, Control, Operation, ResourceChange
from farsite.model.vnf import ExternalLink, ManagedLink
from farsite.store.encoding import decode

OP_OCC = (
    "id", "operationState", "stateEnteredTime", "startTime", "vnfInstanceId", "grantId", "operation",
    "isAutomaticInvocation", "operationParams", "isCancelPending", "cancelMode", "error",
    "resourceChanges", "changedInfo", "changedExtConnectivity", "_links",
)  # fmt: skip
OP_OCC_MANDATORY = (
    "id", "operationState", "stateEnteredTime", "startTime", "vnfInstanceId", "operation",
    "isAutomaticInvocation", "isCancelPending", "_links",
)  # fmt: skip
OP_OCC_EXCLUDED = ("operationParams", "error", "resourceChanges", "changedInfo", "changedExtConnectivity")
"""Left out of lists unless asked for: SOL003 clause 5.4.12.3.2."""


def op_occ(
    operation: Operation, spoken: Spoken, changes: Iterable[ResourceChange] = (), vim_id: str = ""
) -> Body:
    """A VnfLcmOpOcc; links offer only the controls that are legal now. `vim_id` is where the changes are."""
    own = f"{spoken.root}/vnf_lcm_op_occs/{operation.id}"
    body: Body = {
        "id": operation.id,
        "operationState": operation.state.value,
        "stateEnteredTime": _time(operation.state_entered_at),
        "startTime": _time(operation.started_at),
        "vnfInstanceId": operation.instance_id,
        "operation": operation.type,
        "isAutomaticInvocation": operation.is_automatic,
        "operationParams": _params(operation, major=spoken.major),
        "isCancelPending": operation.cancel is not None,
    }
    if operation.cancel is not None:
        body["cancelMode"] = operation.cancel.value
    if operation.error is not None:
        body["error"] = {
            "title": operation.error.title,
            "status": 500,
            "detail": operation.error.detail,
        }
    affected = _resource_changes(changes, vim_id)
    if affected:
        body["resourceChanges"] = affected
    if operation.type == "MODIFY_INFO":
        body["changedInfo"] = _params(operation, major=spoken.major)
    if operation.type == "CHANGE_EXT_CONN":
        body["changedExtConnectivity"] = _changed_links(operation, major=spoken.major)
    body["_links"] = {
        "self": {"href": own},
        "vnfInstance": {"href": f"{spoken.root}/vnf_instances/{operation.instance_id}"},
    } | {control.value: {"href": f"{own}/{control}"} for control in _legal(operation)}
    return body


def _resource_changes(changes: Iterable[ResourceChange], vim_id: str) -> Body:
    """By kind, as ETSI has them. Ports are told with the VNFC they belong to."""
    found: dict[str, list[Body]] = {}
    ports = [one for one in changes if one.kind is ResourceKind.LINKPORT]
    for change in changes:
        if change.kind not in _AFFECTED:
            continue
        name, described_by, resource, level = _AFFECTED[change.kind]
        body: Body = {
            "id": change.id,
            described_by: change.described_by,
            "changeType": change.change.value,
            resource: {
                "vimConnectionId": vim_id,
                "resourceId": change.resource_id,
                "vimLevelResourceType": level,
            },
        }
        if change.zone:
            body["zoneId"] = change.zone
        own = [port.id for port in ports if port.id.startswith(f"{change.id}/")]
        if own and change.kind is ResourceKind.COMPUTE:
            body["affectedVnfcCpIds"] = own
        found.setdefault(name, []).append(body)
    return dict(found)


_AFFECTED: Mapping[ResourceKind, tuple[str, str, str, str]] = {
    ResourceKind.COMPUTE: ("affectedVnfcs", "vduId", "computeResource", "compute"),
    ResourceKind.VL: ("affectedVirtualLinks", "vnfVirtualLinkDescId", "networkResource", "network"),
    ResourceKind.STORAGE: (
        "affectedVirtualStorages", "virtualStorageDescId", "storageResource", "volume",
    ),
}  # fmt: skip
"""Kind -> name of the list, attributes for the descriptor's name and the resource, the VIM's word."""


def _changed_links(operation: Operation, *, major: int) -> list[Body]:
    links = decode(tuple[ExternalLink, ...], operation.parameters.get("external_links", ()))
    return [
        {
            "id": link_id,
            "resourceHandle": {"resourceId": network_id, "vimLevelResourceType": "network"},
            "currentVnfExtCpData": [ext_cp_data(one, major=major) for one in bound],
        }
        for (link_id, network_id), bound in grouped(links).items()
    ]


def _legal(operation: Operation) -> list[Control]:
    return [
        control
        for control, states in CONTROLS.items()
        if operation.state in states
        and (control is Control.CANCEL or operation.control is None)
        and (control is not Control.ROLLBACK or can_roll_back(operation))
    ]


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


_SPELLED: Mapping[str, str] = {
    "flavour_id": "flavourId",
    "level_id": "instantiationLevelId",
    "aspect_id": "aspectId",
    "steps": "numberOfSteps",
    "cause": "cause",
    "name": "vnfInstanceName",
    "description": "vnfInstanceDescription",
    "metadata": "metadata",
    "state": "changeStateTo",
    "stop_type": "stopType",
}
_EXTENSIONS: Mapping[str, str] = {
    "vim": "vim",
    "region": "region",
    "zone": "zone",
    "configuration": "configuration",
    "vdus": "vdus",
    "batch_size": "batchSize",
}


def _params(operation: Operation, *, major: int) -> Body:
    """The request as it was understood, in ETSI's spelling."""
    given = {
        key: value for key, value in operation.parameters.items() if value not in ("", [], {}, None, False)
    }
    found: Body = {_SPELLED[key]: value for key, value in given.items() if key in _SPELLED}
    if "graceful_timeout_s" in given:
        stops = operation.type == "OPERATE"
        seconds = int(cast("float", given["graceful_timeout_s"]))
        found["gracefulStopTimeout" if stops else "gracefulTerminationTimeout"] = seconds
    if "type" in given:
        found["terminationType" if operation.type == "TERMINATE" else "type"] = given["type"]
    if "external_links" in given:
        links = decode(tuple[ExternalLink, ...], given["external_links"])
        found["extVirtualLinks"] = ext_virtual_links(links, major=major)
    if "managed_links" in given:
        managed = decode(tuple[ManagedLink, ...], given["managed_links"])
        found["extManagedVirtualLinks"] = ext_managed_virtual_links(managed)
    extensions = dict(cast("Body", given.get("parameters", {})))
    extensions |= {_EXTENSIONS[key]: given[key] for key in _EXTENSIONS if key in given}
    if "vnfc_ids" in given and major == 1:
        found["vnfcInstanceId"] = given["vnfc_ids"]
    elif "vnfc_ids" in given:
        extensions["vnfcInstanceId"] = given["vnfc_ids"]
    assets = _assets(given)
    if assets:
        extensions["vimAssets"] = assets
    if extensions:
        found["additionalParams"] = extensions
    return found


def _assets(given: Mapping[str, object]) -> Body:
    images = cast("Mapping[str, str]", given.get("images", {}))
    flavours = cast("Mapping[str, str]", given.get("compute_flavours", {}))
    found: Body = {}
    if images:
        found["softwareImages"] = [
            {"vnfdSoftwareImageId": name, "vimSoftwareImageId": image} for name, image in images.items()
        ]
    if flavours:
        found["computeResourceFlavours"] = [
            {"vnfdVirtualComputeDescId": vdu, "vimFlavourId": flavour} for vdu, flavour in flavours.items()
        ]
    return found
