"""Availability figures of VNFs and network services, from the history of their alarms."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from farsite.api.auth import Asker
from farsite.api.wire import ROOT, Here
from farsite.assurance.availability import Availability, Timeline, figures, timeline, worst
from farsite.model.alarm import HistoryEntry
from farsite.model.errors import Invalid
from farsite.model.ids import ProjectId
from farsite.model.operation import Operation, OperationState
from farsite.model.vnf import InstantiationState, VnfInstance, VnfState
from farsite.store import alarm_history, instances, operations
from farsite.store.database import Connection

router = APIRouter(prefix=ROOT, tags=["Availability"])

_LOOKS_BACK = timedelta(days=30)
_OPERATIONS = 1000

Since = Annotated[datetime | None, Query(description="From this time on; 30 days ago if left out.")]
Until = Annotated[datetime | None, Query(description="Until this time; now if left out.")]


@router.get("/vnfs/{vnf}/availability")
def availability_of_vnf(
    vnf: str, context: Here, caller: Asker, since: Since = None, until: Until = None
) -> Availability:
    """How well a VNF served: availability, MTBF, MTTR, and how quickly failures were known and mended."""
    begin, end = _window(since, until, context.clock.now())
    with context.database.transaction() as connection:
        found = instances.get_vnf(connection, caller.project_id, vnf)
        line, entries = _line_of_vnf(connection, caller.project_id, found, begin, end)
    return figures(line, since=begin, until=end, entries=entries)


@router.get("/ns/{ns}/availability")
def availability_of_ns(
    ns: str, context: Here, caller: Asker, since: Since = None, until: Until = None
) -> Availability:
    """How well a network service served: as well as the worst of its functions."""
    begin, end = _window(since, until, context.clock.now())
    with context.database.transaction() as connection:
        found = instances.get_ns(connection, caller.project_id, ns)
        own = alarm_history.of_object(connection, caller.project_id, found.id, until=end)
        lines = [timeline(own, since=begin, until=end, excused=_excused(connection, found.id, begin, end))]
        entries = list(own)
        for vnf in instances.vnfs_of_ns(connection, found.id):
            line, more = _line_of_vnf(connection, caller.project_id, vnf, begin, end)
            lines.append(line)
            entries += more
    return figures(worst(lines), since=begin, until=end, entries=entries)


def _window(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    for name, moment in (("since", since), ("until", until)):
        if moment is not None and moment.tzinfo is None:
            raise Invalid(f'{name}: the time has no zone. End it with Z or +00:00 ("+" is %2B in a query).')
    end = min(until or now, now)
    begin = since or end - _LOOKS_BACK
    if begin >= end:
        raise Invalid("since: it must be before `until` and before now.")
    return begin, end


def _line_of_vnf(
    connection: Connection, project_id: ProjectId, vnf: VnfInstance, begin: datetime, end: datetime
) -> tuple[Timeline, list[HistoryEntry]]:
    entries = alarm_history.of_object(connection, project_id, vnf.id, until=end)
    parts = len(vnf.deployment.vnfcs) if vnf.deployment is not None else 1
    excused = _excused(connection, vnf.id, begin, end)
    if vnf.state is not InstantiationState.INSTANTIATED and not excused:
        excused = [(begin, end)]
    return timeline(entries, since=begin, until=end, parts=parts, excused=excused), entries


def _excused(
    connection: Connection, instance_id: str, begin: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """When it was not to serve: before it was instantiated, after it was terminated, while it was stopped."""
    done = [
        one
        for one in operations.of_instance(connection, instance_id, limit=_OPERATIONS)
        if one.state is OperationState.COMPLETED and _switches(one) is not None
    ]
    off: list[tuple[datetime, datetime]] = []
    is_on, at = False, begin
    for one in sorted(done, key=lambda one: one.started_at):
        switched_on = _switches(one)
        if switched_on and not is_on:
            off.append((at, max(one.state_entered_at, begin)))
            is_on = True
        elif switched_on is False and is_on:
            # What was asked for begins with the request, not with its end.
            is_on, at = False, max(one.started_at, begin)
    if not is_on:
        off.append((at, end))
    return [(first, min(last, end)) for first, last in off if first < min(last, end)]


def _switches(operation: Operation) -> bool | None:
    """Whether an operation has the instance serve or not serve; None: neither."""
    match operation.type:
        case "INSTANTIATE":
            return True
        case "TERMINATE":
            return False
        case "OPERATE" if operation.verb == "operate_vnf" and not operation.parameters.get("vnfc_ids"):
            return operation.parameters.get("state") == VnfState.STARTED.value
        case _:
            return None
