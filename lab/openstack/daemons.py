"""What runs at a site: which programs, in which order, and how each is started.

Since 2026 every API is a WSGI application, which uWSGI serves; before, most brought an eventlet server of
their own. `neutron`'s RPC and periodic workers are left out: only agents talk to them, and there are none.
"""

import base64
import json
import os
import uuid

from lab.openstack import bus
from lab.openstack.configuration import write_ini
from lab.openstack.database import Database, name_of
from lab.openstack.layout import ADMIN_PASSWORD, INSIDE, Layout, Site
from lab.openstack.processes import Processes
from lab.openstack.programs import LAUNCH, call, environment, manage

CELL0 = "00000000-0000-0000-0000-000000000000"
COMPUTES_MAX = 4


class SiteDaemons:
    """Starts the programs of one site. Starting what runs already does nothing."""

    def __init__(self, layout: Layout, site: Site, processes: Processes) -> None:
        self._layout = layout
        self._site = site
        self._processes = processes
        self._etc = layout.etc(site)
        self.started: list[str] = []

    def start_keystone(self) -> None:
        """Start Keystone, with its keys and its first administrator, and wait until it answers."""
        site = self._site
        done = self._layout.state(site) / "keystone.done"
        if not done.exists():
            self._write_keys()
            urls = [
                word
                for interface in ("public", "internal", "admin")
                for word in (f"--bootstrap-{interface}-url", site.auth_url)
            ]
            manage(
                self._layout,
                site,
                "keystone",
                *("bootstrap", "--bootstrap-password", ADMIN_PASSWORD),
                *("--bootstrap-region-id", site.name, *urls),
            )
            done.touch()
        self._wsgi(
            "keystone",
            "keystone.server.wsgi:initialize_public_application",
            ["keystone-wsgi-public"],
            is_factory=True,
            OS_KEYSTONE_CONFIG_FILES=str(self._etc / "keystone.conf"),
        )
        self._processes.wait_until_ready([f"{site.name}-keystone"])

    def _write_keys(self) -> None:
        for directory in ("fernet", "credential"):
            place = self._layout.state(self._site) / directory
            place.mkdir(mode=0o700, exist_ok=True)
            for name in "01":
                (place / name).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))

    def start_others(self) -> None:
        """Start everything but Keystone and the compute hosts; returns at once."""
        self._wsgi(
            "placement",
            "placement.wsgi:init_application",
            ["placement-api"],
            is_factory=True,
            OS_PLACEMENT_CONFIG_DIR=str(self._etc),
        )
        if self._layout.is_packaged:
            self._start_packaged()
        else:
            self._start_wsgi()
        nova = ("--config-file", self._etc / "nova.conf")
        self._main("nova-conductor", "nova.cmd.conductor:main", "nova-conductor", *nova)
        self._main("nova-scheduler", "nova.cmd.scheduler:main", "nova-scheduler", *nova)
        if self._layout.has_cinder:
            cinder = ("--config-file", self._etc / "cinder.conf")
            self._main("cinder-scheduler", "cinder.cmd.scheduler:main", "cinder-scheduler", *cinder)
            self._main("cinder-volume", "cinder.cmd.volume:main", "cinder-volume", *cinder)

    def _start_wsgi(self) -> None:
        etc = self._etc
        self._wsgi("glance", "glance.wsgi.api:application", ["glance-api"], OS_GLANCE_CONFIG_DIR=str(etc))
        self._wsgi(
            "neutron",
            "neutron.wsgi.api:application",
            ["neutron-api", "--config-file", str(etc / "neutron.conf")],
        )
        # The first of these files is taken for the paste configuration (2026.2).
        nova_files = f"{INSIDE / 'paste' / 'nova-paste.ini'};{etc / 'nova.conf'}"
        self._wsgi(
            "nova",
            "nova.wsgi.osapi_compute:application",
            ["nova-api"],
            name="nova-api",
            OS_NOVA_CONFIG_FILES=nova_files,
        )
        # It looks for its file below the home directory.
        self._wsgi("heat", "heat.wsgi.api:application", ["heat-api"], name="heat-api", HOME=str(etc))
        self._main("heat-engine", "heat.cmd.engine:main", "heat-engine", "--config-file", etc / "heat.conf")
        if self._layout.has_cinder:
            self._wsgi(
                "cinder",
                "cinder.wsgi.api:application",
                ["cinder-api", "--config-file", str(etc / "cinder.conf")],
                name="cinder-api",
            )

    def _start_packaged(self) -> None:
        etc, site = self._etc, self._site
        self._main(
            "glance",
            "glance.cmd.api:main",
            "glance-api",
            *("--config-file", etc / "glance-api.conf"),
            ready_at=site.url("glance"),
        )
        self._spawn(
            "neutron",
            [
                *(self._layout.python, LAUNCH, "wsgi", "neutron.cmd.eventlet.server:main_api_eventlet"),
                *(f"{site.address}:{site.port('neutron')}", "neutron-server"),
                *("--config-file", etc / "neutron.conf"),
            ],
            ready_at=site.url("neutron"),
        )
        self._main(
            "nova-api",
            "nova.cmd.api_os_compute:main",
            "nova-api-os-compute",
            *("--config-file", etc / "nova.conf"),
            ready_at=site.url("nova"),
        )
        self._main(
            "heat",
            "heat.cmd.all:main",
            "heat-all",
            *("--config-file", etc / "heat.conf"),
            ready_at=site.url("heat"),
        )
        if self._layout.has_cinder:
            self._main(
                "cinder-api",
                "cinder.cmd.api:main",
                "cinder-api",
                *("--config-file", etc / "cinder.conf"),
                ready_at=site.url("cinder"),
            )

    def start_scheduler(self, number: int) -> None:
        """Start one more nova-scheduler beside the first, on another control node as Nova sees it."""
        own = self._etc / f"nova-scheduler{number}.conf"
        write_ini(own, {"DEFAULT": {"host": self._site.control_node(number)}})
        self._main(
            f"nova-scheduler{number}",
            "nova.cmd.scheduler:main",
            "nova-scheduler",
            *("--config-file", self._etc / "nova.conf", "--config-file", own),
        )

    def start_computes(self) -> None:
        """Start the compute hosts; returns at once."""
        for number in range(1, self._layout.computes + 1):
            host = self._site.compute(number)
            state = self._layout.state(self._site) / host
            own = self._etc / f"{host}.conf"
            write_ini(
                own,
                {
                    "DEFAULT": {"host": host, "state_path": state},
                    "oslo_concurrency": {"lock_path": state},
                },
            )
            (state / "instances").mkdir(parents=True, exist_ok=True)
            # Without it nova-compute refuses its second start (2023.1); labnova reports the same one.
            (state / "compute_id").write_text(str(uuid.uuid5(uuid.NAMESPACE_DNS, host)))
            self._main(
                f"compute{number}",
                "lab_compute:main",
                "nova-compute",
                *("--config-file", self._etc / "nova-compute.conf", "--config-file", own),
                LAB_COMPUTE=self._layout.compute_size,
            )

    def map_cells(self) -> None:
        """Write what four runs of `nova-manage cell_v2` would, in a tenth of a second."""
        database, site = Database(self._layout), self._site
        cells = (
            (CELL0, "cell0", "none:///", database.url(site, "nova_cell0")),
            (str(uuid.uuid4()), "cell1", bus.url(self._layout, site), database.url(site, "nova")),
        )
        statements = [f"USE {name_of(site, 'nova_api')}"]
        columns = "created_at, uuid, name, transport_url, database_connection, disabled"
        for cell in cells:
            values = ", ".join(f"'{value}'" for value in cell)
            statements += [f"INSERT INTO cell_mappings ({columns}) VALUES (NOW(), {values}, 0)"]
        statements += [
            "INSERT INTO host_mappings (created_at, cell_id, host)"
            f" SELECT NOW(), id, '{site.compute(number)}' FROM cell_mappings WHERE name = 'cell1'"
            for number in range(1, max(self._layout.computes, COMPUTES_MAX) + 1)
        ]
        database.execute("; ".join(statements))

    def _main(
        self,
        name: str,
        function: str,
        program: str,
        *arguments: object,
        ready_at: str | None = None,
        **variables: str,
    ) -> None:
        command = call(self._layout, function, program, *arguments)
        self._spawn(name, command, ready_at=ready_at, **variables)

    def _wsgi(
        self,
        service: str,
        application: str,
        arguments: list[str],
        *,
        name: str | None = None,
        is_factory: bool = False,
        **variables: str,
    ) -> None:
        site = self._site
        if self._layout.is_packaged:
            program: list[object] = ["uwsgi", "--plugin", "python3"]
        else:
            program = [self._layout.environment / "bin" / "uwsgi", "--virtualenv", self._layout.environment]
        if is_factory:
            variables["LAB_FACTORY"] = "1"
        self._spawn(
            name or service,
            [
                *program,
                *("--http-socket", f"{site.address}:{site.port(service)}"),
                *("--module", "lab_wsgi:application", "--pythonpath", INSIDE / "plugins"),
                *("--master", "--processes", 1, "--threads", 8, "--enable-threads", "--lazy-apps"),
                *("--buffer-size", 65535, "--die-on-term", "--disable-logging", "--need-app"),
                *("--add-header", "Connection: close"),
            ],
            ready_at=site.url(service),
            LAB_APP=application,
            LAB_ARGV=json.dumps(arguments),
            **variables,
        )

    def _spawn(self, name: str, command: list[object], *, ready_at: str | None, **variables: str) -> None:
        full = f"{self._site.name}-{name}"
        self._processes.spawn(
            full,
            command,
            environment=environment(**variables),
            ready_at=ready_at,
            namespace=self._site.namespace,
        )
        self.started.append(full)
