"""OPNFV Doctor's scenario on Linux sites: what runs on a host dies, the consumer is told within a second, and
acts; and the way of every alarm is kept, checkpoint by checkpoint.

Real site agents, processes and namespaces, and a consumer that is an HTTP server. The times are printed
(`-s`) and not judged: they are a matter of the machine, of which `python -m bench told` tells.

Source: OPNFV Doctor, "Fault management" use case and the performance profiler (checkpoints T00 to T09).
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from linux_lab import Lab, remove

from consumer_bench import OK, Answer, Consumer, Request
from farsite.model.ids import VimId
from farsite.settings import Settings
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.linux.agent import trial
from farsite.vims.drivers.linux.driver import LinuxDriver
from service_bench import Service, running

pytestmark = [pytest.mark.linux, pytest.mark.slow]

GUESTS = 4
BOUND_S = 60.0
CLOSED_LOOP = ["detected", "received", "recorded", "decided", "acted", "verified"]
"""Checkpoints in the order in which a loop passes them; it is told beside the last three."""


class Sites:
    """A service with the Linux sites `north` and `south`, and functions on them."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.vims: dict[str, VimId] = {}
        for name in ("north", "south"):
            answer = service.native("POST", "/vims", json={"name": name, "type": "linux"})
            assert answer.status_code == 201, answer.text
            self.vims[name] = VimId(answer.json()["id"])
        service.onboard("webserver")

    def stands(self, name: str, site: str) -> str:
        """A web server that runs on a site; its id."""
        return self.service.instantiated(name, vim=site)

    def server(self, vnf_id: str) -> Mapping[str, Any]:
        """The one VNFC of a function, as the VIM has it."""
        vnf = self.service.native("GET", f"/vnfs/{vnf_id}").json()
        (found,) = [one for one in vnf["resources"] if one["kind"] == "COMPUTE"]
        return found

    def pid(self, vnf_id: str) -> int:
        return int(self.server(vnf_id)["details"]["pid"])

    def on(self, site: str, ask: Callable[[Lab], Awaitable[Any]]) -> Any:
        """Ask a site past the service."""

        async def asked() -> Any:
            lab = Lab(self.service.settings.run_dir)
            connection = VimConnection(
                vim_id=self.vims[site], name=site, site=site, settings={}, run_dir=lab.run_dir
            )
            lab.sites[site] = LinuxDriver(connection)
            try:
                return await ask(lab)
            finally:
                await lab.sites[site].close()

        return asyncio.run(asked())

    def agent_pid(self, site: str) -> int:
        return int(self.on(site, lambda lab: lab.agent_pid(site)))

    def serves(self, vnf_id: str, site: str) -> bool:
        """Whether the function itself answers; without a network it says that it is degraded."""
        vnfc_id = self.server(vnf_id)["vnfc_id"]
        return bool(self.on(site, lambda lab: lab.http(site, vnfc_id, "GET", "/health"))["vnfc"] == vnfc_id)

    def healed(self, vnf_id: str, old_pid: int) -> None:
        """Return when another process stands in its place and nothing is amiss with it."""
        self.service.until(
            lambda: (self.pid(vnf_id), self.alarms(vnf_id, is_open=True)),
            lambda seen: seen[0] != old_pid and not seen[1],
            within_s=BOUND_S,
        )

    def alarms(self, object_id: str, *, is_open: bool) -> list[Mapping[str, Any]]:
        path = f"/alarms?filter=(eq,managed_object_id,{object_id})"
        path += ";(eq,is_open,true)" if is_open else ""
        return self.service.native("GET", path).json()

    def way(self, alarm_id: str) -> list[tuple[str, datetime]]:
        """Checkpoints of an alarm in the order in which the program lists them."""
        passed = self.service.native("GET", f"/alarms/{alarm_id}/timeline").json()
        return [(one["checkpoint"], datetime.fromisoformat(one["at"])) for one in passed]


@pytest.fixture
def sites(settings: Settings) -> Iterator[Sites]:
    tier, findings = trial.choose()
    if not tier:
        pytest.skip(trial.refusal(findings))
    try:
        with running(settings) as service:
            yield Sites(service)
    finally:
        remove(settings.run_dir)


