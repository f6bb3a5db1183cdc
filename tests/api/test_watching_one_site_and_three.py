"""One story of watching, told over one site and over three: what is told of a site does not depend on how
many there are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from farsite.settings import Settings
from service_bench import Service, running

pytestmark = pytest.mark.slow

Row = tuple[str, str, str]
"""Alarm type, kind of its object, probable cause."""
TOLD: list[Row] = [
    ("vnfc-died", "vnf", "Software program abnormally terminated"),
    ("vim-unreachable", "vim", "Connection establishment error"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """A service with so many sites, each with a VIM and a running VNF."""

    service: Service
    vnfs: dict[str, str]
    """By the VIM that it runs on."""

    def vim(self, name: str) -> Any:
        return self.service.native("GET", f"/vims/{name}").json()

    def fault(self, name: str, kind: str, target: str = "", **settings: object) -> None:
        body = {"kind": kind, "target": target, "settings": settings}
        answer = self.service.native("POST", f"/vims/{name}/faults", json=body)
        assert answer.status_code == 204, answer.text

    def mend(self, name: str) -> None:
        assert self.service.native("DELETE", f"/vims/{name}/faults").status_code == 204

    def vnfc_of(self, name: str) -> str:
        held = self.service.native("GET", f"/vims/{name}/resources").json()
        (found,) = [one["vnfc_id"] for one in held if one["kind"] == "COMPUTE"]
        return str(found)

    def alarms_of(self, name: str) -> list[Any]:
        """All alarms of a site's VIM and VNF, the first that was raised first."""
        objects = {self.vim(name)["id"], self.vnfs[name]}
        found = self.service.native("GET", "/alarms").json()
        return sorted(
            (one for one in found if one["managed_object_id"] in objects), key=lambda one: one["raised_at"]
        )

    def open_at(self, name: str) -> list[str]:
        return [one["specific_problem"] for one in self.alarms_of(name) if not one["cleared_at"]]

    def until(self, look: Callable[[], Any], wanted: object) -> None:
        self.service.until(look, lambda seen: seen == wanted)


@pytest.fixture(params=[1, 3], ids=["one site", "three sites"])
def sites(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Sites]:
    changed = Settings(
        data_dir=settings.data_dir,
        database_url=settings.database_url,
        heartbeat_period_s=0.2,
        heartbeat_timeout_s=0.4,
    )
    with running(changed) as service:
        service.onboard("webserver")
        names = ["turin", "ghent", "oslo"][: request.param]
        for name in names:
            service.register(name)
        yield Sites(
            service=service, vnfs={name: service.instantiated(f"web-{name}", vim=name) for name in names}
        )


def story(sites: Sites, name: str) -> list[Row]:
    """What is told while, at one site, a VNFC dies and is healed, and the VIM falls silent and is back."""
    seen = len(sites.alarms_of(name))
    victim = sites.vnfc_of(name)
    sites.fault(name, "kill_vnfc", victim)
    sites.service.until(lambda: len(sites.alarms_of(name)), lambda count: count > seen)
    sites.until(lambda: sites.open_at(name), [])
    heals = sites.service.native("GET", "/operations").json()
    assert [
        one["state"] for one in heals if one["verb"] == "heal_vnf" and one["instance_id"] == sites.vnfs[name]
    ]

    sites.fault(name, "answer_delay_s", seconds=60)
    sites.until(lambda: sites.vim(name)["state"], "ERROR")
    assert sites.vim(name)["state_reason"] == "no answer in time"
    assert sites.vim(name)["evidence"]["misses_in_a_row"] >= 3
    sites.until(lambda: sites.open_at(name), ["vim-unreachable"])
    sites.mend(name)
    sites.until(lambda: sites.vim(name)["state"], "ACTIVE")
    sites.until(lambda: sites.open_at(name), [])
    return [
        (one["specific_problem"].partition("/")[0], one["object_kind"], one["probable_cause"])
        for one in sites.alarms_of(name)[seen:]
    ]


def test_a_site_is_watched_the_same_alone_and_among_others(sites: Sites) -> None:
    """One pipeline: whoever adds a second site must not learn a second way in which the first is watched."""
    for name in sites.vnfs:
        others = {other: sites.alarms_of(other) for other in sites.vnfs if other != name}
        assert story(sites, name) == TOLD
        assert {other: sites.alarms_of(other) for other in others} == others, "nothing is told of the others"
        assert {sites.vim(other)["state"] for other in sites.vnfs} == {"ACTIVE"}
