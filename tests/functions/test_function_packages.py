"""The sample packages: what an operator onboards first must be exemplary."""

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
import yaml
from test_function_documents import READERS

from farsite.descriptors.archive import open_archive
from farsite.descriptors.nsd_archive import read_nsd_archive
from farsite.descriptors.vnf_package import read_vnf_package
from farsite.functions.__main__ import NAMES
from farsite.functions.documents import parse_json
from farsite.functions.packaging import (
    build_sample,
    nsd_sample_names,
    sample_files,
    sample_names,
    vnf_sample_names,
)
from farsite.functions.vnfc import PortSpec

ETSI = Path(__file__).parents[3] / "shared/etsi/sol001/v3.7.1"


def _yaml(name, path):
    return yaml.safe_load(sample_files(name)[path])


def _templates(name):
    return _yaml(name, f"Definitions/{name}.yaml")["topology_template"]["node_templates"]


@pytest.mark.parametrize("name", sample_names())
def test_building_twice_gives_the_same_bytes(name):
    """Archives are stored by digest; a sample that changed by itself would be onboarded twice."""
    assert build_sample(name) == build_sample(name)
    with zipfile.ZipFile(io.BytesIO(build_sample(name))) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "TOSCA-Metadata/TOSCA.meta"


@pytest.mark.parametrize("name", sample_names())
def test_the_manifest_states_the_hash_of_every_other_file(name):
    """A file without a hash is a file that anybody may exchange."""
    files = sample_files(name)
    manifest = files.pop(f"{name}.mf").decode()
    stated = dict(re.findall(r"Source: (.+)\nAlgorithm: SHA-256\nHash: ([0-9a-f]{64})\n", manifest))
    assert stated == {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}


@pytest.mark.parametrize("name", sample_names())
def test_what_the_archive_names_is_in_it_and_nothing_of_etsi_is(name):
    """Every reader of SOL001 has ETSI's type files; shipping copies would make them ours to maintain."""
    files = sample_files(name)
    meta = dict(line.split(": ") for line in files["TOSCA-Metadata/TOSCA.meta"].decode().splitlines())
    assert meta["Entry-Definitions"] in files
    assert meta["ETSI-Entry-Manifest"] in files
    assert not [path for path in files if "etsi_nfv" in path]
    for path, content in files.items():
        assert not re.search(rb"(?<!\$)\{\{", content)
        if path.endswith(".yaml"):
            for imported in yaml.safe_load(content)["imports"]:
                assert imported.startswith("etsi_nfv_sol001_") or f"Definitions/{imported}" in files


@pytest.mark.parametrize("name", vnf_sample_names())
def test_the_initial_configuration_is_one_the_function_takes(name):
    """A sample that is refused by its own function would fail at instantiation, far from the mistake."""
    templates = _templates(name)
    (vdu,) = [node for node in templates.values() if node["type"] == "tosca.nodes.nfv.Vdu.Compute"]
    image = vdu["artifacts"]["sw_image"]
    assert image["file"] == image["properties"]["name"] == f"builtin:{name}"
    assert name in NAMES
    document = parse_json(vdu["properties"]["boot_data"]["content_or_file_data"]["content"].encode())
    ports = sorted(
        (node["properties"]["order"], cp)
        for cp, node in templates.items()
        if node["type"] == "tosca.nodes.nfv.VduCp"
    )
    assert all(len(cp) <= 15 for _, cp in ports), "ports are interfaces, and those have at most 15 characters"
    assert len(vdu["properties"]["boot_data"]) == 1
    if name in ("firewall", "inspector"):
        from farsite.functions import firewall, inspector

        reader = {"firewall": firewall, "inspector": inspector}[name].read_settings
        reader(document, tuple(PortSpec(cp) for _, cp in ports))
    else:
        READERS[name](document)


def test_the_service_uses_the_vnfds_that_are_packaged():
    """An NSD that names a VNFD nobody has can be onboarded by no one."""
    ids = {
        _templates(name)["VNF"]["properties"]["descriptor_id"]: _templates(name)["VNF"]["properties"]
        for name in vnf_sample_names()
    }
    for name in nsd_sample_names():
        used = [
            node["properties"]
            for node in _templates(name).values()
            if node["type"].startswith("farsite.nodes.chain.")
        ]
        assert len(used) == 4
        for properties in used:
            shared = {key: value for key, value in properties.items() if key != "vnf_profile"}
            assert shared == ids[properties["descriptor_id"]]


