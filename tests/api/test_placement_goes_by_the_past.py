"""How available VIMs and the functions on them were by the history of alarms, and which of them a function
comes to by that."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from racks_bench import inject, workers

from farsite.assurance import alarms as catalogue
from farsite.assurance import vim_availability
from farsite.model.ids import ProjectId, VimId
from farsite.settings import Settings
from farsite.store import alarms, vims
from service_bench import Service, running

WINDOW_DAYS = 7.0
KNOWN_FOR = timedelta(days=30)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service with two VIMs that are alike, and looks at their past several times a second."""
    monkeypatch.setattr(vim_availability, "_PERIOD_S", 0.2)
    data_dir = Path(tempfile.mkdtemp(prefix="fst-", dir="/tmp"))
    try:
        with running(Settings(data_dir=data_dir, placement_availability_days=WINDOW_DAYS)) as service:
            service.onboard("webserver")
            for name in ("alder", "birch"):
                service.register(name)
            yield service
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def known_for_a_month(service: Service, name: str) -> VimId:
    vim_id = VimId(service.native("GET", f"/vims/{name}").json()["id"])
    with service.farsite.database.transaction() as connection:
        vim = vims.get(connection, ProjectId("default"), name)
        vims.update(connection, replace(vim, created_at=service.farsite.clock.now() - KNOWN_FOR))
    return vim_id


def was_unreachable(service: Service, vim_id: VimId, *, ago: timedelta, hours: float) -> None:
    """The alarm of a VIM that was lost, as it stands in the history."""
    began = service.farsite.clock.now() - ago
    with service.farsite.database.transaction() as connection:
        raised = catalogue.raised(
            catalogue.VIM_UNREACHABLE,
            project_id=ProjectId("default"),
            object_id=vim_id,
            location="somewhere",
            at=began,
        )
        alarms.raise_(connection, raised)
        ended = began + timedelta(hours=hours)
        assert alarms.clear(connection, object_id=vim_id, specific_problem=raised.specific_problem, at=ended)


def placed_freely(service: Service) -> tuple[str, dict[str, str]]:
    """The VIM that a web server comes to when nobody names one, and why, by VIM."""
    vnf_id = service.create_vnf()
    answer = service.native("POST", f"/vnfs/{vnf_id}/instantiate", json={})
    assert service.ended(answer.json()["id"])["state"] == "COMPLETED"
    told = service.native("GET", f"/operations/{answer.json()['id']}/placement").json()
    reasons = {one["vim"]: one["reason"] for one in told["considerations"]}
    chosen = [one["vim"] for one in told["considerations"] if one["verdict"] == "CHOSEN"]
    return chosen[0], reasons


def measured(service: Service) -> dict[str, Any]:
    with service.farsite.database.transaction() as connection:
        return {one.name: one.availability for one in vims.of_project(connection, ProjectId("default"))}


def test_a_function_comes_to_the_vim_that_failed_less_of_late(two: Service) -> None:
    """Its promise is kept where promises were kept; what was longer ago than the window counts no more."""
    alder, birch = (known_for_a_month(two, one) for one in ("alder", "birch"))
    two.until(lambda: measured(two), lambda seen: seen == {"alder": 1.0, "birch": 1.0})
    # So that by its room alone the next comes to alder.
    two.instantiated(vim="birch")
    was_unreachable(two, birch, ago=timedelta(days=20), hours=48)
    assert placed_freely(two)[0] == "alder"
    two.instantiated(vim="birch")
    was_unreachable(two, alder, ago=timedelta(days=3), hours=2)
    share = 1 - 2 / (24 * WINDOW_DAYS)
    two.until(lambda: measured(two)["alder"], lambda seen: seen == pytest.approx(share, abs=1e-4))
    chosen, reasons = placed_freely(two)
    assert chosen == "birch"
    assert reasons["birch"].endswith("; was available 100 % of the time")
    assert "; was available 98.8" in reasons["alder"]


def die_with_their_host(service: Service, vim: str, vnf_ids: list[str]) -> None:
    """The one host of a VIM of two fails under these functions, and comes back; they stand again."""
    hosts = {one["host"] for vnf_id in vnf_ids for one in workers(service, vnf_id).values()}
    (host,) = hosts
    inject(service, vim, "host_down", host, for_s=1)

    def causes() -> list[dict[str, Any]]:
        told = service.native("GET", "/alarms").json()
        here = [one for one in told if one["managed_object_id"].endswith(f"/{host}")]
        return [one for one in here if one["fault_type"] == "host-down"]

    service.until(
        causes, lambda seen: len(seen) == 1 and len(seen[0]["correlated_alarm_ids"]) >= len(vnf_ids)
    )
    all_stand(service, vnf_ids)


def die_by_themselves(service: Service, vim: str, vnf_id: str, times: int) -> None:
    for _ in range(times):
        ((dead, before),) = workers(service, vnf_id).items()
        inject(service, vim, "kill_vnfc", dead)
        service.until(
            lambda: workers(service, vnf_id),
            lambda seen, old=before["incarnation"]: any(
                one["is_alive"] and one["incarnation"] > old for one in seen.values()
            ),
        )


def all_stand(service: Service, vnf_ids: list[str]) -> None:
    for vnf_id in vnf_ids:
        service.until(
            lambda one=vnf_id: workers(service, one),
            lambda seen: bool(seen) and all(one["is_alive"] for one in seen.values()),
        )


def functions_measured(service: Service) -> dict[str, float | None]:
    with service.farsite.database.transaction() as connection:
        known = vims.of_project(connection, ProjectId("default"))
        return {one.name: one.functions_availability for one in known}


@pytest.mark.slow
def test_a_function_goes_where_functions_were_not_lost_to_their_hosts(two: Service) -> None:
    """A VIM that answers every heartbeat while a host dies under what stands on it keeps its promise worse
    than one on which a function crashes again and again by itself."""
    for name in ("elm", "fir"):
        two.register(
            name, world="file", capacity={"vcpus": 64, "memory_mib": 262_144, "disk_gib": 1_000, "hosts": 2}
        )
        known_for_a_month(two, name)
    for name in ("alder", "birch"):
        assert two.native("DELETE", f"/vims/{name}").status_code == 204
    on_elm = [two.instantiated(vim="elm") for _ in range(4)]
    crashing, *others = [two.instantiated(vim="fir") for _ in range(4)]
    by_host: dict[str, list[str]] = {}
    for vnf_id in on_elm:
        (one,) = workers(two, vnf_id).values()
        by_host.setdefault(one["host"], []).append(vnf_id)
    assert {len(found) for found in by_host.values()} == {2}
    die_by_themselves(two, "fir", crashing, times=3)
    die_with_their_host(two, "elm", next(iter(by_host.values())))
    seen = two.until(
        lambda: functions_measured(two), lambda seen: seen["elm"] is not None and seen["elm"] < 1
    )
    # Two deaths, a minute each at least, of the time of one week: the functions have just come.
    assert seen == {"elm": pytest.approx(1 - 120 / (WINDOW_DAYS * 86_400), abs=1e-5), "fir": 1.0}
    assert measured(two) == {"elm": 1.0, "fir": 1.0}
    # So that by its room alone the next would come to elm.
    two.instantiated(vim="fir")
    chosen, reasons = placed_freely(two)
    assert chosen == "fir"
    assert reasons["elm"].endswith(
        "; was available 100 % of the time; its failures left its functions 99.98 % of their time"
    )
    assert reasons["fir"].endswith("; was available 100 % of the time")
    assert len(others) == 3
