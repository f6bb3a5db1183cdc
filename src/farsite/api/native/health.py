"""Whether this process can do its work, and its metrics."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from fastapi.concurrency import run_in_threadpool

from farsite import __version__
from farsite.api.context import Context
from farsite.api.wire import Here, Wire
from farsite.store import tokens
from farsite.telemetry import REGISTRY, exposition

router = APIRouter(tags=["Health"])

_DATABASE_TIMEOUT_S = 2.0


class Health(Wire):
    """`loop_lag_s` is how late the event loop ran at worst in the last ten seconds."""

    status: Literal["up", "down"]
    version: str
    database: Literal["up", "down"]
    database_detail: str
    loop_lag_s: float


class Readiness(Wire):
    """`reason` says why no requests should come here; empty: they should. `node` is this process's id."""

    ready: bool
    reason: str
    node: str


@router.get("/readyz")
async def readyz(context: Here, response: Response) -> Readiness:
    """For load balancers: 200 while requests should be sent to this process, 503 while they should not.

    They should not while it starts, drains or stops, while it has no lease and while the database is away.
    """
    reason = context.not_ready_because()
    if not reason and (trouble := await _trouble_with_database(context)):
        reason = f"The database does not answer: {trouble}."
    if reason:
        response.status_code = 503
        # A connection that stays open would keep a client of a process that is about to go.
        response.headers["Retry-After"] = "1"
        response.headers["Connection"] = "close"
    return Readiness(ready=not reason, reason=reason, node=context.node_id)


@router.get("/healthz")
async def healthz(context: Here, response: Response) -> Health:
    """200 while requests can be served, 503 while the database is away."""
    trouble = await _trouble_with_database(context)
    response.status_code = 503 if trouble else 200
    if trouble:
        response.headers["Retry-After"] = "2"
    return Health(
        status="down" if trouble else "up",
        version=__version__,
        database="down" if trouble else "up",
        database_detail=trouble,
        loop_lag_s=REGISTRY.get_sample_value("farsite_loop_lag_seconds") or 0.0,
    )


async def _trouble_with_database(context: Context) -> str:
    try:
        # Not the loop's own threads: those of the durable engine wait there for a database that is full.
        await asyncio.wait_for(run_in_threadpool(_touch, context), _DATABASE_TIMEOUT_S)
    except TimeoutError:
        return f"no answer within {_DATABASE_TIMEOUT_S:.0f} s"
    except Exception as error:
        return str(error).splitlines()[0][:200]
    return ""


def _touch(context: Context) -> None:
    with context.database.transaction() as connection:
        tokens.any_exist(connection)


@router.get("/metrics")
async def metrics() -> Response:
    """All metrics in the Prometheus text format; for callers on this host, or with a token."""
    return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
