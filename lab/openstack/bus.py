"""The RabbitMQ that all sites of a laboratory share; each has a virtual host of its own."""

import base64
import hashlib
import json

from lab.openstack.layout import LOOPBACK, SERVICE_PASSWORD, SITES_MAX, Layout, Site
from lab.openstack.processes import Processes

NAMES = ("rabbit", "epmd")
USER = "os"
PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
SALT = b"oslb"
TOPIC = "notifications"
"""What Nova and Heat publish their notifications under; Nova's versioned ones under another that ends so."""
KEPT = 1000
"""Notifications in each of their queues, which nobody in the laboratory empties."""
# Else they spin for a while before they sleep, which on two cores is taken from others.
QUIET_SCHEDULERS = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
LOOPBACK_ONLY = "-kernel inet_dist_use_interface {127,0,0,1}"


def url(layout: Layout, site: Site) -> str:
    """As oslo.messaging takes it."""
    return f"rabbit://{USER}:{SERVICE_PASSWORD}@{layout.host}:{layout.bus_port}/{site.name}"


def address(layout: Layout, site: Site) -> str:
    """As a registration takes it, without user and password."""
    return f"amqp://{layout.host}:{layout.bus_port}/{site.name}"


def start(layout: Layout, processes: Processes, environment: dict[str, str]) -> None:
    """Start the bus, with a virtual host for every site that there may ever be."""
    place = layout.directory / "rabbit"
    home = place / "home"
    home.mkdir(parents=True, exist_ok=True)
    # Read at the first start only, so there is one for each site that could be added.
    (place / "definitions.json").write_text(json.dumps(_definitions()))
    (place / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = {layout.host}:{layout.bus_port}\n"
        "vm_memory_high_watermark.absolute = 512MB\n"
        "disk_free_limit.absolute = 100MB\n"
        "log.console = true\n"
        "log.file = false\n"
        f"load_definitions = {place / 'definitions.json'}\n"
    )
    (place / "enabled_plugins").write_text("[].\n")
    settings = environment | {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"{layout.name}@localhost",
        "RABBITMQ_MNESIA_BASE": str(place / "mnesia"),
        "RABBITMQ_LOG_BASE": str(place / "log"),
        "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq"),
        "RABBITMQ_DIST_PORT": str(layout.erlang_port),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(place / "none"),
        "RABBITMQ_PID_FILE": str(place / "rabbit.pid"),
        "ERL_EPMD_PORT": str(layout.epmd_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_CTL_ERL_ARGS": LOOPBACK_ONLY,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{LOOPBACK_ONLY} {QUIET_SCHEDULERS}",
    }
    # Of our own and first, or the Erlang machine would leave one behind that nobody knows.
    processes.spawn(
        "epmd",
        ["epmd", "-address", LOOPBACK, "-port", layout.epmd_port],
        environment=settings,
        ready_at=f"{LOOPBACK}:{layout.epmd_port}",
    )
    processes.wait_until_ready(["epmd"])
    processes.spawn("rabbit", [PROGRAM], environment=settings, ready_at=f"{layout.host}:{layout.bus_port}")
    processes.wait_until_ready(["rabbit"])


def _definitions() -> dict[str, object]:
    hosts = [f"site{number}" for number in range(1, SITES_MAX + 1)]
    digest = hashlib.sha256(SALT + SERVICE_PASSWORD.encode()).digest()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [
            {
                "name": USER,
                "password_hash": base64.b64encode(SALT + digest).decode(),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator",
            }
        ],
        "vhosts": [{"name": host} for host in hosts],
        "permissions": [{"user": USER, "vhost": host} | everything for host in hosts],
        "policies": [
            {
                "vhost": host,
                "name": "few notifications",
                "pattern": rf"{TOPIC}\.",
                "apply-to": "queues",
                "priority": 0,
                "definition": {"max-length": KEPT},
            }
            for host in hosts
        ],
    }
