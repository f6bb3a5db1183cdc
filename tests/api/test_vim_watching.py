"""What is told of a VIM that is watched: why it is in its state, how it has answered, and that none slows
another."""

import json
from collections.abc import Iterator

import pytest

from cloud_bench import clouds, register, shown
from farsite.settings import Settings
from farsite.store import tables
from service_bench import Service, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Support for InfluxDB"),  # told by the SDK as it is imported
]


@pytest.fixture
def quick(settings: Settings) -> Iterator[Service]:
    """A service on each store that checks its VIMs five times a second."""
    changed = Settings(data_dir=settings.data_dir, database_url=settings.database_url, heartbeat_period_s=0.2)
    with running(changed) as found:
        yield found


def test_a_vim_that_is_lost_says_which_services_since_when_and_how_sure_that_is(quick: Service) -> None:
    """An operator who is woken by it asks exactly this; and every other VIM goes on as before."""
    with clouds(6) as say:
        for number in range(6):
            register(quick, number)
        assert {shown(quick, number)["state"] for number in range(6)} == {"ACTIVE"}
        say("lose 0 1")
        say("hang 1 1")
        gone = quick.until(lambda: shown(quick, 0), lambda seen: seen["state"] == "ERROR")
        hanging = quick.until(lambda: shown(quick, 1), lambda seen: seen["state"] == "ERROR")
        assert "connection refused" in gone["state_reason"]
        assert "no answer within 1 s" in hanging["state_reason"]
        for one in (gone, hanging):
            evidence = one["evidence"]
            assert evidence["misses_in_a_row"] >= 3
            assert {"keystone", "heat"} <= set(evidence["down_since"])
            assert evidence["answered_at"] < evidence["misses"][-1]["at"]
            assert evidence["suspicion"] > 0
            assert {"keystone", "heat"} <= set(evidence["misses"][-1]["services"])
        say("begin")
        seen = json.dumps(quick.native("GET", "/alarms").json())
        assert seen.count("Connection establishment error") == 2
        before = counted(quick, 5, "keystone")
        quick.until(lambda: counted(quick, 5, "keystone"), lambda count: count > before + 10)
        others = [gap for one in say("end")["gaps_s"][2:] for gap in one]
        assert others
        assert sorted(others)[len(others) // 2] < 0.4, "the others are asked at their pace"
        # If they waited for the second that the hanging one takes, they would for most of the time.
        assert sum(gap for gap in others if gap > 0.6) < sum(others) / 2
        assert {shown(quick, number)["state"] for number in range(2, 6)} == {"ACTIVE"}

        say("mend")
        quick.until(
            lambda: {shown(quick, number)["state"] for number in (0, 1)}, lambda all_: all_ == {"ACTIVE"}
        )
        alarms = quick.native("GET", "/alarms").json()
        assert not [one for one in alarms if one["object_kind"] == "vim" and not one["cleared_at"]]


def counted(service: Service, number: int, name: str) -> int:
    rows = service.native("GET", f"/vims/cloud-{number}/statistics").json()
    return sum(row["answers"] for row in rows if row["service"] == name)


def test_statistics_tell_how_each_service_answered(quick: Service) -> None:
    """Whether it has become slow is a question about yesterday, and latencies of now do not answer it."""
    with clouds(1) as say:
        register(quick, 0)
        assert quick.native("GET", "/vims/cloud-0/statistics?hours=0").status_code == 400
        assert quick.native("GET", "/vims/nobody/statistics").status_code == 404
        quick.until(lambda: counted(quick, 0, "heat"), lambda count: count > 3)
        say("lose 0 1")
        rows = quick.until(
            lambda: quick.native("GET", "/vims/cloud-0/statistics").json(),
            lambda seen: any(row["misses"] for row in seen),
        )
        by_name = {row["service"]: row for row in rows}
        assert {"keystone", "heat", "nova", "neutron", "glance"} <= set(by_name)
        heat = by_name["heat"]
        assert 0 < heat["p50_ms"] <= heat["p95_ms"] <= heat["p99_ms"] <= heat["max_ms"]


def test_what_an_operator_changes_past_this_process_is_noticed(quick: Service) -> None:
    """Maintenance may be ended by a request to another process, which watches other VIMs."""
    quick.register("workshop")
    vims = tables.vims

    def write(state: str) -> None:
        with quick.farsite.database.transaction() as connection:
            connection.execute(vims.update().values(state=state, state_reason="by another"))

    write("MAINTENANCE")
    quick.until(
        lambda: quick.farsite.heartbeats._watched.values(),
        lambda all_: any(one.recorded and one.recorded[0] == "MAINTENANCE" for one in all_),
    )
    assert quick.native("GET", "/vims/workshop").json()["state"] == "MAINTENANCE"
    write("PENDING")
    quick.until(
        lambda: quick.native("GET", "/vims/workshop").json()["state"], lambda state: state == "ACTIVE"
    )
