"""The table of what fault management has to reach: nothing that is to be reached may be missing from it."""

from bench.__main__ import PARTS
from bench.fault_management import PROMISES, as_table
from bench.figures import Figure

from bench import fault_management


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_what_was_not_measured_stands_there_with_the_command_that_measures_it() -> None:
    """A line that is left out is a bound that nobody misses."""
    found = rows(as_table({}))
    assert [one[0] for one in found] == [one.what for one in PROMISES]
    assert {one[4] for one in found} == {"not measured"}
    assert {one.part for one in PROMISES} <= set(PARTS)
    assert set(fault_management.PARTS) == {one.part for one in PROMISES}


def test_a_figure_stands_beside_its_floor_and_goal_with_its_runs() -> None:
    """Both stores in lines of their own; a miss is called one."""
    told = [
        Figure(
            what=f"{store}: 100 VMs of a host, detected -> told, p99",
            value=value,
            unit="ms",
            to_reach=50,
            note="20 runs, load 0.4 to 1.1",
        )
        for store, value in (("sqlite", 40.0), ("postgresql", 75.0))
    ]
    found = [one for one in rows(as_table({"told": told})) if one[0].startswith("detected")]
    assert [one[1:3] for one in found] == [["1 s at most", "p99 50 ms"]] * 2
    assert [one[4:] for one in found] == [
        ["40.0 ms", "met, 20% to spare", "20 runs, load 0.4 to 1.1"],
        ["75.0 ms", "MISSED by 50%", "20 runs, load 0.4 to 1.1"],
    ]


def test_a_part_that_broke_off_says_why() -> None:
    """Instead of looking as if it had not been tried."""
    broken = Figure(what="intake", value=None, unit="", note="farsite serve did not start")
    found = [one for one in rows(as_table({"intake": [broken]})) if "intake sustained" in one[0]]
    assert [(one[4], one[6]) for one in found] == [("not measured", "farsite serve did not start")]
