"""Whether this process can do its work, and its metrics."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response

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


@router.get("/healthz")
async def healthz(context: Here, response: Response) -> Health:
    """200 while requests can be served, 503 while the database is away."""
    trouble = ""
    try:
        await asyncio.wait_for(asyncio.to_thread(_touch, context), _DATABASE_TIMEOUT_S)
    except TimeoutError:
        trouble = f"no answer within {_DATABASE_TIMEOUT_S:.0f} s"
    except Exception as error:
        trouble = str(error).splitlines()[0][:200]
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


def _touch(context: Context) -> None:
    with context.database.transaction() as connection:
        tokens.any_exist(connection)


@router.get("/metrics")
async def metrics() -> Response:
    """All metrics in the Prometheus text format; for callers on this host, or with a token."""
    return Response(exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
