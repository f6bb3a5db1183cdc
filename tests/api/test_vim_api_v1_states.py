"""States of VIMs as users see them: with their reason, per service, and none at the cost of another."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from farsite.settings import Settings
from farsite.telemetry import REGISTRY
from service_bench import Service, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Support for InfluxDB"),  # told by the SDK as it is imported
]

TEN = [f"site-{number}" for number in range(10)]
SILENT, *HEALTHY = TEN


@pytest.fixture
def quick(data_dir: Path) -> Iterator[Service]:
    """A service that checks its VIMs ten times a second."""
    settings = Settings(data_dir=data_dir, heartbeat_period_s=0.1, heartbeat_timeout_s=0.5)
    with running(settings) as found:
        yield found


def checks_of(vim: str) -> float:
    return REGISTRY.get_sample_value("farsite_vim_check_duration_seconds_count", {"vim": vim}) or 0


def state_of(service: Service, vim: str) -> str:
    return service.native("GET", f"/vims/{vim}").json()["state"]


def test_one_silent_vim_among_ten_slows_none_of_the_others(quick: Service) -> None:
    """Its checks hang until their time is up; those of the others go on at their pace, and so do requests."""
    for name in HEALTHY:
        quick.register(name)
    quick.register(SILENT, heartbeat_timeout_s=2)
    assert {state_of(quick, name) for name in TEN} == {"ACTIVE"}
    fault = {"kind": "answer_delay_s", "settings": {"seconds": 60}}
    assert quick.native("POST", f"/vims/{SILENT}/faults", json=fault).status_code == 204

    quick.until(lambda: state_of(quick, SILENT), lambda state: state == "UNREACHABLE")
    before = {name: checks_of(name) for name in TEN}
    shown = quick.until(
        lambda: quick.native("GET", f"/vims/{SILENT}").json(), lambda seen: seen["state"] == "ERROR"
    )
    # It became ERROR by misses in a row, each of them as long as the limit; the others went on meanwhile.
    made = {name: checks_of(name) - before[name] for name in TEN}
    assert made[SILENT] <= 3
    assert min(made[name] for name in HEALTHY) > made[SILENT]
    # If each waited for its turn, it would be asked at least half as often as each of the others.
    before = {name: checks_of(name) for name in TEN}
    made = quick.until(
        lambda: {name: checks_of(name) - before[name] for name in TEN},
        lambda made: min(made[name] for name in HEALTHY) >= 12,
    )
    assert made[SILENT] <= 3
    assert shown["state_reason"] == "no answer in time"
    assert {state_of(quick, name) for name in HEALTHY} == {"ACTIVE"}
    legacy = quick.http.get("/v1.0/vims.json").json()["vims"]
    assert {one["name"]: one["status"] for one in legacy} == {
        SILENT: "ERROR", **dict.fromkeys(HEALTHY, "ACTIVE"),
    }  # fmt: skip

    alarms = quick.native("GET", "/alarms").json()
    assert [one["managed_object_id"] for one in alarms if not one["cleared_at"]] == [shown["id"]]
    quick.native("DELETE", f"/vims/{SILENT}/faults")
    quick.until(lambda: state_of(quick, SILENT), lambda state: state == "ACTIVE")


def test_a_vim_in_maintenance_stays_so_until_it_is_taken_back(quick: Service) -> None:
    """Its checks go on, but none of them ends what an operator has ordered."""
    quick.register("workshop")
    answer = quick.native("PATCH", "/vims/workshop", json={"maintenance": "new power supply"})
    assert (answer.json()["state"], answer.json()["state_reason"]) == ("MAINTENANCE", "new power supply")

    seen = checks_of("workshop")
    quick.until(lambda: checks_of("workshop"), lambda count: count > seen + 3)
    assert state_of(quick, "workshop") == "MAINTENANCE"
    both = {"maintenance": "x", "is_in_service": True}
    assert quick.native("PATCH", "/vims/workshop", json=both).status_code == 422
    assert quick.native("PATCH", "/vims/workshop", json={"is_in_service": True}).json()["state"] == "ACTIVE"


def test_a_service_that_is_down_is_named_with_its_reason(quick: Service) -> None:
    """The list of services tells which one it is; the state alone does not."""
    vim_id = quick.register("named")["id"]
    (up,) = quick.native("GET", "/vims/named").json()["services"]
    assert (up["name"], up["is_vital"], up["is_up"]) == ("simulator", True, True)
    assert up["latency_ms"] is not None

    fault = {"kind": "partition", "target": "health"}
    quick.native("POST", "/vims/named/faults", json=fault)
    shown = quick.until(
        lambda: quick.native("GET", f"/vims/{vim_id}").json(),
        lambda seen: seen["services"] and not seen["services"][0]["is_up"],
    )
    assert shown["state"] in ("UNREACHABLE", "ERROR")
    assert shown["services"][0]["detail"] in shown["state_reason"]


def test_a_far_vim_may_have_a_rhythm_of_its_own(quick: Service) -> None:
    """What is normal for a satellite link would be a silence in the room next door."""
    quick.register("far", heartbeat_period_s=30, heartbeat_timeout_s=20)
    quick.register("near")
    far, near = checks_of("far"), checks_of("near")
    quick.until(lambda: checks_of("near"), lambda count: count > near + 5)
    assert checks_of("far") == far


def test_the_openstack_beside_the_service_becomes_vim0_and_stops_no_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps of a newcomer: OS_* are set, the service starts, a default VIM is there and says why
    it cannot be used."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        nobody = f"http://127.0.0.1:{reserved.getsockname()[1]}/v3"
    for name, value in {
        "OS_AUTH_URL": nobody, "OS_USERNAME": "nfv_user", "OS_PASSWORD": "hunter2-vim0",
        "OS_PROJECT_NAME": "nfv", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "RegionOne", "OS_CLIENT_CONFIG_FILE": str(data_dir / "none.yaml"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = Settings(data_dir=data_dir, heartbeat_period_s=0.1)
    with running(settings) as service:
        vim = service.until(
            lambda: service.native("GET", "/vims/VIM0").json(), lambda seen: seen.get("state") == "ERROR"
        )
        assert vim["is_default"]
        assert vim["auth_url"] == nobody
        assert vim["identity"]["username"] == "nfv_user"
        assert vim["extra"]["configured_from"] == "envvars"
        assert "connection refused" in vim["state_reason"]
        assert "hunter2-vim0" not in str(vim)
    # The next start finds it and makes no second one.
    with running(settings) as service:
        assert [one["id"] for one in service.native("GET", "/vims").json()] == [vim["id"]]


def test_a_default_vim_is_left_as_it_is(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has chosen a default has chosen."""
    settings = Settings(data_dir=data_dir)
    with running(settings) as service:
        body = {"name": "mine", "type": "simulated", "settings": {"world": "memory"}, "is_default": True}
        assert service.native("POST", "/vims", json=body).status_code == 201
    monkeypatch.setenv("OS_AUTH_URL", "http://127.0.0.1:9/v3")
    monkeypatch.setenv("OS_PASSWORD", "x")
    monkeypatch.setenv("OS_USERNAME", "x")
    with running(settings) as service:
        opening = service.farsite._opening
        assert opening is not None
        service.until(opening.done, bool)
        assert [one["name"] for one in service.native("GET", "/vims").json()] == ["mine"]
