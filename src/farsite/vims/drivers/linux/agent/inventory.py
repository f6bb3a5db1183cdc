"""What stands on a site, in the words of the VIM seam."""

import platform
from collections.abc import Callable
from pathlib import Path

from farsite.model.deployment import Resource, ResourceKind
from farsite.vims.drivers.linux.agent.datapath import PathState
from farsite.vims.drivers.linux.agent.vdu import Vdu, VduState, interface_name, mac_of


def describe_vdu(
    vdu: Vdu, *, default_zone: str, log: Path, datapath: PathState, is_up: Callable[[str], bool]
) -> list[Resource]:
    """A VDU as one compute resource and one per port; `is_up` tells of host-side interfaces."""
    is_alive, is_stopped = vdu.state is not VduState.DEAD, vdu.state is VduState.STOPPED
    zone = vdu.vnfc.zone or default_zone
    compute = Resource(
        id=f"{vdu.vnfc.id}@{vdu.vnfc.incarnation}",
        kind=ResourceKind.COMPUTE,
        owner=vdu.vnf_id,
        name=vdu.vnfc.vdu,
        vnfc_id=vdu.vnfc.id,
        incarnation=vdu.vnfc.incarnation,
        host=platform.node(),
        zone=zone,
        is_alive=is_alive,
        is_stopped=is_stopped,
        addresses=tuple(a.partition("/")[0] for port in vdu.vnfc.ports for a in port.addresses),
        details={
            "pid": str(vdu.pid),
            "log": str(log),
            "netns": str(vdu.namespace),
            "started": vdu.created_at,
            "state": vdu.state,
            "reason": vdu.reason,
            "image": vdu.vnfc.image,
            "deployment": vdu.deployment,
            "datapath": datapath,
        },
    )
    ports = [
        Resource(
            id=f"{vdu.vnfc.id}@{vdu.vnfc.incarnation}/{port.name}",
            kind=ResourceKind.LINKPORT,
            owner=vdu.vnf_id,
            name=port.name,
            vnfc_id=vdu.vnfc.id,
            incarnation=vdu.vnfc.incarnation,
            zone=zone,
            is_alive=is_alive and (is_stopped or is_up(vdu.devices[port.name])),
            is_stopped=is_stopped,
            addresses=tuple(address.partition("/")[0] for address in port.addresses),
            mac=mac_of(vdu.vnfc.id, port),
            details={
                "device": vdu.devices[port.name],
                "interface": interface_name(port.name),
                "network": port.network_id,
            },
        )
        for port in vdu.vnfc.ports
    ]
    return [compute, *ports]
