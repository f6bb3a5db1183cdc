"""How available VIMs were by the history of their alarms, and which of them a function comes to by that."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

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
