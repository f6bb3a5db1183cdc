"""Model objects with only what a test does not care about filled in."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from farsite.model.alarm import Alarm, Event, EventType, PerceivedSeverity
from farsite.model.ids import (
    DEFAULT_PROJECT,
    AlarmId,
    EventId,
    OperationId,
    ProjectId,
    VimId,
    VnfdId,
    VnfInstanceId,
    VnfPackageId,
    new_id,
)
from farsite.model.operation import InstanceKind, Operation, OperationState
from farsite.model.package import VnfPackage
from farsite.model.vim import Vim
from farsite.model.vnf import VnfInstance
from farsite.store import packages

BEGAN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def an_operation(
    instance_id: str = "", *, state: OperationState = OperationState.STARTING, at: datetime = BEGAN
) -> Operation:
    operation_id = OperationId(new_id())
    return Operation(
        id=operation_id,
        project_id=DEFAULT_PROJECT,
        kind=InstanceKind.VNF,
        instance_id=instance_id or new_id(),
        verb="instantiate_vnf",
        type="INSTANTIATE",
        state=state,
        state_entered_at=at,
        started_at=at,
        workflow_id=operation_id,
    )


def a_package(connection: sa.Connection) -> VnfPackage:
    """A package with its row, for instances to be made from."""
    package = VnfPackage(
        id=VnfPackageId(new_id()),
        project_id=DEFAULT_PROJECT,
        vnfd_id=VnfdId(new_id()),
        product_name="firewall",
        created_at=BEGAN,
    )
    packages.put_package(connection, package)
    return package


def a_vnf(
    package: VnfPackage,
    *,
    name: str = "",
    description: str = "",
    project_id: ProjectId = DEFAULT_PROJECT,
    vim_id: str | None = None,
    at: datetime = BEGAN,
) -> VnfInstance:
    assert package.vnfd_id
    return VnfInstance(
        id=VnfInstanceId(new_id()),
        project_id=project_id,
        name=name,
        description=description,
        package_id=package.id,
        vnfd_id=package.vnfd_id,
        provider="Farsite",
        product_name=package.product_name,
        software_version="1",
        vnfd_version="1",
        vim_id=None if vim_id is None else VimId(vim_id),
        created_at=at,
    )


def a_vim(name: str, *, is_default: bool = False) -> Vim:
    return Vim(
        id=VimId(new_id()),
        name=name,
        type="simulated",
        site="turin",
        project_id=DEFAULT_PROJECT,
        is_default=is_default,
        state_since=BEGAN,
        created_at=BEGAN,
    )


def an_alarm(
    object_id: str, problem: str = "vnfc-died/1", *, severity: PerceivedSeverity = PerceivedSeverity.MAJOR
) -> Alarm:
    return Alarm(
        id=AlarmId(new_id()),
        project_id=DEFAULT_PROJECT,
        managed_object_id=object_id,
        object_kind="vnf",
        location="turin/north/local",
        event_type=EventType.EQUIPMENT_ALARM,
        probable_cause="VNFC died",
        specific_problem=problem,
        perceived_severity=severity,
        raised_at=BEGAN,
        event_at=BEGAN,
    )


def an_event(at: datetime, *, object_id: str = "") -> Event:
    return Event(
        id=EventId(new_id()), project_id=DEFAULT_PROJECT, at=at, kind="VNFC_DIED", object_id=object_id
    )
