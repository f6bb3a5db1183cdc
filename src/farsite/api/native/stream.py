"""What is told, as server-sent events.

The streams of all operations, of all alarms and of the hosts of a VIM are the outbox as it grows, so their
event ids are the outbox's sequence numbers and `Last-Event-ID` loses nothing. The stream of one operation is
its row and its steps as they are, sent again when they have changed: a client that comes back simply gets the
present state first.

Source: WHATWG HTML, server-sent events.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse

from farsite.api.context import Context
from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId
from farsite.model.operation import Operation, StepProgress
from farsite.notifications.feed import Feed
from farsite.store import operations, turns
from farsite.store.database import Connection
from farsite.store.encoding import encode
from farsite.store.outbox import Told

KEEP_ALIVE_S = 15.0
_LOOK_S = 0.2


EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events."}
}


def event_stream(context: Context, source: AsyncGenerator[str, None]) -> StreamingResponse:
    """A stream that ends with its source, or when this process stops; a client then goes on elsewhere."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    lasting = _while_serving(source, context.serving_ends)
    return StreamingResponse(lasting, media_type="text/event-stream", headers=headers)


async def _while_serving(source: AsyncGenerator[str, None], ends: asyncio.Event) -> AsyncIterator[str]:
    ending = asyncio.create_task(ends.wait(), name="stream-ends")
    try:
        async with aclosing(source):
            while not ends.is_set():
                coming = asyncio.ensure_future(anext(source, None))
                try:
                    await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not coming.done():
                        coming.cancel()
                        await asyncio.wait({coming})
                if coming.cancelled() or (text := coming.result()) is None:
                    return
                yield text
    finally:
        ending.cancel()


def event(kind: str, body: object, *, event_id: str = "") -> str:
    """One event on the wire; the body is JSON on one line."""
    number = f"id: {event_id}\n" if event_id else ""
    return f"{number}event: {kind}\ndata: {json.dumps(body, ensure_ascii=False)}\n\n"


def told(
    context: Context, project_id: ProjectId, last_event_id: str, *, about: str, under: str = ""
) -> AsyncGenerator[str, None]:
    """What was told of one subject (`operation`, `alarm`, `host`), as it is told; `under` is what the ids of
    its objects begin with.

    Raises:
        Invalid: `Last-Event-ID` is none of ours.
    """
    if last_event_id and not (
        last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19
    ):
        raise Invalid(f'Last-Event-ID "{last_event_id[:40]}" is not one that this stream gave.')
    return _told(context.feed, project_id, int(last_event_id) if last_event_id else None, about, under)


async def _told(
    feed: Feed, project_id: ProjectId, after: int | None, about: str, under: str
) -> AsyncGenerator[str, None]:
    queue: asyncio.Queue[Sequence[Told]] = asyncio.Queue(1)

    async def pump() -> None:
        async with aclosing(feed.listen(after)) as batches:
            async for batch in batches:
                await queue.put(batch)

    pumping = asyncio.create_task(pump(), name=f"{about}-stream")
    try:
        yield f": {about}s\n\n"
        while not pumping.done():
            try:
                batch = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
            except TimeoutError:
                yield ": still here\n\n"
                continue
            # What came together goes out together: a hundred writes cost a hundred times one.
            events = [
                feed.once(one, _event_of)
                for one in batch
                if one.project_id == project_id
                and one.kind.partition("-")[0] == about
                and one.object_id.startswith(under)
            ]
            if events:
                yield "".join(events)
    finally:
        pumping.cancel()


def _event_of(one: Told) -> str:
    return event(one.kind, one.body, event_id=str(one.sequence))


async def one_operation(
    context: Context, project_id: ProjectId, operation_id: str
) -> AsyncGenerator[str, None]:
    """The operation and its steps, each sent when it has changed; ends with the operation."""
    version = -1
    seen: dict[int, StepProgress] = {}
    silent_s = 0.0
    was_ended = False
    while True:
        operation, steps = await context.database.read(_look, project_id, operation_id)
        changed = [step for step in steps if seen.get(step.sequence) != step]
        for step in changed:
            seen[step.sequence] = step
            yield event("step", encode(step))
        if operation.version != version:
            version = operation.version
            yield event("operation", encode(operation))
        if operation.is_ended:
            # The last steps are written a moment after the state: one more look, then the end.
            if was_ended and not changed:
                yield event("end", {"state": operation.state.value})
                return
            was_ended = True
        elif changed:
            silent_s = 0.0
        elif silent_s >= KEEP_ALIVE_S:
            silent_s = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(_LOOK_S)
        silent_s += _LOOK_S


def _look(
    connection: Connection, project_id: ProjectId, operation_id: str
) -> tuple[Operation, list[StepProgress]]:
    operation = operations.get(connection, project_id, operation_id)
    return operation, turns.steps_of(connection, operation)
