"""The commands of the protocol, one function each, in the order of the contract. What a function returns is
printed for CloudStack; everything else stays silent, as the contract wants."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from farsite.cloudstack import document as doc
from farsite.cloudstack.asked import Asked, WrongUsage
from farsite.cloudstack.device import Device
from farsite.cloudstack.document import Document, Entry

QUIET_WITHOUT_DEVICE = frozenset(
    {
        "release-ip",
        "delete-static-nat",
        "delete-port-forward",
        "remove-dhcp-entry",
        "remove-dhcp-subnet",
        "remove-dns-subnet",
    }
)
"""What takes something away has nothing to do where there is nothing."""


def _network(asked: Asked) -> str:
    return asked.needed("network_id")


def _public(asked: Asked) -> str:
    return asked.detail("public_interface", "eth0")


def _guest(asked: Asked) -> str:
    name = asked.detail("guest_interface", "eth1")
    return name.replace("{network_id}", asked.text("network_id")).replace("{vlan}", asked.text("vlan"))


def _owner(asked: Asked) -> str:
    """What source NAT belongs to: the VPC where there is one."""
    vpc = asked.text("vpc_id")
    return f"v{vpc}" if vpc else f"n{_network(asked)}"


# -- the network and the VPC -------------------------------------------------------------------------


def ensure_network_device(_: Asked, device: Device) -> str:
    """Which device is responsible, as CloudStack is to keep it."""
    found = device.ensure()
    return json.dumps({"vnf": found["id"], "name": device.name}, separators=(",", ":"))


def implement_network(asked: Asked, device: Device) -> str:
    """The device stands and is the gateway of the network."""
    network, extension_ip = _network(asked), asked.needed("extension_ip")
    cidr = asked.needed("cidr")
    device.stand()

    def how(document: Document) -> None:
        interface = _guest(asked)
        doc.add_address(document, interface, doc.host(extension_ip, cidr), doc.described(network))
        if six := asked.text("network_ip6_gateway"):
            doc.add_address(document, interface, doc.host(six, asked.needed("network_ip6_cidr")))

    device.change(how)
    if asked.detail("isolation_method") != "NetworkExtension":
        return ""
    told = {}
    for key in ("broadcast_domain_type", "broadcast_uri"):
        value = asked.detail(key)
        if not value:
            raise WrongUsage(
                f'With isolation_method=NetworkExtension the detail "{key}" has to be registered too.'
            )
        told[f"network.{key}"] = value.replace("{network_id}", network).replace("{vlan}", asked.text("vlan"))
    return json.dumps(told, separators=(",", ":"))


def shutdown_network(asked: Asked, device: Device) -> str:
    """A network of its own goes with its device; a tier leaves the others of its VPC alone."""
    if not asked.text("vpc_id"):
        device.remove()
    elif device.find() is not None:
        device.change(lambda document: doc.forget_network(document, _network(asked)))
    return ""


def implement_vpc(asked: Asked, device: Device) -> str:
    """The device of a VPC stands, with source NAT where an address is known already."""
    device.stand()
    if asked.text("public_ip"):
        return update_vpc_source_nat_ip(asked, device)
    return ""


def shutdown_vpc(_: Asked, device: Device) -> str:
    device.remove()
    return ""


def update_vpc_source_nat_ip(asked: Asked, device: Device) -> str:
    """What leaves the VPC leaves with this address."""
    owner, cidr, address = _owner(asked), asked.needed("vpc_cidr"), asked.needed("public_ip")

    def how(document: Document) -> None:
        doc.drop_nat(document, f"{owner}.snat")
        _take_public(document, asked)
        doc.put_nat(document, _source_nat(owner, address, cidr, _public(asked)))

    device.change(how)
    return ""


# -- public addresses and NAT ------------------------------------------------------------------------


def _take_public(document: Document, asked: Asked) -> None:
    doc.add_address(
        document, _public(asked), doc.host(asked.needed("public_ip"), asked.text("public_cidr") or "/32")
    )
    gateway = asked.text("public_gateway")
    if gateway and asked.text("source_nat") == "true":
        routes = doc.entries(document, "routes")
        routes[:] = [one for one in routes if one.get("prefix") != "0.0.0.0/0"]
        routes.append({"prefix": "0.0.0.0/0", "next_hop": gateway})


def _source_nat(owner: str, address: str, cidr: str, interface: str) -> Entry:
    return {
        "name": f"{owner}.snat.{doc.dashed(address)}",
        "kind": "source",
        "source": cidr,
        "to": address,
        "out_interface": interface,
    }


def assign_ip(asked: Asked, device: Device) -> str:
    """A public address is the device's, for source NAT where it is that."""
    address = asked.needed("public_ip")

    def how(document: Document) -> None:
        _take_public(document, asked)
        if asked.text("source_nat") == "true":
            doc.put_nat(document, _source_nat(_owner(asked), address, asked.needed("cidr"), _public(asked)))

    device.change(how)
    return ""


