"""One story of watching, told over one site and over three: what is told of a site does not depend on how
many there are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farsite.settings import Settings
from service_bench import Service, running

pytestmark = pytest.mark.slow

Told = frozenset[tuple[str, str, str]]
"""Alarm type, kind of its object, probable cause."""
AT_LEAST: Told = frozenset(
    {
        ("vnfc-died", "vnf", "Software program abnormally terminated"),
        ("vim-unreachable", "vim", "Connection establishment error"),
    }
)


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

    def open_at(self, name: str) -> set[str]:
        return {one["fault_type"] for one in self.alarms_of(name) if not one["cleared_at"]}


@contextmanager
def standing(data_dir: Path, names: Sequence[str]) -> Iterator[Sites]:
    settings = Settings(data_dir=data_dir, heartbeat_period_s=0.2, heartbeat_timeout_s=0.4)
    with running(settings) as service:
        service.onboard("webserver")
        for name in names:
            service.register(name)
        yield Sites(
            service=service, vnfs={name: service.instantiated(f"web-{name}", vim=name) for name in names}
        )


def story(sites: Sites, name: str) -> Told:
    """What is told while, at one site, a VNFC dies and is healed, and the VIM falls silent and is back."""
    until = sites.service.until
    seen = len(sites.alarms_of(name))
    sites.fault(name, "kill_vnfc", sites.vnfc_of(name))
    until(lambda: len(sites.alarms_of(name)), lambda count: count > seen)
    until(lambda: sites.open_at(name), lambda left: not left)
    asked = sites.service.native("GET", "/operations").json()
    assert [one for one in asked if one["verb"] == "heal_vnf" and one["instance_id"] == sites.vnfs[name]]

    sites.fault(name, "answer_delay_s", seconds=60)
    until(lambda: sites.vim(name)["state"], lambda state: state == "ERROR")
    assert sites.vim(name)["evidence"]["misses_in_a_row"] >= 3
    until(lambda: sites.open_at(name), lambda found: "vim-unreachable" in found)
    sites.mend(name)
    until(lambda: sites.vim(name)["state"], lambda state: state == "ACTIVE")
    until(lambda: sites.open_at(name), lambda left: not left)
    return frozenset(
        (one["fault_type"], one["object_kind"], one["probable_cause"]) for one in sites.alarms_of(name)[seen:]
    )


def test_a_site_is_watched_the_same_alone_and_among_others(tmp_path: Path) -> None:
    """One pipeline: whoever adds a second site must not learn a second way in which the first is watched."""
    (tmp_path / "one").mkdir()
    (tmp_path / "three").mkdir()
    with standing(tmp_path / "one", ["turin"]) as sites:
        alone = story(sites, "turin")
    assert alone >= AT_LEAST
    with standing(tmp_path / "three", ["turin", "ghent", "oslo"]) as sites:
        for name in sites.vnfs:
            others = {other: len(sites.alarms_of(other)) for other in sites.vnfs if other != name}
            assert story(sites, name) == alone
            assert {other: len(sites.alarms_of(other)) for other in others} == others, "none of theirs"
            assert {sites.vim(other)["state"] for other in sites.vnfs} == {"ACTIVE"}
