"""What consumers got, as entries of a history."""

from collections.abc import Iterable

from consumer_bench import Request
from histories import Entry, Kind


def notification(consumer: str, one: Request) -> Entry:
    """One notification as it came; of an alarm, a lifecycle operation or of our own kind."""
    body = one.json
    alarm = body.get("alarm", {})
    about = alarm.get("managedObjectId") or body.get("object_id") or body.get("vnfInstanceId") or ""
    values = {
        "consumer": consumer,
        "number": one.number,
        "id": body["id"],
        "type": body.get("notificationType", ""),
        "alarm": alarm.get("id") or body.get("alarmId", ""),
        "is_replay": one.headers.get("farsite-replay") == "true",
    }
    return Entry(
        at=one.wall, source=consumer, kind=Kind.TOLD, what="notification", object=about, values=values
    )


def notifications(consumer: str, seen: Iterable[Request]) -> list[Entry]:
    """All that one consumer got."""
    return [notification(consumer, one) for one in seen]
