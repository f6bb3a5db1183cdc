"""From a wish to a Heat template: one stack per deployment, one group of resources per VNFC.

Resource names are derived from VNFC and port, so the same wish is the same template, and a VNFC more
or less touches nobody else. What only the VIM knows (ids of flavours, uploaded images) comes in as
`Chosen`; nothing here asks anybody.

Replacing a VNFC keeps the names: a raised incarnation is a scheduler hint of its server, which Heat
cannot change in place, so it makes a new server on the same ports. New names would make new ports,
whose addresses and MACs the old ones still hold. Only volumes get a new name, because their content
belongs to the old incarnation.
"""

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from farsite.model.deployment import Deployment, NetworkSpec, Port, Volume, WantedVnfc
from farsite.model.errors import VimFault

Json = dict[str, object]

VERSION = "2015-10-15"
"""Liberty: the oldest version that has all functions used here, so that old sites take it too."""
UNBOUND = "net.unbound"
"""Network of the ports that only chains feed; Neutron has no port without a network."""
UNBOUND_CIDR = "100.64.0.0/16"
"""Its addresses are never used to send to; RFC 6598 space collides with no tenant's plan."""
VNF, VNFC, VDU, INCARNATION = "farsite_vnf", "farsite_vnfc", "farsite_vdu", "farsite_incarnation"
"""Keys of server metadata by which everything is found again."""
MIGRATION_KEY = "farsite_migration"
"""How a server may be moved, in SOL001's words, for whoever else moves servers of the VIM."""
STOPPED = "farsite_stopped"
"""On a server that was stopped because that was asked for: one that is off without it has died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the VIM has for the names of a wish. What is not in a mapping stands for itself."""

    flavours: Mapping[str, str] = field(default_factory=dict[str, str])
    """VNFC id -> flavour name or id."""
    images: Mapping[str, str] = field(default_factory=dict[str, str])
    """Image name of the wish -> image id."""
    networks: Mapping[str, str] = field(default_factory=dict[str, str])
    """Network of the wish -> Neutron's id."""


def template(wanted: Deployment, chosen: Chosen) -> Json:
    """The template of a deployment.

    Raises:
        VimFault: Nova cannot do what is wanted (two kinds of server groups for one VNFC, an image of a
            Linux site).
    """
    resources: Json = {}
    links = {spec.id: _network(resources, spec, wanted.vnf_id) for spec in wanted.networks}
    if any(not port.network_id and not port.port_id for vnfc in wanted.vnfcs for port in vnfc.ports):
        spec = NetworkSpec(id=f"{wanted.vnf_id}-unbound", cidr_v4=UNBOUND_CIDR)
        links[""] = _network(resources, spec, wanted.vnf_id, name=UNBOUND)
    for vnfc in wanted.vnfcs:
        _vnfc(resources, wanted, vnfc, links, chosen)
    return {
        "heat_template_version": VERSION,
        "description": f"VNF instance {wanted.vnf_id}, made by Farsite from its descriptor",
        # `farsite` is not used by any resource: it tells which incarnation of each VNFC was asked for last.
        "parameters": {
            "farsite": {"type": "json", "default": {}},
            **{name: {"type": "string", "hidden": True} for name in _hidden_parameters(wanted)},
        },
        "resources": resources,
    }


def parameters(wanted: Deployment) -> Json:
    """Parameters of the stack: what we want to read back of it."""
    kept = record(wanted, {one.id: server_name(wanted, one.id) for one in wanted.vnfcs})
    return {"farsite": kept, **_hidden_parameters(wanted)}


def _hidden_parameters(wanted: Deployment) -> dict[str, str]:
    """What servers boot with, where secrets are in it."""
    return {
        _hidden(label(one.id, wanted.vnf_id)): _user_data(one)
        for one in wanted.vnfcs
        if one.holds_secrets and _user_data(one)
    }