def release_ip(asked: Asked, device: Device) -> str:
    """A public address is given back, and every rule about it with it."""
    address = asked.needed("public_ip")

    def how(document: Document) -> None:
        doc.take_address(document, _public(asked), address)
        rules = doc.entries(document, "nat", "rules")
        rules[:] = [
            one
            for one in rules
            if one.get("destination") != address
            and not (one["kind"] == "source" and one.get("to") == address)
        ]
        if asked.text("source_nat") == "true":
            gateway = asked.text("public_gateway")
            routes = doc.entries(document, "routes")
            routes[:] = [one for one in routes if one.get("next_hop") != gateway]
        doc.settle(document)

    device.change(how)
    return ""


def add_static_nat(asked: Asked, device: Device) -> str:
    """A public address stands for a guest's, both ways."""
    address, private = asked.needed("public_ip"), asked.needed("private_ip")
    rule: Entry = {
        "name": f"n{_network(asked)}.one.{doc.dashed(address)}",
        "kind": "static",
        "destination": address,
        "to": private,
    }

    def how(document: Document) -> None:
        _take_public(document, asked)
        doc.put_nat(document, rule)

    device.change(how)
    return ""


def delete_static_nat(asked: Asked, device: Device) -> str:
    name = f"n{_network(asked)}.one.{doc.dashed(asked.needed('public_ip'))}"
    device.change(lambda document: doc.drop_nat(document, name))
    return ""


def _forward_name(asked: Asked) -> str:
    public, protocol = doc.dashed(asked.needed("public_ip")), asked.needed("protocol").lower()
    return f"n{_network(asked)}.pf.{protocol}.{public}.{doc.ports(asked.needed('public_port'))}"


def add_port_forward(asked: Asked, device: Device) -> str:
    """Ports of a public address are a guest's."""
    protocol = asked.needed("protocol").lower()
    if protocol not in ("tcp", "udp"):
        raise WrongUsage(f'add-port-forward: ports of "{protocol}" cannot be forwarded; tcp or udp.')
    rule: Entry = {
        "name": _forward_name(asked),
        "kind": "destination",
        "protocol": protocol,
        "destination": asked.needed("public_ip"),
        "destination_port": doc.ports(asked.needed("public_port")),
        "to": asked.needed("private_ip"),
        "to_port": doc.ports(asked.needed("private_port")),
    }

    def how(document: Document) -> None:
        _take_public(document, asked)
        doc.put_nat(document, rule)

    device.change(how)
    return ""


def delete_port_forward(asked: Asked, device: Device) -> str:
    device.change(lambda document: doc.drop_nat(document, _forward_name(asked)))
    return ""


# -- firewall, ACL, load balancer --------------------------------------------------------------------


def _json(asked: Asked, name: str) -> object:
    value = asked.fields.get(name)
    if isinstance(value, str):
        try:
            return cast("object", json.loads(value))
        except ValueError as error:
            raise WrongUsage(f"{asked.command}: {name} is no JSON: {error}.") from error
    if value is None:
        raise WrongUsage(f"{asked.command}: the payload has no {name}.")
    return value


def apply_fw_rules(asked: Asked, device: Device) -> str:
    """The firewall of a network is what is stated, whatever it was."""
    network = _network(asked)
    stated = cast("Mapping[str, object]", _json(asked, "fw_rules"))
    rules = doc.firewall_rules(network, {"cidr": asked.text("cidr"), **stated})
    device.change(lambda document: doc.replace_rules(document, f"n{network}.fw", rules))
    return ""


def apply_network_acl(asked: Asked, device: Device) -> str:
    """The ACL of a tier is what is stated, in the order of its numbers."""
    network = _network(asked)
    stated = cast("Sequence[Entry]", _json(asked, "acl_rules"))

    def how(document: Document) -> None:
        found = doc.guest(document, network)
        interface = str(found["name"]) if found else _guest(asked)
        doc.replace_rules(document, f"n{network}.acl", doc.acl_rules(network, interface, stated))

    device.change(how)
    return ""


def apply_lb_rules(asked: Asked, device: Device) -> str:
    """Load balancer rules are made, changed and revoked; those that are not named stay."""
    stated = cast("Sequence[Entry]", _json(asked, "lb_rules"))

    def how(document: Document) -> None:
        for rule in stated:
            doc.put_balanced(document, _network(asked), rule)

    device.change(how)
    return ""


# -- NICs, DHCP, DNS ---------------------------------------------------------------------------------


def nothing(_: Asked, __: Device) -> str:
    """A NIC on the guest VLAN reaches the device as it is."""
    return ""


def _with_pool(document: Document, asked: Asked) -> Entry:
    extension_ip = asked.needed("extension_ip")
    return doc.dhcp_pool(
        document, _network(asked), extension_ip, asked.text("gateway") or extension_ip, asked.text("dns")
    )


def add_dhcp_entry(asked: Asked, device: Device) -> str:
    """A guest gets its address."""
    mac, address = asked.needed("mac"), asked.needed("ip")
    device.change(
        lambda document: doc.reserve(_with_pool(document, asked), mac, address, asked.text("hostname"))
    )
    return ""


