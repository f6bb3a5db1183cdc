"""Watches what this process cannot work without and its host gives it: room on disks, and file descriptors.

Told while there still is some, because what is full takes no alarm either. One that could not be recorded is
recorded when there is room again, with the time at which it began, even if it is over by then.
"""

import asyncio
import contextlib
import errno
import os
import resource
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from farsite import telemetry
from farsite.assurance import alarms as catalogue
from farsite.model.clock import Clock
from farsite.model.ids import DEFAULT_PROJECT
from farsite.settings import Settings
from farsite.store import alarms
from farsite.store.database import Connection, Database, is_away

log = structlog.get_logger()

_PERIOD_S = 2.0
_REFUSED_WITHIN_S = 10.0
"""A database that took no writes counts as such for so long: it is asked more often than that."""
_MIB = 1024 * 1024
_MORE_TO_CLEAR = 1.25
"""So much more than what raises the alarm must be there for its end, or it would come and go."""
_FILES_LEFT = 0.01
"""Share of a disk's files, of which it may have a fixed number, that must be left."""
_OPEN_SHARE = 0.9
_DESCRIPTORS = Path("/proc/self/fd")
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)


def lacks_descriptors() -> bool:
    """Whether this process can open neither a file nor a connection now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in _NONE_LEFT:
            return True
        raise
    return False


@dataclass(slots=True)
class _Shortage:
    """Something that there is too little of."""

    since: datetime
    details: str
    is_told: bool = False


class OwnResources:
    """Looks every other second, and raises and clears an alarm for each resource."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._short: dict[str, _Shortage] = {}
        self._is_new = True
        self._task: asyncio.Task[None] | None = None
        # A disk of the network that hangs must hold up nobody else's file.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="own-resources")

    def start(self) -> None:
        self._task = asyncio.create_task(self._look_for_ever(), name="own-resources")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._take_note_of(await loop.run_in_executor(self._thread, self._seen))
            except Exception as error:
                if not is_away(error):
                    log.exception("own_resources.not_told")
            await asyncio.sleep(_PERIOD_S)

    def _seen(self) -> Mapping[str, str]:
        """By resource, what is wrong with it; empty: nothing."""
        refused = self._database.refused_within(_REFUSED_WITHIN_S)
        return {
            "disk": self._disk(is_low="disk" in self._short),
            "database": f"the database took no writes: {refused}" if refused else "",
            "files": self._files(),
        }

    def _disk(self, *, is_low: bool) -> str:
        where = self._settings.data_dir
        found = os.statvfs(where)
        free = found.f_bavail * found.f_frsize
        telemetry.DISK_FREE.set(free)
        least = self._settings.disk_low_mib * _MIB * (_MORE_TO_CLEAR if is_low else 1)
        if free < least:
            return f"{free // _MIB} MiB are free in {where}"
        if found.f_files and found.f_favail < _FILES_LEFT * found.f_files * (_MORE_TO_CLEAR if is_low else 1):
            return f"{found.f_favail} more files can be made in {where}"
        return ""

    def _files(self) -> str:
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            is_open = sum(1 for _ in _DESCRIPTORS.iterdir()) - 1  # of the look itself
        except OSError as error:
            if error.errno not in _NONE_LEFT:
                raise
            return f"no file can be opened: {error.strerror}; the limit of this process is {most}"
        return f"{is_open} of {most} file descriptors are in use" if is_open > _OPEN_SHARE * most else ""

    async def _take_note_of(self, seen: Mapping[str, str]) -> None:
        now = self._clock.now()
        for name, details in seen.items():
            known = self._short.get(name)
            if details and known is None:
                log.warning("own_resources.short", resource=name, what=details)
                self._short[name] = _Shortage(since=now, details=details)
        over = {name for name in seen if not seen[name] and (self._is_new or name in self._short)}
        untold = {name: one for name, one in self._short.items() if not one.is_told}
        if not over and not untold:
            return
        await self._database.for_alarms(self._tell, untold, over, now)
        self._is_new = False
        for one in untold.values():
            one.is_told = True
        for name in over & self._short.keys():
            log.info("own_resources.enough", resource=name)
            del self._short[name]

    def _tell(
        self, connection: Connection, untold: Mapping[str, _Shortage], over: set[str], now: datetime
    ) -> None:
        object_id = self._settings.executor_id
        for name, one in untold.items():
            alarm = catalogue.raised(
                catalogue.RESOURCES_LOW,
                project_id=DEFAULT_PROJECT,
                object_id=object_id,
                location=f"farsite/{object_id}",
                at=one.since,
                part=name,
                details=(one.details,),
            )
            alarms.raise_(connection, alarm)
        for name in over:
            alarms.clear(
                connection,
                object_id=object_id,
                specific_problem=catalogue.problem_of(catalogue.RESOURCES_LOW, name),
                at=now,
            )
