"""How our VNF instances look in ETSI's words.

Source: ETSI GS NFV-SOL 003 clause 5.5.2.2, V2.6.1 (version 1) and V3.7.1 (version 2), less the defects of
its OpenAPI files.
"""

import ipaddress
from collections.abc import Iterable

from farsite.api.sol003.connectivity import Body, ext_cp_data, grouped
from farsite.api.sol003.interfaces import Spoken
from farsite.model.deployment import NetworkSpec, Port, Resource, ResourceKind, WantedVnfc
from farsite.model.vnf import ExternalLink, InstantiationState, VnfInstance
from farsite.model.vnfd import DeploymentFlavour

VNF_INSTANCE = (
    "id", "vnfInstanceName", "vnfInstanceDescription", "vnfdId", "vnfProvider", "vnfProductName",
    "vnfSoftwareVersion", "vnfdVersion", "vnfPkgId", "vnfConfigurableProperties", "vimConnectionInfo",
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

VIM_TYPES = {"openstack": "ETSINFV.OPENSTACK_KEYSTONE.V_3"}
"""Registered values of ETSI for our words; the others have none. Source: ETSI GS NFV-SOL 003 annex C."""

LINK_OF_TASK = {
    "instantiate": "instantiate",
    "terminate": "terminate",
    "scale": "scale",
    "heal": "heal",
    "operate": "operate",
    "change_ext_conn": "changeExtConn",
    "change_vnfpkg": "changeCurrentVnfPkg",
}


def vnf_instance(
    vnf: VnfInstance,
    spoken: Spoken,
    *,
    vim_type: str = "",
    flavour: DeploymentFlavour | None = None,
    is_busy: bool,
) -> Body:
    """A VnfInstance; links offer only the tasks that are legal now."""
    body: Body = {
        "id": vnf.id,
        "vnfInstanceName": vnf.name,
        "vnfInstanceDescription": vnf.description,
        "vnfdId": vnf.vnfd_id,
        "vnfProvider": vnf.provider,
        "vnfProductName": vnf.product_name,
        "vnfSoftwareVersion": vnf.software_version,
        "vnfdVersion": vnf.vnfd_version,
        "vnfPkgId": vnf.package_id if spoken.major == 1 else "",
        "instantiationState": vnf.state.value,
        "metadata": dict(vnf.metadata),
    }
    body = {key: value for key, value in body.items() if value not in ("", {})}
    if vnf.state is InstantiationState.INSTANTIATED and vnf.vim_id is not None:
        connection = {"vimId": vnf.vim_id, "vimType": VIM_TYPES.get(vim_type, vim_type) or "unknown"}
        body["vimConnectionInfo"] = (
            [{"id": vnf.vim_id, **connection}] if spoken.major == 1 else {vnf.vim_id: connection}
        )
        body["instantiatedVnfInfo"] = _instantiated(vnf, flavour, major=spoken.major)
    own = f"{spoken.root}/vnf_instances/{vnf.id}"
    tasks = [] if is_busy else _tasks(vnf, major=spoken.major)
    body["_links"] = {"self": {"href": own}} | {
        LINK_OF_TASK[task]: {"href": f"{own}/{task}"} for task in tasks
    }
    return body


def _tasks(vnf: VnfInstance, *, major: int) -> list[str]:
    if vnf.state is not InstantiationState.INSTANTIATED:
        tasks = ["instantiate"] if vnf.deployment is None else ["instantiate", "terminate"]
    else:
        tasks = [task for task in LINK_OF_TASK if task != "instantiate"]
    if vnf.ns_id is not None:
        tasks = [task for task in tasks if task not in ("instantiate", "terminate")]
    impossible = {"scale"} if not vnf.scale_levels else set[str]()
    if major == 1:
        impossible |= {"change_vnfpkg"}
    return [task for task in tasks if task not in impossible]


def _instantiated(vnf: VnfInstance, flavour: DeploymentFlavour | None, *, major: int) -> Body:
    vnfcs = vnf.deployment.vnfcs if vnf.deployment else ()
    found: Body = {
        "flavourId": vnf.flavour_id,
        "vnfState": vnf.vnf_state.value,
        "extCpInfo": [
            _ext_cp(vnf, cp, vnfc, port)
            for cp, name in sorted(external_cps(vnf).items())
            for vnfc in vnfcs
            for port in vnfc.ports
            if port.name == name
        ],
        "vnfcResourceInfo": [_vnfc(vnf, one) for one in vnfcs],
        "vnfcInfo": [
            {
                "id": one.id,
                "vduId": one.vdu,
                "vnfcResourceInfoId": one.id,
                "vnfcState": "STOPPED" if one.is_stopped else "STARTED",
            }
            for one in vnfcs
        ],
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
        found["extVirtualLinkInfo"] = ext_virtual_link_info(vnf, vnf.external_links, major=major)
    managed = {one.virtual_link: one for one in vnf.managed_links}
    if managed:
        found["extManagedVirtualLinkInfo"] = [
            _link(vnf, one.id or one.network_id, one.virtual_link, one.network_id) for one in managed.values()
        ]
    networks = vnf.deployment.networks if vnf.deployment else ()
    links = [_link(vnf, one.id, one.name or one.id, _network_of(vnf, one)) for one in networks]
    links += [
        _link(vnf, one.id or one.network_id, one.virtual_link, one.network_id) for one in managed.values()
    ]
    if links:
        found["vnfVirtualLinkResourceInfo"] = links
    storages = [one for one in vnf.resources if one.kind is ResourceKind.STORAGE]
    if storages:
        found["virtualStorageResourceInfo"] = [
            {
                "id": one.id,
                "virtualStorageDescId": one.name or one.id,
                "storageResource": handle(vnf, one.id, "volume"),
            }
            for one in storages
        ]
    return found


def _link(vnf: VnfInstance, link_id: str, described_by: str, network_id: str) -> Body:
    return {
        "id": link_id,
        "vnfVirtualLinkDescId": described_by,
        "networkResource": handle(vnf, network_id, "network"),
    }


def external_cps(vnf: VnfInstance) -> dict[str, str]:
    """External connection point -> port name: what the descriptor exposes, and what a link binds."""
    exposed = dict(vnf.port_of_cp)
    known = set(exposed) | set(exposed.values())
    return exposed | {link.cp: link.cp for link in vnf.external_links if link.cp not in known}


def ext_virtual_link_info(vnf: VnfInstance, links: Iterable[ExternalLink], *, major: int) -> list[Body]:
    """ExtVirtualLinkInfo of each external virtual link."""
    return [
        {
            "id": link_id,
            "resourceHandle": handle(vnf, network_id, "network"),
            "currentVnfExtCpData": [ext_cp_data(one, major=major) for one in bound],
            **({"extLinkPorts": ports} if (ports := _ext_link_ports(vnf, bound)) else {}),
        }
        for (link_id, network_id), bound in grouped(links).items()
    ]


def _ext_link_ports(vnf: VnfInstance, links: Iterable[ExternalLink]) -> list[Body]:
    """Ports of the VNF's that are on the link: those that a request named, and those that were made."""
    names = external_cps(vnf)
    wanted = {names.get(link.cp, link.cp): link.cp for link in links}
    found: list[Body] = []
    for vnfc in vnf.deployment.vnfcs if vnf.deployment else ():
        for port in vnfc.ports:
            resource = _port_resource(vnf, vnfc, port)
            if port.name not in wanted or not (port.port_id or resource):
                continue
            port_id = port.port_id or (resource.id if resource else "")
            found.append(
                {
                    "id": port_id,
                    "resourceHandle": handle(vnf, port_id, "port"),
                    "cpInstanceId": cp_instance_id(vnfc, port, wanted[port.name]),
                }
            )
    return found


def cp_instance_id(vnfc: WantedVnfc, port: Port, cp: str) -> str:
    """Identifier of an instance of an external connection point; its first part is the VNFC."""
    return f"{vnfc.id}/{port.name}/{cp}"


def handle(vnf: VnfInstance, resource_id: str, kind: str) -> Body:
    """A ResourceHandle on the VNF's VIM."""
    return {
        "vimConnectionId": vnf.vim_id or "",
        "resourceId": resource_id,
        "vimLevelResourceType": kind,
    }


def _network_of(vnf: VnfInstance, network: NetworkSpec) -> str:
    """What the VIM calls a network of the deployment."""
    names = {network.id, network.name}
    for one in vnf.resources:
        if one.kind is ResourceKind.VL and {one.name, one.id} & names:
            return one.id
    return network.id


def _vnfc(vnf: VnfInstance, vnfc: WantedVnfc) -> Body:
    standing = compute_of(vnf.resources, vnfc.id)
    exposed = {name: cp for cp, name in external_cps(vnf).items()}
    found: Body = {
        "id": vnfc.id,
        "vduId": vnfc.vdu,
        "computeResource": handle(vnf, standing.id if standing else vnfc.id, "compute"),
        "vnfcCpInfo": [
            {
                "id": f"{vnfc.id}/{port.name}",
                "cpdId": port.name,
                "cpProtocolInfo": [protocol(port, _port_resource(vnf, vnfc, port))],
                **(
                    {"vnfExtCpId": cp_instance_id(vnfc, port, exposed[port.name])}
                    if port.name in exposed
                    else {}
                ),
            }
            for port in vnfc.ports
        ],
    }
    zone = standing.zone if standing and standing.zone else vnfc.zone
    if zone:
        found["zoneId"] = zone
    storages = [
        one.id for one in vnf.resources if one.kind is ResourceKind.STORAGE and one.vnfc_id == vnfc.id
    ]
    if storages:
        found["storageResourceIds"] = storages
    return found


def compute_of(resources: Iterable[Resource], vnfc_id: str) -> Resource | None:
    """What the VIM last said stands for a VNFC."""
    for resource in resources:
        if resource.kind is ResourceKind.COMPUTE and resource.vnfc_id == vnfc_id:
            return resource
    return None


def _port_resource(vnf: VnfInstance, vnfc: WantedVnfc, port: Port) -> Resource | None:
    for one in vnf.resources:
        is_of_vnfc = one.kind is ResourceKind.LINKPORT and one.vnfc_id == vnfc.id
        if is_of_vnfc and (one.name == port.name or one.details.get("port") == port.name):
            return one
    return None


def _ext_cp(vnf: VnfInstance, cp: str, vnfc: WantedVnfc, port: Port) -> Body:
    standing = _port_resource(vnf, vnfc, port)
    found: Body = {
        "id": cp_instance_id(vnfc, port, cp),
        "cpdId": cp,
        "cpConfigId": port.name,
        "cpProtocolInfo": [protocol(port, standing)],
        "associatedVnfcCpId": f"{vnfc.id}/{port.name}",
    }
    port_id = port.port_id or (standing.id if standing else "")
    if port_id:
        found["extLinkPortId"] = port_id
    return found


def protocol(port: Port, standing: Resource | None = None) -> Body:
    """CpProtocolInfo: what the VIM gave the port, else what was wished for it."""
    over_ethernet: Body = {}
    mac = (standing.mac if standing else "") or port.mac
    if mac:
        over_ethernet["macAddress"] = mac
    stated = (standing.addresses if standing else ()) or port.addresses
    addresses = [ipaddress.ip_interface(one).ip for one in stated]
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
