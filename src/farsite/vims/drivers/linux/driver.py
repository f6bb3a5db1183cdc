"""The Linux VIM driver: sites of this host, each kept by an agent process of its own.

The driver is thin. It finds the site's agent by its socket, starts it when there is none, and asks it; all
that the site is lives in the agent (`agent/`) and in the kernel, and outlives us. An agent that dies while
it is asked leaves the outcome unknown (`VimUnreachable`); the next call starts a new one, which adopts
what stands.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import cast
from weakref import WeakValueDictionary

from farsite.model.control_plane import ControlElement, Sight
from farsite.model.deployment import (
    Chain,
    Deployment,
    DeploymentStatus,
    HopCounters,
    NetworkSpec,
    Resource,
    ResourceKind,
    VimEvent,
)
from farsite.model.errors import NotSupported, VimFault, VimUnreachable
from farsite.model.healing import Fence, Rung
from farsite.model.ids import VnfcId
from farsite.model.vim import Capabilities, Rack, ServiceHealth, VimHealth, Zone
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.linux import paths, repairs, rpc, wire
from farsite.vims.drivers.linux.agent import daemon, remove
from farsite.vims.drivers.linux.agent.main import MODULE, SETUP_FILE
from farsite.vims.drivers.linux.hosts import SiteHost

_MISSING: Mapping[str, str] = {
    "migration:live": "A Linux site is one host, and nothing moves away from it.",
    "epa:guest-agent": "A VDU is a process of the host, with no guest that an agent could answer for.",
}
_CALL_TIMEOUT_S = 30.0
_HEALTH_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 30.0
_HUNG_AFTER_S = 10.0
_LAST_WORD_S = 0.5
"""What an agent is given before it is killed; it answers in a millisecond, and may have thawed just now."""
_DYING_FOR_S = 1.0
_NOT_OFFERED = {
    "physical-networks": "All networks of a Linux site are carried by its one underlay.",
    "storage-back-ends": "The VDUs of a Linux site have no volumes.",
}


class LinuxDriver:
    """Serves one registered Linux site. Offers `Networks`, `Chains`, `TellsEvents` and `ObservesHosts`."""

    def __init__(self, connection: VimConnection) -> None:
        address = connection.settings.get("address")
        if address:
            raise NotSupported(f"Remote site agents are not supported yet (address {address}).")
        self._connection = connection
        self._directory = paths.site_directory(connection.run_dir, connection.vim_id)
        self._socket = paths.agent_socket(self._directory)
        self._host = SiteHost(connection)
        self._rack = str(connection.settings.get("rack") or "")
        self._is_configured = False
        self._starting = asyncio.Lock()
        self._silent_since: float | None = None
        self._asked_at = 0.0
        self._listeners: set[socket] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # -- the core -------------------------------------------------------------------------------------------

    async def validate(self) -> None:
        """Start the site's agent if need be, which tries what this host allows, and hear it answer."""
        await self._ping()

    async def capabilities(self) -> Capabilities:
        """What the agent found by trying."""
        found = wire.from_document(Capabilities, await self._call("capabilities"))
        features = found.features | repairs.FEATURES | {"migration:none"}
        missing = {**found.missing, **_NOT_OFFERED, **_MISSING}
        if self._rack:
            return replace(found, features=features | {"racks"}, missing=missing)
        missing["racks"] = "The registration names none (setting rack)."
        return replace(found, features=features, missing=missing)

    async def health(self) -> VimHealth:
        """The agent (vital) and the data path through its chains.

        A dead agent is started again, so it is only reported down when that fails; one that hangs is
        reported down and, after 10 s, replaced.
        """
        await self._replace_if_hung()
        started = time.monotonic()
        # Until it has answered; that nobody waits for it so long changes nothing.
        self._silent_since = started if self._silent_since is None else self._silent_since
        try:
            was_started, answer = await self._ping()
        except (VimUnreachable, VimFault) as error:
            return VimHealth(
                services=(ServiceHealth(name="agent", is_vital=True, is_up=False, detail=error.detail),)
            )
        self._silent_since = None
        told = cast(Mapping[str, object], answer)
        history = ", was dead and has been started again" if was_started else ""
        silent = cast(list[str], told["silent"])
        return VimHealth(
            services=(
                ServiceHealth(
                    name="agent",
                    is_vital=True,
                    is_up=True,
                    detail=f"process {told['pid']}{history}",
                    latency_ms=(time.monotonic() - started) * 1000,
                ),
                ServiceHealth(
                    name="datapath",
                    is_vital=False,
                    is_up=not silent,
                    detail=f"no probe passes {', '.join(silent)}" if silent else "",
                ),
                ServiceHealth(
                    name="holder",
                    is_vital=False,
                    is_up=bool(told["holder"]),
                    detail=f"process {told['holder']}" if told["holder"] else "the namespace holder is gone",
                ),
            )
        )

    async def _ping(self) -> tuple[bool, object]:
        """Whether the agent had to be started, and its answer.

        An agent that is just dying accepts until the kernel has closed its socket and then resets the
        connection: such silence is short, and worth another try; that of one that hangs is not.
        """
        give_up_at = time.monotonic() + _DYING_FOR_S
        was_started = False
        while True:
            was_started |= await self._ensure_agent()
            try:
                return was_started, await rpc.call(self._socket, "ping", {}, timeout_s=_HEALTH_TIMEOUT_S)
            except VimUnreachable:
                if time.monotonic() > give_up_at:
                    raise
                await asyncio.sleep(0.02)

    async def zones(self) -> Sequence[Zone]:
        """The site's zones: capacity as registered, usage as wanted. A site is one host, in one rack."""
        zones = [wire.from_document(Zone, each) for each in cast(list[object], await self._call("zones"))]
        return [self._racked(zone) for zone in zones] if self._rack else zones

    def _racked(self, zone: Zone) -> Zone:
        rack = Rack(
            name=self._rack,
            hosts=zone.hosts,
            vcpus_free=zone.vcpus - zone.vcpus_used,
            memory_mib_free=zone.memory_mib - zone.memory_mib_used,
            disk_gib_free=zone.disk_gib - zone.disk_gib_used,
        )
        return replace(zone, racks=(rack,))

    def _placed(self, resource: Resource) -> Resource:
        is_on_a_host = self._rack and resource.kind is ResourceKind.COMPUTE
        return replace(resource, rack=self._rack) if is_on_a_host else resource

    async def deploy(self, wanted: Deployment) -> None:
        """State what a deployment shall be; returns once the agent has stored the statement."""
        await self._call("deploy", deployment=wire.to_document(wanted))

    async def watch(self, names: Sequence[str]) -> Sequence[DeploymentStatus]:
        """State of many deployments in one request."""
        answer = await self._call("watch", names=list(names))
        found = [wire.from_document(DeploymentStatus, each) for each in cast(list[object], answer)]
        return [replace(one, resources=tuple(map(self._placed, one.resources))) for one in found]

    async def undeploy(self, name: str) -> None:
        """Remove a deployment; returns when it is gone."""
        await self._call("undeploy", name=name)

    async def find(self, owner: str) -> Sequence[Resource]:
        """Resources of an owner; of an empty owner all, after the site's orphans were swept."""
        answer = await self._call("find", owner=owner)
        return [self._placed(wire.from_document(Resource, each)) for each in cast(list[object], answer)]

    async def reach(self, vnfc_id: VnfcId, port: int) -> socket:
        """A stream that the agent has connected inside the VNFC's network namespace."""
        await self._ensure_agent()
        params = {"vnfc_id": vnfc_id, "port": port}
        return await rpc.call_for_socket(self._socket, "reach", params, timeout_s=_CALL_TIMEOUT_S)

    async def console(self, vnfc_id: VnfcId) -> str:
        """The end of what the VDU wrote on its standard output and error."""
        await self._ensure_agent()
        return str(await self._call("console", vnfc_id=vnfc_id))

    async def close(self) -> None:
        """End the listeners; nothing else is held between calls."""
        for listener in tuple(self._listeners):
            with contextlib.suppress(OSError):
                listener.shutdown(SHUT_RDWR)

    async def retire(self) -> None:
        """Stop the site's agent and give up its namespace; with the last site the holder goes too."""
        await self.close()
        namespace = paths.site_namespace(self._connection.vim_id)
        await asyncio.to_thread(remove.retire_site, self._connection.run_dir, self._directory, namespace)

    # -- the host -------------------------------------------------------------------------------------------

    async def look(self) -> Sight:
        """The site's host, seen without starting anything."""
        return await self._host.look()

    async def control_plane(self) -> Sequence[ControlElement]:
        """The agent and the namespace holder."""
        return await self._host.control_plane()

    # -- drills ---------------------------------------------------------------------------------------------

    def can_stop(self, element: ControlElement, *, is_host: bool) -> str:
        """The agent only: nothing that carries a packet is stopped with it, and it is started by itself."""
        if is_host:
            return "The host of a Linux site runs other sites, and Farsite itself may be on it."
        if element.service != "agent":
            return f"Of a Linux site only the agent is stopped; its {element.service} is other sites' too."
        return ""

    # Of a Linux site only the agent can be stopped, so what is meant, and for how long, makes no difference.
    async def stop_for_drill(self, element: ControlElement, *, is_host: bool, for_s: float) -> str:  # noqa: ARG002
        """Kill the agent as a fault would. Who asks for anything next, or checks its health, starts
        another."""
        pid = daemon.living(self._directory / "agent.pid")
        if not pid:
            raise VimFault("The site has no agent that lives.")
        if not await asyncio.to_thread(daemon.kill, pid):
            raise VimUnreachable(f"The agent, process {pid}, was killed and is not gone yet.")
        return f"the agent, process {pid}, was killed"

    # As above: it is the agent.
    async def end_drill(self, element: ControlElement, *, is_host: bool) -> None:  # noqa: ARG002
        """Have an agent run."""
        await self._ensure_agent()

    # -- networks, chains, events ---------------------------------------------------------------------------

    async def repair(self, wanted: Deployment, vnfc_id: VnfcId, kind: Rung, *, since: datetime) -> None:
        """Restart the function of a VDU; its namespace and ports stay."""
        async with self._turn_of(wanted):
            await repairs.reboot(self.deploy, self.watch, wanted, vnfc_id, kind, since)

    async def fence(self, wanted: Deployment, vnfc_id: VnfcId) -> Fence:
        """End all processes of a VDU."""
        async with self._turn_of(wanted):
            return await repairs.fence(self.deploy, self.watch, wanted, vnfc_id)

    def _turn_of(self, wanted: Deployment) -> asyncio.Lock:
        """Each states the whole deployment, so two at once would undo one another."""
        return self._turns.setdefault(wanted.name, asyncio.Lock())

    async def ensure_network(self, wanted: NetworkSpec) -> None:
        """Make a network as wanted."""
        await self._call("ensure_network", network=wire.to_document(wanted))

    async def delete_network(self, network_id: str) -> None:
        """Delete a network; refused (`VimFault`) while VNFCs have ports on it."""
        await self._call("delete_network", network_id=network_id)

    async def apply_chain(self, wanted: Chain) -> None:
        """Do this site's part of a chain."""
        await self._call("apply_chain", chain=wire.to_document(wanted))

    async def delete_chain(self, chain_id: str) -> None:
        """Steer no longer."""
        await self._call("delete_chain", chain_id=chain_id)

    async def chain_counters(self, chain_id: str) -> Sequence[HopCounters]:
        """What this site gave to its own instances; the sum over all sites is the chain's."""
        answer = await self._call("chain_counters", chain_id=chain_id)
        return [wire.from_document(HopCounters, each) for each in cast(list[object], answer)]

    async def events(self, after: int) -> AsyncIterator[VimEvent]:
        """Events after a sequence, then those to come; `VimUnreachable` when the agent goes away."""
        await self._ensure_agent()
        told = rpc.stream(self._socket, "events", {"after": after}, open_streams=self._listeners)
        async for event in told:
            yield wire.from_document(VimEvent, event)

    # -- the agent's process --------------------------------------------------------------------------------

    async def _call(self, method: str, **params: object) -> object:
        await self._ensure_agent()
        return await rpc.call(self._socket, method, params, timeout_s=_CALL_TIMEOUT_S)

    async def _ensure_agent(self) -> bool:
        """Have an agent that accepts connections; whether it had to be started.

        Raises:
            VimFault: it cannot be started; says why and how to allow it.
        """
        was_started = False
        if not self._accepts():
            async with self._starting:
                if not self._accepts():
                    await asyncio.to_thread(self._start)
                    was_started = True
        if not self._is_configured and not was_started:
            settings = {"settings": dict(self._connection.settings)}
            await rpc.call(self._socket, "configure", settings, timeout_s=_HEALTH_TIMEOUT_S)
        self._is_configured = True
        return was_started

    def _accepts(self) -> bool:
        try:
            paths.connect(self._socket, timeout_s=1).close()
        except OSError:
            return False
        return True

    def _start(self) -> None:
        paths.make_private(self._directory)
        with _exclusive(self._directory / "start.lock"):
            if self._accepts():
                return
            setup = {
                "run_dir": str(self._connection.run_dir.resolve()),
                "vim_id": self._connection.vim_id,
                "name": self._connection.name,
                "settings": dict(self._connection.settings),
            }
            partial = self._directory / f"{SETUP_FILE}.partial"
            partial.write_text(json.dumps(setup))
            partial.replace(self._directory / SETUP_FILE)
            self._run_starter()

    def _run_starter(self) -> None:
        try:
            done = subprocess.run(
                daemon.command(MODULE, str(self._directory.resolve())),
                env=daemon.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_START_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise VimUnreachable("The site agent did not start in time.") from error
        if done.returncode != 0:
            reason = done.stdout.decode(errors="replace").strip()
            raise VimFault(
                f'The agent of site "{self._connection.site}" does not start: {reason}',
                operator_detail=str(self._directory / "agent.log"),
            )

    async def _replace_if_hung(self) -> None:
        """Kill an agent that has been silent for 10 s; the next call starts a new one. One of which only the
        way to it is gone is let alone: it works, and is the only one who knows what stands there.

        Asked for before each check, because who checks may lose patience before the agent is given up.
        """
        now = time.monotonic()
        if self._silent_since is None or now - self._asked_at > _HUNG_AFTER_S:
            # A silence that nobody watched is none.
            self._silent_since = None
        elif now - self._silent_since > _HUNG_AFTER_S:
            self._silent_since = None
            pid = daemon.living(self._directory / "agent.pid")
            if pid and not await self._answers_at_once() and not await self._host.is_cut_off():
                await asyncio.to_thread(daemon.kill, pid)
        self._asked_at = now

    async def _answers_at_once(self) -> bool:
        try:
            await rpc.call(self._socket, "ping", {}, timeout_s=_LAST_WORD_S)
        except (VimUnreachable, VimFault):
            return False
        return True


@contextmanager
def _exclusive(path: Path) -> Generator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)
