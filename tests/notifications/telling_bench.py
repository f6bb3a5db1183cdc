"""What tests of notifications do again and again: subscribe, raise alarms, look at what was told."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from consumer_bench import Consumer
from farsite.model.alarm import Alarm, EventType, PerceivedSeverity
from farsite.model.clock import SystemClock
from farsite.model.ids import DEFAULT_PROJECT, AlarmId, ProjectId, new_id
from farsite.store import alarms
from service_bench import Service

FM = "/vnffm/v1"


def an_alarm(
    vnf_id: str,
    problem: str = "vnfc-died",
    *,
    severity: PerceivedSeverity = PerceivedSeverity.MAJOR,
    event_type: EventType = EventType.EQUIPMENT_ALARM,
    cause: str = "Software program abnormally terminated",
    faulty: str = "COMPUTE",
    project: str = DEFAULT_PROJECT,
    kind: str = "vnf",
) -> Alarm:
    now = SystemClock().now()
    return Alarm(
        id=AlarmId(new_id()),
        project_id=ProjectId(project),
        managed_object_id=vnf_id,
        object_kind=kind,
        location="turin/north/local",
        event_type=event_type,
        probable_cause=cause,
        specific_problem=problem,
        perceived_severity=severity,
        raised_at=now,
        event_at=now,
        faulty_resource="vnfc-1" if faulty else "",
        faulty_resource_type=faulty,
    )


class Telling:
    """A service whose alarms are raised by the test itself."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.database = service.farsite.database

    def raise_(self, *raised: Alarm) -> None:
        """Each in a transaction of its own."""
        for one in raised:
            with self.database.transaction() as connection:
                alarms.raise_(connection, one)

    def raise_together(self, raised: Sequence[Alarm]) -> None:
        """All in one transaction."""
        with self.database.transaction() as connection:
            alarms.raise_all(connection, raised)

    def told_within_s(self, within_s: float) -> float:
        """How long the notifier waits until what was recorded is told, if it may wait so long."""
        farsite = self.service.farsite
        assert farsite._loop is not None
        began = time.monotonic()
        waiting = farsite.notifier.until_told(within_s)
        asyncio.run_coroutine_threadsafe(waiting, farsite._loop).result(within_s + 30)
        return time.monotonic() - began

    def change(self, alarm: Alarm, detail: str) -> None:
        self.raise_(replace(alarm, fault_details=(detail,), event_at=SystemClock().now()))

    def clear(self, alarm: Alarm) -> None:
        with self.database.transaction() as connection:
            alarms.clear(
                connection,
                object_id=alarm.managed_object_id,
                specific_problem=alarm.specific_problem,
                at=SystemClock().now(),
            )

    def subscribe_fm(self, sink: Consumer, **more: Any) -> str:
        answer = self.service.http.post(f"{FM}/subscriptions", json={"callbackUri": sink.url, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def subscribe(self, sink: Consumer, **more: Any) -> str:
        answer = self.service.native("POST", "/subscriptions", json={"callback_uri": sink.url, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def end(self, *ids: str) -> None:
        for one in ids:
            answer = self.service.native("DELETE", f"/subscriptions/{one}")
            assert answer.status_code == 204, answer.text

    def shown(self, subscription: str) -> Mapping[str, Any]:
        return self.service.native("GET", f"/subscriptions/{subscription}").json()

    def recorded(self, subscription: str, **asked: Any) -> list[dict[str, Any]]:
        path = f"/subscriptions/{subscription}/notifications"
        return self.service.native("GET", path, params={"page_size": 1000, **asked}).json()

    def until_recorded(self, subscription: str, state: str, count: int) -> list[dict[str, Any]]:
        """Wait until so many notifications are in a state by the record."""
        return self.service.until(
            lambda: self.recorded(subscription, state=state), lambda seen: len(seen) >= count
        )