class Manager:
    """A consumer as Doctor means it: it acts when it is told that one of its functions died."""

    def __init__(self, service: Service, act_on: Mapping[str, Callable[[], bool]]) -> None:
        self._act_on = act_on
        self.told: dict[str, float] = {}
        """Function that died -> when that was told, by the wall clock."""
        self.acted: dict[str, float] = {}
        """Function -> when what was done about it had its effect, or was under way."""
        self.consumer = Consumer(self._take)
        answer = service.native(
            "POST",
            "/subscriptions",
            json={"callback_uri": self.consumer.url, "filter": {"kinds": ["alarm-raised"]}},
        )
        assert answer.status_code == 201, answer.text

    def _take(self, request: Request) -> Answer:
        if request.method == "POST":
            alarm = request.json["body"]
            object_id = alarm["managed_object_id"]
            if alarm["fault_type"] == "vnfc-died" and object_id in self._act_on:
                self.told.setdefault(object_id, request.wall)
                if self._act_on[object_id]():
                    self.acted.setdefault(object_id, time.time())
        return OK

    def has_acted(self, count: int) -> None:
        self.consumer.until(lambda _: len(self.acted) >= count, within_s=BOUND_S)


def show(what: str, injected: float, passed: Sequence[tuple[str, datetime]], manager: Manager) -> None:
    steps = ", ".join(f"{name} {(at.timestamp() - injected) * 1000:.0f}" for name, at in passed)
    told = [(at - injected) * 1000 for at in manager.told.values()]
    acted = [(at - injected) * 1000 for at in manager.acted.values()]
    print(
        f"\n{what}: told after {min(told):.0f} to {max(told):.0f} ms, acted after {max(acted):.0f} ms; "
        f"one way in ms: {steps}"
    )


def check_way(passed: Sequence[tuple[str, datetime]]) -> None:
    """Complete, and in order."""
    first = dict(reversed(passed))
    assert set(CLOSED_LOOP) | {"correlated", "told", "cleared"} <= set(first), first
    assert [at for _, at in passed] == sorted(at for _, at in passed)
    times = [first[name] for name in CLOSED_LOOP]
    assert times == sorted(times), first
    assert first["recorded"] <= first["told"]


@pytest.mark.sampled(2)
def test_a_consumer_that_recovers_its_functions_itself_hears_in_time_and_closes_the_loop(
    sites: Sites,
) -> None:
    """Doctor's loop as its authors drew it: Farsite sees and tells, the consumer decides, and asks for the
    heal. The way of the alarm shows its act like one of our own."""
    policy = {"scope": {}, "handled_by": "VNF"}
    answer = sites.service.native("PUT", "/healing-policies/by-its-manager", json=policy)
    assert answer.status_code == 200, answer.text
    active = sites.stands("active", "north")

    def heal() -> bool:
        return sites.service.native("POST", f"/vnfs/{active}/heal", json={}).status_code == 202

    manager = Manager(sites.service, {active: heal})
    try:
        pid = sites.pid(active)
        injected = time.time()
        os.kill(pid, signal.SIGKILL)
        manager.has_acted(1)
        sites.healed(active, pid)
    finally:
        manager.consumer.close()
    (alarm,) = [one for one in sites.alarms(active, is_open=False) if one["fault_type"] == "vnfc-died"]
    passed = sites.way(alarm["id"])
    show("one function killed", injected, passed, manager)
    check_way(passed)
    first = dict(reversed(passed))
    assert injected <= manager.told[active] <= first["decided"].timestamp()
    (heal_of_it,) = sites.service.native(
        "GET", f"/operations?filter=(eq,instance_id,{active});(eq,type,HEAL)"
    ).json()
    assert not heal_of_it["is_automatic"]


@pytest.mark.sampled(2)
def test_a_host_that_dies_with_all_that_runs_on_it_is_told_and_survived(sites: Sites) -> None:
    """Doctor's host failure: the agent and every function of a site are killed at once. The consumer hears
    of each function and turns to its standby, and all of them stand again."""
    actives = [sites.stands(f"active-{number}", "north") for number in range(GUESTS)]
    standbys = [sites.stands(f"standby-{number}", "south") for number in range(GUESTS)]
    assert all(sites.serves(one, "south") for one in standbys)
    manager = Manager(
        sites.service,
        {
            active: partial(sites.serves, standby, "south")
            for active, standby in zip(actives, standbys, strict=True)
        },
    )
    try:
        pids = {one: sites.pid(one) for one in actives}
        agent = sites.agent_pid("north")
        injected = time.time()
        for pid in (agent, *pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        manager.has_acted(GUESTS)
        for one, pid in pids.items():
            sites.healed(one, pid)
    finally:
        manager.consumer.close()
    ways: list[list[tuple[str, datetime]]] = []
    for one in actives:
        (alarm,) = [each for each in sites.alarms(one, is_open=False) if each["fault_type"] == "vnfc-died"]
        ways.append(sites.way(alarm["id"]))
        check_way(ways[-1])
    show(f"a host with {GUESTS} functions killed", injected, ways[0], manager)
    assert set(manager.told) == set(actives)
