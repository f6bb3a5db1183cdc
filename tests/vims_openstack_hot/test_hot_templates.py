"""Templates made from wishes: what must hold of them whatever is wished."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.model.deployment import (
    Deployment,
    NetworkSpec,
    Port,
    Subport,
    Volume,
    WantedVnfc,
)
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.vims.drivers.openstack import hot
from farsite.vims.drivers.openstack.hot import Chosen

VNF = VnfInstanceId("0f3a")
INNER = NetworkSpec(id="0f3a-inner", cidr_v4="10.5.0.0/24", cidr_v6="fd05::/64")

words = st.text("abcXYZ019-_./ ~", min_size=1, max_size=12)
ports = st.builds(
    Port,
    name=words,
    network_id=st.sampled_from(["", "0f3a-inner", "public"]),
    addresses=st.sampled_from([(), ("10.5.0.9/24",), ("10.5.0.9/24", "fd05::9/64")]),
    vnic_type=st.sampled_from(["normal", "direct"]),
    subports=st.sampled_from([(), (Subport(vlan=7, network_id="public"),)]),
)
volumes = st.builds(
    Volume, name=words, size_gib=st.floats(0.1, 9), image=st.sampled_from(["", "disk"]), is_boot=st.booleans()
)
members = st.builds(
    WantedVnfc,
    id=words.map(lambda word: VnfcId(f"{VNF}-{word}")),
    vdu=words,
    image=st.just("cirros"),
    incarnation=st.integers(0, 3),
    ports=st.lists(ports, max_size=3, unique_by=lambda one: one.name).map(tuple),
    anti_affinity_group=st.sampled_from(["", f"{VNF}:A"]),
    volumes=st.lists(volumes, max_size=2, unique_by=lambda one: one.name).map(tuple),
    configuration=st.sampled_from([{}, {"mode": "inline"}]),
)
wishes = st.lists(members, max_size=4, unique_by=lambda one: one.id).map(
    lambda vnfcs: Deployment(name="vnf-0f3a", vnf_id=VNF, revision="1", networks=(INNER,), vnfcs=tuple(vnfcs))
)


def resources(wanted: Deployment) -> dict[str, Any]:
    found = hot.template(wanted, Chosen())["resources"]
    assert isinstance(found, dict)
    return found


def of_vnfc(wanted: Deployment, vnfc: WantedVnfc) -> dict[str, Any]:
    own = f"{hot.label(vnfc.id, wanted.vnf_id)}."
    return {name: one for name, one in resources(wanted).items() if name.startswith(own)}


def worker(number: int, **more: Any) -> WantedVnfc:
    return WantedVnfc(id=VnfcId(f"{VNF}-A-{number}"), vdu="A", image="cirros", **more)


def wish(*vnfcs: WantedVnfc) -> Deployment:
    return Deployment(name="vnf-0f3a", vnf_id=VNF, revision="1", networks=(INNER,), vnfcs=vnfcs)


@given(wishes)
def test_the_same_wish_is_the_same_template(wanted: Deployment) -> None:
    """A repeated step must find that nothing is to be done, by comparing digests."""
    assert json.dumps(hot.template(wanted, Chosen())) == json.dumps(hot.template(wanted, Chosen()))


@given(wishes)
def test_every_reference_in_a_template_is_to_something_in_it(wanted: Deployment) -> None:
    """Heat refuses a template with a dangling reference, after the operation was accepted."""
    found = resources(wanted)

    def check(value: object) -> None:
        if isinstance(value, dict):
            if "get_resource" in value:
                assert value["get_resource"] in found
            if "get_attr" in value:
                assert value["get_attr"][0] in found
            for needed in value.get("depends_on", []):
                assert needed in found
            for inner in value.values():
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(found)
    assert not any("/" in name for name in found), "Heat allows no slash in a resource's name"


@given(wishes, members)
def test_another_vnfc_leaves_the_resources_of_the_others_as_they_were(
    wanted: Deployment, another: WantedVnfc
) -> None:
    """Scaling must not touch what carries traffic: Heat changes what differs, and nothing else."""
    if another.id in {one.id for one in wanted.vnfcs}:
        return
    before, after = resources(wanted), resources(replace(wanted, vnfcs=(*wanted.vnfcs, another)))
    assert {name: after[name] for name in before} == before


@given(wishes.filter(lambda wanted: bool(wanted.vnfcs)), st.data())
def test_a_raised_incarnation_changes_one_vnfc_and_none_of_its_ports(
    wanted: Deployment, data: st.DataObject
) -> None:
    """Healing keeps addresses and MACs, and leaves the neighbours alone."""
    healed = data.draw(st.sampled_from(wanted.vnfcs))
    raised = replace(healed, incarnation=healed.incarnation + 1)
    after = replace(wanted, vnfcs=tuple(raised if one is healed else one for one in wanted.vnfcs))
    own_before, own_after = of_vnfc(wanted, healed), of_vnfc(after, raised)
    others = {n: r for n, r in resources(wanted).items() if n not in own_before}
    assert {n: r for n, r in resources(after).items() if n not in own_after} == others
    server = hot.server_name(wanted, healed.id)
    assert own_before[server] != own_after[server]
    kept = {name: one for name, one in own_before.items() if ".port." in name}
    assert {name: one for name, one in own_after.items() if ".port." in name} == kept


@given(st.lists(words, min_size=2, max_size=30, unique=True))
def test_labels_of_different_names_differ(names: list[str]) -> None:
    """Two VNFCs that share a resource name would be one server."""
    assert len({hot.label(name, VNF) for name in names}) == len(names)


def test_a_replaced_server_gets_new_volumes() -> None:
    """What the old incarnation wrote must not be what the new one starts from."""
    first = wish(worker(0, volumes=(Volume(name="data", size_gib=2),)))
    second = wish(worker(0, incarnation=1, volumes=(Volume(name="data", size_gib=2),)))
    assert {n for n in resources(first) if ".volume." in n}.isdisjoint(resources(second))


def test_a_server_with_a_boot_volume_names_no_image() -> None:
    """Nova would boot from the image and attach the volume as a second disk."""
    found = resources(wish(worker(0, volumes=(Volume(name="root", size_gib=1.2, is_boot=True),))))
    server, volume = found["A-0.server"]["properties"], found["A-0.volume.root.0"]["properties"]
    assert "image" not in server
    assert volume["image"] == "cirros"
    assert volume["size"] == 2, "Cinder counts whole GiB"
    assert server["block_device_mapping_v2"][0]["boot_index"] == 0


def test_an_existing_port_is_used_and_not_made() -> None:
    """SOL003's extLinkPorts: the port belongs to somebody else and must outlive the VNF."""
    found = resources(wish(worker(0, ports=(Port(name="cp", network_id="public", port_id="p-1"),))))
    assert found["A-0.server"]["properties"]["networks"] == [{"port": "p-1"}]
    assert not any(one["type"] == "OS::Neutron::Port" for one in found.values())