def test_the_forwarding_path_leads_through_ports_that_exist():
    """client -> firewall -> inspectors -> server, by connection points the functions really have."""
    templates = _templates("chain-demo")
    hops = []
    for requirement in templates["path"]["requirements"]:
        (element,) = templates[requirement["nfp_position"]]["requirements"]
        hops.append(
            [
                (entry["profile_element"]["node"], entry["profile_element"]["capability"])
                for entry in templates[element["element"]]["requirements"]
            ]
        )
    assert hops == [
        [("client", "data")],
        [("firewall", "inside"), ("firewall", "outside")],
        [("inspector", "ingress"), ("inspector", "egress")],
        [("server", "data")],
    ]
    kinds = {"client": "probe", "firewall": "firewall", "inspector": "inspector", "server": "webserver"}
    for hop in hops:
        for node, cp in hop:
            assert cp in _templates(kinds[node])


@pytest.mark.parametrize("name", sample_names())
def test_node_templates_state_only_what_etsi_defines_and_all_it_requires(name):
    """Any orchestrator that reads SOL001 3.7.1 must be able to read our samples."""
    if not ETSI.is_dir():
        pytest.skip("ETSI's type files are not beside this checkout")
    types = {}
    for part in ("common", "vnfd", "nsd", "pnfd"):
        text = (ETSI / f"etsi_nfv_sol001_{part}_types.yaml").read_text()
        read = yaml.safe_load(text)
        for section in ("node_types", "policy_types", "group_types", "artifact_types"):
            types.update(read.get(section, {}))
    for path, content in sample_files(name).items():
        if path.endswith("_types.yaml"):
            types.update(yaml.safe_load(content)["node_types"])
    template = _yaml(name, f"Definitions/{name}.yaml")["topology_template"]
    stated = [
        *template["node_templates"].items(),
        *template.get("groups", {}).items(),
        *(pair for policy in template.get("policies", []) for pair in policy.items()),
        *(
            ("sw_image", art)
            for node in template["node_templates"].values()
            for art in node.get("artifacts", {}).values()
        ),
    ]
    for label, node in stated:
        defined, requirements = _inherited(types, node["type"])
        properties = node.get("properties", {})
        assert set(properties) <= set(defined), label
        missing = {
            key
            for key, value in defined.items()
            if value.get("required", True) and "default" not in value and key not in properties
        }
        assert not missing, label
        assert {key for entry in node.get("requirements", []) for key in entry} <= requirements, label
    json.dumps(template)


def test_our_own_loader_reads_every_sample_without_a_warning():
    """The demonstration onboards these; what is extracted is what the functions were written for."""
    for name in vnf_sample_names():
        content = read_vnf_package(open_archive(io.BytesIO(build_sample(name))))
        (flavour,) = content.vnfd.flavours.values()
        (vdu,) = flavour.vdus.values()
        assert content.warnings == ()
        assert vdu.image is not None
        assert (vdu.image.reference, vdu.vcpus, vdu.memory_mib) == (f"builtin:{name}", 1, 64)
        assert vdu.configuration
        assert [cp.external for cp in flavour.cps] == [cp.id for cp in flavour.cps]
        if flavour.aspects:
            assert flavour.vnfc_counts("single") == {vdu.id: 1}
            assert flavour.vnfc_counts("pair") == {vdu.id: 2}
    content = read_nsd_archive(open_archive(io.BytesIO(build_sample("chain-demo"))))
    assert content.warnings == ()
    ns = content.nsd.flavours["default"]
    assert {name: profile.instances for name, profile in ns.profiles.items()} == {
        "client": 1,
        "firewall": 1,
        "inspector": 2,
        "server": 1,
    }
    (path,) = ns.paths
    assert (path.source_profile, path.target_profile) == ("client", "server")
    assert [hop.profile for hop in path.hops] == ["firewall", "inspector"]
    assert path.classifier.ether_types == ("ipv4", "ipv6")


def _inherited(types, kind):
    defined, requirements = {}, set()
    while kind in types:
        definition = types[kind]
        defined = {**(definition.get("properties") or {}), **defined}
        requirements |= {key for entry in definition.get("requirements") or [] for key in entry}
        kind = definition.get("derived_from", "")
    return defined, requirements
