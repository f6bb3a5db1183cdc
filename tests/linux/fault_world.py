"""A service with VIMs of every kind that needs no real cloud: Linux machines, simulated VIMs, OpenStacks that
are their answers; with functions on them, and what is done to them."""

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cut_hosts import Grounds
from every_fault import Told
from ovn_databases import Controllers

import cloud_bench
import snmp_senders
import syslog_senders
from appliances import ADAPTERS, Appliance
from cloud_bench import clouds
from farsite.lifecycle.sizing import deployment_name
from farsite.model.ids import VimId, VnfInstanceId
from farsite.settings import Settings
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.simulated.driver import SimulatedDriver
from farsite.vnfs.broker.working import Broker, BrokerSettings
from service_bench import Service
from vims_openstack.small_cloud import Answer, as_json, certificate, small_cloud, whole_cloud

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
SERVICES = "GET /nova/v2.1/os-services"
SERVERS = "GET /nova/v2.1/servers/detail"
AGENTS = "GET /neutron/v2.0/agents"
QUIET = {
    SERVERS: as_json({"servers": []}),
    "GET /nova/v2.1/os-hypervisors": as_json({"hypervisors": []}),
    "GET /nova/v2.1/os-hypervisors/detail": as_json({"hypervisors": []}),
    "GET /nova/v2.1/os-aggregates": as_json({"aggregates": []}),
    "GET /nova/v2.1/os-availability-zone/detail": as_json({"availabilityZoneInfo": []}),
}
"""What an administrator is answered of a cloud that carries nothing."""
BOUND_S = 180.0
"""What a busy machine needs to furnish."""
HEARTBEAT, LOOK = "heartbeat", "a look at hosts"
LOST = ("site-down", "vim-down", "zone-down", "host-down", "vnf-down", "ns-down", "path-broken", "vnfc-died")
"""What follows from a host that is lost."""


def settings_of(data_dir: Path) -> Settings:
    """Settings of a process that looks often and listens to every source."""
    rules = yaml.safe_load((MONITORING / "vim-syslog.yaml").read_text())
    own = yaml.safe_load(syslog_senders.RULES)
    syslog = data_dir / "syslog.yaml"
    syslog.write_text(yaml.safe_dump({"senders": own["senders"], "rules": own["rules"] + rules["rules"]}))
    snmp = data_dir / "snmp.yaml"
    snmp.write_text(snmp_senders.RULES)
    snmp.chmod(0o600)
    return Settings(
        data_dir=data_dir,
        heartbeat_period_s=0.3,
        host_look_period_s=0.3,
        inventory_period_s=1.0,
        inventory_rate=1000,
        function_watch_period_s=1.0,
        function_drift_period_s=1.0,
        threshold_period_s=0.5,
        adapter_dir=str(ADAPTERS),
        syslog_udp="127.0.0.1:0",
        syslog_tcp="127.0.0.1:0",
        syslog_rules=str(syslog),
        snmp_traps="127.0.0.1:0",
        snmp_rules=str(snmp),
        # What is asked here is whether faults are told, dozens of them within minutes.
        heal_budget=1000,
        heal_breaker=1000,
        # The machine's other work is no fault of a VIM.
        loop_lag_alarm_s=30.0,
    )