def port_of(found: Mapping[str, Any]) -> str:
    """The resource that is the connection point `cp` of the first server."""
    (name,) = (
        one for one in found if one.startswith("A-0.port.cp") and "." not in one.removeprefix("A-0.port.")
    )
    return name


def test_a_trunk_stands_before_its_server() -> None:
    """Neutron refuses to make a trunk of a port that a server has already bound."""
    port = Port(name="cp", network_id="public", subports=(Subport(vlan=7, network_id="0f3a-inner"),))
    found = resources(wish(worker(0, ports=(port,))))
    trunk = f"{port_of(found)}.trunk"
    assert found["A-0.server"]["properties"]["networks"] == [{"port": {"get_attr": [trunk, "port_id"]}}]
    sub = found[trunk]["properties"]["sub_ports"][0]
    assert sub["segmentation_id"] == 7
    assert found[sub["port"]["get_resource"]]["properties"]["network"] == {"get_resource": "net.inner"}


def test_a_derived_mac_is_asked_for_on_own_networks_only() -> None:
    """On a network of somebody else Neutron refuses a member that chooses a MAC."""
    vnfc = VnfcId(f"{VNF}-A-0")
    mac = hot.derived_mac(vnfc, "cp")
    for network, is_asked in (("public", False), ("0f3a-inner", True)):
        found = resources(wish(worker(0, ports=(Port(name="cp", network_id=network, mac=mac),))))
        assert ("mac_address" in found[port_of(found)]["properties"]) is is_asked
    wished = Port(name="cp", network_id="public", mac="02:00:00:00:00:01")
    found = resources(wish(worker(0, ports=(wished,))))
    assert found[port_of(found)]["properties"]["mac_address"] == "02:00:00:00:00:01"


def test_a_port_that_moves_to_another_network_of_others_is_another_resource() -> None:
    """In place, Heat would first take its addresses off, which Neutron lets only the network's owner do."""
    moved = [
        port_of(resources(wish(worker(0, ports=(Port(name="cp", network_id=network),)))))
        for network in ("public", "other", "public")
    ]
    assert moved[0] == moved[2] != moved[1]
    inner = resources(wish(worker(0, ports=(Port(name="cp", network_id="0f3a-inner"),))))
    assert port_of(inner) == "A-0.port.cp"


def test_addresses_keep_the_subnets_stated_beside_them() -> None:
    """A port with several addresses of both families, some fixed and some dynamic."""
    port = Port(
        name="cp",
        network_id="public",
        addresses=("10.1.0.5/24", "fd01::5/64"),
        subnet_ids=("s4", "", "s6"),
    )
    assert hot.fixed_ips(port) == [
        {"ip_address": "10.1.0.5", "subnet": "s4"},
        {"ip_address": "fd01::5"},
        {"subnet": "s6"},
    ]


