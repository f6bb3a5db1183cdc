"""Flavours: found by what a VNFC needs, told apart by every feature."""

from hypothesis import given
from hypothesis import strategies as st

from farsite.model.deployment import Volume, WantedVnfc
from farsite.model.ids import VnfcId
from farsite.vims.drivers.openstack.flavours import Flavour, derived_name, match, nearest, needed

specs = st.dictionaries(
    st.sampled_from(["hw:cpu_policy", "hw:numa_nodes"]), st.sampled_from(["1", "dedicated"])
)
flavours = st.builds(
    Flavour,
    name=st.text("abc", min_size=1, max_size=3),
    vcpus=st.integers(1, 4),
    memory_mib=st.sampled_from([489, 512, 1024, 2048]),
    disk_gib=st.integers(0, 3),
    extra_specs=specs,
)


@given(flavours, st.lists(flavours))
def test_a_match_has_the_features_and_no_less_than_the_size(wanted: Flavour, offered: list[Flavour]) -> None:
    """A flavour without pinning would run, and nobody would know why it is slow."""
    found = match(wanted, offered)
    if found is not None:
        assert dict(found.extra_specs) == dict(wanted.extra_specs)
        assert found.vcpus == wanted.vcpus
        assert found.memory_mib >= wanted.memory_mib
        assert found.disk_gib >= wanted.disk_gib


@given(flavours, st.lists(flavours))
def test_a_flavour_of_the_very_specification_is_found_in_any_order(
    wanted: Flavour, offered: list[Flavour]
) -> None:
    """Two processes must choose alike, whatever order Nova lists in."""
    assert match(wanted, [*offered, wanted]) is not None
    assert match(wanted, offered) == match(wanted, offered[::-1])


@given(flavours, flavours)
def test_names_of_made_flavours_tell_specifications_apart(one: Flavour, other: Flavour) -> None:
    """The name is how a flavour that is half made is found again."""
    assert (derived_name(one) == derived_name(other)) is (one.specification == other.specification)


def test_decimal_sizes_of_descriptors_find_binary_flavours() -> None:
    """512 MB in a descriptor are 489 MiB; its author had the 512 MiB flavour in mind."""
    tiny = Flavour(id="t", name="m1.tiny", vcpus=1, memory_mib=512, disk_gib=1)
    assert match(Flavour(vcpus=1, memory_mib=489, disk_gib=1), [tiny]) == tiny
    assert match(Flavour(vcpus=1, memory_mib=400, disk_gib=1), [tiny]) is None


def test_a_server_from_an_image_needs_a_disk_and_one_from_a_volume_does_not() -> None:
    """Nova lets only administrators boot an image on a flavour without a disk."""
    vnfc = WantedVnfc(id=VnfcId("a"), vdu="A", image="x")
    assert needed(vnfc).disk_gib == 1
    volume = Volume(name="root", size_gib=4, is_boot=True)
    assert needed(WantedVnfc(id=VnfcId("a"), vdu="A", image="x", volumes=(volume,))).disk_gib == 0


def test_the_nearest_flavours_have_the_features_before_the_size() -> None:
    """Whoever asks for pinning is helped by the pinned flavour of another size, not by the plain one."""
    pinned = Flavour(
        name="pinned", vcpus=4, memory_mib=4096, disk_gib=9, extra_specs={"hw:cpu_policy": "dedicated"}
    )
    plain = Flavour(name="plain", vcpus=2, memory_mib=1024, disk_gib=1)
    wanted = Flavour(vcpus=2, memory_mib=1024, disk_gib=1, extra_specs={"hw:cpu_policy": "dedicated"})
    assert nearest(wanted, [plain, pinned], 1) == [pinned]
