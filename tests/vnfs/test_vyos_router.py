"""What happens to a VyOS router when things go wrong, as far as an emulated one can show."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_emulated import MINUTE_S, RULE, SECRET, Emulated, served, vyos_configure
from bench_parts import applied, document
from lab.emulators.misbehaviour import Fault
from lab.emulators.vyos import Vyos

from farsite.model.configuration import Configuration
from farsite.model.errors import Conflict, NotSupported, VnfFault, VnfUnreachable
from farsite.vnfs.adapter import ErrorCode, Outcome, Wanted

GROUP = ("firewall", "group", "address-group", "THEIRS", "address", "192.0.2.7")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Emulated]:
    with served("vyos", Vyos(secret=SECRET, minute_s=MINUTE_S), tmp_path) as running:
        vyos_configure(running, ("set", "system", "config-management", "commit-confirm", "action", "reload"))
        yield running


def ruled(name: str) -> Configuration:
    return document(
        firewall={"rules": [{"name": name, "protocol": "tcp", "destination_ports": ["443"]}]},
        routes=[{"prefix": "10.9.0.0/16", "next_hop": "192.0.2.9"}],
    )


async def test_a_commit_that_fails_in_part_leaves_nothing(device: Emulated) -> None:
    """VyOS commits component by component; half of a firewall is a hole or a wall."""
    adapter = await device.open()
    before = (await adapter.fetch()).digest
    with pytest.raises(VnfFault, match="what ran before runs"):
        await failing_second(device, adapter, Wanted(document=ruled("web")))

    assert (await adapter.fetch()).digest == before
    assert await adapter.outcome("c-1") is not Outcome.PENDING
    await adapter.close()


async def failing_second(device: Emulated, adapter, wanted: Wanted) -> None:
    """Let the commit of the change itself fail in part, after the one that announces it."""
    commit = device.emulator._commit
    commits: list[object] = []

    def counted(candidate, confirm_time):
        commits.append(candidate)
        if confirm_time:
            device.emulator.orders.order(Fault.PARTIAL_FAILURE)
        return commit(candidate, confirm_time)

    device.emulator._commit = counted
    try:
        plan = await adapter.plan(wanted, await adapter.fetch())
        await adapter.apply(wanted, plan, change_id="c-1", confirm_within_s=60)
    finally:
        device.emulator._commit = commit
        device.emulator.orders.withdraw()


async def test_a_commit_confirm_of_somebody_else_is_not_disturbed(device: Emulated) -> None:
    """His router comes back for him in time, whatever we were told to do."""
    with device.client() as client:
        said = {"commands": [{"op": "set", "path": list(GROUP)}], "confirm_time": 10, "key": SECRET}
        assert client.post("/configure", json=said).json()["success"]
    adapter = await device.open()
    before = (await adapter.fetch()).digest
    with pytest.raises(Conflict, match="commit-confirm of somebody else") as refusal:
        await applied(adapter, ruled("web"), "c-1")

    assert refusal.value.about["code"] == ErrorCode.BUSY
    assert (await adapter.fetch()).digest == before
    with device.client() as client:
        said = {"op": "exists", "path": list(GROUP[:4]), "key": SECRET}
        assert client.post("/retrieve", json=said).json()["data"] is True
    await adapter.close()


async def test_what_others_configure_stays(device: Emulated) -> None:
    """A document speaks of its services, and a router has more."""
    adapter = await device.open()
    vyos_configure(
        device, ("set", *GROUP), ("set", "interfaces", "ethernet", "eth2", "address", "198.51.100.1/24")
    )
    await applied(adapter, ruled("web"), "c-1")
    await adapter.confirm("c-1")
    await applied(adapter, document(firewall={"rules": []}, interfaces=[{"name": "eth3"}]), "c-2")
    await adapter.confirm("c-2")

    with device.client() as client:
        told = client.post("/retrieve", json={"op": "showConfig", "path": [], "key": SECRET}).json()["data"]
    assert told["firewall"]["group"]["address-group"]["THEIRS"]
    assert told["interfaces"]["ethernet"]["eth2"]["address"]
    assert told["interfaces"]["ethernet"]["eth3"]["hw-id"], "what we do not speak of went away"
    assert told["protocols"]["static"]["route"], "a service that the second document is silent on"
    assert "10" not in told["firewall"]["ipv4"]["forward"]["filter"]["rule"]
    await adapter.close()


async def test_a_router_that_ignores_confirm_time_is_not_left_with_an_unguarded_change(
    tmp_path: Path,
) -> None:
    """An older API takes the request and forgets the guard; nobody would notice until it is needed."""

    class Old(Vyos):
        def _commit(self, candidate, confirm_time):  # type: ignore[no-untyped-def, override]
            return super()._commit(candidate, 0)

    with served("vyos", Old(secret=SECRET, minute_s=MINUTE_S), tmp_path) as running:
        adapter = await running.open()
        before = (await adapter.fetch()).digest
        with pytest.raises(NotSupported, match="does not know confirm_time"):
            await applied(adapter, ruled("web"), "c-1")
        assert (await adapter.fetch()).digest == before
        await adapter.close()


async def test_an_answer_that_is_lost_is_found_out(device: Emulated) -> None:
    """Whether it was done is on the device, and another process of ours asks it."""
    adapter = await device.open()
    wanted = Wanted(document=ruled("web"))
    plan = await adapter.plan(wanted, await adapter.fetch())
    commit = device.emulator._commit

    def losing(candidate, confirm_time):
        if confirm_time:
            device.emulator.orders.order(Fault.LOST_ANSWER)
        return commit(candidate, confirm_time)

    device.emulator._commit = losing
    with pytest.raises(VnfUnreachable):
        await adapter.apply(wanted, plan, change_id="c-1", confirm_within_s=600)
    device.emulator._commit = commit
    await adapter.close()
    successor = await device.open()

    assert await successor.outcome("c-1") is Outcome.PENDING
    await successor.confirm("c-1")
    assert not (await successor.plan(wanted, await successor.fetch())).changes
    await successor.close()


async def test_a_wrong_key_is_told_with_what_to_do(device: Emulated) -> None:
    """It is the first thing that goes wrong with a new device."""
    vyos_configure(device, ("set", "service", "https", "api", "keys", "id", "farsite", "key", "another"))
    adapter = await device.open()
    with pytest.raises(
        VnfFault, match=r"Valid API key is required.*Check the user and the password"
    ) as fault:
        await adapter.fetch()

    assert fault.value.about["code"] == ErrorCode.AUTHENTICATION
    await adapter.close()


async def test_a_rule_in_the_middle_is_shown_as_drift(device: Emulated) -> None:
    """The first match decides, so one rule before ours changes what all of ours mean."""
    adapter = await device.open()
    await applied(adapter, ruled("web"), "c-1")
    await adapter.confirm("c-1")
    vyos_configure(device, ("set", *RULE, "5", "action", "drop"))
    plan = await adapter.plan(Wanted(document=ruled("web")), await adapter.fetch())

    assert any("-set firewall ipv4 forward filter rule 5 action drop" in one.diff for one in plan.differences)
    await adapter.close()