def test_an_internal_network_leaves_our_addresses_alone() -> None:
    """Neutron's DHCP port takes an address of its own accord; it must not be one that we give to a VNFC."""
    subnet = resources(wish())["net.inner.v4"]["properties"]
    assert subnet["allocation_pools"] == [{"start": "10.5.0.128", "end": "10.5.0.254"}]
    assert subnet["gateway_ip"] is None


def test_a_best_effort_group_is_a_soft_one_of_novas_and_yields_to_a_strict_one() -> None:
    """Nova takes a server into one group only."""
    group = resources(wish(worker(0, scattered_group=f"{VNF}:A")))["group.soft-anti-affinity.A"]
    assert group["properties"]["policies"] == ["soft-anti-affinity"]
    both = resources(wish(worker(0, scattered_group=f"{VNF}:A", anti_affinity_group=f"{VNF}:A")))
    assert both["A-0.server"]["properties"]["scheduler_hints"]["group"] == {
        "get_resource": "group.anti-affinity.A"
    }


def test_what_is_kept_apart_is_asked_for_by_physical_network_and_by_volume_type() -> None:
    """In words that Neutron and Cinder keep or refuse; a hint they might not know. The rest is as it was."""
    line = replace(INNER, physical_network="front")
    disks = (Volume(name="data", size_gib=1, back_end="ssd-a"), Volume(name="log", size_gib=1))
    wanted = replace(wish(worker(0, volumes=disks)), networks=(line,))
    found = resources(wanted)
    assert found["net.inner"] == {
        "type": "OS::Neutron::ProviderNet",
        "properties": {"name": INNER.id, "network_type": "vlan", "physical_network": "front"},
    }
    assert found["A-0.volume.data.0"]["properties"]["volume_type"] == "ssd-a"
    assert "volume_type" not in found["A-0.volume.log.0"]["properties"]
    assert hot.record(wanted, {})["back_ends"] == ["ssd-a"]
    assert "back_ends" not in hot.record(wish(worker(0, volumes=disks[1:])), {})


def test_a_port_that_only_chains_feed_gets_a_network_all_the_same() -> None:
    """Neutron has no port without a network; on Linux sites such a port has none."""
    found = resources(wish(worker(0, ports=(Port(name="in"), Port(name="out")))))
    assert found["A-0.port.in"]["properties"]["network"] == {"get_resource": hot.UNBOUND}
    assert found[hot.UNBOUND]["type"] == "OS::Neutron::Net"


@pytest.mark.parametrize(
    ("vnfc", "word"),
    [
        (worker(0, anti_affinity_group="a", affinity_group="b"), "one group"),
        (replace(worker(0), image="builtin:firewall"), "Linux site"),
        (worker(0, ports=(Port(name="cp", network_id="public", address_count=2),)), "subnetId"),
    ],
)
def test_what_openstack_cannot_do_is_refused_with_the_next_step(vnfc: WantedVnfc, word: str) -> None:
    """Before Heat is asked: its own words for these name nothing that the user wrote."""
    with pytest.raises(VimFault, match=word):
        hot.template(wish(vnfc), Chosen())


@given(wishes)
def test_secrets_that_a_server_boots_with_are_in_no_template(wanted: Deployment) -> None:
    """Whoever may see a stack sees its template; a hidden parameter is shown as stars."""
    secret = "correct-horse-battery"
    vnfcs = tuple(replace(one, user_data=secret, holds_secrets=True) for one in wanted.vnfcs)
    kept = replace(wanted, vnfcs=vnfcs)
    made = hot.template(kept, Chosen())
    assert secret not in json.dumps(made)
    given_values = hot.parameters(kept)
    for one in resources(kept).values():
        if one["type"] == "OS::Nova::Server":
            name = one["properties"]["user_data"]["get_param"]
            assert made["parameters"][name] == {"type": "string", "hidden": True}  # type: ignore[index]
            assert given_values[name] == secret
    assert "hidden" not in json.dumps(hot.template(wanted, Chosen()))


def test_how_a_server_may_be_moved_is_written_on_it() -> None:
    """Whoever empties a host reads there what its VNF allows; Masakari leaves alone what says so."""

    def metadata(**requirements: str) -> dict[str, str]:
        vnfc = worker(0, requirements=requirements)
        return resources(wish(vnfc))["A-0.server"]["properties"]["metadata"]

    assert hot.MIGRATION_KEY not in metadata()
    fixed = metadata(**{"farsite:migration": "no_migration"})
    assert (fixed.get(hot.MIGRATION_KEY), fixed.get("HA_Enabled")) == ("no_migration", "False")
    movable = metadata(**{"farsite:migration": "live_migration,offline_migration"})
    assert movable.get(hot.MIGRATION_KEY) == "live_migration,offline_migration"
    assert "HA_Enabled" not in movable
