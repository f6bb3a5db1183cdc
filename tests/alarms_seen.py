"""The alarms of one object, as whoever asks the API sees them."""

from typing import Any

from service_bench import Service


def alarms_of(service: Service, object_id: str) -> list[dict[str, Any]]:
    """All alarms of an object, open or over."""
    answer = service.native("GET", f"/alarms?filter=(eq,managed_object_id,{object_id})")
    assert answer.status_code == 200, answer.text
    return answer.json()


def the_alarm(service: Service, object_id: str, severity: str = "MAJOR") -> dict[str, Any]:
    """The one alarm of an object, once it is as bad as that."""
    (found,) = service.until(
        lambda: alarms_of(service, object_id),
        lambda seen: [one["perceived_severity"] for one in seen] == [severity],
    )
    return found
