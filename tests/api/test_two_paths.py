"""A VIM that is asked over two paths: what is told when one is cut, and when both are."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cloud_bench import Say, clouds, register, shown, url_of
from farsite.settings import Settings
from service_bench import Service, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Support for InfluxDB"),  # told by the SDK as it is imported
]


@pytest.fixture
def quick(settings: Settings) -> Iterator[Service]:
    """A service that checks its VIMs five times a second."""
    changed = Settings(data_dir=settings.data_dir, database_url=settings.database_url, heartbeat_period_s=0.2)
    with running(changed) as found:
        yield found


@pytest.fixture
def say() -> Iterator[Say]:
    """The first cloud's Keystone is reached at the second cloud's address as well."""
    with clouds(2) as found:
        yield found


SECOND = url_of(1)


def paths(service: Service) -> dict[str, Any]:
    evidence = shown(service, 0)["evidence"]
    return {one["name"]: one for one in evidence["paths"]} if evidence else {}


def open_alarms(service: Service) -> list[tuple[str, str]]:
    return sorted(
        (one["specific_problem"], one["probable_cause"])
        for one in service.native("GET", "/alarms").json()
        if one["object_kind"] == "vim" and not one["cleared_at"]
    )


LOST_PATH = ("vim-path-lost", "Communications subsystem failure")
LOST_VIM = ("vim-unreachable", "Connection establishment error")


@pytest.mark.parametrize(("cut", "name", "state"), [(1, "second", "ACTIVE"), (0, "first", "DEGRADED")])
def test_one_path_that_is_cut_is_a_lost_path_and_no_lost_vim(
    quick: Service, say: Say, cut: int, name: str, state: str
) -> None:
    """Whoever takes a broken line for a dead site begins to recover what is alive."""
    register(quick, 0, second_auth_url=SECOND)
    both = quick.until(lambda: paths(quick), bool)
    assert {one: each["is_up"] for one, each in both.items()} == {"first": True, "second": True}
    say(f"lose {cut} 1")
    told = quick.until(lambda: open_alarms(quick), bool)
    assert told == [LOST_PATH]
    vim = shown(quick, 0)
    assert vim["state"] == state
    assert f"{name} path lost: nothing listens" in vim["state_reason"]
    assert {one: each["is_up"] for one, each in paths(quick).items()} == {
        "first": name != "first",
        "second": name != "second",
    }
    assert paths(quick)[name]["misses"] >= 3
    assert paths(quick)[name]["address"].startswith(url_of(cut))
    say("mend")
    quick.until(lambda: open_alarms(quick), lambda left: not left)
    assert shown(quick, 0)["state"] == "ACTIVE"


def test_both_paths_cut_are_a_lost_vim(quick: Service, say: Say) -> None:
    """The lost path was the warning; then there is one alarm, of the VIM."""
    register(quick, 0, second_auth_url=SECOND)
    say("lose 1 1")
    quick.until(lambda: open_alarms(quick), lambda told: told == [LOST_PATH])
    say("lose 0 1")
    quick.until(lambda: open_alarms(quick), lambda told: told == [LOST_VIM])
    assert shown(quick, 0)["state"] == "ERROR"
    assert not any(each["is_up"] for each in paths(quick).values())
    say("mend 0 1")
    quick.until(lambda: open_alarms(quick), lambda told: told == [LOST_PATH])
    assert shown(quick, 0)["state"] == "ACTIVE"


def test_a_second_path_that_is_taken_away_takes_its_alarm_along(quick: Service, say: Say) -> None:
    """Nobody would clear it any more."""
    register(quick, 0, second_auth_url=SECOND)
    say("lose 1 1")
    quick.until(lambda: open_alarms(quick), lambda told: told == [LOST_PATH])
    settings = {key: value for key, value in shown(quick, 0)["settings"].items() if key != "second_auth_url"}
    assert quick.native("PATCH", "/vims/cloud-0", json={"settings": settings}).status_code == 200
    quick.until(lambda: open_alarms(quick), lambda told: not told)
    assert paths(quick) == {}


def test_statistics_are_kept_per_path(quick: Service, say: Say) -> None:
    """A spare line that loses every tenth question is found before it is needed."""
    register(quick, 0, second_auth_url=SECOND)
    say("lose 1 1")

    def rows() -> dict[str, Any]:
        found = quick.native("GET", "/vims/cloud-0/statistics").json()
        return {row["service"]: row for row in found}

    seen = quick.until(rows, lambda found: found.get("second path", {}).get("misses", 0) > 0)
    assert seen["second path"]["answers"] >= 1
    assert seen["first path"]["misses"] == 0
    assert json.dumps(seen)
