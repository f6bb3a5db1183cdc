"""The benchmark of devices: which adapters it compares, which parts a name stands for, what it writes."""

from pathlib import Path

from bench.__main__ import GROUPS, MEASURED, PARTS, wanted_parts, write
from bench.devices.contenders import CONTENDERS
from bench.devices.rules import document

from farsite.model.configuration import Service
from farsite.vnfs.registry import SHIPPED, Adapters


def test_every_adapter_that_takes_firewall_rules_is_compared() -> None:
    """What is not measured is slow one day, and nobody knows since when."""
    takes = {one.about.name for one in Adapters().all_of() if Service.FIREWALL in one.about.services}
    assert takes == set(CONTENDERS)
    assert all((SHIPPED / name).is_dir() for name in CONTENDERS)


def test_a_thousand_rules_differ_from_one_another() -> None:
    """Rules that are the same would share their addresses, and be ten times less work for some products."""
    firewall = document(1000).firewall
    assert firewall is not None
    assert len({(one.name, one.source) for one in firewall.rules}) == 1000


def test_a_group_stands_for_its_parts_and_for_those_named_beside_it_alone() -> None:
    """Two hours are long for a question about one part."""
    assert wanted_parts([]) == list(PARTS)
    assert wanted_parts(["devices"]) == list(GROUPS["devices"])
    assert wanted_parts(["devices", "device-broker"]) == ["device-broker"]
    assert wanted_parts(["told", "devices"]) == ["told", *GROUPS["devices"]]
    assert {one for parts in GROUPS.values() for one in parts} <= set(PARTS)


def test_what_people_wrote_above_the_figures_is_kept(tmp_path: Path) -> None:
    """A page that says what its figures mean is worth more than the figures."""
    page = tmp_path / "page.md"
    page.write_text(f"# What it means\n\n{MEASURED}\n\nold figures\n")
    write(page, "new figures\n")
    assert page.read_text() == f"# What it means\n\n{MEASURED}\n\nnew figures\n"
    write(page, "newer figures\n")
    assert page.read_text() == f"# What it means\n\n{MEASURED}\n\nnewer figures\n"
    plain = tmp_path / "plain.md"
    for figures in ("old\n", "new\n"):
        write(plain, figures)
        assert plain.read_text() == figures