def remove_dhcp_entry(asked: Asked, device: Device) -> str:
    def how(document: Document) -> None:
        pool = doc.named(doc.entries(document, "dhcp", "pools"), f"n{_network(asked)}")
        if pool is not None:
            doc.release(pool, asked.needed("mac"), asked.needed("ip"))

    device.change(how)
    return ""


def config_dhcp_subnet(asked: Asked, device: Device) -> str:
    def how(document: Document) -> None:
        _with_pool(document, asked)

    device.change(how)
    return ""


def remove_dhcp_subnet(asked: Asked, device: Device) -> str:
    device.change(lambda document: doc.drop(doc.entries(document, "dhcp", "pools"), f"n{_network(asked)}"))
    return ""


def add_dns_entry(asked: Asked, device: Device) -> str:
    """A guest's name is told."""
    name, address = asked.needed("hostname"), asked.needed("ip")
    device.change(
        lambda document: doc.put(doc.entries(document, "dns", "records"), {"name": name, "value": address})
    )
    return ""


def config_dns_subnet(asked: Asked, device: Device) -> str:
    def how(document: Document) -> None:
        doc.entries(document, "dns", "records")
        held = cast("Document", document["dns"])
        held["forwarders"] = [one.strip() for one in asked.text("dns").split(",") if one.strip()]
        held["domain"] = asked.text("domain")

    device.change(how)
    return ""


def remove_dns_subnet(asked: Asked, device: Device) -> str:
    def how(document: Document) -> None:
        records = doc.entries(document, "dns", "records")
        records[:] = [one for one in records if not doc.inside(document, _network(asked), one["value"])]

    device.change(how)
    return ""


def restore_network(asked: Asked, device: Device) -> str:
    """Every guest's address and name at once, in place of those that are there."""
    stated = cast("Mapping[str, object]", _json(asked, "restore_data"))
    guests = cast("Sequence[Entry]", stated.get("vms") or [])
    if stated.get("userdata_enabled"):
        refuse(asked, device)

    def how(document: Document) -> None:
        if stated.get("dhcp_enabled"):
            pool = _with_pool(document, asked)
            pool["reservations"] = []
            for one in guests:
                doc.reserve(pool, str(one["mac"]), str(one["ip"]), str(one.get("hostname", "")))
        if stated.get("dns_enabled"):
            records = doc.entries(document, "dns", "records")
            records[:] = [one for one in records if not doc.inside(document, _network(asked), one["value"])]
            for one in guests:
                doc.put(records, {"name": str(one["hostname"]), "value": str(one["ip"])})

    device.change(how)
    return ""


# -- what is not done, and what operators ask --------------------------------------------------------


def refuse(asked: Asked, _: Device) -> str:
    """A service that no configuration document speaks of; it must not be declared."""
    raise WrongUsage(
        f"{asked.command}: user data, passwords, keys and DHCP options of single hosts are not served. "
        "Do not declare UserData in network.services of this extension."
    )


def custom_action(asked: Asked, device: Device) -> str:
    """What an operator asks of the device; the answer is his to read."""
    key = device.name
    answers: Mapping[str, Callable[[], object]] = {
        "configuration": device.document,
        "drift": lambda: device.client.drift(key),
        "health": lambda: device.client.function_health(key),
        "metrics": lambda: device.client.function_metrics(key),
        "show": lambda: device.client.vnf(key),
    }
    if asked.action not in answers:
        raise WrongUsage(f'There is no action "{asked.action}"; there are {", ".join(sorted(answers))}.')
    return json.dumps(answers[asked.action](), indent=1, sort_keys=True)


COMMANDS: Mapping[str, Callable[[Asked, Device], str]] = {
    "ensure-network-device": ensure_network_device,
    "implement-network": implement_network,
    "shutdown-network": shutdown_network,
    "destroy-network": shutdown_network,
    "implement-vpc": implement_vpc,
    "shutdown-vpc": shutdown_vpc,
    "update-vpc-source-nat-ip": update_vpc_source_nat_ip,
    "assign-ip": assign_ip,
    "release-ip": release_ip,
    "add-static-nat": add_static_nat,
    "delete-static-nat": delete_static_nat,
    "add-port-forward": add_port_forward,
    "delete-port-forward": delete_port_forward,
    "apply-fw-rules": apply_fw_rules,
    "apply-network-acl": apply_network_acl,
    "prepare-nic": nothing,
    "release-nic": nothing,
    "add-dhcp-entry": add_dhcp_entry,
    "remove-dhcp-entry": remove_dhcp_entry,
    "config-dhcp-subnet": config_dhcp_subnet,
    "remove-dhcp-subnet": remove_dhcp_subnet,
    "set-dhcp-options": refuse,
    "add-dns-entry": add_dns_entry,
    "config-dns-subnet": config_dns_subnet,
    "remove-dns-subnet": remove_dns_subnet,
    "save-vm-data": refuse,
    "save-password": refuse,
    "save-userdata": refuse,
    "save-sshkey": refuse,
    "save-hypervisor-hostname": refuse,
    "apply-lb-rules": apply_lb_rules,
    "restore-network": restore_network,
    "custom-action": custom_action,
}
