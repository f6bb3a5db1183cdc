"""SOL003 VNF fault management, version 1: the alarms of VNF instances, and who is told of them.

Alarms of other objects (VIMs, services, this program) are those of our own interface.

Source: ETSI GS NFV-SOL 003 V3.7.1 clause 7.
"""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from farsite.api.auth import Asker, permitted
from farsite.api.filters import link_next
from farsite.api.problem import PreconditionFailed
from farsite.api.sol003 import fm_shapes
from farsite.api.sol003.fm_shapes import AlarmModifications, FmSubscriptionRequest
from farsite.api.sol003.interfaces import FM, Speaks, api_versions, described, spoken_by
from farsite.api.wire import Asked, Here
from farsite.model.access import Caller
from farsite.model.alarm import Alarm
from farsite.model.errors import Invalid, NotFound
from farsite.model.query import Comparison, Condition
from farsite.store import alarms
from farsite.store.database import Connection

router = APIRouter(prefix=FM.path, tags=["SOL003 VNF fault management"])
_spoken: dict[str, Any] = {"dependencies": [Depends(spoken_by)], "openapi_extra": described(FM)}

_FILTERABLE = {
    "id", "managedObjectId", "rootCauseFaultyResource/faultyResourceType", "eventType", "perceivedSeverity",
    "probableCause", "ackState", "alarmRaisedTime",
}  # fmt: skip
_OF_VNFS = Condition(attribute="objectKind", comparison=Comparison.EQ, values=("vnf",))


def _etag(alarm: Alarm) -> str:
    return f'"{alarm.version}"'


def _found(connection: Connection, caller: Caller, alarm_id: str, *, for_update: bool = False) -> Alarm:
    alarm = alarms.get(connection, caller.project_id, alarm_id, for_update=for_update)
    if alarm.object_kind != "vnf":
        raise NotFound(f"Alarm {alarm_id} is not one of a VNF. See farsite alarm show {alarm_id}.")
    return alarm


@router.get("/alarms", **_spoken)
def list_alarms(
    ask: Asked, spoken: Speaks, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query the alarms of VNF instances, newest first; cleared ones too."""
    for condition in ask.conditions:
        if condition.attribute not in _FILTERABLE:
            known = ", ".join(sorted(_FILTERABLE))
            raise Invalid(f'Alarms cannot be filtered by "{condition.attribute}". Attributes: {known}.')
    asked = replace(ask, conditions=(*ask.conditions, _OF_VNFS))
    with context.database.transaction() as connection:
        page = alarms.page(connection, caller.project_id, asked)
    link_next(request, response, page)
    return [fm_shapes.alarm(one, spoken.root) for one in page.items]


@router.get("/alarms/{alarmId}", **_spoken)
def get_alarm(
    alarmId: str, spoken: Speaks, context: Here, caller: Asker, response: Response
) -> dict[str, object]:
    """Read one alarm; its version is the ETag."""
    with context.database.transaction() as connection:
        alarm = _found(connection, caller, alarmId)
    response.headers["ETag"] = _etag(alarm)
    return fm_shapes.alarm(alarm, spoken.root)


@router.patch("/alarms/{alarmId}", **_spoken)
def modify_alarm(
    alarmId: str,
    body: AlarmModifications,
    spoken: Speaks,
    context: Here,
    caller: Asker,
    response: Response,
    if_match: Annotated[str, Header()] = "",
) -> dict[str, object]:
    """Say that somebody has taken notice of an alarm, or take that back."""
    with context.database.transaction() as connection:
        alarm = _found(connection, caller, alarmId, for_update=True)
        tags = {tag.strip() for tag in if_match.split(",")} - {""}
        if tags and not tags & {"*", _etag(alarm)}:
            raise PreconditionFailed(
                f"Alarm {alarm.id} was changed: its ETag is {_etag(alarm)}, not {if_match[:100]}. "
                f"Read it again."
            )
        changed = alarms.acknowledge(
            connection, caller.project_id, alarm.id, body.ackState, context.clock.now()
        )
    response.headers.update({"ETag": _etag(changed), **spoken.headers})
    return {"ackState": changed.ack_state.value}


@router.post("/subscriptions", status_code=201, **_spoken)
async def create_subscription(
    body: FmSubscriptionRequest, spoken: Speaks, context: Here, caller: Asker, response: Response
) -> dict[str, object]:
    """Subscribe to faults of VNF instances; the endpoint is tested before this answers."""
    return await fm_shapes.create_subscription(body, spoken, context, caller, response)


@router.get("/subscriptions", **_spoken)
def list_subscriptions(
    ask: Asked, spoken: Speaks, context: Here, caller: Asker, request: Request, response: Response
) -> list[dict[str, object]]:
    """Query the project's subscriptions of this interface."""
    return fm_shapes.list_subscriptions(ask, spoken, context, caller, request, response)


@router.get("/subscriptions/{subscriptionId}", **_spoken)
def get_subscription(subscriptionId: str, spoken: Speaks, context: Here, caller: Asker) -> dict[str, object]:
    """Read one subscription."""
    return fm_shapes.get_subscription(subscriptionId, spoken, context, caller)


@router.delete("/subscriptions/{subscriptionId}", status_code=204, **_spoken)
def delete_subscription(subscriptionId: str, context: Here, caller: Asker) -> None:
    """End a subscription."""
    fm_shapes.delete_subscription(subscriptionId, context, caller)


def _add_versions() -> None:
    # Asked before anything else, and by any version or none.
    for path in (f"/{FM.name}", FM.path):
        versions_router.add_api_route(
            f"{path}/api_versions",
            api_versions(FM),
            methods=["GET"],
            dependencies=[Depends(permitted)],
            name="api_versions",
            summary="Which versions of this interface are served",
        )


versions_router = APIRouter(tags=["SOL003 VNF fault management"])
_add_versions()