def record(wanted: Deployment, servers: Mapping[str, str]) -> Json:
    """What a stack keeps of the wish: which VNFCs, which incarnation, which of them stopped on purpose, the
    resource that is or holds each one's server, and on which back ends volumes are kept apart."""
    back_ends = {volume.back_end for one in wanted.vnfcs for volume in one.volumes} - {""}
    return {
        "incarnations": {one.id: one.incarnation for one in wanted.vnfcs},
        "vdus": {one.id: one.vdu for one in wanted.vnfcs},
        "servers": dict(servers),
        "stopped": sorted(one.id for one in wanted.vnfcs if one.is_stopped),
        # Only where there are any: what a stack keeps must not change because a later version knows more.
        **({"back_ends": sorted(back_ends)} if back_ends else {}),
    }


def label(of: str, vnf_id: str) -> str:
    """Name of a VNFC or link in resource names: its id without the VNF's, in Heat's characters.

    Injective: what has to be changed gets a digest of the original appended.
    """
    short = of.removeprefix(f"{vnf_id}-") or of
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", short)[:120]
    return safe if safe == short else f"{safe}~{hashlib.sha256(short.encode()).hexdigest()[:8]}"


def server_name(wanted: Deployment, vnfc_id: str) -> str:
    """Name of the resource that is the server of a VNFC."""
    return f"{label(vnfc_id, wanted.vnf_id)}.server"


def port_name(wanted: Deployment, vnfc_id: str, port: Port) -> str:
    """Name of the resource that is a port of a VNFC; another one on another network of others.

    Heat has a port that changes its network give its addresses up first, which Neutron forbids on networks
    that belong to somebody else. A new port beside the old one may be had by everybody.
    """
    name = f"{label(vnfc_id, wanted.vnf_id)}.port.{label(port.name, '')}"
    if not port.network_id or port.network_id in {one.id for one in wanted.networks}:
        return name
    return f"{name}~{hashlib.sha256(port.network_id.encode()).hexdigest()[:6]}"


def metadata(wanted: Deployment, vnfc: WantedVnfc) -> dict[str, str]:
    """Metadata of a VNFC's server."""
    return {
        **vnfc.metadata,
        **_moving(vnfc),
        VNF: wanted.vnf_id,
        VNFC: vnfc.id,
        VDU: vnfc.vdu,
        INCARNATION: str(vnfc.incarnation),
    }


def _moving(vnfc: WantedVnfc) -> dict[str, str]:
    """How a server may be moved, for its VIM's operators; and for Masakari, which leaves alone what says
    so."""
    if not vnfc.migration_types:
        return {}
    told = {MIGRATION_KEY: ",".join(vnfc.migration_types)}
    return told if vnfc.may_be_evacuated else {**told, "HA_Enabled": "False"}


def _network(resources: Json, spec: NetworkSpec, vnf_id: str, *, name: str = "") -> tuple[str, list[str]]:
    """Add a network with its subnets; the names of their resources."""
    name = name or f"net.{label(spec.id, vnf_id)}"
    if spec.physical_network:
        # Neutron takes a VLAN out of the ranges that the physical network has for projects.
        placed = {"network_type": "vlan", "physical_network": spec.physical_network}
        resources[name] = {"type": "OS::Neutron::ProviderNet", "properties": {"name": spec.id, **placed}}
    else:
        resources[name] = {"type": "OS::Neutron::Net", "properties": {"name": spec.id}}
    subnets: list[str] = []
    for version, cidr in ((4, spec.cidr_v4), (6, spec.cidr_v6)):
        if not cidr:
            continue
        subnet = f"{name}.v{version}"
        subnets.append(subnet)
        resources[subnet] = {
            "type": "OS::Neutron::Subnet",
            "properties": {
                "name": f"{spec.id}-v{version}",
                "network": {"get_resource": name},
                "ip_version": version,
                "cidr": str(ipaddress.ip_network(cidr, strict=False)),
                # No router stands behind an internal link; null frees the address for ports.
                "gateway_ip": None,
                **pools(cidr),
            },
        }
    return name, subnets


def pools(cidr: str) -> Json:
    """Leave the lower half of a range to addresses that we give: what Neutron takes of its own accord
    (its DHCP port) must not be one of them. Tiny ranges are left to Neutron."""
    network = ipaddress.ip_network(cidr, strict=False)
    if network.num_addresses < 16:
        return {}
    first = network.network_address + network.num_addresses // 2
    last = network.network_address + network.num_addresses - 2
    return {"allocation_pools": [{"start": str(first), "end": str(last)}]}


