"""Base HOT of packages: which values fill it, and what becomes of it."""

from dataclasses import replace
from typing import Any

import pytest

from farsite.model.deployment import BaseTemplate, Deployment, NetworkSpec, Port, Volume, WantedVnfc
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId, VnfInstanceId
from farsite.vims.drivers.openstack import base_hot
from farsite.vims.drivers.openstack.hot import Chosen

NESTED = """
heat_template_version: 2013-05-23
parameters: {flavor: {type: string}}
resources:
  VDU1: {type: OS::Nova::Server, properties: {flavor: {get_param: flavor}}}
"""

GROUP = """
heat_template_version: 2013-05-23
parameters: {nfv: {type: json}, colour: {type: string, default: red}}
resources:
  VDU1_scale_group:
    type: OS::Heat::AutoScalingGroup
    properties:
      desired_capacity: {get_param: [nfv, VDU, VDU1, desired_capacity]}
      resource:
        type: VDU1.yaml
        properties:
          flavor: {get_param: [nfv, VDU, VDU1, computeFlavourId]}
          image: {get_param: [nfv, VDU, VDU1, vcImageId]}
          net: {get_param: [nfv, CP, CP1, network]}
"""

INDIVIDUAL = """
heat_template_version: 2013-05-23
parameters: {nfv: {type: json}}
resources:
  VDU1:
    type: VDU1.yaml
    properties:
      flavor: {get_param: [nfv, VDU, VDU1, computeFlavourId]}
      name: {get_param: [nfv, VDU, VDU1, name]}
      ip: {get_param: [nfv, CP, CP1, fixed_ips, 0, ip_address]}
  shared: {type: OS::Neutron::Net}
"""


def wish(main: str, count: int = 2, **parameters: object) -> Deployment:
    vnfcs = tuple(
        WantedVnfc(
            id=VnfcId(f"v-VDU1-{number}"),
            vdu="VDU1",
            image="cirros",
            flavour="m1.tiny",
            ports=(Port(name="CP1", network_id="net-1", addresses=(f"10.0.0.{number + 5}/24",)),),
        )
        for number in range(count)
    )
    template = BaseTemplate(
        main=main, files={"VDU1.yaml": NESTED, "unused.yaml": NESTED}, parameters=parameters
    )
    return Deployment(name="vnf-v", vnf_id=VnfInstanceId("v"), revision="1", vnfcs=vnfcs, template=template)


def made(wanted: Deployment) -> tuple[dict[str, Any], dict[str, Any]]:
    """Resources and `nfv`."""
    found = base_hot.read(wanted, Chosen())
    resources, nfv = found.template["resources"], found.parameters["nfv"]
    assert isinstance(resources, dict)
    assert isinstance(nfv, dict)
    return resources, nfv


def test_a_template_that_makes_its_own_networks_and_volumes_keeps_nothing_apart_and_says_so() -> None:
    """It would be made as its author wrote it, and the rule broken in silence."""
    wanted = wish(GROUP)
    line = NetworkSpec(id="v-left", name="left", physical_network="front")
    disk = Volume(name="data", size_gib=1, back_end="ssd-a")
    with pytest.raises(VimFault, match=r"virtual link left.*flavour without a base HOT"):
        base_hot.read(replace(wanted, networks=(line,)), Chosen())
    vnfcs = tuple(replace(one, volumes=(disk,)) for one in wanted.vnfcs)
    with pytest.raises(VimFault, match="storage data"):
        base_hot.read(replace(wanted, vnfcs=vnfcs), Chosen())


def test_a_scaling_group_stays_as_its_author_wrote_it() -> None:
    """The default style: only its size changes, so Heat scales it as its author meant."""
    resources, nfv = made(wish(GROUP))
    again, larger = made(wish(GROUP, 3))
    assert resources == again
    assert (nfv["VDU"]["VDU1"]["desired_capacity"], larger["VDU"]["VDU1"]["desired_capacity"]) == (2, 3)
    assert nfv["VDU"]["VDU1"]["computeFlavourId"] == "m1.tiny"
    assert nfv["VDU"]["VDU1"]["vcImageId"] == "cirros"
    assert nfv["CP"]["CP1"]["network"] == "net-1"


