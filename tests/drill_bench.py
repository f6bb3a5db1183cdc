"""What tests of drills ask of a service again and again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farsite.settings import Settings
from service_bench import Service


def quick(data_dir: Path) -> Settings:
    """A service that looks often."""
    return Settings(data_dir=data_dir, host_look_period_s=0.1, inventory_period_s=0.3, heartbeat_period_s=0.2)


def audited(service: Service, vim: str) -> Mapping[str, Any]:
    return service.native("GET", f"/vims/{vim}/audit").json()


def check(service: Service, vim: str, about: str) -> Mapping[str, Any]:
    (only,) = [one for one in audited(service, vim)["checks"] if one["about"] == about]
    return only


def made(service: Service, vim: str, **settings: object) -> None:
    """A VIM that tells of itself, once all of it was read and it is ACTIVE."""
    service.register(vim, **{"hosts": 2, "controllers": 2, "tells_of_hosts": True, **settings})
    service.until(lambda: audited(service, vim)["checks"], bool)
    service.until(
        lambda: service.native("GET", f"/vims/{vim}").json()["state"], lambda seen: seen == "ACTIVE"
    )


def begin(service: Service, vim: str, about: str, **more: object) -> Any:
    body = {"about": about, "hold_s": 4, "confirm": vim, **more}
    return service.native("POST", f"/vims/{vim}/drills", json=body)


def begun(service: Service, vim: str, about: str, **more: object) -> str:
    answer = begin(service, vim, about, **more)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"].endswith(answer.json()["id"])
    return answer.json()["id"]


def drill(service: Service, vim: str, drill_id: str) -> Mapping[str, Any]:
    return service.native("GET", f"/vims/{vim}/drills/{drill_id}").json()


def ended(service: Service, vim: str, drill_id: str, *, within_s: float = 60) -> Mapping[str, Any]:
    return service.until(
        lambda: drill(service, vim, drill_id), lambda seen: seen["state"] == "ENDED", within_s=within_s
    )


def met(found: Mapping[str, Any]) -> dict[str, bool | None]:
    return {one["demand"]: one["is_met"] for one in found["findings"]}
