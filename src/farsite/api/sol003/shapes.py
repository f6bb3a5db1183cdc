"""SOL003 structures: what comes in (pydantic, unknown attributes ignored as the standard asks) and how our
instances and operations look in ETSI's words.

Source: ETSI GS NFV-SOL 003 clauses 5.5.2 and 5.5.3, V3.7.1, less the defects of its OpenAPI files.
"""

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from farsite.api.problem import Unusable
from farsite.api.starting import can_roll_back
from farsite.api.wire import Label, OptionalName, Text
from farsite.lifecycle.heal_vnf import HealVnf
from farsite.lifecycle.instantiate_vnf import InstantiateVnf
from farsite.lifecycle.scale_vnf import ScaleType, ScaleVnf
from farsite.lifecycle.terminate_vnf import TerminateVnf, TerminationType
from farsite.model.deployment import Port, Resource, ResourceKind, WantedVnfc
from farsite.model.ids import VnfcId
from farsite.model.operation import CONTROLS, CancelMode, Control, Operation
from farsite.model.vnf import ExternalLink, InstantiationState, VnfInstance
from farsite.model.vnfd import DeploymentFlavour

Identifier = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Pairs = dict[Label, JsonValue]


class Etsi(BaseModel):
    """A body of a standard client: attributes we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class CreateVnfRequest(Etsi):
    vnfdId: Identifier
    vnfInstanceName: OptionalName = ""
    vnfInstanceDescription: Text = ""
    metadata: dict[Label, Text] = Field(default_factory=dict)


class VnfExtCpData(Etsi):
    cpdId: Identifier


class ExtVirtualLinkData(Etsi):
    id: Identifier
    resourceId: Identifier
    extCps: Annotated[list[VnfExtCpData], Field(min_length=1, max_length=100)]


class VimConnectionInfo(Etsi):
    vimId: Label = ""
    vimType: Label


class AdditionalParams(Etsi):
    """Our extension: where, and with which initial configuration."""

    vim: Label = ""
    region: Label = ""
    zone: Label = ""
    configuration: Pairs = Field(default_factory=dict)


class InstantiateVnfRequest(Etsi):
    flavourId: Identifier
    instantiationLevelId: Label = ""
    extVirtualLinks: Annotated[list[ExtVirtualLinkData], Field(max_length=100)] = Field(
        default_factory=list[ExtVirtualLinkData]
    )
    vimConnectionInfo: dict[Label, VimConnectionInfo] = Field(default_factory=dict)
    additionalParams: AdditionalParams = AdditionalParams()


class ScaleVnfRequest(Etsi):
    type: ScaleType
    aspectId: Identifier
    numberOfSteps: Annotated[int, Field(ge=1, le=10_000)] = 1


class HealParams(Etsi):
    """Our extension, named as in SOL002: which VNFCs."""

    vnfcInstanceId: list[Label] = Field(default_factory=list)


class HealVnfRequest(Etsi):
    cause: Text = ""
    additionalParams: HealParams = HealParams()


class TerminateVnfRequest(Etsi):
    terminationType: TerminationType
    gracefulTerminationTimeout: Annotated[int, Field(ge=0)] | None = None


class CancelRequest(Etsi):
    cancelMode: CancelMode


class VnfInfoModificationRequest(Etsi):
    """A merge patch: null removes."""

    vnfInstanceName: OptionalName | None = None
    vnfInstanceDescription: Text | None = None
    metadata: dict[Label, Text | None] | None = None
    vnfPkgId: Literal[None] = None
    """Not possible: a change of package is CHANGE_VNFPKG."""


def instantiate_of(request: InstantiateVnfRequest) -> InstantiateVnf:
    """Raises:
    Unusable: several VIMs, or one that is described in place of being named.
    """
    named = {one.vimId for one in request.vimConnectionInfo.values()}
    if "" in named:
        raise Unusable(
            "vimConnectionInfo without vimId: register the VIM first (farsite vim register), then name it."
        )
    wanted = named | ({request.additionalParams.vim} - {""})
    if len(wanted) > 1:
        raise Unusable(f"A VNF stands on one VIM; {len(wanted)} were named: {', '.join(sorted(wanted))}.")
    return InstantiateVnf(
        flavour_id=request.flavourId,
        level_id=request.instantiationLevelId,
        vim=next(iter(wanted), ""),
        region=request.additionalParams.region,
        zone=request.additionalParams.zone,
        external_links=tuple(
            ExternalLink(cp=cp.cpdId, network_id=link.resourceId)
            for link in request.extVirtualLinks
            for cp in link.extCps
        ),
        configuration=request.additionalParams.configuration,
    )


def scale_of(request: ScaleVnfRequest) -> ScaleVnf:
    return ScaleVnf(type=request.type, aspect_id=request.aspectId, steps=request.numberOfSteps)


def heal_of(request: HealVnfRequest) -> HealVnf:
    ids = tuple(VnfcId(one) for one in request.additionalParams.vnfcInstanceId)
    return HealVnf(cause=request.cause, vnfc_ids=ids)


def terminate_of(request: TerminateVnfRequest) -> TerminateVnf:
    return TerminateVnf(type=request.terminationType)


Body = dict[str, object]

VNF_INSTANCE = (
    "id", "vnfInstanceName", "vnfInstanceDescription", "vnfdId", "vnfProvider", "vnfProductName",
    "vnfSoftwareVersion", "vnfdVersion", "vnfConfigurableProperties", "vimConnectionInfo",
    "instantiationState", "instantiatedVnfInfo", "metadata", "extensions", "_links",
)  # fmt: skip
VNF_INSTANCE_MANDATORY = (
    "id", "vnfdId", "vnfProvider", "vnfProductName", "vnfSoftwareVersion", "vnfdVersion",
    "instantiationState", "_links",
)  # fmt: skip
VNF_INSTANCE_EXCLUDED = (
    "vnfConfigurableProperties", "vimConnectionInfo", "instantiatedVnfInfo", "metadata", "extensions",
)  # fmt: skip
"""Left out of lists unless asked for: SOL003 clause 5.4.2.3.2."""

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


def vnf_instance(
    vnf: VnfInstance,
    root: str,
    *,
    vim_type: str = "",
    flavour: DeploymentFlavour | None = None,
    is_busy: bool,
) -> Body:
    """A VnfInstance. `root` is the URI of the API; links offer only the tasks that are legal now."""
    body: Body = {
        "id": vnf.id,
        "vnfInstanceName": vnf.name,
        "vnfInstanceDescription": vnf.description,
        "vnfdId": vnf.vnfd_id,
        "vnfProvider": vnf.provider,
        "vnfProductName": vnf.product_name,
        "vnfSoftwareVersion": vnf.software_version,
        "vnfdVersion": vnf.vnfd_version,
        "instantiationState": vnf.state.value,
        "metadata": dict(vnf.metadata),
    }
    body = {key: value for key, value in body.items() if value not in ("", {})}
    is_standing = vnf.state is InstantiationState.INSTANTIATED
    if is_standing and vnf.vim_id is not None:
        body["vimConnectionInfo"] = {vnf.vim_id: {"vimId": vnf.vim_id, "vimType": vim_type or "unknown"}}
        body["instantiatedVnfInfo"] = _instantiated(vnf, flavour)
    own = f"{root}/vnf_instances/{vnf.id}"
    tasks = ("terminate", "scale", "heal") if is_standing else ("instantiate",)
    if is_busy:
        tasks = ()
    elif vnf.ns_id is not None:
        tasks = tuple(task for task in tasks if task in ("scale", "heal"))
    if not vnf.scale_levels:
        tasks = tuple(task for task in tasks if task != "scale")
    body["_links"] = {"self": {"href": own}} | {task: {"href": f"{own}/{task}"} for task in tasks}
    return body


def _instantiated(vnf: VnfInstance, flavour: DeploymentFlavour | None) -> Body:
    vnfcs = vnf.deployment.vnfcs if vnf.deployment else ()
    found: Body = {
        "flavourId": vnf.flavour_id,
        "vnfState": "STARTED",
        "extCpInfo": [
            _ext_cp(cp, vnfc, port)
            for cp, name in sorted(vnf.port_of_cp.items())
            for vnfc in vnfcs
            for port in vnfc.ports
            if port.name == name
        ],
        "vnfcResourceInfo": [_vnfc(vnf, one) for one in vnfcs],
    }
    if vnf.scale_levels:
        found["scaleStatus"] = [
            {"aspectId": aspect, "scaleLevel": level} for aspect, level in sorted(vnf.scale_levels.items())
        ]
    if flavour is not None and flavour.aspects:
        found["maxScaleLevels"] = [
            {"aspectId": one.id, "scaleLevel": one.max_scale_level} for one in flavour.aspects.values()
        ]
    if vnf.external_links:
        found["extVirtualLinkInfo"] = [
            {
                "id": link.network_id,
                "resourceHandle": _handle(vnf, link.network_id, "network"),
                "currentVnfExtCpData": [
                    {"cpdId": one.cp} for one in vnf.external_links if one.network_id == link.network_id
                ],
            }
            for link in {one.network_id: one for one in vnf.external_links}.values()
        ]
    networks = vnf.deployment.networks if vnf.deployment else ()
    if networks:
        found["vnfVirtualLinkResourceInfo"] = [
            {
                "id": one.id,
                "vnfVirtualLinkDescId": one.name or one.id,
                "networkResource": _handle(vnf, one.id, "network"),
            }
            for one in networks
        ]
    return found


def _handle(vnf: VnfInstance, resource_id: str, kind: str) -> Body:
    return {
        "vimConnectionId": vnf.vim_id or "",
        "resourceId": resource_id,
        "vimLevelResourceType": kind,
    }


def _vnfc(vnf: VnfInstance, vnfc: WantedVnfc) -> Body:
    standing = _compute_of(vnf.resources, vnfc)
    found: Body = {
        "id": vnfc.id,
        "vduId": vnfc.vdu,
        "computeResource": _handle(vnf, standing.id if standing else vnfc.id, "compute"),
        "vnfcCpInfo": [
            {"id": f"{vnfc.id}/{port.name}", "cpdId": port.name, "cpProtocolInfo": [_protocol(port)]}
            for port in vnfc.ports
        ],
    }
    if vnfc.zone:
        found["zoneId"] = vnfc.zone
    return found


def _compute_of(resources: tuple[Resource, ...], vnfc: WantedVnfc) -> Resource | None:
    for resource in resources:
        if resource.kind is ResourceKind.COMPUTE and resource.vnfc_id == vnfc.id:
            return resource
    return None


def _ext_cp(cp: str, vnfc: WantedVnfc, port: Port) -> Body:
    return {
        "id": f"{vnfc.id}/{port.name}/{cp}",
        "cpdId": cp,
        "cpConfigId": port.name,
        "cpProtocolInfo": [_protocol(port)],
        "associatedVnfcCpId": f"{vnfc.id}/{port.name}",
    }


def _protocol(port: Port) -> Body:
    over_ethernet: Body = {}
    if port.mac:
        over_ethernet["macAddress"] = port.mac
    addresses = [ipaddress.ip_interface(one).ip for one in port.addresses]
    if addresses:
        over_ethernet["ipAddresses"] = [
            {
                "type": f"IPV{version}",
                "addresses": [str(one) for one in addresses if one.version == version],
            }
            for version in sorted({one.version for one in addresses})
        ]
    found: Body = {"layerProtocol": "IP_OVER_ETHERNET"}
    if over_ethernet:
        found["ipOverEthernet"] = over_ethernet
    return found


def op_occ(operation: Operation, root: str) -> Body:
    """A VnfLcmOpOcc; links offer only the controls that are legal now."""
    own = f"{root}/vnf_lcm_op_occs/{operation.id}"
    body: Body = {
        "id": operation.id,
        "operationState": operation.state.value,
        "stateEnteredTime": _time(operation.state_entered_at),
        "startTime": _time(operation.started_at),
        "vnfInstanceId": operation.instance_id,
        "operation": operation.type,
        "isAutomaticInvocation": operation.is_automatic,
        "operationParams": _params(operation),
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
    if operation.type == "MODIFY_INFO":
        body["changedInfo"] = _params(operation)
    legal = [
        control
        for control, states in CONTROLS.items()
        if operation.state in states
        and (control is Control.CANCEL or operation.control is None)
        and (control is not Control.ROLLBACK or can_roll_back(operation))
    ]
    body["_links"] = {
        "self": {"href": own},
        "vnfInstance": {"href": f"{root}/vnf_instances/{operation.instance_id}"},
    } | {control.value: {"href": f"{own}/{control}"} for control in legal}
    return body


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
}
_EXTENSIONS = ("vim", "region", "zone", "configuration")


def _params(operation: Operation) -> Body:
    given = {key: value for key, value in operation.parameters.items() if value not in ("", [], {}, None)}
    found: Body = {_SPELLED[key]: value for key, value in given.items() if key in _SPELLED}
    if "type" in given:
        found["terminationType" if operation.type == "TERMINATE" else "type"] = given["type"]
    if given.get("vnfc_ids"):
        found["additionalParams"] = {"vnfcInstanceId": given["vnfc_ids"]}
    extensions = {key: given[key] for key in _EXTENSIONS if key in given}
    if extensions:
        found["additionalParams"] = extensions
    return found