def _vnfc(
    resources: Json,
    wanted: Deployment,
    vnfc: WantedVnfc,
    links: Mapping[str, tuple[str, list[str]]],
    chosen: Chosen,
) -> None:
    own = label(vnfc.id, wanted.vnf_id)
    nics = [_attach(resources, wanted, vnfc, port, links, chosen) for port in vnfc.ports]
    mapping = [_volume(resources, own, vnfc, volume, chosen) for volume in vnfc.volumes]
    boots_from_volume = any(volume.is_boot for volume in vnfc.volumes)
    properties: Json = {
        "name": vnfc.id,
        "flavor": chosen.flavours.get(vnfc.id) or vnfc.flavour,
        "metadata": metadata(wanted, vnfc),
        "networks": nics,
        # Raising the incarnation replaces a server, a changed document alone does not.
        "user_data_update_policy": "IGNORE",
        "user_data_format": "RAW",
        "scheduler_hints": {
            "farsite_incarnation": str(vnfc.incarnation),
            **_group(resources, wanted, vnfc),
        },
    }
    if not boots_from_volume:
        properties["image"] = _image(vnfc.image, chosen)
    if mapping:
        properties["block_device_mapping_v2"] = mapping
    if vnfc.zone:
        properties["availability_zone"] = vnfc.zone
    if vnfc.config_drive:
        properties["config_drive"] = True
    if user_data := _user_data(vnfc):
        # A template is shown to whoever may see the stack; a hidden parameter is not (events may show it).
        properties["user_data"] = {"get_param": _hidden(own)} if vnfc.holds_secrets else user_data
    resources[f"{own}.server"] = {"type": "OS::Nova::Server", "properties": properties}


def _user_data(vnfc: WantedVnfc) -> str:
    return vnfc.user_data or _document(vnfc.configuration)


def _hidden(own: str) -> str:
    return f"{own}.user_data"


def _document(configuration: Mapping[str, object]) -> str:
    """The initial configuration as user data: all that a guest can read before anybody reaches it."""
    return json.dumps(configuration, sort_keys=True) if configuration else ""


def _image(image: str, chosen: Chosen) -> str:
    if image.startswith(("builtin:", "host:", "rootfs:")):
        raise VimFault(
            f'"{image}" is an image of a Linux site; an OpenStack VIM needs an image of its Glance. Onboard '
            f"the package with --image NAME=VIM-IMAGE, or choose a Linux site."
        )
    return chosen.images.get(image, image)


def _group(resources: Json, wanted: Deployment, vnfc: WantedVnfc) -> Json:
    """The hint that puts a server into its server group, which is added when it is the first of it."""
    if vnfc.affinity_group and vnfc.anti_affinity_group:
        raise VimFault(
            f"VNFC {vnfc.id} is in an affinity and in an anti-affinity group of host scope; Nova takes a "
            f"server into one group only. Use another scope for one of them."
        )
    # Nova takes a server into one group: a strict one goes before one that is best effort.
    group, policy = next(
        (
            (group, policy)
            for group, policy in (
                (vnfc.affinity_group, "affinity"),
                (vnfc.anti_affinity_group, "anti-affinity"),
                (vnfc.scattered_group, "soft-anti-affinity"),
            )
            if group
        ),
        ("", ""),
    )
    if not group:
        return {}
    name = f"group.{policy}.{label(group.removeprefix(f'{wanted.vnf_id}:'), wanted.vnf_id)}"
    resources[name] = {"type": "OS::Nova::ServerGroup", "properties": {"name": group, "policies": [policy]}}
    return {"group": {"get_resource": name}}


