"""How important what is told of is, for all subscriptions of this process together."""

import asyncio
import time
from collections.abc import Iterable

import structlog

from farsite.store import priorities
from farsite.store.database import Database

log = structlog.get_logger()

WHOLE = 0
"""Class of what is no VNF instance: a VIM, a host or a service is the affair of several."""
_FRESH_S = 10.0
"""How long a class counts as it was read: policies change now and then."""
_KEPT_MOST = 20_000


class Classes:
    """Classes of objects as they were read last."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, tuple[int, float]] = {}
        self._reading = asyncio.Lock()

    def of(self, object_id: str) -> int:
        """The class of an object that was asked for before. Smaller is more important."""
        return self._known.get(object_id, (WHOLE, 0.0))[0]

    async def learn(self, object_ids: Iterable[str]) -> None:
        """Read the classes of some objects, unless that was done a moment ago. Where they cannot be read,
        they stay as they were known: what is to be told is told in any case."""
        wanted = set(object_ids)
        # One reads for all subscriptions that have the same to tell.
        async with self._reading:
            fresh_since = time.monotonic() - _FRESH_S
            missing = [one for one in wanted if self._known.get(one, (0, float("-inf")))[1] < fresh_since]
            if not missing:
                return
            try:
                found = await self._database.at_once(priorities.classes_of, missing)
            except Exception:
                log.exception("classes.not_read")
                return
            now = time.monotonic()
            if len(self._known) + len(missing) > _KEPT_MOST:
                self._known.clear()
            for one in missing:
                self._known[one] = found.get(one, WHOLE), now