class World:
    """A service, its VIMs of every kind, and what to do to them."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.service = service
        self.directory = directory
        self.ids: dict[str, str] = {}
        self.vnfs: dict[str, list[str]] = {}
        """VNFs by the VIM that they were made on."""
        self.spared: list[str] = []
        """VNFs that nothing has happened to."""
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self._left: set[Told] = set()
        self._ends = ExitStack()

    def close(self) -> None:
        self._ends.close()

    # -- what stands --------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        answer = self.service.native(method, path, **how)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def furnish(self) -> None:
        """All VIMs are there, and functions on those that carry any."""
        # What a busy machine does to probes and looks of a fraction of a second is over at once.
        for kind in ("vnfc-datapath-lost", "compute-service-down"):
            rule = {"matchers": [{"name": "type", "value": kind}], "damping": {"raise_delay_s": 3.0}}
            self.ask("PUT", f"/alarm-rules/{kind}", json=rule)
        self.linux = Grounds(self.service)
        self._ends.callback(self.linux.end)
        # Alarms are answered as where nobody has said anything of it.
        assert self.service.native("DELETE", "/healing-policies/watched").status_code == 204
        self.ids |= {name: site.vim_id for name, site in self.linux.sites.items()}
        for name, site in self.linux.sites.items():
            matchers = [{"name": "type", "value": "vim-degraded"}, {"name": "object", "value": site.vim_id}]
            rule = {"matchers": matchers, "damping": {"raise_delay_s": 3.0}}
            self.ask("PUT", f"/alarm-rules/blips-of-{name}", json=rule)
        sizes = {"hosts": 6, "racks": 2, "controllers": 2, "tells_of_hosts": True}
        self._simulated("sim", **sizes)
        self._simulated("mute", hosts=2)
        self._simulated("filed", world="file")
        for name in ("one-half", "other-half"):
            self._simulated(name, site="halved")
        self.say = self._ends.enter_context(clouds(3))
        self.ids["cloud-0"] = cloud_bench.register(
            self.service, 0, second_auth_url=cloud_bench.url_of(1), heartbeat_period_s=0.3
        )
        self.ids["cloud-2"] = cloud_bench.register(self.service, 2)
        self._openstack()
        self._openstack_with_certificate()
        for vim, count in (("sim", 12), ("mute", 4), ("filed", 1)):
            self.vnfs[vim] = [
                self.service.instantiated(f"{vim}-{number}", vim=vim) for number in range(count)
            ]
        self.spared = list(self.vnfs["sim"])
        self._function()
        self._controllers()

    def _simulated(self, name: str, **settings: object) -> None:
        site = str(settings.pop("site", name))
        body = {
            "name": name,
            "type": "simulated",
            "site": site,
            "settings": {"world": "memory", **settings},
        }
        self.ids[name] = self.ask("POST", "/vims", 201, json=body)["id"]

    def _openstack(self) -> None:
        """One whose answers are changed, and whose administrator we are."""
        self.answers |= QUIET

        def script(method: str, path: str) -> Answer:
            changed = self.answers.get(f"{method} {path}")
            return changed() if callable(changed) else changed or whole(method, path)

        whole = whole_cloud(lambda: small.url)
        small = self._ends.enter_context(small_cloud(script))
        self.hosts_are()
        body = {
            "name": "small",
            "type": "openstack",
            "auth_url": f"{small.url}/v3",
            "credentials": {"username": "nfv_user", "password": "s3cret", "project_name": "nfv"},
            "settings": {"health_timeout_s": 1.0, "heartbeat_timeout_s": 1.5},
        }
        self.ids["small"] = self.ask("POST", "/vims", 201, json=body)["id"]

    def hosts_are(self, compute: str = "up", scheduler: str = "up") -> None:
        """What Nova and Neutron tell of their processes: nova-compute of the first host, and a scheduler."""
        now = datetime.now(UTC)

        def one(binary: str, host: str, state: str = "up") -> dict[str, object]:
            at = now if state == "up" else now - timedelta(seconds=90)
            return {
                "binary": binary,
                "host": host,
                "zone": "nova",
                "state": state,
                "status": "enabled",
                "forced_down": False,
                "disabled_reason": None,
                "updated_at": at.strftime("%Y-%m-%dT%H:%M:%S.000000"),
            }

        services = [
            one("nova-compute", "compute-1", compute),
            one("nova-compute", "compute-2"),
            one("nova-scheduler", "control-1", scheduler),
            one("nova-conductor", "control-1"),
        ]
        binary = "neutron-openvswitch-agent"
        agents = [
            {"binary": binary, "host": host, "alive": True, "admin_state_up": True, "agent_type": binary}
            for host in ("compute-1", "compute-2")
        ]
        self.answers |= {
            SERVICES: as_json({"services": services}),
            AGENTS: as_json({"agents": agents}),
        }

    def _openstack_with_certificate(self) -> None:
        """One that is reached by TLS; which certificate it shows may be changed."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.tls, text = certificate(self.directory, key=key)
        (self.directory / "old").mkdir()
        certificate(self.directory / "old", begins_in_days=-2, ends_in_days=-1, key=key)
        small = self.certified = self._ends.enter_context(
            small_cloud(whole_cloud(lambda: small.url, changes=QUIET), tls=self.tls)
        )
        person = {"username": "nfv_user", "password": "s3cret", "project_name": "nfv", "ca_cert": text}
        body = {
            "name": "certified",
            "type": "openstack",
            "auth_url": f"{small.url}/v3",
            "credentials": person,
            "settings": {"health_timeout_s": 1.0, "heartbeat_timeout_s": 1.5},
        }
        self.ids["certified"] = self.ask("POST", "/vims", 201, json=body)["id"]

    def _function(self) -> None:
        """A function whose inside is managed, behind a broker of ours."""
        self.function = self.service.create_vnf(name="managed")
        self.appliance = Appliance(self.directory / "managed").lay_out()
        token = self.ask("POST", "/brokers", 201, json={"name": "edge"})["token"]
        self.broker = BrokerSettings(
            url=self.service.url,
            name="edge",
            token=token,
            state_dir=self.directory / "broker",
            most_at_once=4,
            allow_local=True,
            adapter_dirs=(ADAPTERS,),
        )
        management = {
            "adapter": "appliance",
            "way": "broker",
            "broker": "edge",
            "parameters": self.appliance.parameters,
            "keep_in": str(self.directory / "kept"),
        }
        self.ask("PUT", "/vnfs/managed/management", json=management)
        self.start_broker()
        self._ends.callback(self.stop_broker)
        body = {"document": {"native": {"text": "managed\n"}}}
        operation = self.ask("POST", "/vnfs/managed/configure", 202, json=body)
        path = f"/operations/{operation['id']}"
        done = self.service.until(
            lambda: self.ask("GET", path), lambda seen: bool(seen["is_ended"]), within_s=BOUND_S
        )
        assert done["state"] == "COMPLETED", done

    def _controllers(self) -> None:
        if shutil.which("ovsdb-server"):
            port = syslog_senders.port_of(self.service, "udp")
            self.controllers = Controllers(self.directory / "ovn", port)
            self._ends.callback(self.controllers.stop)
            self.controllers.start(self.service)

    def start_broker(self) -> None:
        loop = asyncio.new_event_loop()

        async def run() -> None:
            with suppress(asyncio.CancelledError):
                await Broker(self.broker).run()

        task = loop.create_task(run())
        thread = threading.Thread(target=loop.run_until_complete, args=(task,), daemon=True)
        thread.start()

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(20)
            assert not thread.is_alive()
            loop.close()

        self._stop_broker: Callable[[], None] | None = stop

    def stop_broker(self) -> None:
        if self._stop_broker is not None:
            self._stop_broker()
            self._stop_broker = None

    # -- whether all is well ------------------------------------------------------------------------------

    def open_alarms(self) -> list[Told]:
        told = self.ask("GET", "/alarms", params={"filter": "(eq,is_open,true)", "page_size": 500})
        return sorted((one["fault_type"], one["managed_object_id"]) for one in told)

    def comes_to_rest(self, within_s: float) -> bool:
        """Whether no alarm is open, every VIM is well and nothing is at work, in time. What is not counts no
        more from then on: it is the fault of one fault only."""
        ends = time.monotonic() + within_s
        while not self._rests():
            if time.monotonic() > ends:
                self._left |= set(self.open_alarms())
                return False
            time.sleep(0.1)
        return True

    def _rests(self) -> bool:
        vims = self.ask("GET", "/vims")
        running = {"STARTING", "PROCESSING", "ROLLING_BACK"}
        return (
            all(one["state"] == "ACTIVE" for one in vims)
            and set(self.open_alarms()) <= self._left
            and not [one for one in self.ask("GET", "/operations") if one["state"] in running]
        )

    # -- what concerns what -------------------------------------------------------------------------------

    def around(self, *vims: str) -> list[str]:
        """What objects begin with that a fault of these VIMs may concern."""
        carried = [vnf for vim in vims for vnf in self.vnfs.get(vim, ())]
        sites = [self.ask("GET", f"/vims/{vim}")["site"] for vim in vims]
        if set(vims) & set(self.linux.sites):
            chained = self.ask("GET", "/ns/chained")
            carried += [*(one["vnf_id"] for one in chained["vnfs"]), chained["id"]]
        return [*(self.ids[vim] for vim in vims), *sites, *carried]

    def vnfc(self, vnf_id: str) -> Mapping[str, Any]:
        """The one VNFC of a VNF, as it is recorded."""
        resources = self.ask("GET", f"/vnfs/{vnf_id}")["resources"]
        (found,) = [one for one in resources if one["kind"] == "COMPUTE"]
        return found

    def on_host(self, vim: str, host: str) -> list[str]:
        return [vnf for vnf in self.vnfs[vim] if self.vnfc(vnf)["host"] == host]

    def next_spared(self) -> str:
        """A VNF of the simulated VIM that nothing has happened to, and on another host than the last: what
        fails again and again on one host is a fault of that host."""
        return self.spared.pop()

    # -- what is done to them -----------------------------------------------------------------------------

    def inject(self, vim: str, kind: str, target: str = "", **settings: object) -> None:
        body = {"kind": kind, "target": target, "settings": settings}
        self.ask("POST", f"/vims/{vim}/faults", 204, json=body)

    def mended(self, *vims: str) -> None:
        for vim in vims:
            self.ask("DELETE", f"/vims/{vim}/faults", 204)

    def post(self, source: str, body: object) -> None:
        self.ask("POST", f"/intake/{source}", json=body)

    def removed_past_us(self, vim: str, vnf_id: str) -> None:
        """As by another client of the VIM, which tells no death."""
        connection = VimConnection(
            vim_id=VimId(self.ids[vim]),
            name=vim,
            site=vim,
            settings={},
            run_dir=self.service.settings.run_dir,
        )

        async def do() -> None:
            driver = SimulatedDriver(connection)
            await driver.undeploy(deployment_name(VnfInstanceId(vnf_id)))
            await driver.close()

        asyncio.run(do())


@contextmanager
def furnished(service: Service, directory: Path) -> Iterator[World]:
    world = World(service, directory)
    try:
        world.furnish()
        yield world
    finally:
        with contextlib.suppress(Exception):
            world.stop_broker()
        world.close()
