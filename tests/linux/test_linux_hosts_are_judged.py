"""Faults of real hosts, told from one another (R-26): what each is taken for, what is permitted and what is
done, by the record of decisions; and whether packets pass meanwhile.

A monitor from outside complains about the firewall in every case, rightly or not: what is done about that is
a question of evidence.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cut_hosts import BOUND_S, Grounds, office, until, what_is_missing
from linux_lab import remove

from farsite.settings import Settings
from farsite.vims.drivers.linux.agent import daemon
from service_bench import running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grounds() -> Iterator[Grounds]:
    """Three sites with a chain through the one in the middle."""
    if missing := what_is_missing():
        pytest.skip(missing)
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    with office():
        made: Grounds | None = None
        try:
            settings = Settings(data_dir=data_dir, host_look_period_s=0.5, inventory_period_s=2.0)
            with running(settings) as service:
                made = Grounds(service)
                yield made
        finally:
            if made is not None:
                made.end()
                remove(made.sites["north"].run_dir)
            shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def north(grounds: Grounds) -> Iterator[Grounds]:
    """All well before and after, and the monitor content."""
    grounds.well("west", "north", "south")
    until(grounds.passes, "packets pass")
    yield grounds
    grounds.sites["north"].come_back()
    grounds.well("west", "north", "south")
    grounds.content("firewall")
    until(grounds.passes, "packets pass again")


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_an_agent_that_is_killed_is_a_dead_service_and_its_functions_are_let_alone(north: Grounds) -> None:
    """(a) The functions carry packets; to make them anew would be an outage that we made ourselves."""
    site = north.sites["north"]
    before, functions = north.heals(), site.functions()
    site.kill_agent_for_good()
    found = north.judged("north", "service-down")
    assert (found["state"], found["permitted"]) == ("degraded", ["restart-service"])
    assert found["evidence"] == {
        "service": "down", "agent": "down", "management": "up", "power": "up",
        "tenant": "up", "neighbours": "up", "others": "up",
    }  # fmt: skip
    assert north.passes()
    north.complain("firewall", now())
    decision = north.decided("firewall", "permits restart-service")
    assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
    assert north.passes()
    site.come_back()
    north.well("north")
    assert site.functions() == functions, "the functions are those of before"
    assert north.heals() == before


def test_a_frozen_service_is_replaced_and_nothing_else_is(north: Grounds) -> None:
    """(f) It accepts connections and answers none; restarting it is what the verdict permits."""
    site = north.sites["north"]
    before, functions, agent = north.heals(), site.functions(), site.agent
    site.freeze_agent()
    found = north.judged("north", "service-down")
    assert found["permitted"] == ["restart-service"]
    assert north.passes()
    north.complain("firewall", now())
    decision = north.decided("firewall", "permits restart-service")
    assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
    # The driver kills what hangs for ten seconds, and starts another.
    until(lambda: site.agent not in (0, agent), "another agent")
    north.well("north")
    assert site.functions() == functions
    assert north.heals() == before
    assert north.passes()


def test_a_host_whose_data_plane_is_cut_is_told_though_its_agent_answers(north: Grounds) -> None:
    """(d) Everything that our questions reach is well, and no packet passes."""
    site = north.sites["north"]
    site.cut_data()
    try:
        found = north.judged("north", "data-plane-down")
        assert (found["state"], found["permitted"]) == ("degraded", ["fence", "recover-after-fence"])
        assert (found["evidence"]["service"], found["evidence"]["neighbours"]) == ("up", "down")
        assert not north.passes()
        assert {north.host(one)["verdict"] for one in ("west", "south")} == {""}, "the others are well"
        north.complain("firewall", now())
        decision = north.decided("firewall", "data-plane-down")
        assert decision["outcome"] == "DRY_RUN"
        assert [one["kind"] for one in decision["ladder"]] == ["respawn"]
        assert "reboot_hard is not permitted while the verdict is data-plane-down" in decision["reasons"]
        assert "host-data-plane-down" in north.open_alarms()
        assert "compute-service-down" not in north.open_alarms()
    finally:
        site.mend_data()
    north.well("north")
    north.service.until(north.open_alarms, lambda seen: "host-data-plane-down" not in seen, within_s=BOUND_S)


def test_a_host_without_power_is_dead_and_what_stood_there_may_be_made_anew_at_once(north: Grounds) -> None:
    """(b) Nothing can serve there any more, so nothing has to be fenced."""
    site = north.sites["north"]
    with north.healing_for_real():
        site.lose_power()
        found = north.judged("north", "power-lost")
        assert (found["state"], found["permitted"]) == ("down", ["fence", "recover"])
        assert (found["evidence"]["power"], found["evidence"]["neighbours"]) == ("down", "down")
        assert {"host-down", "vnfc-died"} <= north.service.until(
            north.open_alarms, lambda seen: "vnfc-died" in seen
        )
        decision = north.decided("firewall", "power-lost")
        assert "power-lost (100%)" in " ".join(decision["evidence"].values())
        # Nothing is begun on a VIM that does not answer. When it does, healing fills its empty host.
        assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
        assert not north.passes()
        site.come_back()
        north.well("north")
        until(north.passes, "the firewall stands again", within_s=2 * BOUND_S)
        north.service.until(north.open_alarms, lambda seen: "host-down" not in seen, within_s=BOUND_S)


@contextmanager
def cut_off(north: Grounds, names: Sequence[str], *, on_both_planes: bool = False) -> Iterator[None]:
    """These hosts are cut off from us; their functions serve on, if their own network is not cut as well."""
    for name in names:
        north.sites[name].cut_management()
        if on_both_planes:
            north.sites[name].cut_data()
    try:
        yield
    finally:
        for name in names:
            site = north.sites[name]
            site.mend_management()
            if on_both_planes:
                until(lambda site=site: site.agent, "its agent lives")
                site.mend_data()


@pytest.mark.parametrize(
    ("cut", "on_both_planes", "verdict", "permitted"),
    [
        (("north",), False, "host-isolated", ["fence", "recover-after-fence"]),
        (("north",), True, "host-hung", ["fence", "recover-after-fence"]),
        (("west", "north", "south"), False, "partition-of-us", []),
    ],
    ids=["management", "both planes", "we"],
)
def test_what_may_still_run_is_not_made_anew_while_its_host_is_cut_off(
    north: Grounds, cut: Sequence[str], on_both_planes: bool, verdict: str, permitted: list[str]
) -> None:
    """(c) It serves on, or may: who cannot be fenced is let alone, and when we are the ones who are cut off
    so is everybody. When the host is back, everything on it is as it was."""
    site = north.sites["north"]
    before, functions = north.heals(), site.functions()
    with north.healing_on_complaint(), cut_off(north, cut, on_both_planes=on_both_planes):
        found = north.judged("north", verdict)
        assert found["permitted"] == permitted
        # Before that is confirmed a heal may be begun, and waits for its fence.
        north.service.until(
            lambda: north.vim("north")["state"], lambda seen: seen == "ERROR", within_s=BOUND_S
        )
        north.complain("firewall", now())
        decision = north.decided("firewall", verdict, "WITHHELD")
        assert "its VIM is in ERROR" in decision["reasons"], decision
        assert f"permits {', '.join(permitted) or 'nothing'}" in " ".join(decision["evidence"].values())
        assert all(daemon.start_time(int(pid)) for pid in functions.values()), "they run on"
        if cut == ("north",):
            assert north.passes() is not on_both_planes
        assert north.heals() == before
        # What waits must not strike in the moment in which the host is back: by then it is known to be well.
        north.content("firewall")
    north.well("west", "north", "south")
    assert site.functions() == functions, "the functions are those of before"
    assert north.heals() == before


def test_what_can_be_fenced_is_fenced_before_it_is_made_anew(north: Grounds) -> None:
    """(d) The agent answers, so it is known for sure that the old one has ended."""
    site = north.sites["north"]
    functions = site.functions()
    site.cut_data()
    try:
        north.judged("north", "data-plane-down")
        with north.healing_on_complaint():
            north.complain("firewall", now())
            decision = north.decided("firewall", "data-plane-down", "HEAL")
            north.content("firewall")
            assert [one["kind"] for one in decision["ladder"]] == ["respawn"]
            ended = north.service.ended(decision["operation_id"])
            assert ended["state"] == "COMPLETED", ended
            (climb,) = north.carried_out("firewall", "data-plane-down", "HEAL")["climbs"]
            assert climb["fence"].startswith("CONFIRMED"), climb
            (old,) = [functions[one] for one in decision["vnfc_ids"]]
            assert not daemon.start_time(int(old)), "it has ended"
            assert site.functions()[climb["vnfc_id"]] != old
    finally:
        site.mend_data()
