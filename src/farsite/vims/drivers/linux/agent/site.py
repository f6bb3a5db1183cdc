"""One site as its agent keeps it: deployments, networks, chains, and what it observes."""

import asyncio
import contextlib
import os
import platform
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from farsite.model.deployment import (
    Resource,
    ResourceKind,
    VimEvent,
    VimEventKind,
)
from farsite.model.ids import VimId
from farsite.model.vim import Capabilities, Zone
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import holder, limits, links, underlay, users
from farsite.vims.drivers.linux.agent.chains import Chains
from farsite.vims.drivers.linux.agent.deployments import Deployments, usage
from farsite.vims.drivers.linux.agent.devices import Devices
from farsite.vims.drivers.linux.agent.events import Journal
from farsite.vims.drivers.linux.agent.inventory import describe_vdu
from farsite.vims.drivers.linux.agent.launcher import Launcher
from farsite.vims.drivers.linux.agent.networks import SiteNetworks
from farsite.vims.drivers.linux.agent.registration import Registration
from farsite.vims.drivers.linux.agent.vdu import Vdu, VduState
from farsite.vims.drivers.linux.agent.vdus import Vdus

_DIRECTORY_WATCH_S = 5.0
_LOGS_WATCH_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an agent is started with."""

    run_dir: Path
    vim_id: VimId
    settings: Mapping[str, object]

    @property
    def directory(self) -> Path:
        """Where the site keeps everything."""
        return paths.site_directory(self.run_dir, self.vim_id)


class Site:
    """The site. Made on the agent's event loop, inside the site's network namespace."""

    def __init__(self, setup: Setup, held: holder.Held, launcher: Launcher) -> None:
        self.setup = setup
        self._registration = Registration(setup.run_dir, setup.settings)
        self._held = held
        self._endpoint = held.underlay.partition("/")[0]
        directory = setup.directory
        self._links = links.Links()
        self._limits = limits.probe(str(directory)) if held.tier == "root" else limits.unavailable()
        self._no_users = users.why_none(held.tier)
        self._devices = Devices(self._links, self._on_device)
        self.journal = Journal(directory / "events.jsonl")
        self._vdus = Vdus(
            directory,
            links=self._links,
            launcher=launcher,
            limits=self._limits,
            label=str(directory),
            has_users=not self._no_users,
            changed=self._on_vdu,
        )
        self._chains = Chains(
            directory,
            here=setup.vim_id,
            endpoint=self._endpoint,
            vdus=self._vdus,
            links=self._links,
            journal=self.journal,
            device_is_up=self._devices.is_up,
        )
        self._networks = SiteNetworks(
            directory, links=self._links, endpoint=self._endpoint, users_of=self._users_of
        )
        self._deployments = Deployments(
            directory,
            registration=self._registration,
            no_users=self._no_users,
            vdus=self._vdus,
            chains=self._chains,
            networks=self._networks,
            journal=self.journal,
            resources_of=self._vdu_resources,
            failed_to_start=self._tell_of_death,
        )
        self._holder_pid = held.pid
        self._background: set[asyncio.Task[None]] = set()

    # -- start ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the underlay, take over what an earlier agent left, sweep what belongs to nothing."""
        self._join_underlay()
        self._deployments.read()
        self._networks.restore()
        lost = self._vdus.adopt()
        self._devices.read()
        self._chains.restore()
        adopted = [vdu for vdu in self._vdus if vdu.state is not VduState.DEAD]
        swept = self._sweep()
        self.journal.tell(
            VimEventKind.AGENT_STARTED,
            f"The site agent started; it adopted {len(adopted)} VDUs, found {len(lost)} dead and swept "
            f"{len(swept)} orphans.",
            details={"pid": os.getpid(), "adopted": len(adopted), "lost": len(lost), "swept": len(swept)},
        )
        for vdu in lost:
            self._tell_of_death(vdu)
        self._deployments.converge()
        self._keep(self._watch_holder())
        self._keep(self._watch_directory())
        self._keep(self._watch_logs())

    def _keep(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _watch_directory(self) -> None:
        while self.setup.directory.exists():  # noqa: ASYNC110  (nobody tells us)
            await asyncio.sleep(_DIRECTORY_WATCH_S)
        await self._end_for_good()

    async def _watch_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOGS_WATCH_S)
            await self._vdus.bound_logs()

    async def _watch_holder(self) -> None:
        """Have a holder that knows our namespace, so that it outlives us."""
        held = (("wan", self._wan), (paths.site_namespace(self.setup.vim_id), self._held))
        while True:
            with contextlib.suppress(ProcessLookupError):
                await _end_of(self._holder_pid)
            self._holder_pid = 0
            if not self.setup.directory.exists():
                return
            try:
                for name, namespace in held:
                    await asyncio.to_thread(holder.adopt, self.setup.run_dir, name, namespace)
                self._holder_pid = holder.process_id(self.setup.run_dir)
            except (holder.HolderFault, OSError) as error:
                sys.stderr.write(f"agent: no namespace holder: {error}\n")
                await asyncio.sleep(_DIRECTORY_WATCH_S)

    async def _end_for_good(self) -> None:
        """Somebody deleted the site's directory: nobody could find us or our VDUs again."""
        sys.stderr.write("agent: the site's directory is gone; ending the site\n")
        for vdu in self._vdus:
            self._vdus.leave(vdu.vnfc.id)
            self._vdus.end(vdu.vnfc.id)
        os._exit(0)

    def _join_underlay(self) -> None:
        # Kept open: the underlay must survive its holder as well, and we hand it to the next one.
        self._wan = holder.obtain(self.setup.run_dir, "wan")
        underlay.join(self._wan, self._links, vim_id=self.setup.vim_id, address=self._held.underlay)

    def _sweep(self) -> list[str]:
        swept = self._vdus.sweep() + self._chains.sweep() + self._networks.sweep()
        if swept:
            sys.stderr.write(f"agent: swept {', '.join(swept)}\n")
        return swept

    # -- observing ------------------------------------------------------------------------------------------

    def _on_device(self, interface: str, is_up: bool) -> None:
        if not interface.startswith("v"):
            return
        owner = next((vdu for vdu in self._vdus if interface in vdu.devices.values()), None)
        if owner is None or owner.state is not VduState.RUNNING:
            return
        port = next(name for name, device in owner.devices.items() if device == interface)
        if self._vdus.is_serving(owner.vnfc.id):
            self._chains.changed(owner.vnfc.id, f"link of port {port} {'up' if is_up else 'down'}")
            self.journal.tell(
                VimEventKind.LINK_UP if is_up else VimEventKind.LINK_DOWN,
                f"Port {port} of {owner.vnfc.id} is {'up' if is_up else 'down'}.",
                deployment=owner.deployment,
                vnf_id=owner.vnf_id,
                vnfc_id=owner.vnfc.id,
                details={"port": port, "device": interface},
            )

    def _on_vdu(self, vdu: Vdu) -> None:
        self._devices.catch_up()
        is_dead = vdu.state is VduState.DEAD
        self._chains.changed(vdu.vnfc.id, "its process ended" if is_dead else "it serves")
        if is_dead:
            self._tell_of_death(vdu)
            return
        self.journal.tell(
            VimEventKind.VNFC_STARTED,
            f"{vdu.vnfc.id} serves.",
            deployment=vdu.deployment,
            vnf_id=vdu.vnf_id,
            vnfc_id=vdu.vnfc.id,
            details={"pid": vdu.pid, "incarnation": vdu.vnfc.incarnation},
        )

    def _tell_of_death(self, vdu: Vdu) -> None:
        self.journal.tell(
            VimEventKind.VNFC_DIED,
            f"{vdu.vnfc.id} died. {vdu.reason}",
            deployment=vdu.deployment,
            vnf_id=vdu.vnf_id,
            vnfc_id=vdu.vnfc.id,
            details={"pid": vdu.pid, "incarnation": vdu.vnfc.incarnation, "log": self._vdus.log(vdu)},
        )

    # -- deployments ----------------------------------------------------------------------------------------

    @property
    def deployments(self) -> Deployments:
        """The deployments of this site."""
        return self._deployments

    # -- networks -------------------------------------------------------------------------------------------

    @property
    def networks(self) -> SiteNetworks:
        """The networks of this site."""
        return self._networks

    def _users_of(self, network_id: str) -> list[str]:
        return sorted(
            {vdu.vnfc.id for vdu in self._vdus for p in vdu.vnfc.ports if p.network_id == network_id}
        )

    # -- chains ---------------------------------------------------------------------------------------------

    @property
    def chains(self) -> Chains:
        """The chains of this site."""
        return self._chains

    def delete_chain(self, chain_id: str) -> None:
        """Stop steering and put the ports of its instances back on their networks."""
        chain = next((each for each in self._chains if each.id == chain_id), None)
        self._chains.delete(chain_id)
        for hop in chain.hops if chain else ():
            for instance in hop.instances:
                vdu = self._vdus.get(instance.vnfc_id)
                if vdu is None or vdu.state not in (VduState.RUNNING, VduState.STOPPED):
                    continue
                for port in vdu.vnfc.ports:
                    device, bridge = (
                        self._links.index(vdu.devices[port.name]),
                        self._deployments.bridge_of(vdu.vnfc, port),
                    )
                    if device and bridge:
                        self._links.set_master(device, bridge)

    # -- what there is --------------------------------------------------------------------------------------

    def find(self, owner: str) -> list[Resource]:
        """Resources of an owner, dead remains included; of an empty owner all, after sweeping orphans."""
        if not owner:
            self._sweep()
        found = [resource for vdu in self._vdus for resource in self._vdu_resources(vdu)]
        found += self._networks.resources()
        for chain in self._chains:
            details = {"ns": chain.owner, "revision": str(chain.revision)}
            found.append(Resource(id=chain.id, kind=ResourceKind.CHAIN, owner=chain.id, details=details))
        return [each for each in found if not owner or owner in (each.owner, each.details.get("ns"))]

    def _vdu_resources(self, vdu: Vdu) -> list[Resource]:
        return describe_vdu(
            vdu,
            default_zone=self._registration.zone_names()[0],
            log=self._vdus.log(vdu),
            datapath=self._chains.datapath.state(vdu.vnfc.id),
            is_up=self._devices.is_up,
        )

    def capabilities(self) -> Capabilities:
        """What was found by trying when the holder, the agent and its limits were set up."""
        features = {
            "networks",
            "chains",
            "inter-site",
            "events",
            "reach",
            "console",
            "images:builtin",
            "images:host",
        }
        missing: dict[str, str] = {}
        if self._limits.missing:
            missing["limits"] = self._limits.missing
        else:
            features.add("limits")
        for program, package in (("/usr/sbin/haproxy", "haproxy"), ("/usr/sbin/dnsmasq", "dnsmasq-base")):
            name = Path(program).name
            if os.access(program, os.X_OK):
                features.add(f"images:host:{name}")
            else:
                missing[f"images:host:{name}"] = f"{program} is not there: apt-get install {package}"
        if self._no_users:
            missing["images:host:appliance"] = f"The site has no users to give: {self._no_users}"
        elif not os.access("/usr/sbin/sshd", os.X_OK):
            missing["images:host:appliance"] = "/usr/sbin/sshd is not there: apt-get install openssh-server"
        else:
            features.add("images:host:appliance")
        return Capabilities(
            features=frozenset(features),
            missing=missing,
            tunnel_endpoint=self._endpoint,
            details={
                "tier": self._held.tier,
                "kernel": platform.release(),
                "agent": str(paths.agent_socket(self.setup.directory)),
                "agent_pid": str(os.getpid()),
                "holder_pid": str(holder.process_id(self.setup.run_dir)),
                "python": platform.python_version(),
            },
        )

    def zones(self) -> list[Zone]:
        """Capacity as registered, shared evenly among the zones, and usage as wanted by all deployments."""
        capacity = self._registration.capacity()
        names = self._registration.zone_names()
        found: list[Zone] = []
        for name in names:
            used = usage(
                vnfc
                for deployment in self._deployments
                for vnfc in deployment.vnfcs
                if (vnfc.zone or names[0]) == name
            )
            found.append(
                Zone(
                    region="local",
                    name=name,
                    vcpus=capacity["vcpus"] // len(names),
                    vcpus_used=int(used["vcpus"]),
                    memory_mib=capacity["memory_mib"] // len(names),
                    memory_mib_used=int(used["memory_mib"]),
                    disk_gib=capacity["disk_gib"] // len(names),
                    disk_gib_used=int(used["disk_gib"]),
                    hosts=capacity["hosts"],
                )
            )
        return found

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the settings of the registration as they are now."""
        self._registration.change(settings)

    async def reach(self, vnfc_id: str, port: int) -> socket.socket:
        """See `Vdus.reach`."""
        return await self._vdus.reach(vnfc_id, port)

    def console(self, vnfc_id: str) -> str:
        """See `Vdus.console`."""
        return self._vdus.console(vnfc_id)

    def events(self, after: int) -> AsyncIterator[VimEvent]:
        """See `Journal.after`."""
        return self.journal.after(after)

    @property
    def endpoint(self) -> str:
        """The site's address on the underlay."""
        return self._endpoint

    def peers(self) -> frozenset[str]:
        """Underlay addresses of the sites that networks and chains reach from here."""
        found = {peer for network in self._networks for peer in network.peers}
        found |= {address for chain in self._chains for address in chain.endpoints.values()}
        return frozenset(found - {self._endpoint})

    def health(self) -> dict[str, object]:
        """What the driver's health check shows."""
        silent = [
            vdu.vnfc.id
            for vdu in self._vdus
            if vdu.state is VduState.RUNNING and self._chains.datapath.state(vdu.vnfc.id) == "lost"
        ]
        return {
            "pid": os.getpid(),
            "holder": self._holder_pid,
            "vdus": sum(vdu.state is VduState.RUNNING for vdu in self._vdus),
            "silent": silent,
        }


async def _end_of(pid: int) -> None:
    """Wait until a process has ended.

    Raises:
        ProcessLookupError: it has ended already.
    """
    if not pid:
        raise ProcessLookupError
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, lambda: ended.done() or ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
