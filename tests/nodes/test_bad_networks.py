"""Networks that work, badly: packets are lost (F-16), few fit (F-17), large ones vanish (F-18), and two hosts
have one address (F-20).

Processes, clouds and consumers are on hosts of their own; what befalls packets does so at the switch.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from cluster_bench import until
from cuts import Lan, Struck, on_a_lan
from histories.consumers import notifications
from histories.telling import copies_marked, order_faults
from lan_bench import LanCluster, lan_cluster
from postgres_server import PostgresServer

Trouble = Callable[[Lan, str], AbstractContextManager[Struck]]
BAD: dict[str, Trouble] = {
    "packets are lost": lambda lan, host: lan.lossy("core1", host, percent=5),
    "few fit": lambda lan, host: lan.narrow(host, kbit_s=64),
}
A_MINUTE_S = 60.0

pytestmark = on_a_lan("unshare")


@pytest.fixture
def nodes(network: tuple[Lan, PostgresServer]) -> Iterator[LanCluster]:
    """One process, and a VIM in the west and in the east that answer."""
    with lan_cluster(*network) as made:
        made.started("core1")
        for place in ("west", "east"):
            made.register_cloud(place)
        both_answer(made)
        yield made


def both_answer(nodes: LanCluster) -> None:
    for place in ("west", "east"):
        until(lambda place=place: nodes.vim(place)["state"] == "ACTIVE", f"the {place} answers", 60.0)


@pytest.mark.parametrize("bad", BAD)
def test_a_vim_over_a_bad_path_raises_no_alarm(nodes: LanCluster, bad: str) -> None:
    """Somebody would be woken every night by a cloud that is well, behind a radio link."""
    (process,) = nodes.processes
    with BAD[bad](nodes.lan, "west") as struck:
        time.sleep(A_MINUTE_S)
        assert struck.packets > 5, "it was a bad path"
    assert nodes.told_of_vims() == []
    assert set(nodes.states_of(process, "west")) <= {"ACTIVE", "UNREACHABLE"}
    assert set(nodes.states_of(process, "east")) == {"ACTIVE"}
    both_answer(nodes)


@pytest.mark.parametrize("bad", BAD)
def test_a_consumer_over_a_bad_path_is_told_everything_in_order_and_delays_no_other(
    nodes: LanCluster, bad: str
) -> None:
    """Each number comes, under one id, and of each VNF none before an earlier one."""
    far, near = nodes.consumer("consumer"), nodes.consumer("operator")
    nodes.register("north", deploy_delay_s=0.3)
    vnf_ids = nodes.vnfs(nodes.onboard(), 20)
    with BAD[bad](nodes.lan, "consumer") as struck:
        operation_ids = set(nodes.instantiate(vnf_ids, "north"))
        nodes.all_completed(list(operation_ids))
        ended = time.monotonic()
        for one, within_s in ((near, 20.0), (far, 120.0)):
            one.until(
                lambda seen: (
                    operation_ids
                    <= {
                        each.json["vnfLcmOpOccId"]
                        for each in seen
                        if each.json["operationState"] == "COMPLETED"
                    }
                ),
                within_s=within_s,
            )
        assert struck.packets > 5, "it was a bad path"
    assert max(one.at for one in near.notifications) - ended < 10.0
    for name, one in (("near", near), ("far", far)):
        told = copies_marked(notifications(name, one.notifications))
        assert order_faults(told) == []
    assert far.numbers()
    assert set(far.numbers()) == set(near.numbers())


@pytest.mark.parametrize(
    "way", [("west", "core1"), ("core1", "west")], ids=["of its answers", "of our requests"]
)
def test_a_vim_on_whose_path_large_packets_vanish_says_so(nodes: LanCluster, way: tuple[str, str]) -> None:
    """Every heartbeat passes and nothing else does: the VIM looks well, and each operation hangs on it."""
    vim_id = nodes.register("north")
    vnf_ids = nodes.vnfs(nodes.onboard(), 3)
    west = nodes.vim("west")["id"]
    with nodes.lan.swallows_large(*way, above_bytes=1000) as struck:
        until(lambda: nodes.open_alarms("vim-degraded") == {west}, "it is told", 120.0)
        shown = nodes.vim("west")
        assert shown["state"] == "DEGRADED"
        assert "keystone at length" in shown["state_reason"], shown
        assert "MTU" in shown["state_reason"]
        assert struck.packets > 0
        nodes.all_completed(nodes.instantiate(vnf_ids, "north"), 30.0)
        assert nodes.vim("east")["state"] == "ACTIVE"
    until(lambda: not nodes.open_alarms("vim-degraded"), "it is over", 90.0)
    both_answer(nodes)
    assert nodes.told_of_vims() == [(west, "vim-degraded")]
    assert nodes.doubled(vim_id) == []


def test_a_vim_whose_address_another_host_takes_is_told_of_until_it_has_it_back(nodes: LanCluster) -> None:
    """The other host knows nothing of a VIM; whose address it is cannot be known, that it is wrong can."""
    west = nodes.vim("west")["id"]
    with nodes.lan.also_has("consumer", nodes.lan.addresses["west"]):
        until(lambda: nodes.open_alarms("vim-unreachable") == {west}, "it is told", 30.0)
        assert "connection refused" in nodes.vim("west")["state_reason"]
        assert nodes.vim("east")["state"] == "ACTIVE"
    until(lambda: not nodes.open_alarms("vim-unreachable"), "it is over", 30.0)
    both_answer(nodes)
    assert nodes.told_of_vims() == [(west, "vim-unreachable")]
