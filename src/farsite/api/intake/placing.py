"""What is told of a VNF of ours, or of a server that is one of its VNFCs, gets its name and place here."""

from collections.abc import Mapping
from dataclasses import replace

from farsite.assurance.alarms import VNFC_DIED
from farsite.model.alarm_reports import Report
from farsite.model.deployment import Resource
from farsite.model.ids import ProjectId
from farsite.model.vnf import VnfInstance
from farsite.store import instances
from farsite.store.database import Connection, Database


async def located(database: Database, project_id: ProjectId, reports: list[Report]) -> list[Report]:
    """Reports on VNFs of ours, with the place where the VNF is instead of what the source left out. What is
    told of a server of ours is told of the VNFC that it is: that is what can be healed."""
    servers = {one.alarm.managed_object_id for one in reports if one.alarm.object_kind == "server"}
    if servers:
        held = await database.read(_vnfs_of, project_id, sorted(servers))
        reports = [_of_its_vnf(one, held) for one in reports]
    wanted = {
        one.alarm.managed_object_id
        for one in reports
        if one.alarm.object_kind == "vnf" and one.alarm.location.startswith(f"{one.alarm.source}/")
    }
    if not wanted:
        return reports
    places = await database.read(_places_of, project_id, sorted(wanted))
    return [_moved(one, places) for one in reports]


def _moved(report: Report, places: dict[str, str]) -> Report:
    alarm = report.alarm
    place = places.get(alarm.managed_object_id) if alarm.location.startswith(f"{alarm.source}/") else None
    return report if place is None else replace(report, alarm=replace(alarm, location=place))


def _of_its_vnf(report: Report, held: Mapping[str, tuple[VnfInstance, Resource]]) -> Report:
    alarm = report.alarm
    if alarm.object_kind != "server" or alarm.managed_object_id not in held:
        return report
    vnf, server = held[alarm.managed_object_id]
    details = (*alarm.fault_details, f"server {server.id} on host {server.host or 'unknown'}")
    of_the_vnf = replace(
        alarm,
        managed_object_id=vnf.id,
        object_kind="vnf",
        location=f"{alarm.source}/{vnf.id}",
        faulty_resource=str(server.vnfc_id or ""),
        faulty_resource_type="COMPUTE",
        fault_details=details,
    )
    if report.labels.get("state", "").lower() in _DEAD_STATES:
        of_the_vnf = replace(of_the_vnf, fault_type=VNFC_DIED.name)
    return replace(report, alarm=of_the_vnf)


_DEAD_STATES = frozenset({"error", "deleted", "crashed"})
"""States of a server, as Nova's notifications name them, in which it does not run and will not by itself."""


def _vnfs_of(
    connection: Connection, project_id: ProjectId, server_ids: list[str]
) -> dict[str, tuple[VnfInstance, Resource]]:
    return instances.of_servers(connection, project_id, server_ids)


def _places_of(connection: Connection, project_id: ProjectId, vnf_ids: list[str]) -> dict[str, str]:
    return instances.places_of(connection, project_id, vnf_ids)
