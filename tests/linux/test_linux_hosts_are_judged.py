"""Faults of real hosts, told from one another (R-26): what each is taken for, what is permitted and what is
done, by the record of decisions; and whether packets pass meanwhile.

A monitor from outside complains about the firewall in every case, rightly or not: what is done about that is
a question of evidence.
"""

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cut_hosts import BOUND_S, Grounds, cut_cables, mend_cables, office, until, what_is_missing
from linux_lab import remove

from farsite.settings import Settings
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
        decision = north.decided("firewall", "permits fence, recover")
        assert "power-lost (100%)" in " ".join(decision["evidence"].values())
        # Nothing is begun on a VIM that does not answer. When it does, healing fills its empty host.
        assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
        assert not north.passes()
        site.come_back()
        north.well("north")
        until(north.passes, "the firewall stands again", within_s=2 * BOUND_S)
        north.service.until(north.open_alarms, lambda seen: "host-down" not in seen, within_s=BOUND_S)


# -- reached over the management network and no other way, from here on -------------------------------------


@pytest.fixture(scope="module")
def cables(grounds: Grounds) -> None:
    """Every agent stands behind a relay at each end of its cable."""
    grounds.well("west", "north", "south")
    for site in grounds.sites.values():
        site.relay()
    grounds.forget_connections()
    grounds.well("west", "north", "south")


@pytest.fixture
def relayed(cables: None, north: Grounds) -> Grounds:
    """The grounds with all cables whole."""
    del cables
    return north


def test_a_host_whose_management_is_cut_is_isolated_and_goes_on(relayed: Grounds) -> None:
    """(c) To make its functions anew elsewhere would have two of them; to kill its agent helps nobody."""
    site = relayed.sites["north"]
    before, functions, agent = relayed.heals(), site.functions(), site.agent
    cut_cables(site.address)
    try:
        found = relayed.judged("north", "host-isolated")
        assert (found["state"], found["permitted"]) == ("degraded", ["fence", "recover-after-fence"])
        evidence = found["evidence"]
        assert (evidence["management"], evidence["neighbours"], evidence["power"]) == ("down", "up", "up")
        assert relayed.passes()
        relayed.complain("firewall", now())
        decision = relayed.decided("firewall", "permits fence, recover-after-fence")
        assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
        # Longer than a hung agent is given.
        relayed.service.until(
            lambda: relayed.vim("north")["state"], lambda seen: seen == "ERROR", within_s=BOUND_S
        )
        relayed.lasts("north", 12.0)
        assert site.agent == agent, "an agent was killed of which only the way to it is gone"
        assert relayed.passes()
    finally:
        mend_cables()
    relayed.well("north")
    assert (site.agent, site.functions()) == (agent, functions)
    assert relayed.heals() == before


def test_a_host_that_is_cut_off_on_both_planes_looks_hung_and_is_fenced_first(relayed: Grounds) -> None:
    """It has power and may be writing: from outside nobody can tell it from one that hangs."""
    site = relayed.sites["north"]
    before, functions = relayed.heals(), site.functions()
    with relayed.healing_for_real():
        site.cut_data()
        cut_cables(site.address)
        try:
            found = relayed.judged("north", "host-hung")
            assert (found["state"], found["permitted"]) == ("down", ["fence", "recover-after-fence"])
            assert found["evidence"]["neighbours"] == "down"
            decision = relayed.decided("firewall", "host-hung")
            assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
        finally:
            mend_cables()
            site.mend_data()
        # It was only cut off: what stands there lives, and is not made anew because it was believed dead.
        relayed.well("north")
        relayed.service.until(
            relayed.open_alarms, lambda seen: not seen & {"host-down", "vnfc-died"}, within_s=BOUND_S
        )
        assert site.functions() == functions
        assert relayed.heals() == before


def test_when_all_sites_are_silent_at_once_it_is_we_who_are_cut_off(relayed: Grounds) -> None:
    """(e) Nobody is dead, nothing is permitted, and traffic goes on."""
    before, functions = relayed.heals(), {one: site.functions() for one, site in relayed.sites.items()}
    alarms = relayed.open_alarms()
    relayed.client(
        "POST",
        "traffic",
        {
            "kind": "udp",
            "target": relayed.target,
            "port": 80,
            "rate_pps": 50,
            "duration_s": 8,
            "timeout_s": 0.5,
        },
    )
    cut_cables()
    try:
        for name in relayed.sites:
            found = relayed.judged(name, "partition-of-us")
            assert (found["state"], found["permitted"]) == ("unknown", [])
        relayed.complain("firewall", now())
        decision = relayed.decided("firewall", "permits nothing")
        assert decision["outcome"] in ("WAIT", "WITHHELD"), decision
        assert "partition-of-us" in " ".join(decision["evidence"].values())
        relayed.service.until(
            lambda: {relayed.vim(one)["state"] for one in relayed.sites},
            lambda seen: seen == {"ERROR"},
            within_s=BOUND_S,
        )
        told = relayed.open_alarms() - alarms
        assert not told & {"host-down", "vnfc-died", "compute-service-down", "host-data-plane-down"}, told
    finally:
        mend_cables()
    relayed.well("west", "north", "south")
    assert relayed.heals() == before
    assert {one: site.functions() for one, site in relayed.sites.items()} == functions
    result = relayed.service.until(
        lambda: relayed.client("GET", "traffic"), lambda seen: not seen["running"], within_s=BOUND_S
    )
    assert result["received"] >= 0.99 * result["sent"], result