def test_each_vnfc_of_the_standard_style_is_a_resource_with_values_of_its_own() -> None:
    """Otherwise one VNFC could not be replaced without the others."""
    resources, nfv = made(wish(INDIVIDUAL))
    assert set(resources) == {"VDU1-0", "VDU1-1", "shared"}
    assert resources["VDU1-1"]["properties"]["ip"]["get_param"] == [
        "nfv", "CP", "CP1-1", "fixed_ips", 0, "ip_address",
    ]  # fmt: skip
    assert nfv["CP"]["CP1-1"]["fixed_ips"] == [{"ip_address": "10.0.0.6"}]
    assert nfv["VDU"]["VDU1-1"]["name"] == "VDU1-1"
    assert nfv["farsite"]["servers"] == {"v-VDU1-0": "VDU1-0", "v-VDU1-1": "VDU1-1"}


def test_scaling_the_standard_style_leaves_the_other_resources_alone() -> None:
    """Heat changes what differs; the VNFCs that stay must not."""
    before, _ = made(wish(INDIVIDUAL, 1))
    after, _ = made(wish(INDIVIDUAL, 2))
    assert {name: after[name] for name in before} == before


def test_a_vdu_scaled_to_nothing_is_in_the_template_no_more() -> None:
    """Its pattern alone would be a VNFC that nobody asked for."""
    wanted = wish(INDIVIDUAL, 1)
    other = replace(wanted.vnfcs[0], id=VnfcId("v-VDU2-0"), vdu="VDU2")
    resources, _ = made(replace(wanted, vnfcs=(other,)))
    assert set(resources) == {"shared"}


def test_values_of_users_win_and_other_parameters_reach_the_template() -> None:
    """A template may want what no descriptor says (a router's address); only users know it."""
    wanted = wish(GROUP, nfv={"VDU": {"VDU1": {"computeFlavourId": "big"}}}, colour="blue", unknown="x")
    found = base_hot.read(wanted, Chosen())
    nfv: Any = found.parameters["nfv"]
    assert nfv["VDU"]["VDU1"]["computeFlavourId"] == "big"
    assert nfv["VDU"]["VDU1"]["vcImageId"] == "cirros"
    assert found.parameters["colour"] == "blue"
    assert "unknown" not in found.parameters, "Heat refuses parameters that a template does not declare"


def test_a_value_that_nobody_gave_is_named() -> None:
    """Heat says only that a path of a parameter is empty, and of one at a time."""
    wanted = wish(INDIVIDUAL, 1)
    bare = replace(wanted.vnfcs[0], ports=())
    with pytest.raises(VimFault, match="CP/CP1/fixed_ips/0/ip_address"):
        base_hot.read(replace(wanted, vnfcs=(bare,)), Chosen())


def test_only_files_that_are_used_are_sent() -> None:
    """Heat takes half a megabyte in all."""
    assert set(base_hot.read(wish(GROUP), Chosen()).files) == {"VDU1.yaml"}


def test_every_stack_that_a_template_becomes_is_counted() -> None:
    """Nested stacks hold threads of Heat's engine; what is not counted can block it."""
    assert base_hot.read(wish(GROUP, 3), Chosen()).weight == 5
    assert base_hot.read(wish(INDIVIDUAL, 3), Chosen()).weight == 4


def test_one_server_cannot_be_several() -> None:
    """A server that stands alone in a template shares its ports with nobody."""
    alone = GROUP.replace("VDU1_scale_group:", "VDU1: {type: OS::Nova::Server}\n  group:")
    with pytest.raises(VimFault, match="as one server"):
        base_hot.read(wish(alone), Chosen())


def test_dates_in_templates_stay_texts() -> None:
    """YAML reads `2013-05-23` as a date, which Heat's JSON does not know."""
    assert base_hot.read(wish(GROUP), Chosen()).template["heat_template_version"] == "2013-05-23"
