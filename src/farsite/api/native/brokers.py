"""Brokers: made known by administrators, and the API by which they fetch jobs and answer them.

A broker of a third party implements two requests: `POST .../jobs/next`, which waits until there is something
to do, and `PUT .../jobs/{id}/answer`. Both may be repeated; a job is offered until it is answered. One that
upgrades software reads images at `GET .../jobs/{id}/image`.
"""

import asyncio
import json
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, JsonValue

from farsite.api.auth import Asker, KnownCallers, broker_token
from farsite.api.filters import link_next, page_in_memory
from farsite.api.wire import ROOT, Here, ObjectName, Wire, asks
from farsite.model.access import Role
from farsite.model.errors import Invalid, NotFound
from farsite.model.ids import ProjectId, VnfInstanceId
from farsite.model.query import Ask
from farsite.store import brokers, tokens
from farsite.store.brokers import JobRow
from farsite.store.database import Connection
from farsite.vnfs.broker.jobs import answer_from_json, answer_to_json, job_from_json, not_understood
from farsite.vnfs.software import ImageFile

router = APIRouter(prefix=f"{ROOT}/brokers", tags=["Brokers"])

_LOOK_S = 0.1
_MOST_BYTES = 4 * 1024 * 1024


class CreateBroker(Wire):
    name: ObjectName


class BrokerView(Wire):
    """`waiting` counts jobs without an answer."""

    name: str
    created_at: datetime
    heard_at: datetime | None
    waiting: int


class NewBroker(Wire):
    """`token` is shown this once."""

    name: str
    token: str


class Next(Wire):
    """What a broker asks: how many jobs it has room for, which it has already, and how long it waits. One
    without room asks for none every ten seconds or so, to be heard: what waits for it is waited for then."""

    version: Annotated[int, Field(ge=1)] = 1
    at_most: Annotated[int, Field(ge=0, le=1000)] = 1
    waits_s: Annotated[float, Field(ge=0, le=30)] = 20.0
    known: Annotated[list[str], Field(max_length=10_000)] = Field(default_factory=list)


@router.post("", status_code=201)
def create_broker(body: CreateBroker, context: Here, caller: Asker) -> NewBroker:
    """Make a broker known."""
    now = context.clock.now()
    with context.database.transaction() as connection:
        brokers.create(connection, caller.project_id, body.name, at=now)
        tokens.revoke(connection, name=broker_token(body.name), project_id=caller.project_id)
        token = tokens.create(
            connection,
            name=broker_token(body.name),
            project_id=caller.project_id,
            role=Role.BROKER,
            at=now,
        )
    return NewBroker(name=body.name, token=token)


@router.get("")
def list_brokers(
    ask: Annotated[Ask, Depends(asks(None))],
    context: Here,
    caller: Asker,
    request: Request,
    response: Response,
) -> list[BrokerView]:
    """The brokers, when each was heard last, and what waits for it."""
    with context.database.transaction() as connection:
        known = brokers.all_of(connection, caller.project_id)
    views = [
        BrokerView(name=one.name, created_at=one.created_at, heard_at=one.heard_at, waiting=one.waiting)
        for one in known
    ]
    page = page_in_memory(views, ask, {"name": lambda one: one.name}, key=lambda one: one.name)
    link_next(request, response, page)
    return list(page.items)


@router.delete("/{broker}", status_code=204)
def delete_broker(broker: str, context: Here, caller: Asker, request: Request) -> None:
    """Forget a broker and what waits for it; its token stops working."""
    with context.database.transaction() as connection:
        brokers.get(connection, caller.project_id, broker)
        brokers.remove(connection, caller.project_id, broker)
        tokens.revoke(connection, name=broker_token(broker), project_id=caller.project_id)
    known = request.app.state.known_callers
    assert isinstance(known, KnownCallers)
    known.forget()


@router.post("/{broker}/jobs/next")
async def next_jobs(broker: str, body: Next, context: Here, caller: Asker) -> list[dict[str, JsonValue]]:
    """Jobs that the broker does not know yet; waits until there is one, or the time is over."""
    database, project_id = context.database, caller.project_id
    await database.run(brokers.get, project_id, broker)
    ends = context.clock.monotonic_s() + body.waits_s
    heard_at = -60.0
    while True:
        if context.clock.monotonic_s() - heard_at > 5:
            heard_at = context.clock.monotonic_s()
            await database.run(brokers.heard, project_id, broker, context.clock.now())
        found = await database.read(
            brokers.waiting_for, project_id, broker, but=body.known, at_most=body.at_most
        )
        if found or body.at_most == 0 or context.clock.monotonic_s() >= ends or context.serving_ends.is_set():
            if found:
                await database.run(brokers.give, [one.id for one in found], context.clock.now())
            jobs = [_opened(context, one) for one in found]
            return [one for one in jobs if await _is_understood(context, broker, body.version, one)]
        await asyncio.sleep(_LOOK_S)


@router.put("/{broker}/jobs/{job}/answer", status_code=204)
async def answer(broker: str, job: str, body: dict[str, JsonValue], context: Here, caller: Asker) -> None:
    """Tell what became of a job. The first answer counts."""
    try:
        given = answer_from_json(body)
    except ValueError as error:
        raise Invalid(f"This is no answer to a job: {error}.") from error
    if given.job_id != job:
        raise Invalid(f"The answer is to job {given.job_id}, and its path names {job}.")
    vnf_id = await context.database.run(brokers.vnf_of_job, caller.project_id, broker, job)
    sealed = context.devices.keys.encrypt(vnf_id, {"answer": json.dumps(answer_to_json(given))})
    await context.database.run(_take_answer, caller.project_id, broker, job, sealed, context.clock.now())


def _take_answer(
    connection: Connection, project_id: ProjectId, broker: str, job: str, sealed: bytes, at: datetime
) -> None:
    brokers.put_answer(connection, job, sealed)
    brokers.heard(connection, project_id, broker, at)


@router.get("/{broker}/jobs/{job}/image", response_class=Response)
async def image(
    broker: str,
    job: str,
    context: Here,
    caller: Asker,
    offset: Annotated[int, Query(ge=0)] = 0,
    most_bytes: Annotated[int, Query(ge=1, le=_MOST_BYTES)] = _MOST_BYTES,
) -> Response:
    """A piece of the image that a job speaks of; empty at its end."""
    row = await context.database.run(brokers.job_of, caller.project_id, broker, job)
    spoken_of = job_from_json(_opened(context, row)).image
    if spoken_of is None:
        raise NotFound(f"Job {job} of broker {broker} speaks of no image.")
    path = await context.software_images.stored(spoken_of)
    return Response(await ImageFile(path).read(offset, most_bytes), media_type="application/octet-stream")


async def _is_understood(context: Here, broker: str, understood: int, job: dict[str, JsonValue]) -> bool:
    """Whether the broker may be given the job; one of a later version is answered in its place."""
    asked = job_from_json(job)
    if asked.version <= understood:
        return True
    said = answer_to_json(not_understood(asked.id, broker, asked.version, understood))
    sealed = context.devices.keys.encrypt(VnfInstanceId(asked.device), {"answer": json.dumps(said)})
    await context.database.run(brokers.put_answer, asked.id, sealed)
    return False


def _opened(context: Here, row: JobRow) -> dict[str, JsonValue]:
    return json.loads(context.devices.keys.decrypt(row.vnf_id, row.job)["job"])
