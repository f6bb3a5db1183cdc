"""Name servers that are wrong, slow or silent (F-19), before processes that watch VIMs by their names.

The one process has a resolver of its own, as every host has; its database and the VIM in the east it knows by
their addresses.
"""

import time
from collections.abc import Iterator

import pytest

from cluster_bench import Process, until
from cuts import Lan, on_a_lan
from lan_bench import LanCluster, lan_cluster
from name_server import NameServer, name_server
from postgres_server import PostgresServer

CLOUDS = 40
"""By name, in the west: more than any pool of threads that they might keep busy together."""


def name_of(number: int) -> str:
    return f"west-{number}.cloud.example"


def all_at(address: str) -> dict[str, str]:
    return {name_of(number): address for number in range(CLOUDS)}


pytestmark = on_a_lan("unshare", "dnsmasq")


@pytest.fixture
def names(network: tuple[Lan, PostgresServer]) -> Iterator[NameServer]:
    """Knows where the west is."""
    lan, _ = network
    with name_server(lan, "names") as made, lan.resolves_by("core1", "names"):
        made.says(all_at(lan.addresses["west"]))
        yield made


@pytest.fixture
def nodes(network: tuple[Lan, PostgresServer], names: NameServer) -> Iterator[LanCluster]:
    assert names.asked == 0
    with lan_cluster(*network) as made:
        yield made


def watching(nodes: LanCluster, *, by_name: int = 1) -> Process:
    """A process that watches the east, and so many VIMs in the west by their name; all of them answer."""
    (process,) = nodes.started("core1")
    nodes.register_cloud("east")
    for number in range(by_name):
        nodes.register_cloud("west", name=f"west-{number}", host=name_of(number))
    assert {one["state"] for one in nodes.done("GET", "/vims")} == {"ACTIVE"}
    return process


def started_anew(nodes: LanCluster, process: Process) -> Process:
    """It has no connection any more, and knows no address."""
    process.kill()
    (again,) = nodes.started("core1")
    return again


def east_is_well(nodes: LanCluster, process: Process) -> None:
    """It is watched, and operations are carried out beside it."""
    until(lambda: nodes.vim("east")["state"] == "ACTIVE", "the east answers", 10.0)
    nodes.register("north", deploy_delay_s=0.1)
    nodes.all_completed(nodes.instantiate(nodes.vnfs(nodes.onboard(), 5), "north"), 30.0)
    assert set(nodes.states_of(process, "east")) <= {"ACTIVE"}


def test_a_silent_name_server_is_named_and_delays_no_other(nodes: LanCluster, names: NameServer) -> None:
    """Forty look-ups that hang at once, again and again, must hold up nothing that needs none."""
    before = watching(nodes, by_name=CLOUDS)
    names.is_silent = True
    process = started_anew(nodes, before)
    asked = names.asked
    until(lambda: len(nodes.open_alarms("vim-unreachable")) == CLOUDS, "all are told of", 30.0)
    east_is_well(nodes, process)
    until(
        lambda: f'"{name_of(0)}" of ' in nodes.vim("west-0")["state_reason"],
        "it says that it is the name",
        60.0,
    )
    assert "cannot be resolved" in nodes.vim("west-0")["state_reason"]
    assert names.asked > asked
    names.is_silent = False
    until(lambda: not nodes.open_alarms("vim-unreachable"), "all are over", 60.0)
    assert {nodes.vim(f"west-{number}")["state"] for number in range(CLOUDS)} == {"ACTIVE"}
    assert nodes.done("GET", "/vims/east")["state"] == "ACTIVE"


def test_a_slow_name_server_is_waited_for(nodes: LanCluster, names: NameServer) -> None:
    """Each look-up outlasts a check: whoever gave it up with the check would never know the address."""
    before = watching(nodes)
    names.delay_s = 3.0
    process = started_anew(nodes, before)
    until(lambda: nodes.states_of(process, "west-0")[-1:] == ["ACTIVE"], "it is found in the end", 45.0)
    until(lambda: not nodes.open_alarms("vim-unreachable"), "nothing is wrong with it", 10.0)
    began = len(nodes.states_of(process, "west-0"))
    # Addresses are kept for a minute, connections for longer.
    time.sleep(75.0)
    assert nodes.states_of(process, "west-0")[began:] == []
    east_is_well(nodes, process)


@pytest.mark.parametrize("wrong", ["another's address", "no such name"])
def test_a_wrong_answer_is_told_as_what_it_leads_to_and_corrected_without_us(
    nodes: LanCluster, names: NameServer, wrong: str
) -> None:
    """Somebody mistyped a zone file. Nobody restarts Farsite when it is mended."""
    before = watching(nodes)
    names.says({} if wrong == "no such name" else all_at(nodes.lan.addresses["consumer"]))
    process = started_anew(nodes, before)
    west = nodes.vim("west-0")["id"]
    until(lambda: nodes.open_alarms("vim-unreachable") == {west}, "it is told", 30.0)
    said = {"no such name": "cannot be resolved", "another's address": "refused"}[wrong]
    until(lambda: said in nodes.vim("west-0")["state_reason"], "it says what is wrong", 30.0)
    assert name_of(0) in nodes.vim("west-0")["state_reason"]
    east_is_well(nodes, process)
    names.says(all_at(nodes.lan.addresses["west"]))
    until(lambda: nodes.vim("west-0")["state"] == "ACTIVE", "it is found again", 90.0)
    until(lambda: not nodes.open_alarms("vim-unreachable"), "it is over", 10.0)
