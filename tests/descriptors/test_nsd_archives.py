"""Network service descriptors: profiles, links, the forwarding path, levels, and what contradicts."""

import io

import pytest
from descriptor_samples import NSD, changed, faults_of_nsd, line_of, read_nsd

from farsite.descriptors.archive import open_archive
from farsite.descriptors.nsd_archive import read_nsd_archive
from farsite.functions.packaging import build_sample
from farsite.model.nsd import Classifier, ForwardingPath, PathHop


def test_a_service_is_read_with_its_path_and_classifier() -> None:
    """What the chain will be built from."""
    nsd = read_nsd().nsd
    flavour = nsd.flavours[nsd.default_flavour]
    assert (nsd.name, nsd.designer, nsd.version, flavour.id) == ("pair", "Acme", "1.0", "simple")
    assert list(flavour.profiles) == ["left", "middle", "right"]
    assert all(profile.links == {"outer": "lan"} for profile in flavour.profiles.values())
    assert flavour.paths == (
        ForwardingPath(
            id="path",
            source_profile="left",
            source_cp="outer",
            target_profile="right",
            target_cp="outer",
            hops=(PathHop(profile="middle", ingress_cp="in", egress_cp="out"),),
            classifier=Classifier(
                ether_types=("ipv4",),
                protocol="tcp",
                destination_prefix="10.0.0.0/8",
                destination_port_first=80,
                destination_port_last=443,
            ),
        ),
    )
    assert [(rule.targets, rule.scope, rule.is_anti) for rule in flavour.affinity] == [
        (("left", "right"), "vim", True)
    ]
    assert flavour.levels == {"one": {"middle": 1}, "three": {"middle": 3}}
    assert flavour.default_level == "one"


def test_the_chain_demo_is_read_as_it_is_meant() -> None:
    """Client, firewall, two inspectors on different sites, server."""
    content = read_nsd_archive(open_archive(io.BytesIO(build_sample("chain-demo"))))
    flavour = content.nsd.flavours["default"]
    assert content.warnings == ()
    assert {name: profile.instances for name, profile in flavour.profiles.items()} == {
        "client": 1,
        "firewall": 1,
        "inspector": 2,
        "server": 1,
    }
    (path,) = flavour.paths
    assert [hop.profile for hop in path.hops] == ["firewall", "inspector"]
    assert (path.source_profile, path.source_cp) == ("client", "data")
    assert (path.target_profile, path.target_cp) == ("server", "data")
    assert path.hops[0] == PathHop(profile="firewall", ingress_cp="inside", egress_cp="outside")
    assert flavour.virtual_links["data"].cidr_v6 == "fd00:10:10::/64"
    assert flavour.affinity[0].scope == "nfvi_pop"


@pytest.mark.parametrize(
    ("old", "new", "found", "expected"),
    [
        ("- outer: lan", "- outer: wan", 'unknown node "wan"', '"lan"'),
        ("{element: at_middle}", "{element: at_midle}", 'unknown node "at_midle"', '"at_middle"'),
        ("{element: at_middle}", "{element: lan}", "lan of type", "Forwarding"),
        (
            "{node: middle, capability: out}",
            "{node: right, capability: out}",
            "of middle and right",
            "one VNF",
        ),
        ("{node: left, capability: outer}", "lan", "lan of type", "Forwarding"),
        (", {nfp_position: second}, {nfp_position: third}]", "]", "1 positions", "source and a target"),
        ("protocol: tcp", "protocol: foo", 'protocol "foo"', "tcp"),
        ("protocol: tcp", "dscp: '46'", "dscp is not provided", "other"),
        ("[80, 443]", "[443, 80]", "[443, 80]", "first port"),
        ("[80, 443]", "[80, 70000]", "destination_port_range", "<= 65535"),
        ("10.0.0.0/8", "10.0.0.0/88", "10.0.0.0/88", "a network"),
        ("default_level: one", "default_level: on_e", 'default_level "on_e"', '"one"'),
        ("{one: 1, three: 3}", "{one: 1, tree: 3}", 'unknown level "tree"', '"three"'),
        ("{one: 1, three: 3}", "{one: 1, three: 4}", "4 instances of middle", "1 to 3"),
        ("        invariant_id: 5f9d0b6a-0000-4000-8000-000000000002\n", "", 'no "invariant_id"', "string"),
        (
            "descriptor_id: 0c2b7d2e-1111-4d0a-8f4e-222222222222\n",
            "ext_invariant_id: x\n",
            "no descriptor_id",
            "VNFD",
        ),
        ("type: tosca.nodes.nfv.NS\n", "type: tosca.nodes.nfv.PNF\n", "unknown property", ""),
    ],
)
def test_a_service_that_contradicts_itself_is_refused_with_its_line(
    old: str, new: str, found: str, expected: str
) -> None:
    """Before an NS is asked for, not while its VNFs are half up."""
    faults = faults_of_nsd(old, new)
    fitting = [fault for fault in faults if found in fault.found and expected in fault.expected]
    assert fitting, [str(fault) for fault in faults]
    assert all(fault.file == "descriptor.yaml" and fault.line for fault in faults)


def test_a_second_rule_on_one_path_is_refused() -> None:
    """Which of the two would classify?"""
    rule = "    - second:\n        type: tosca.policies.nfv.NfpRule\n        targets: [path]\n"
    text = "    - apart:\n"
    (fault,) = faults_of_nsd(text, rule + text)
    assert fault.line == line_of(changed(NSD, text, rule + text), "    - second:") + 1


def test_a_service_access_point_exposes_a_link() -> None:
    """What is outside connects there."""
    sap = (
        "    door:\n      type: tosca.nodes.nfv.Sap\n      properties: {layer_protocols: [ipv4]}\n"
        "      requirements: [{internal_virtual_link: lan}]\n    at_left:\n"
    )
    flavour = read_nsd("    at_left:\n", sap).nsd.flavours["simple"]
    assert [(found.id, found.virtual_link) for found in flavour.saps] == [("door", "lan")]


def test_a_hop_may_fail_open_when_the_descriptor_says_so() -> None:
    """The default drops: a firewall that is dead must not be bypassed unless its owner wants it."""
    assert not read_nsd().nsd.flavours["simple"].paths[0].fail_open
    text = "second: {type: tosca.nodes.nfv.NfpPosition, "
    more = text + "properties: {forwarding_behaviour_input_parameters: {fail_open: 'true'}}, "
    assert read_nsd(text, more).nsd.flavours["simple"].paths[0].fail_open
