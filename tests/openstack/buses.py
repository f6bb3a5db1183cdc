"""The message bus of the laboratory as registrations name it, and a way to it that can be cut."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from guests import Cloud, Guests
from lab.openstack import bus
from lab.openstack.layout import SERVICE_PASSWORD
from lab.openstack.raising import existing
from laboratory import LabSite, OpenStackLaboratory
from tenancy import Project


def broker_of(laboratory: OpenStackLaboratory, of: LabSite) -> str:
    """Where a site's services publish."""
    layout = existing(laboratory.directory).layout
    (site,) = [one for one in layout.sites if one.name == of.name]
    return bus.address(layout, site)


def body(project: Project, broker: str, **other: str) -> dict[str, Any]:
    who = {"message_bus_username": bus.USER, "message_bus_password": SERVICE_PASSWORD} | other
    return {
        "type": "openstack",
        "auth_url": project.account.auth_url,
        "credentials": project.account.credentials | who,
        "settings": {"region": project.account.region, "health_timeout_s": 8, "message_bus": broker},
    }


@contextmanager
def relay(broker: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A way to the broker that can be cut, and what goes through it."""
    target, _, host = broker.removeprefix("amqp://").partition("/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = listening(port, target)
    try:
        yield f"amqp://127.0.0.1:{port}/{host}", process
    finally:
        cut(process)


def listening(port: int, target: str) -> "subprocess.Popen[bytes]":
    """Lets through what comes to a port of this machine."""
    words = ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"TCP:{target}"]
    return subprocess.Popen(words, start_new_session=True)


def cut(process: "subprocess.Popen[bytes]") -> None:
    """End the way with everything that goes through it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def alarm_of(bench: Guests, vnf_id: str) -> Mapping[str, Any] | None:
    wanted = f"(eq,is_open,true);(eq,managed_object_id,{vnf_id})"
    found = bench.service.native("GET", "/alarms", params={"filter": wanted}).json()
    return next(iter(found), None)


def deleted_behind_our_back(cloud: Cloud) -> float:
    """When Nova had deleted the one server, by the monotonic clock."""
    (server,) = cloud.servers()
    cloud.admin.compute.delete_server(server, force=True)
    return time.monotonic()
