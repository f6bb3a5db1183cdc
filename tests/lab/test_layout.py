"""Where a laboratory lies: nothing of it may be in the way of anything else."""

import tarfile
import tempfile
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.openstack import schemas
from lab.openstack.layout import LaboratoryFault, Layout

HERE = Path("/lab")
LAYOUTS = st.builds(
    Layout,
    directory=st.just(HERE),
    independent=st.integers(1, 2),
    regions=st.integers(0, 1),
    isolated=st.booleans(),
    has_cinder=st.booleans(),
    port_offset=st.integers(0, 26).map(lambda hundreds: hundreds * 100),
)


def places(layout: Layout) -> list[tuple[str, int]]:
    """Every address and port that something of the laboratory listens on."""
    found = [
        (layout.host, layout.database_port),
        (layout.host, layout.bus_port),
        ("127.0.0.1", layout.erlang_port),
        ("127.0.0.1", layout.epmd_port),
    ]
    for site in layout.sites:
        services = ["heat-cfn", *layout.projects]
        found += [
            (site.address, site.port(service))
            for service in services
            if service != "keystone" or site.has_keystone
        ]
    return found


@given(LAYOUTS)
def test_no_two_services_want_the_same_place(layout: Layout) -> None:
    """The second would not start, or worse: a test would talk to the wrong site."""
    assert len(places(layout)) == len(set(places(layout)))


@given(LAYOUTS)
def test_no_port_is_one_that_connections_take(layout: Layout) -> None:
    """Above 32768 the kernel gives ports away, so that a service would start on most days only."""
    assert all(1024 < port < 32768 for _, port in places(layout))


def test_laboratories_at_different_offsets_do_not_meet() -> None:
    """A developer's own runs beside that of `make test-openstack`; each with TLS fronts before it."""
    layouts = [Layout(directory=HERE, regions=1, port_offset=offset) for offset in (0, 1000, 2000)]
    wide = [
        {port + step for _, port in places(layout) for step in (0, 100, 200)} | {layout.database_port}
        for layout in layouts
    ]
    # A TLS front stands before services only: database and bus need no room beside them.
    assert all(not (one & other) for one, other in combinations(wide, 2))


@given(LAYOUTS)
def test_a_layout_is_read_as_it_was_written(layout: Layout) -> None:
    """Every later command relies on what `up` decided."""
    with tempfile.TemporaryDirectory() as place:
        kept = Layout(**(vars_of(layout) | {"directory": Path(place)}))
        kept.save()
        assert Layout.load(Path(place)) == kept


def vars_of(layout: Layout) -> dict[str, object]:
    return {name: getattr(layout, name) for name in Layout.__dataclass_fields__}


def test_a_region_uses_the_first_sites_keystone_and_services_of_its_own() -> None:
    """Else two regions would be one, or two sites."""
    first, second, region = Layout(directory=HERE, regions=1).sites
    assert region.auth_url == first.auth_url != second.auth_url
    assert region.url("heat") not in (first.url("heat"), second.url("heat"))
    assert (first.has_keystone, second.has_keystone, region.has_keystone) == (True, True, False)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"release": "essex"}, "no release 'essex'"),
        ({"independent": 3, "regions": 1}, "at most 3"),
        ({"independent": 0, "regions": 1}, "0 sites"),
        ({"directory": Path("/" + "x" * 100)}, "too long a path"),
    ],
    ids=["release", "too many", "none", "path"],
)
def test_what_cannot_be_is_refused_before_anything_starts(wrong: dict[str, object], told: str) -> None:
    """A laboratory that fails after a minute, by a socket's name, costs an hour."""
    with pytest.raises(LaboratoryFault, match=told):
        Layout(**({"directory": HERE} | wrong))


def test_a_directory_without_laboratory_says_how_to_make_one(tmp_path: Path) -> None:
    """`status` in the wrong directory is what everybody types once."""
    with pytest.raises(LaboratoryFault, match="`up` makes one"):
        Layout.load(tmp_path)
    with pytest.raises(LaboratoryFault, match="there are site1, site2"):
        Layout(directory=tmp_path).named("site3")


def test_the_packed_schemas_are_those_of_the_pinned_release() -> None:
    """After a change of the pins they are not used any more, and every fresh run takes longer for nothing."""
    layout = Layout(directory=HERE)
    with tarfile.open(schemas.packed(layout)) as archive:
        names = archive.getnames()
    wanted = schemas._kept_at(layout).name
    databases = [name for names in schemas.DATABASES.values() for name in names]
    assert sorted(names) == sorted(f"{wanted}/{name}.sql" for name in databases)
