"""The site's journal: numbered events, kept across agents, from which a reader resumes."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from farsite.model.deployment import VimEvent, VimEventKind
from farsite.vims.drivers.linux import wire

KEPT = 10_000


class Journal:
    """Events in order of their sequence; the last 10,000 can be read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events: deque[VimEvent] = deque(maxlen=KEPT)
        with contextlib.suppress(FileNotFoundError):
            self._load(path.read_text().splitlines()[-KEPT:])
        self._next = self._events[-1].sequence + 1 if self._events else 1
        self._written = len(self._events)
        self._rewrite()
        self._file = path.open("a")
        self._changed = asyncio.Event()

    def _load(self, lines: list[str]) -> None:
        for line in lines:
            # The last line is torn when an agent was killed while writing it.
            with contextlib.suppress(ValueError):
                self._events.append(wire.from_document(VimEvent, json.loads(line)))

    def _rewrite(self) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text("".join(_line(event) for event in self._events))
        partial.replace(self._path)

    def tell(
        self,
        kind: VimEventKind,
        detail: str,
        *,
        deployment: str = "",
        vnf_id: str = "",
        vnfc_id: str = "",
        chain_id: str = "",
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Record that something happened now."""
        event = VimEvent(
            sequence=self._next,
            kind=kind,
            at=datetime.now(UTC),
            detail=detail,
            deployment=deployment,
            vnf_id=vnf_id,
            vnfc_id=vnfc_id,
            chain_id=chain_id,
            details={name: str(value) for name, value in (details or {}).items()},
        )
        self._next += 1
        self._events.append(event)
        self._file.write(_line(event))
        self._file.flush()
        self._written += 1
        if self._written > 2 * KEPT:
            self._file.close()
            self._rewrite()
            self._file = self._path.open("a")
            self._written = len(self._events)
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, sequence: int) -> AsyncIterator[VimEvent]:
        """All kept events after this sequence, then those to come, without end.

        A sequence that this journal has not reached yet belongs to one that was lost: the reader
        gets everything.
        """
        if sequence >= self._next:
            sequence = 0
        while True:
            changed = self._changed
            missed = [event for event in self._events if event.sequence > sequence]
            for event in missed:
                sequence = event.sequence
                yield event
            if not missed:
                await changed.wait()


def _line(event: VimEvent) -> str:
    return json.dumps(wire.to_document(event)) + "\n"
