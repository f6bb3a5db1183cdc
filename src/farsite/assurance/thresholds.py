"""Evaluates a project's thresholds over what was measured: numbers that collectd posts, and those that a
Prometheus is asked for.

Only the latest number of each series is kept, bounded per project, so a source that invents labels without
end costs its own project its newest series and nobody else anything. A project's questions to Prometheus
carry its id as a label; only the project `default` sees everything. What is posted is evaluated by the
process that got it; with several processes behind one address let Prometheus collect, which each of them
asks. How long a condition has held is known since the start of the process.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import httpx2
import structlog

from farsite.assurance.alarms import THRESHOLD_CROSSED
from farsite.assurance.intake import Intake
from farsite.model.alarm import Alarm, PerceivedSeverity
from farsite.model.alarm_reports import Report
from farsite.model.clock import Clock
from farsite.model.errors import Invalid, Overloaded
from farsite.model.ids import DEFAULT_PROJECT, AlarmId, ProjectId, new_id
from farsite.model.threshold import Comparison, Condition, Threshold, comparisons, evaluate, read_condition
from farsite.settings import Settings
from farsite.store import alarm_rules
from farsite.store.database import Database

log = structlog.get_logger()

_SERIES_MAX = 10_000
_OBJECTS_MAX = 10_000
_FRESH_PERIODS = 5
_ANSWER_BYTES_MAX = 8 * 1024 * 1024
_TIMEOUT_S = 10.0
_PAUSE_LEAST_S = 0.05
_SILENT_AFTER_LOOKS = 12

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number of one series at one time."""

    metric: str
    labels: Labels
    at: datetime
    value: float
    interval_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thought:
    threshold: Threshold
    condition: Condition


