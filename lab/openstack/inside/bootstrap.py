"""Fill a site that has nothing but schemas: bootstrap.py identity|tenant|ready|zones|schedulers FACTS.

Run by OpenStack's interpreter. FACTS is JSON from `lab.openstack.programs`. `identity` goes before the other
services start, because the scheduler ends when Placement is not in the catalogue yet.
"""

import json
import sys
import time

import openstack

WHAT, FACTS = sys.argv[1], json.loads(sys.argv[2])
REGION = FACTS["region"]
READY_WITHIN_S = 120
PATHS = {
    "nova": ("compute", "/v2.1"),
    "placement": ("placement", ""),
    "neutron": ("network", ""),
    "glance": ("image", ""),
    "heat": ("orchestration", "/v1/%(tenant_id)s"),
    "heat-cfn": ("cloudformation", "/v1"),
    "cinder": ("volumev3", "/v3/%(project_id)s"),
}
FLAVOURS = (
    ("m1.tiny", 1, 512, 1, {}),
    ("m1.small", 1, 2048, 20, {}),
    ("m1.medium", 2, 4096, 40, {}),
    (
        "nfv.pinned",
        4,
        4096,
        10,
        {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "1", "hw:mem_page_size": "1GB"},
    ),
    (
        "nfv.numa2",
        8,
        8192,
        10,
        {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2", "hw:mem_page_size": "large"},
    ),
)
NO_LIMITS = {
    "instances": 1000,
    "cores": -1,
    "ram": -1,
    "server_groups": 100,
    "server_group_members": 100,
    "key_pairs": 100,
}


def connect(user, password, project, region=REGION):
    return openstack.connect(
        auth_url=FACTS["auth_url"],
        username=user,
        password=password,
        project_name=project,
        user_domain_name="Default",
        project_domain_name="Default",
        region_name=region,
        compute_api_version="2.1",
        load_yaml_config=False,
        load_envvars=False,
    )


admin = connect("admin", FACTS["admin_password"], "admin")


def project_and_users():
    """What a Keystone needs once, whatever regions it has."""
    ident = admin.identity

    def role(name):
        return ident.find_role(name) or ident.create_role(name=name)

    roles = {
        name: role(name)
        for name in (
            "admin",
            "member",
            "reader",
            "service",
            "heat_stack_user",
            "heat_stack_owner",
            "creator",
        )
    }
    service = ident.find_project("service") or ident.create_project(name="service", domain_id="default")
    worker = ident.create_user(name="service", password=FACTS["service_password"], domain_id="default")
    for name in ("admin", "service"):
        ident.assign_project_role_to_user(service, worker, roles[name])
    heat = ident.create_domain(name="heat")
    keeper = ident.create_user(
        name="heat_domain_admin", password=FACTS["service_password"], domain_id=heat.id
    )
    ident.assign_domain_role_to_user(heat, keeper, roles["admin"])
    nfv = ident.create_project(name="nfv", domain_id="default")
    member = ident.create_user(name="nfv_user", password=FACTS["member_password"], domain_id="default")
    for name in ("member", "heat_stack_owner"):
        ident.assign_project_role_to_user(nfv, member, roles[name])
    ident.assign_project_role_to_user(nfv, ident.find_user("admin"), roles["admin"])


def identity():
    # A region that is being added is not in the catalogue yet, its Keystone is known by another.
    ident = connect("admin", FACTS["admin_password"], "admin", FACTS["keystone_region"]).identity
    if FACTS["has_keystone"]:
        project_and_users()
    else:
        ident.create_region(id=REGION)
        keystone = ident.find_service("keystone")
        for interface in ("public", "internal", "admin"):
            ident.create_endpoint(
                service_id=keystone.id, interface=interface, region_id=REGION, url=FACTS["auth_url"]
            )
    for name, (kind, path) in PATHS.items():
        if name not in FACTS["urls"]:
            continue
        service = ident.find_service(name) or ident.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            ident.create_endpoint(
                service_id=service.id, interface=interface, region_id=REGION, url=FACTS["urls"][name] + path
            )


def tenant():
    network = admin.network
    external = network.create_network(
        name="external",
        is_router_external=True,
        is_shared=True,
        provider_network_type="flat",
        provider_physical_network="ext",
    )
    network.create_subnet(
        network_id=external.id,
        name="external-v4",
        ip_version=4,
        cidr="203.0.113.0/24",
        is_dhcp_enabled=False,
    )
    for number in (1, 2):
        name = f"sriov{number}"
        sriov = network.create_network(
            name=name,
            is_shared=True,
            provider_network_type="vlan",
            provider_physical_network=name,
            provider_segmentation_id=100 + number,
        )
        network.create_subnet(
            network_id=sriov.id, name=f"{name}-v4", ip_version=4, cidr=f"192.168.{number}.0/24"
        )
    member = connect("nfv_user", FACTS["member_password"], "nfv")
    mgmt = member.network.create_network(name="mgmt")
    member.network.create_subnet(
        network_id=mgmt.id, name="mgmt-v4", ip_version=4, cidr=f"10.{FACTS['number']}.0.0/16"
    )
    for name, vcpus, ram, disk, specs in FLAVOURS:
        flavour = admin.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
        if specs:
            admin.compute.create_flavor_extra_specs(flavour, specs)
    admin.image.create_image(
        name="cirros",
        container_format="bare",
        disk_format="raw",
        visibility="public",
        data=b"not a real disk\n" * 64,
        min_disk=1,
    )
    nfv = admin.identity.find_project("nfv")
    admin.compute.put(f"/os-quota-sets/{nfv.id}", json={"quota_set": NO_LIMITS})


def ready():
    """Wait until all compute hosts are up, mapped to the cell and have resources in Placement."""
    wanted = set(FACTS["computes"])
    # Who took a host away and was killed before it was back has left it so.
    for host in wanted:
        told = {"host": host, "binary": "nova-compute", "forced_down": False}
        admin.compute.put("/os-services/force-down", json=told, microversion="2.11")
    give_up_at = time.time() + READY_WITHIN_S
    while True:
        up = {
            one.host for one in admin.compute.services() if one.binary == "nova-compute" and one.state == "up"
        }
        hosts = {one.name for one in admin.compute.hypervisors()}
        provided = {
            one.name
            for one in admin.placement.resource_providers()
            if admin.placement.get(f"/resource_providers/{one.id}/inventories").json()["inventories"]
        }
        if wanted <= up & hosts & provided:
            return
        if time.time() > give_up_at:
            sys.exit(f"computes not ready: up {up}, hypervisors {hosts}, providers {provided}")
        time.sleep(0.3)


def zones():
    """Put hosts that are to be in a zone of their own into an aggregate that makes it."""
    for zone, hosts in FACTS["zones"].items():
        aggregate = admin.compute.create_aggregate(name=zone, availability_zone=zone)
        for host in hosts:
            admin.compute.add_host_to_aggregate(aggregate, host)


def schedulers():
    """Forget those that are no more, and wait until those that are wanted report."""
    give_up_at = time.time() + READY_WITHIN_S
    while True:
        told = admin.compute.get("/os-services?binary=nova-scheduler", microversion="2.53").json()["services"]
        for one in told:
            if one["host"] in FACTS["absent"]:
                admin.compute.delete(f"/os-services/{one['id']}", microversion="2.53").raise_for_status()
        up = {one["host"] for one in told if one["state"] == "up"}
        if set(FACTS["present"]) <= up:
            return
        if time.time() > give_up_at:
            sys.exit(f"schedulers not ready: up {up}, wanted {FACTS['present']}")
        time.sleep(0.3)


{
    "identity": identity,
    "tenant": tenant,
    "ready": ready,
    "zones": zones,
    "schedulers": schedulers,
}[WHAT]()
