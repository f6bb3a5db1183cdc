"""A message bus that is away hides nothing, and is missed by nobody for long."""

from buses import alarm_of, body, broker_of, cut, deleted_behind_our_back, listening, relay
from guests import Cloud, guests
from laboratory import LabSite, OpenStackLaboratory
from tenancy import Project


def test_a_bus_that_is_cut_off_is_an_alarm_and_hides_no_fault(
    project: Project, laboratory: OpenStackLaboratory, site1: LabSite
) -> None:
    """Looks go on while nobody tells of anything, and what is told is heard again by itself."""
    broker = broker_of(laboratory, site1)
    with (
        guests(heartbeat_period_s=2.0, heartbeat_timeout_s=10.0, inventory_period_s=2.0) as bench,
        relay(broker) as (through, way),
    ):
        bench.register("turin", body(project, through))
        cloud = Cloud(project.admin, project.project_id)
        vnf_id = bench.running("turin")

        def heard() -> str:
            plane = bench.service.native("GET", "/vims/turin/control-plane").json()
            return next(one["state"] for one in plane["elements"] if one["service"] == "message-bus")

        bench.until(heard, lambda state: state == "up")
        cut(way)
        bench.until(heard, lambda state: state == "down")
        vim_id = bench.service.native("GET", "/vims/turin").json()["id"]
        told = bench.until(lambda: alarm_of(bench, vim_id), bool)
        assert "message-bus" in told["specific_problem"]
        deleted_behind_our_back(cloud)
        bench.until(lambda: alarm_of(bench, vnf_id), bool)
        port = int(through.removeprefix("amqp://127.0.0.1:").partition("/")[0])
        target = broker.removeprefix("amqp://").partition("/")[0]
        again = listening(port, target)
        try:
            bench.until(heard, lambda state: state == "up")
            bench.until(lambda: alarm_of(bench, vim_id), lambda seen: seen is None)
        finally:
            cut(again)
        bench.terminated(vnf_id)