class Thresholds:
    """The latest numbers of every project, and what its thresholds say of them."""

    def __init__(self, settings: Settings, database: Database, intake: Intake, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._intake = intake
        self._clock = clock
        self._series: dict[ProjectId, dict[tuple[str, Labels], Sample]] = {}
        self._since: dict[tuple[ProjectId, str, str, int], datetime] = {}
        self._was: dict[tuple[ProjectId, str, str], bool] = {}
        self._looked: set[tuple[ProjectId, str, str]] = set()
        self._due_at: datetime | None = None
        """When the first condition that holds now will have lasted as long as it must."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._for_ever(), name="thresholds")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def feed(self, project_id: ProjectId, samples: Iterable[Sample]) -> int:
        """Keep the latest number of each series; how many were kept. Those older than what is known, and new
        series beyond the bound, are not."""
        known = self._series.setdefault(project_id, {})
        kept = 0
        for one in samples:
            key = (one.metric, one.labels)
            last = known.get(key)
            if (last is None and len(known) >= _SERIES_MAX) or (last is not None and last.at > one.at):
                continue
            known[key] = one
            kept += 1
        return kept

    async def _for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._pause_s())
            try:
                await self.look()
            except Exception:
                log.exception("thresholds.failed")

    def _pause_s(self) -> float:
        """Until the next look: a period, or less where a condition will have lasted long enough before."""
        period_s = self._settings.threshold_period_s
        if self._due_at is None:
            return period_s
        return min(max((self._due_at - self._clock.now()).total_seconds(), _PAUSE_LEAST_S), period_s)

    async def look(self) -> int:
        """Evaluate every threshold once; how many alarms were told of."""
        told = 0
        self._due_at = None
        self._looked = set()
        for project_id, thresholds in (await self._database.read(alarm_rules.all_thresholds)).items():
            thoughts = [
                _Thought(threshold=one, condition=read_condition(one.condition)) for one in thresholds
            ]
            if self._settings.prometheus_url:
                await self._ask_prometheus(project_id, thoughts)
            reports = [report for one in thoughts for report in self._judge(project_id, one)]
            with contextlib.suppress(Overloaded):
                # What could not be told now is told with the next look.
                await self._intake.take_in(reports)
                told += len(reports)
        self._forget_old()
        return told

    # -- judging --------------------------------------------------------------------------------------------

    def _judge(self, project_id: ProjectId, thought: _Thought) -> list[Report]:
        threshold, now = thought.threshold, self._clock.now()
        wanted = list(comparisons(thought.condition))
        by_object = self._by_object(project_id, threshold.by, wanted, now)
        reports: list[Report] = []
        for name, samples in sorted(by_object.items()):
            worth = evaluate(
                thought.condition,
                lambda one, name=name, samples=samples: self._truth(
                    (project_id, threshold.name, name), wanted.index(one), one, samples, now
                ),
            )
            key = (project_id, threshold.name, name)
            self._looked.add(key)
            if worth is None or (not worth and not self._was.get(key, True)):
                continue
            self._was[key] = worth
            reports.append(self._report(project_id, threshold, name, is_over=not worth))
        return reports

    def _report(self, project_id: ProjectId, threshold: Threshold, name: str, *, is_over: bool) -> Report:
        now = self._clock.now()
        alarm = Alarm(
            id=AlarmId(new_id()),
            project_id=project_id,
            managed_object_id=name[:255],
            object_kind=threshold.by[:16],
            location=f"{threshold.location or 'thresholds'}/{name}"[:1000],
            event_type=THRESHOLD_CROSSED.event_type,
            probable_cause=THRESHOLD_CROSSED.probable_cause,
            specific_problem=f"{THRESHOLD_CROSSED.name}/{threshold.name}"[:255],
            perceived_severity=PerceivedSeverity.CLEARED if is_over else threshold.severity,
            raised_at=now,
            event_at=now,
            fault_type=THRESHOLD_CROSSED.name,
            fault_details=(threshold.condition,),
            faulty_resource=name[:255],
            source="threshold",
        )
        return Report(
            alarm=alarm,
            who=f"threshold {threshold.name}",
            is_in_order=True,
            is_end_kept=False,
            # A metric that nobody measures any more leaves its alarm doubtful, not standing and not cleared.
            silent_after_s=max(_SILENT_AFTER_LOOKS * self._settings.threshold_period_s, 60.0),
        )

    def _by_object(
        self, project_id: ProjectId, by: str, wanted: Sequence[Comparison], now: datetime
    ) -> dict[str, dict[Comparison, Sample]]:
        """What is fresh of each object, by comparison; of several series that fit, the newest."""
        found: dict[str, dict[Comparison, Sample]] = {}
        for (metric, labels), sample in self._series.get(project_id, {}).items():
            given = dict(labels)
            if not given.get(by) or (now - sample.at).total_seconds() > _FRESH_PERIODS * sample.interval_s:
                continue
            for one in wanted:
                if one.metric != metric or any(given.get(name) != value for name, value in one.labels):
                    continue
                if given[by] not in found and len(found) >= _OBJECTS_MAX:
                    continue
                of_object = found.setdefault(given[by], {})
                if one not in of_object or of_object[one].at < sample.at:
                    of_object[one] = sample
        return found

    def _truth(
        self,
        key: tuple[ProjectId, str, str],
        number: int,
        comparison: Comparison,
        samples: Mapping[Comparison, Sample],
        now: datetime,
    ) -> bool | None:
        """Whether a comparison holds, and has for as long as it must."""
        place = (*key, number)
        sample = samples.get(comparison)
        if sample is None or not comparison.holds(sample.value):
            self._since.pop(place, None)
            return None if sample is None else False
        if not comparison.for_s:
            return True
        since = self._since.setdefault(place, min(sample.at, now))
        due_at = since + timedelta(seconds=comparison.for_s)
        if now >= due_at:
            return True
        self._due_at = due_at if self._due_at is None else min(self._due_at, due_at)
        return False

    def _forget_old(self) -> None:
        """Series that nobody measures any more make room for others, and so does what was known of them."""
        now = self._clock.now()
        self._was = {key: one for key, one in self._was.items() if key in self._looked}
        self._since = {key: one for key, one in self._since.items() if key[:3] in self._looked}
        for project_id, known in self._series.items():
            self._series[project_id] = {
                key: one
                for key, one in known.items()
                if (now - one.at).total_seconds() <= _FRESH_PERIODS * one.interval_s
            }

    # -- Prometheus -----------------------------------------------------------------------------------------

    async def _ask_prometheus(self, project_id: ProjectId, thoughts: Sequence[_Thought]) -> None:
        wanted = {(one.metric, one.labels) for thought in thoughts for one in comparisons(thought.condition)}
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
            for metric, labels in sorted(wanted):
                try:
                    self.feed(project_id, await self._asked(http, project_id, metric, labels))
                except (httpx2.HTTPError, Invalid, ValueError) as fault:
                    log.warning("thresholds.prometheus", metric=metric, reason=str(fault)[:200])

    async def _asked(
        self, http: httpx2.AsyncClient, project_id: ProjectId, metric: str, labels: Labels
    ) -> list[Sample]:
        asked = dict(labels)
        if project_id != DEFAULT_PROJECT:
            # Last, so that no label of a condition can say otherwise.
            asked[self._settings.prometheus_project_label] = project_id
        selector = ",".join(f'{name}="{value}"' for name, value in asked.items())
        url = f"{self._settings.prometheus_url.rstrip('/')}/api/v1/query"
        answer = await http.get(url, params={"query": f"{metric}{{{selector}}}"})
        answer.raise_for_status()
        if len(answer.content) > _ANSWER_BYTES_MAX:
            raise Invalid(f"The answer is larger than {_ANSWER_BYTES_MAX} bytes.")
        return samples_of(answer.json(), metric, self._settings.threshold_period_s)


def samples_of(answer: object, metric: str, interval_s: float) -> list[Sample]:
    """The samples of an instant vector of Prometheus' HTTP API.

    Raises:
        Invalid: it is none.
    """
    match answer:
        case {"status": "success", "data": {"resultType": "vector", "result": list()}}:
            found = cast("dict[str, dict[str, list[object]]]", answer)["data"]["result"]
            return [_sample(one, metric, interval_s) for one in found]
        case _:
            raise Invalid("The answer is not an instant vector of Prometheus.")


def _sample(one: object, metric: str, interval_s: float) -> Sample:
    match one:
        case {"metric": dict(), "value": [int() | float() as at, str() as value]}:
            all_of_it = cast("dict[str, dict[object, object]]", one)["metric"]
            given = {str(key): str(text) for key, text in all_of_it.items() if key != "__name__"}
            return Sample(
                metric=metric,
                labels=tuple(sorted(given.items())),
                at=datetime.fromtimestamp(at).astimezone(),
                value=float(value),
                interval_s=max(interval_s, 10.0),
            )
        case _:
            raise Invalid("A sample of the answer has no labels or no value.")
