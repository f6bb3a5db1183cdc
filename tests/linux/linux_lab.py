"""Two Linux sites for tests: real agents, VDUs and packets, on a run directory of the test's own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from farsite.model.deployment import (
    Chain,
    ChainEnd,
    ChainHop,
    ChainInstance,
    Deployment,
    DeploymentState,
    DeploymentStatus,
    HopCounters,
    NetworkSpec,
    Port,
    Resource,
    ResourceKind,
    VimEvent,
    VimEventKind,
    WantedVnfc,
)
from farsite.model.errors import VimUnreachable
from farsite.model.ids import VimId, VnfcId
from farsite.model.nsd import Classifier
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.linux.agent import daemon, steering
from farsite.vims.drivers.linux.driver import LinuxDriver
from farsite.vims.drivers.linux.paths import agent_socket, connect, short_hash, site_directory
from farsite.vims.drivers.linux.wire import from_document

BOUND_S = 20.0
CLIENT_V4, CLIENT_V6 = "10.10.0.1", "fd00:10:10::1"
SERVICE_HOPS = (
    ("firewall", ("firewall", "north")),
    ("inspector", ("inspector-1", "north"), ("inspector-2", "south")),
)
SERVER_V4, SERVER_V6 = "10.10.0.2", "fd00:10:10::2"


async def until(holds: Callable[[], Awaitable[object]], what: str, *, bound_s: float = BOUND_S) -> object:
    """Wait until something holds; returns what it gave."""
    deadline = time.monotonic() + bound_s
    while True:
        found = await holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {bound_s:g} s: {what}"
        await asyncio.sleep(0.01)


def vnfc(name: str, image: str, *ports: Port, incarnation: int = 0, **configuration: object) -> WantedVnfc:
    return WantedVnfc(
        id=VnfcId(name),
        vdu=name,
        image=image,
        ports=ports,
        incarnation=incarnation,
        configuration=configuration,
    )


def transparent(name: str, image: str, *, incarnation: int = 0, **configuration: object) -> WantedVnfc:
    """A bump in the wire between its ports `inside` and `outside`."""
    ports = (Port(name="inside"), Port(name="outside"))
    return vnfc(name, image, *ports, incarnation=incarnation, **configuration)


def shell(name: str, *ports: Port, incarnation: int = 0, **configuration: object) -> WantedVnfc:
    return vnfc(name, "host:shell", *ports, incarnation=incarnation, **configuration)


def deployment(name: str, *vnfcs: WantedVnfc, **details: object) -> Deployment:
    return Deployment(name=name, vnf_id=f"vnf-{name}", revision="r1", vnfcs=vnfcs, **details)


@dataclass
class Lab:
    """The sites `north` and `south` of one run directory."""

    run_dir: Path
    sites: dict[str, LinuxDriver] = field(default_factory=dict)

    def driver(self, name: str, **settings: object) -> LinuxDriver:
        """A new driver object for a site, as another orchestrator process would make it."""
        connection = VimConnection(
            vim_id=VimId(name), name=name, site=name, settings=settings, run_dir=self.run_dir
        )
        return LinuxDriver(connection)

    async def start(self, *names: str) -> None:
        for name in names:
            self.sites[name] = self.driver(name)
        await asyncio.gather(*(driver.validate() for driver in self.sites.values()))

    # -- what stands ----------------------------------------------------------------------------------------

    async def ready(self, site: str, wanted: Deployment) -> DeploymentStatus:
        await self.sites[site].deploy(wanted)
        return await self.settled(site, wanted.name, DeploymentState.READY)

    async def settled(self, site: str, name: str, state: DeploymentState) -> DeploymentStatus:
        found: list[DeploymentStatus] = []

        async def is_settled() -> bool:
            found[:] = await self.sites[site].watch([name])
            return found[0].state in (DeploymentState.READY, DeploymentState.FAILED, DeploymentState.ABSENT)

        await until(is_settled, f"{name} settles")
        assert found[0].state is state, found[0]
        return found[0]

    async def compute(self, site: str, vnfc_id: str) -> Resource:
        resources = await self.sites[site].find("")
        return next(r for r in resources if r.vnfc_id == vnfc_id and r.kind is ResourceKind.COMPUTE)

    async def pid(self, site: str, vnfc_id: str) -> int:
        return int((await self.compute(site, vnfc_id)).details["pid"])

    async def agent_pid(self, site: str) -> int:
        return int((await self.sites[site].capabilities()).details["agent_pid"])

    async def kill_agent(self, site: str) -> None:
        """SIGKILL, then wait until it is gone; nothing starts a new one by itself."""
        pid = await self.agent_pid(site)
        os.kill(pid, signal.SIGKILL)
        address = agent_socket(site_directory(self.run_dir, site))

        async def is_gone() -> bool:
            # Its threads keep its socket open a moment longer than it lives.
            return daemon.start_time(pid) == 0 and not _answers(address)

        await until(is_gone, "the agent is gone")

    def processes(self) -> list[int]:
        """Every process that belongs to the run directory: agents, launchers, holder, VDUs."""
        mark = os.fsencode(self.run_dir.resolve())
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                words += [e for e in (entry / "environ").read_bytes().split(b"\0") if b"FARSITE_SITE=" in e]
            except OSError:
                continue
            if any(mark in word for word in words) and daemon.start_time(int(entry.name)):
                found.append(int(entry.name))
        return sorted(found)

    def interfaces(self, pid: int) -> list[str]:
        """Names of the interfaces in the network namespace of a process."""
        return inside(pid, "print(*(link.name for link in links.Links().all()))").split()

    # -- events ---------------------------------------------------------------------------------------------

    async def events(self, site: str, after: int = 0) -> list[VimEvent]:
        """What the site has told up to now."""
        found: list[VimEvent] = []
        try:
            async with asyncio.timeout(0.3):
                async for event in self.sites[site].events(after):
                    found.append(event)  # noqa: PERF401  (what came before the timeout counts)
        except TimeoutError:
            pass
        return found

    async def heard(
        self, site: str, kind: VimEventKind, *, vnfc_id: str = "", after: int = 0, bound_s: float = BOUND_S
    ) -> VimEvent:
        """The first such event, waited for."""
        deadline = time.monotonic() + bound_s
        while True:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    async for event in self.sites[site].events(after):
                        if event.kind is kind and (not vnfc_id or event.vnfc_id == vnfc_id):
                            return event
            except VimUnreachable:
                continue
            except TimeoutError as error:
                raise AssertionError(f"no {kind} of {vnfc_id or 'anything'} within {bound_s:g} s") from error

    # -- management inside VDUs -----------------------------------------------------------------------------

    async def http(self, site: str, vnfc_id: str, method: str, path: str, body: object = None) -> dict:
        """One request to a function's management interface, through `reach`."""
        stream = await self.sites[site].reach(VnfcId(vnfc_id), 8080)
        reader, writer = await asyncio.open_connection(sock=stream)
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: vdu\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        answer = await asyncio.wait_for(reader.read(), BOUND_S)
        writer.close()
        head_bytes, _, payload = answer.partition(b"\r\n\r\n")
        assert head_bytes.split()[1].startswith(b"2"), answer
        return json.loads(payload or b"{}")

    async def fetch(self, target: str, *, port: int = 80, timeout_s: float = 3.0) -> dict:
        order = {"target": target, "port": port, "path": "/", "timeout_s": timeout_s}
        return await self.http("north", "client", "POST", "/fetch", order)

    async def fetches(self, target: str, count: int, *, port: int = 80) -> int:
        """How many of so many requests were answered."""
        results = [await self.fetch(target, port=port) for _ in range(count)]
        return sum(bool(result["ok"]) for result in results)

    async def traffic(self, **order: object) -> None:
        wanted = {"kind": "udp", "target": SERVER_V4, "port": 80, "timeout_s": 0.5, **order}
        await self.http("north", "client", "POST", "/traffic", wanted)

    async def traffic_result(self) -> dict:
        async def is_over() -> dict:
            result = await self.http("north", "client", "GET", "/traffic")
            return {} if result["running"] else result

        return await until(is_over, "the traffic run ends")

    # -- a service over both sites --------------------------------------------------------------------------

    async def network(self, network_id: str = "data", vni: int = 100) -> None:
        endpoints = await self.endpoints()
        for name, driver in self.sites.items():
            peers = tuple(each for other, each in endpoints.items() if other != name)
            await driver.ensure_network(NetworkSpec(id=network_id, vni=vni, peers=peers, owner="ns"))

    async def endpoints(self) -> dict[VimId, str]:
        found = {VimId(n): (await d.capabilities()).tunnel_endpoint for n, d in self.sites.items()}
        assert len(set(found.values())) == len(found)
        return found

    async def agents(self) -> dict[VimId, str]:
        return {VimId(n): (await d.capabilities()).details["agent"] for n, d in self.sites.items()}

    async def ends(self) -> None:
        """A client on the one site and a server on the other, on one network."""
        await self.network()
        client = Port(name="data", network_id="data", addresses=(f"{CLIENT_V4}/24", f"{CLIENT_V6}/64"))
        server = Port(name="data", network_id="data", addresses=(f"{SERVER_V4}/24", f"{SERVER_V6}/64"))
        await asyncio.gather(
            self.ready("north", deployment("client", vnfc("client", "builtin:probe", client))),
            self.ready(
                "south", deployment("server", vnfc("server", "builtin:webserver", server, ports=[8081]))
            ),
        )

    async def service(self, **details: object) -> Chain:
        """client -> firewall -> {inspector, inspector} -> server, standing on both sites."""
        await self.ends()
        rules = [
            {"action": "accept", "protocol": "tcp", "destination_ports": [80]},
            {"action": "accept", "protocol": "udp", "destination_ports": [80]},
        ]
        firewall = transparent("firewall", "builtin:firewall", default_action="drop", rules=rules)
        await asyncio.gather(
            self.ready("north", deployment("firewall", firewall)),
            self.ready("north", deployment("inspector-1", transparent("inspector-1", "builtin:inspector"))),
            self.ready("south", deployment("inspector-2", transparent("inspector-2", "builtin:inspector"))),
        )
        chain = await self.chain(SERVICE_HOPS, **details)
        await self.apply(chain)
        return chain

    async def heal_all(self) -> None:
        """Replace every dead VNFC, as an orchestrator does."""
        for site, driver in self.sites.items():
            for found in await driver.find(""):
                if found.kind is ResourceKind.COMPUTE and not found.is_alive:
                    name = short_hash(found.details["deployment"])
                    record = next(self.run_dir.glob(f"sites/*/deployments/{name}.json"))
                    wanted = from_document(Deployment, json.loads(record.read_text()))
                    again = tuple(replace(v, incarnation=found.incarnation + 1) for v in wanted.vnfcs)
                    await self.ready(site, replace(wanted, vnfcs=again))

    async def chain(
        self, hops: Sequence[tuple], *, revision: int = 1, fail_open: bool = False, **classifier: object
    ) -> Chain:
        return Chain(
            id="chain",
            owner="ns",
            revision=revision,
            source=ChainEnd(vnfc_id=VnfcId("client"), vim_id=VimId("north"), port="data"),
            target=ChainEnd(vnfc_id=VnfcId("server"), vim_id=VimId("south"), port="data"),
            hops=tuple(
                ChainHop(name=name, instances=tuple(instance(*each) for each in instances))
                for name, *instances in hops
            ),
            fail_open=fail_open,
            classifier=Classifier(**classifier),
            vni_first=1000,
            vni_count=steering.vnis_needed(len(hops), 2),
            endpoints=await self.endpoints(),
            agents=await self.agents(),
        )

    async def apply(self, chain: Chain) -> None:
        await asyncio.gather(*(driver.apply_chain(chain) for driver in self.sites.values()))

    async def counters(self, chain_id: str = "chain") -> dict[str, HopCounters]:
        """Counters of both sites, by instance."""
        found: dict[str, HopCounters] = {}
        for driver in self.sites.values():
            for each in await driver.chain_counters(chain_id):
                assert each.vnfc_id not in found, "an instance is counted by its own site only"
                found[each.vnfc_id] = each
        return found

    async def carries(self, site: str, vnfc_id: str, *, is_alive: bool) -> None:
        """Wait until a site does (or does not) steer to an instance of its own."""

        async def as_wanted() -> bool:
            return (await self.counters())[vnfc_id].is_alive is is_alive

        await until(as_wanted, f"{vnfc_id} is {'in' if is_alive else 'out'}")


def instance(name: str, site: str) -> ChainInstance:
    return ChainInstance(
        vnfc_id=VnfcId(name), vim_id=VimId(site), ingress_port="inside", egress_port="outside"
    )


_PROLOGUE = """
import os, sys
from farsite.vims.drivers.linux.agent import links, namespaces
pid = sys.argv[1]
if os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
    namespaces.enter(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY), namespaces.CLONE_NEWUSER)
namespaces.enter(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), namespaces.CLONE_NEWNET)
"""


def _answers(address: Path) -> bool:
    try:
        connect(address, timeout_s=1).close()
    except OSError:
        return False
    return True


def inside(pid: int, code: str) -> str:
    """Run Python inside the user and network namespaces of a process; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _PROLOGUE + code, str(pid)], capture_output=True, text=True, timeout=BOUND_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def remove(run_dir: Path) -> None:
    """What an operator does to be rid of it all."""
    subprocess.run(
        [sys.executable, "-m", "farsite.vims.drivers.linux.agent.remove", str(run_dir)],
        check=True,
        timeout=60,
        capture_output=True,
    )


def outage_ms(result: Mapping[str, object]) -> float:
    """The longest outage of a traffic run."""
    return max((each["ms"] for each in result["outages"]), default=0.0)
