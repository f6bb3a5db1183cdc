"""Sources tell of faults: one address per format, answered when what was told is recorded.

The body is read here and not by the framework, so that a full queue refuses it before it is read.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request

from farsite import telemetry
from farsite.api.auth import Asker
from farsite.api.intake import alertmanager, aodh, collectd, webhook
from farsite.api.intake.placing import located
from farsite.api.intake.told import Source, Told, report_of
from farsite.api.limits import TooLarge
from farsite.api.wire import ROOT, Here, Wire
from farsite.assurance.thresholds import Sample
from farsite.model.access import Caller
from farsite.model.alarm_reports import Outcome, Report
from farsite.model.errors import Invalid, Overloaded

router = APIRouter(prefix=f"{ROOT}/intake", tags=["Intake of faults"])

_READ_ON_THE_LOOP = 64 * 1024
"""Larger bodies are read in a thread, so that nobody else waits for them."""


class Taken(Wire):
    """What became of the alarms of a request: how many were raised, changed, cleared; `refreshed` say what
    was known, `stale` are older than what is known, `held` wait for the delay of a rule, `lifted` took one
    back, `nothing_open` ended what had not begun."""

    raised: int = 0
    changed: int = 0
    cleared: int = 0
    refreshed: int = 0
    stale: int = 0
    held: int = 0
    lifted: int = 0
    nothing_open: int = 0


_JSON: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
}


@router.post("/alertmanager", openapi_extra=_JSON)
async def from_alertmanager(request: Request, context: Here, caller: Asker) -> Taken:
    """A Prometheus Alertmanager's webhook, version "4"."""
    now = context.clock.now().isoformat()
    return await _take_in(request, context, caller, "alertmanager", lambda body: alertmanager.told(body, now))


@router.post("/collectd", openapi_extra=_JSON)
async def from_collectd(request: Request, context: Here, caller: Asker) -> Taken:
    """collectd's write_http: notifications; values are for the project's thresholds."""
    now = context.clock.now().isoformat()

    samples: list[Sample] = []

    def read(body: bytes) -> list[Told]:
        notifications, found = collectd.told(body, now)
        samples.extend(found)
        return notifications

    taken = await _take_in(request, context, caller, "collectd", read)
    context.thresholds.feed(caller.project_id, samples)
    return taken


@router.post("/webhook", openapi_extra=_JSON)
async def from_webhook(request: Request, context: Here, caller: Asker) -> Taken:
    """Any source: one alarm or a list of them, with time, object, location, type, severity and problem."""
    return await _take_in(request, context, caller, "webhook", webhook.told)


@router.post("/aodh", openapi_extra=_JSON)
async def from_aodh(request: Request, context: Here, caller: Asker) -> Taken:
    """OpenStack Aodh's alarm actions."""
    now = context.clock.now().isoformat()
    return await _take_in(request, context, caller, "aodh", lambda body: aodh.told(body, now))


async def _take_in(
    request: Request, context: Here, caller: Caller, form: str, read: Callable[[bytes], list[Told]]
) -> Taken:
    size = _stated_size(request, context.settings.intake_body_mib)
    try:
        context.intake.reserve(size)
        try:
            body = await _body(request, size, context.settings.intake_body_mib)
            source = Source(
                format=form,
                project_id=caller.project_id,
                who=caller.name,
                rules=await context.intake.rules_of(caller.project_id),
                silent_after_s=context.settings.source_silence_s or None,
            )

            def reports() -> list[Report]:
                return [report_of(one, source) for one in read(body)]

            found = reports() if size <= _READ_ON_THE_LOOP else await asyncio.to_thread(reports)
            found = await located(context.database, caller.project_id, found)
            tally = await context.intake.take_in(found)
        finally:
            context.intake.release(size)
    except Invalid as fault:
        telemetry.INTAKE_REFUSED.labels(form, "form").inc()
        raise Invalid(f"{fault.detail} Nothing of this request was taken in.") from fault
    except Overloaded:
        telemetry.INTAKE_REFUSED.labels(form, "full").inc()
        raise
    return Taken(**{outcome.value: tally[outcome] for outcome in Outcome})


def _stated_size(request: Request, limit_mib: int) -> int:
    stated = request.headers.get("content-length", "")
    limit = limit_mib * 1024 * 1024
    # Without a length it may be as large as is allowed, so that much is kept free for it.
    size = int(stated) if stated.isdigit() else limit
    if size > limit:
        raise TooLarge(limit_mib, "intake_body_mib")
    return size


async def _body(request: Request, size: int, limit_mib: int) -> bytes:
    parts = bytearray()
    async for part in request.stream():
        parts += part
        if len(parts) > size:
            raise TooLarge(limit_mib, "intake_body_mib")
    if not parts:
        raise Invalid("The body is empty.")
    return bytes(parts)