def _volume(resources: Json, own: str, vnfc: WantedVnfc, volume: Volume, chosen: Chosen) -> Json:
    name = f"{own}.volume.{label(volume.name, '')}.{vnfc.incarnation}"
    properties: Json = {
        "name": f"{vnfc.id}/{volume.name}",
        "size": max(1, -(-volume.size_gib // 1).__int__()),
        "metadata": {VNFC: vnfc.id, INCARNATION: str(vnfc.incarnation)},
    }
    if volume.image or volume.is_boot:
        properties["image"] = _image(volume.image or vnfc.image, chosen)
    # A back end is known by the volume type that Cinder makes on it and nowhere else.
    if volume_type := volume.back_end or volume.volume_type:
        properties["volume_type"] = volume_type
    resources[name] = {"type": "OS::Cinder::Volume", "properties": properties}
    return {
        "volume_id": {"get_resource": name},
        "boot_index": 0 if volume.is_boot else -1,
        "delete_on_termination": False,
    }


def _attach(
    resources: Json,
    wanted: Deployment,
    vnfc: WantedVnfc,
    port: Port,
    links: Mapping[str, tuple[str, list[str]]],
    chosen: Chosen,
) -> Json:
    """Add a port, as a trunk when it has sub-ports; how the server refers to it."""
    name = port_name(wanted, vnfc.id, port)
    reference: object = port.port_id
    if not port.port_id:
        resources[name] = _port(vnfc, port.name, port, links, chosen)
        reference = {"get_resource": name}
    if not port.subports:
        return {"port": reference}
    subports: list[Json] = []
    for sub in port.subports:
        sub_name = f"{name}.vlan{sub.vlan}"
        resources[sub_name] = _port(
            vnfc,
            f"{port.name}/vlan{sub.vlan}",
            Port(name=port.name, network_id=sub.network_id, mac=sub.mac, addresses=sub.addresses),
            links,
            chosen,
        )
        subports.append(
            {"port": {"get_resource": sub_name}, "segmentation_id": sub.vlan, "segmentation_type": "vlan"}
        )
    trunk = f"{name}.trunk"
    resources[trunk] = {
        "type": "OS::Neutron::Trunk",
        "properties": {"name": f"{vnfc.id}/{port.name}", "port": reference, "sub_ports": subports},
    }
    # By way of the trunk, so that it stands before the server that uses it and goes after it.
    return {"port": {"get_attr": [trunk, "port_id"]}}


def _port(
    vnfc: WantedVnfc,
    name: str,
    port: Port,
    links: Mapping[str, tuple[str, list[str]]],
    chosen: Chosen,
) -> Json:
    own = links.get(port.network_id)
    properties: Json = {
        "name": f"{vnfc.id}/{name}",
        "network": {"get_resource": own[0]} if own else chosen.networks.get(port.network_id, port.network_id),
    }
    # Neutron lets only a network's owner choose a MAC. A derived one is nobody's wish, and the port keeps
    # whatever it got, so on networks of others it is left out.
    if port.mac and (own or port.mac != derived_mac(vnfc.id, port.name)):
        properties["mac_address"] = port.mac
    if addresses := fixed_ips(port):
        properties["fixed_ips"] = addresses
    if port.vnic_type != "normal":
        properties["binding:vnic_type"] = port.vnic_type
    if port.security_groups:
        properties["security_groups"] = list(port.security_groups)
    if port.qos_policy:
        properties["qos_policy"] = port.qos_policy
    resource: Json = {"type": "OS::Neutron::Port", "properties": properties}
    if own and own[1]:
        resource["depends_on"] = own[1]
    return resource


def derived_mac(vnfc_id: str, port: str) -> str:
    """The MAC that a port is given when nobody wishes one."""
    digest = hashlib.sha256(f"{vnfc_id}/{port}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def fixed_ips(port: Port) -> list[Json]:
    """Neutron's `fixed_ips` of a port: given addresses, each with the subnet stated at its place, then one
    dynamic address for every further subnet. Empty when Neutron shall choose by itself.

    Raises:
        VimFault: several dynamic addresses without a subnet, which Neutron has no words for.
    """
    if port.address_count > 1 or (port.address_count and (port.addresses or port.subnet_ids)):
        raise VimFault(
            f'Port "{port.name}" wants {port.address_count} further address(es) without a subnet; Neutron '
            f"gives a port more than one only out of named subnets. State subnetId for each."
        )
    found: list[Json] = []
    for at, address in enumerate(port.addresses):
        subnet = port.subnet_ids[at] if at < len(port.subnet_ids) else ""
        found.append({"ip_address": address.partition("/")[0], **({"subnet": subnet} if subnet else {})})
    return found + [{"subnet": subnet} for subnet in port.subnet_ids[len(port.addresses) :] if subnet]
