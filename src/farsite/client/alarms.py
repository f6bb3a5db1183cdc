"""Alarms: what stands, what was, and the rules for it, as our API shows them."""

from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict, cast

import httpx2

from farsite.client.connection import ROOT, TIMEOUT_S, Connection, Document, in_path


class Checkpoint(TypedDict):
    checkpoint: str
    doctor: str
    at: str
    after_ms: float
    who: str
    detail: str


class Alarm(TypedDict):
    id: str
    managed_object_id: str
    object_kind: str
    location: str
    event_type: str
    probable_cause: str
    specific_problem: str
    perceived_severity: str
    raised_at: str
    cleared_at: str | None
    ack_state: str
    fault_details: list[str]
    source: str
    suppressed_by: str
    flap_count: int
    is_flapping: bool


class HistoryEntry(TypedDict):
    sequence: int
    at: str
    recorded_at: str
    alarm_id: str
    object_id: str
    object_kind: str
    location: str
    event_type: str
    type: str
    specific_problem: str
    severity: str
    what: str
    who: str
    details: list[str]


class Matcher(TypedDict):
    name: str
    comparison: str
    value: str


class Silence(TypedDict):
    id: str
    matchers: list[Matcher]
    starts_at: str
    ends_at: str
    created_by: str
    comment: str


class AlarmRule(TypedDict):
    name: str
    matchers: list[Matcher]
    damping: dict[str, object]
    naming: dict[str, str]
    silent_after_s: float | None


class Threshold(TypedDict):
    name: str
    condition: str
    by: str
    severity: str
    location: str


class Availability(TypedDict):
    since: str
    until: str
    observed_s: float
    availability: float | None
    downtime_s: float
    degraded_s: float
    failures: int
    impairments: int
    mtbf_s: float | None
    mttr_s: float | None
    failures_per_day: float | None
    detection_s: float | None
    failover_s: float | None
    recovery_s: float | None
    impact: float | None


class Alarms(Connection):
    """Alarms: what stands, what was, and the rules for it."""

    def alarms(self, *, filter: str = "", limit: int = 0) -> list[Alarm]:
        return cast("list[Alarm]", list(self._list("/alarms", filter=filter, limit=limit)))

    def alarm(self, alarm_id: str) -> Alarm:
        return cast("Alarm", self._get(f"/alarms/{in_path(alarm_id)}"))

    def acknowledge(self, alarm_id: str, *, is_acknowledged: bool = True) -> Alarm:
        state = "ACKNOWLEDGED" if is_acknowledged else "UNACKNOWLEDGED"
        path = f"{ROOT}/alarms/{in_path(alarm_id)}"
        return cast("Alarm", self.request("PATCH", path, {"ack_state": state}).json())

    def timeline(self, alarm_id: str) -> list[Checkpoint]:
        return cast("list[Checkpoint]", self._get(f"/alarms/{in_path(alarm_id)}/timeline"))

    def alarm_history(self, query: Sequence[tuple[str, str]], *, limit: int = 0) -> list[HistoryEntry]:
        """Transitions of alarms, newest first; `query` as the API has it (since, until, object, type ...)."""
        asked = [*query, ("page_size", str(min(limit, 1000) if limit else 1000))]
        found: list[HistoryEntry] = []
        target = f"{ROOT}/alarms/history"
        while True:
            answer = self.request("GET", target, query=asked)
            found += cast("list[HistoryEntry]", answer.json())
            following = answer.links.get("next", {}).get("url")
            if not following or (limit and len(found) >= limit):
                return found[:limit] if limit else found
            target, asked = following, []

    def export_alarm_history(self, query: Sequence[tuple[str, str]]) -> Iterator[str]:
        """The whole history that answers a question, piece by piece."""
        path = f"{ROOT}/alarms/history/export"
        try:
            with self._http.stream("GET", path, params=list(query), timeout=TIMEOUT_S) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    self._checked(answer)
                yield from answer.iter_text()
        except httpx2.TransportError as error:
            raise self._silence(error) from error

    def silences(self) -> list[Silence]:
        return cast("list[Silence]", list(self._list("/silences")))

    def create_silence(self, body: Document) -> Silence:
        return cast("Silence", self._post("/silences", body))

    def delete_silence(self, silence_id: str) -> None:
        self.request("DELETE", f"{ROOT}/silences/{in_path(silence_id)}")

    def alarm_rules(self) -> list[AlarmRule]:
        return cast("list[AlarmRule]", list(self._list("/alarm-rules")))

    def put_alarm_rule(self, name: str, body: Document) -> AlarmRule:
        return cast("AlarmRule", self.request("PUT", f"{ROOT}/alarm-rules/{in_path(name)}", body).json())

    def delete_alarm_rule(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/alarm-rules/{in_path(name)}")

    def thresholds(self) -> list[Threshold]:
        return cast("list[Threshold]", list(self._list("/thresholds")))

    def put_threshold(self, name: str, body: Document) -> Threshold:
        return cast("Threshold", self.request("PUT", f"{ROOT}/thresholds/{in_path(name)}", body).json())

    def delete_threshold(self, name: str) -> None:
        self.request("DELETE", f"{ROOT}/thresholds/{in_path(name)}")

    def availability(
        self, kind: Literal["vnfs", "ns"], key: str, query: Sequence[tuple[str, str]] = ()
    ) -> Availability:
        path = f"{ROOT}/{kind}/{in_path(key)}/availability"
        return cast("Availability", self.request("GET", path, query=query).json())
