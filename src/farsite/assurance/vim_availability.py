"""How available each VIM was of late, from the history of its alarms, for placement to go by.

A VIM counts as down while an alarm says that it cannot be reached or that all of it died, and as half there
while it is degraded. Beside that stands what its functions lost to its failures (`lost_to_vims`). The figures
are worked out now and then and kept beside the VIM, so that a placement reads numbers instead of a history.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from farsite.assurance import alarms
from farsite.assurance.availability import Service, timeline
from farsite.assurance.lost_to_vims import (
    DEATHS,
    PLACES,
    Death,
    Stood,
    functions_availability,
    is_of_one_function,
    laid_to_the_vim,
)
from farsite.model.alarm import Alarm, HistoryEntry
from farsite.model.clock import Clock
from farsite.model.ids import AlarmId, ProjectId, VimId, VnfInstanceId
from farsite.model.vim import Vim
from farsite.settings import Settings
from farsite.store import alarm_history, correlations, instances, vims
from farsite.store.alarm_history import Question
from farsite.store.database import Connection, Database
from farsite.store.vims import Measured

log = structlog.get_logger()

_PERIOD_S = 60.0
_MEASURED_AFTER = timedelta(hours=1)
"""A VIM that is known for less has no past to go by."""
_WHILE_DEGRADED = 0.5
_DIGITS = 6

SERVICE_OF_VIM: Mapping[str, Service] = {
    alarms.VIM_UNREACHABLE.name: Service.DOWN,
    alarms.VIM_DOWN.name: Service.DOWN,
    alarms.VIM_DEGRADED.name: Service.DEGRADED,
}
"""What an alarm about a VIM says of its service."""


def availability_of_vim(entries: Sequence[HistoryEntry], *, since: datetime, until: datetime) -> float | None:
    """Share of the time in which the VIM served, degraded time counted by half; None if it is too short to
    say. `entries`: the history of its alarms, in any order; `since` not before it was registered."""
    if until - since < _MEASURED_AFTER:
        return None
    line = timeline(entries, since=since, until=until, means=SERVICE_OF_VIM)
    served_s = sum(
        one.seconds * {Service.UP: 1.0, Service.DEGRADED: _WHILE_DEGRADED, Service.DOWN: 0.0}[one.service]
        for one in line
    )
    return round(served_s / (until - since).total_seconds(), _DIGITS)


class VimAvailability:
    """Works the figures out once a minute."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._window = timedelta(days=settings.placement_availability_days)
        self._database = database
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._again(), name="vim-availability")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self.look()
            except Exception:
                log.exception("vim_availability.failed")

    async def look(self) -> int:
        """Work all figures out now; how many changed."""
        return await self._database.read(self._look)

    def _look(self, connection: Connection) -> int:
        now = self._clock.now()
        begin = now - self._window
        known = vims.everywhere(connection)
        laid, doubtful = _charges(connection, begin)
        past = self._past(connection, {one.project_id for one in known}, now)
        stood = _stood(connection, known, laid, now)
        found: dict[VimId, Measured] = {}
        for one in known:
            since = max(begin, one.created_at)
            entries = [entry for entry in past.get(one.id, ()) if entry.alarm_id not in doubtful]
            own = availability_of_vim(entries, since=since, until=now)
            of_functions = functions_availability(stood.get(one.id, ()), since=since, until=now)
            found[one.id] = Measured(own=own, functions=None if own is None else of_functions)
        changed = {
            one.id: found[one.id]
            for one in known
            if Measured(own=one.availability, functions=one.functions_availability) != found[one.id]
        }
        vims.set_availability(connection, changed)
        return len(changed)

    def _past(
        self, connection: Connection, project_ids: set[ProjectId], now: datetime
    ) -> dict[VimId, list[HistoryEntry]]:
        """The history of the VIMs' alarms; what was open when the window began is in it too."""
        past: dict[VimId, list[HistoryEntry]] = {}
        for project_id in sorted(project_ids):
            for name in SERVICE_OF_VIM:
                question = Question(type=name, until=now)
                for entry in alarm_history.all_of(connection, project_id, question):
                    past.setdefault(VimId(entry.object_id), []).append(entry)
        return past


def _charges(connection: Connection, since: datetime) -> tuple[dict[Death, Alarm], set[AlarmId]]:
    """Deaths since a time that a failed place explains, each with that place; and alarms of places that were
    concluded from the deaths of one function alone."""
    places = correlations.raised_since(connection, PLACES, since)
    ties = {one for place in places for one in place.correlated_alarm_ids}
    deaths = {
        one.id: Death(alarm_id=one.id, vnf_id=one.object_id, location=one.location)
        for one in correlations.briefly(connection, ties, DEATHS)
    }
    doubtful = {place.id for place in places if is_of_one_function(place, deaths)}
    return {deaths[one]: place for one, place in laid_to_the_vim(places, deaths).items()}, doubtful


def _stood(
    connection: Connection, known: Sequence[Vim], laid: Mapping[Death, Alarm], now: datetime
) -> dict[VimId, list[Stood]]:
    """The functions of each VIM, with what they suffered by it."""
    by_name = {(one.project_id, one.site, one.name): one.id for one in known}
    charged: defaultdict[tuple[VimId, str], set[AlarmId]] = defaultdict(set)
    projects: defaultdict[ProjectId, set[str]] = defaultdict(set)
    for death, place in laid.items():
        vim_id = _vim_of(death, place, by_name)
        if vim_id is not None:
            charged[vim_id, death.vnf_id].add(death.alarm_id)
            projects[place.project_id].add(death.vnf_id)
    entries: defaultdict[str, list[HistoryEntry]] = defaultdict(list)
    for project_id, vnf_ids in sorted(projects.items()):
        for entry in alarm_history.of_objects(connection, project_id, vnf_ids, until=now):
            entries[entry.object_id].append(entry)
    suffered = instances.find_vnfs(connection, {vnf_id for _, vnf_id in charged})
    found: defaultdict[VimId, list[Stood]] = defaultdict(list)
    for (vim_id, vnf_id), alarm_ids in charged.items():
        own = [entry for entry in entries[vnf_id] if entry.alarm_id in alarm_ids]
        vnf = suffered.get(VnfInstanceId(vnf_id))
        seen = len({entry.specific_problem.partition("/")[2] for entry in own})
        parts = len(vnf.deployment.vnfcs) if vnf is not None and vnf.deployment is not None else seen
        since = vnf.created_at if vnf is not None else min((entry.at for entry in own), default=now)
        found[vim_id].append(Stood(since=since, parts=max(parts, 1), entries=own))
    for vim_id, vnf_id, created_at in instances.all_that_stand(connection):
        if (vim_id, vnf_id) not in charged:
            found[vim_id].append(Stood(since=created_at))
    return found


def _vim_of(death: Death, place: Alarm, by_name: Mapping[tuple[ProjectId, str, str], VimId]) -> VimId | None:
    """The VIM on which it died: the place's, and in a site the one that its location names."""
    if place.fault_type != alarms.SITE_DOWN.name:
        return VimId(place.managed_object_id.partition("/")[0])
    site, _, rest = death.location.partition("/")
    return by_name.get((place.project_id, site, rest.partition("/")[0]))
