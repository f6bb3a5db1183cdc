"""One site as its agent keeps it: deployments, networks, chains, and what it observes.

A deployment is stated, not commanded: the statement is stored, and `_converge` makes the difference between
it and what stands. So a repeated request, a request that comes while the last one is being worked on, and a
new agent that finds an old statement all end in the same place.
"""

import asyncio
import contextlib
import json
import os
import platform
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from farsite.model.deployment import (
    Deployment,
    DeploymentState,
    DeploymentStatus,
    Port,
    Resource,
    ResourceKind,
    VimEvent,
    VimEventKind,
    WantedVnfc,
)
from farsite.model.errors import FarsiteError, VimFault
from farsite.model.ids import VimId, VnfcId
from farsite.model.vim import Capabilities, Zone
from farsite.vims.drivers.linux import paths, wire
from farsite.vims.drivers.linux.agent import holder, images, limits, links, namespaces, users
from farsite.vims.drivers.linux.agent.chains import Chains
from farsite.vims.drivers.linux.agent.events import Journal
from farsite.vims.drivers.linux.agent.inventory import describe_vdu
from farsite.vims.drivers.linux.agent.launcher import Launcher
from farsite.vims.drivers.linux.agent.netlink import messages
from farsite.vims.drivers.linux.agent.networks import SiteNetworks
from farsite.vims.drivers.linux.agent.vdu import Vdu, VduState, interface_name
from farsite.vims.drivers.linux.agent.vdus import Vdus

_UNDERLAY_DEVICE = "wan0"
_UNDERLAY_MTU = 9000
_DEFAULT_CAPACITY = {"vcpus": 64, "memory_mib": 65_536, "disk_gib": 1_000, "hosts": 1}
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
        self._settings = dict(setup.settings)
        self._held = held
        self._endpoint = held.underlay.partition("/")[0]
        directory = setup.directory
        self._deployment_records = paths.make_private(directory / "deployments")
        self._links = links.Links()
        self._limits = limits.probe(str(directory)) if held.tier == "root" else limits.unavailable()
        self._no_users = users.why_none(held.tier)
        self._devices: dict[str, links.Link] = {}
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
            device_is_up=self._is_up,
        )
        self._deployments: dict[str, Deployment] = {}
        self._networks = SiteNetworks(
            directory, links=self._links, endpoint=self._endpoint, users_of=self._users_of
        )
        self._converging: dict[str, asyncio.Task[None]] = {}
        self._holder_pid = held.pid
        self._retrying: set[str] = set()
        self._worked_on: set[str] = set()
        self._failures: dict[str, str] = {}
        self._monitor = self._open_monitor()
        self._background: set[asyncio.Task[None]] = set()

    # -- start ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the underlay, take over what an earlier agent left, sweep what belongs to nothing."""
        self._join_underlay()
        self._read_records()
        self._networks.restore()
        lost = self._vdus.adopt()
        self._read_devices()
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
        for name in self._deployments:
            self._converge_soon(name)
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
        if self._links.index(_UNDERLAY_DEVICE):
            return
        self._links.set_up(self._links.index("lo"))
        peer = paths.device_name("w", self.setup.vim_id)
        index = self._links.add_veth(
            _UNDERLAY_DEVICE, peer=peer, peer_namespace=self._wan.network, mtu=_UNDERLAY_MTU
        )
        self._links.add_address(index, self._held.underlay)
        namespaces.inside(self._wan.network, lambda: _plug_into_underlay(peer))

    def _read_records(self) -> None:
        for path in sorted(self._deployment_records.glob("*.json")):
            with contextlib.suppress(ValueError):
                deployment = wire.from_document(Deployment, json.loads(path.read_text()))
                self._deployments[deployment.name] = deployment

    def _sweep(self) -> list[str]:
        swept = self._vdus.sweep() + self._chains.sweep() + self._networks.sweep()
        if swept:
            sys.stderr.write(f"agent: swept {', '.join(swept)}\n")
        return swept

    # -- observing ------------------------------------------------------------------------------------------

    def _open_monitor(self) -> socket.socket:
        monitor = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
        )
        monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        monitor.bind((0, links.RTMGRP_LINK))
        asyncio.get_running_loop().add_reader(monitor, self._on_netlink)
        return monitor

    def _on_netlink(self) -> None:
        while True:
            try:
                data = self._monitor.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some were lost, so look at all
                self._read_devices()
                continue
            for kind, _, _, payload in messages(data):
                # Bridges send messages of family AF_BRIDGE about their ports as well.
                if kind in (links.RTM_NEWLINK, links.RTM_DELLINK) and payload[0] != socket.AF_BRIDGE:
                    self._on_link(links.parse_link(payload), is_gone=kind == links.RTM_DELLINK)

    def _read_devices(self) -> None:
        found = {link.name: link for link in self._links.all()}
        for name in self._devices.keys() - found.keys():
            self._on_link(self._devices[name], is_gone=True)
        for link in found.values():
            self._on_link(link, is_gone=False)

    def _is_up(self, device: str) -> bool:
        link = self._devices.get(device)
        return link is not None and link.is_up and link.has_carrier

    def _on_link(self, link: links.Link, *, is_gone: bool) -> None:
        was_up = self._is_up(link.name)
        if is_gone:
            known = self._devices.get(link.name)
            if known is not None and known.index == link.index:
                del self._devices[link.name]
        else:
            self._devices[link.name] = link
        is_up = self._is_up(link.name)
        if is_up == was_up or not link.name.startswith("v"):
            return
        owner = next((vdu for vdu in self._vdus if link.name in vdu.devices.values()), None)
        if owner is None or owner.state is not VduState.RUNNING:
            return
        port = next(name for name, device in owner.devices.items() if device == link.name)
        if self._vdus.is_serving(owner.vnfc.id):
            self._chains.changed(owner.vnfc.id, f"link of port {port} {'up' if is_up else 'down'}")
            self.journal.tell(
                VimEventKind.LINK_UP if is_up else VimEventKind.LINK_DOWN,
                f"Port {port} of {owner.vnfc.id} is {'up' if is_up else 'down'}.",
                deployment=owner.deployment,
                vnf_id=owner.vnf_id,
                vnfc_id=owner.vnfc.id,
                details={"port": port, "device": link.name},
            )

    def _on_vdu(self, vdu: Vdu) -> None:
        self._on_netlink()
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

    def deploy(self, wanted: Deployment) -> None:
        """Accept a statement of what a deployment shall be.

        Raises:
            VimFault: this site cannot hold it; nothing was changed.
        """
        self._check(wanted)
        before = self._deployments.get(wanted.name)
        self._deployments[wanted.name] = wanted
        _write(self._deployment_records, wanted.name, wanted)
        if before != wanted:
            self._vdus.hurry(wanted.name)
            self._tell_deployment(wanted, "was stated anew" if before else "was stated")
        # A VNFC that never served may be tried again: nothing depended on it.
        self._retrying.add(wanted.name)
        self._converge_soon(wanted.name)

    async def undeploy(self, name: str) -> None:
        """Remove a deployment and all it holds. An absent one is well."""
        deployment = self._deployments.pop(name, None)
        (self._deployment_records / _file(name)).unlink(missing_ok=True)
        self._vdus.hurry(name)
        self._converge_soon(name)
        await self._converging[name]
        if name in self._failures:
            raise VimFault(f"Deployment {name} is not wholly removed: {self._failures[name]}")
        if deployment is not None:
            self._tell_deployment(deployment, "was removed")

    def status(self, name: str) -> DeploymentStatus:
        """How far a deployment is."""
        wanted = self._deployments.get(name)
        standing = {vdu.vnfc.id: vdu for vdu in self._vdus if vdu.deployment == name}
        if wanted is None:
            state = DeploymentState.IN_PROGRESS if standing else DeploymentState.ABSENT
            return DeploymentStatus(name=name, state=state)
        resources = tuple(self._deployment_resources(name))
        is_busy = name in self._converging
        failed = self._failed(wanted, standing)
        current = {vnfc.id for vnfc in wanted.vnfcs if _is_as_wanted(standing.get(vnfc.id), vnfc)}
        reason = resource = ""
        if name in self._failures and not is_busy:
            state, reason = DeploymentState.FAILED, self._failures[name]
        elif failed and not is_busy:
            state = DeploymentState.FAILED
            resource, reason = failed.vnfc.id, failed.reason
        elif len(current) == len(wanted.vnfcs) == len(standing) and not is_busy:
            state = DeploymentState.READY
        else:
            state = DeploymentState.IN_PROGRESS
        return DeploymentStatus(
            name=name,
            state=state,
            revision=wanted.revision,
            reason=reason,
            resource=resource,
            resources=resources,
        )

    def _failed(self, wanted: Deployment, standing: Mapping[VnfcId, Vdu]) -> Vdu | None:
        for vnfc in wanted.vnfcs:
            vdu = standing.get(vnfc.id)
            if vdu and vdu.state is VduState.DEAD and vdu.vnfc.incarnation >= vnfc.incarnation:
                return vdu
        return None

    def _check(self, wanted: Deployment) -> None:
        for vnfc in wanted.vnfcs:
            program = images.resolve(vnfc, self._profile_directories())
            if program.needs_users and self._no_users:
                raise VimFault(
                    f'Image "{vnfc.image}" needs users of its own, and this site has none to give: '
                    f"{self._no_users}"
                )
            self._check_vnfc(wanted, vnfc)
        capacity = self._capacity()
        others = [d for d in self._deployments.values() if d.name != wanted.name]
        used = _used(vnfc for deployment in [*others, wanted] for vnfc in deployment.vnfcs)
        for what, limit in capacity.items():
            if what in used and used[what] > limit:
                raise VimFault(
                    f"The site has {limit} {what}; with this deployment {used[what]:g} would be used."
                )

    def _check_vnfc(self, wanted: Deployment, vnfc: WantedVnfc) -> None:
        internal = {network.id for network in wanted.networks}
        for port in vnfc.ports:
            if port.network_id and port.network_id not in internal and port.network_id not in self._networks:
                raise VimFault(f'Network "{port.network_id}" of port {port.name} is not on this site.')
        names = [interface_name(port.name) for port in vnfc.ports]
        if len(set(names)) != len(names):
            raise VimFault(f"{vnfc.id} has two ports of one name.")
        if vnfc.zone and vnfc.zone not in self._zone_names():
            raise VimFault(f'Zone "{vnfc.zone}" does not exist; there are {", ".join(self._zone_names())}.')
        standing = self._vdus.get(vnfc.id)
        if standing is not None and standing.deployment != wanted.name:
            raise VimFault(f"{vnfc.id} already belongs to deployment {standing.deployment}.")

    def _converge_soon(self, name: str) -> None:
        task = self._converging.get(name)
        task = asyncio.ensure_future(self._converge(name, after=task))
        self._converging[name] = task

        def done(finished: asyncio.Task[None]) -> None:
            if self._converging.get(name) is finished:
                del self._converging[name]
                if name in self._worked_on and name in self._deployments:
                    self._tell_deployment(self._deployments[name], "was worked on")
                self._worked_on.discard(name)

        task.add_done_callback(done)

    async def _converge(self, name: str, *, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait((after,))
        self._failures.pop(name, None)
        try:
            await self._make_as_wanted(name)
        except (OSError, FarsiteError) as error:
            # What was asked rests as failed, with the reason, until it is asked again or withdrawn.
            self._failures[name] = str(error)
            self._worked_on.add(name)
            sys.stderr.write(f"agent: deployment {name}: {error!r}\n")

    async def _make_as_wanted(self, name: str) -> None:
        wanted = self._deployments.get(name)
        by_id = {vnfc.id: vnfc for vnfc in wanted.vnfcs} if wanted else {}
        is_retry = name in self._retrying
        self._retrying.discard(name)
        standing = [vdu for vdu in self._vdus if vdu.deployment == name]
        surplus = [vdu for vdu in standing if self._is_surplus(vdu, by_id.get(vdu.vnfc.id), is_retry)]
        for vdu in surplus:
            self._vdus.leave(vdu.vnfc.id)
            self._chains.changed(vdu.vnfc.id, "it is being removed")
        await asyncio.gather(*(self._vdus.remove(vdu.vnfc.id) for vdu in surplus))
        self._converge_networks(name, wanted)
        if wanted is None:
            return
        others = [vnfc for vnfc in wanted.vnfcs if _is_otherwise(self._vdus.get(vnfc.id), vnfc)]
        await asyncio.gather(*(self._change(vnfc) for vnfc in others))
        missing = [vnfc for vnfc in wanted.vnfcs if self._vdus.get(vnfc.id) is None]
        await asyncio.gather(*(self._launch(wanted, vnfc) for vnfc in missing))
        if surplus or missing or others:
            self._worked_on.add(name)

    async def _change(self, vnfc: WantedVnfc) -> None:
        """What a VDU that stays takes on: other ports, stopped or started."""
        vdu = self._vdus.get(vnfc.id)
        assert vdu is not None
        if vdu.vnfc.ports != vnfc.ports:
            self._vdus.rewire(vnfc.id, vnfc, lambda port: self._bridge_of(vnfc, port))
        if vnfc.is_stopped and vdu.state is VduState.RUNNING:
            self._vdus.leave(vnfc.id)
            self._chains.changed(vnfc.id, "it is being stopped")
            try:
                await self._vdus.stop(vnfc.id, vnfc)
            except OSError:
                self._chains.changed(vnfc.id, "it was not stopped")
                raise
        elif not vnfc.is_stopped and vdu.state is VduState.STOPPED:
            await self._vdus.start_again(vnfc.id, vnfc, profiles=self._profile_directories())

    def _is_surplus(self, vdu: Vdu, wanted: WantedVnfc | None, is_retry: bool) -> bool:
        if wanted is None or wanted.incarnation > vdu.vnfc.incarnation:
            return True
        return is_retry and vdu.state is VduState.DEAD and not vdu.has_served

    async def _launch(self, deployment: Deployment, vnfc: WantedVnfc) -> None:
        vdu = await self._vdus.launch(
            vnfc,
            deployment=deployment.name,
            vnf_id=deployment.vnf_id,
            profiles=self._profile_directories(),
            bridge_of=lambda port: self._bridge_of(vnfc, port),
        )
        if vdu.state is VduState.DEAD and not vdu.has_served:
            self._tell_of_death(vdu)

    def _bridge_of(self, vnfc: WantedVnfc, port: Port) -> int:
        """The bridge of a port; none for a bump in the wire, whose two sides on one network would loop it."""
        if not port.network_id or self._chains.carries(vnfc.id, port.name):
            return 0
        if not port.addresses:
            silent = [p for p in vnfc.ports if p.network_id == port.network_id and not p.addresses]
            if len(silent) > 1:
                return 0
        return self._networks.bridge(port.network_id)

    def _converge_networks(self, name: str, wanted: Deployment | None) -> None:
        """Internal networks of a deployment are owned by its VNF and recorded under its name."""
        specs = {spec.id: spec for spec in wanted.networks} if wanted else {}
        owner = wanted.vnf_id if wanted else ""
        record = self._deployment_records / f"{paths.short_hash(name)}.networks"
        try:
            before = set(cast(list[str], json.loads(record.read_text())["internal"]))
        except (OSError, ValueError):
            before = set[str]()
        for network_id in before - specs.keys():
            self._networks.delete(network_id)
        for spec in specs.values():
            self._networks.ensure(replace(spec, owner=spec.owner or owner))
        if specs:
            record.write_text(json.dumps({"internal": sorted(specs)}))
        else:
            record.unlink(missing_ok=True)

    def _tell_deployment(self, deployment: Deployment, what: str) -> None:
        self.journal.tell(
            VimEventKind.DEPLOYMENT_CHANGED,
            f"Deployment {deployment.name} {what}.",
            deployment=deployment.name,
            vnf_id=deployment.vnf_id,
            details={"revision": deployment.revision, "state": self.status(deployment.name).state},
        )

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
                        self._bridge_of(vdu.vnfc, port),
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

    def _deployment_resources(self, name: str) -> list[Resource]:
        found = [r for vdu in self._vdus if vdu.deployment == name for r in self._vdu_resources(vdu)]
        internal = {spec.id for spec in self._deployments[name].networks}
        return found + [each for each in self._networks.resources() if each.id in internal]

    def _vdu_resources(self, vdu: Vdu) -> list[Resource]:
        return describe_vdu(
            vdu,
            default_zone=self._zone_names()[0],
            log=self._vdus.log(vdu),
            datapath=self._chains.datapath.state(vdu.vnfc.id),
            is_up=self._is_up,
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
        capacity = self._capacity()
        names = self._zone_names()
        found: list[Zone] = []
        for name in names:
            used = _used(
                vnfc
                for deployment in self._deployments.values()
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
        self._settings = dict(settings)

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

    def _capacity(self) -> dict[str, int]:
        return {
            name: int(float(str(self._settings.get(name, default))))
            for name, default in _DEFAULT_CAPACITY.items()
        }

    def _zone_names(self) -> list[str]:
        zones = self._settings.get("zones")
        return (
            [str(each) for each in cast(list[object], zones)]
            if isinstance(zones, list) and zones
            else ["local"]
        )

    def _profile_directories(self) -> Sequence[Path]:
        named = self._settings.get("profiles_dir")
        return [Path(str(named))] if named else [self.setup.run_dir / "profiles"]


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


def _is_as_wanted(vdu: Vdu | None, wanted: WantedVnfc) -> bool:
    state = VduState.STOPPED if wanted.is_stopped else VduState.RUNNING
    return (
        vdu is not None
        and vdu.state is state
        and vdu.vnfc.incarnation >= wanted.incarnation
        and (vdu.vnfc.incarnation > wanted.incarnation or vdu.vnfc.ports == wanted.ports)
    )


def _is_otherwise(vdu: Vdu | None, wanted: WantedVnfc) -> bool:
    """Whether a VDU stands that shall stay, with other ports or in the other state."""
    return (
        vdu is not None
        and vdu.state in (VduState.RUNNING, VduState.STOPPED)
        and vdu.vnfc.incarnation == wanted.incarnation
        and not _is_as_wanted(vdu, wanted)
    )


def _used(vnfcs: Iterable[WantedVnfc]) -> dict[str, float]:
    used = {"vcpus": 0.0, "memory_mib": 0.0, "disk_gib": 0.0}
    for vnfc in vnfcs:
        used["vcpus"] += vnfc.vcpus
        used["memory_mib"] += vnfc.memory_mib
        used["disk_gib"] += vnfc.disk_gib
    return used


def _plug_into_underlay(device: str) -> None:
    wan = links.Links()
    try:
        bridge = wan.index("wan")
        if not bridge:
            with contextlib.suppress(FileExistsError):
                wan.add_bridge("wan", mtu=_UNDERLAY_MTU)
            bridge = wan.index("wan")
        index = wan.index(device)
        wan.set_master(index, bridge)
        wan.make_silent(index)
        wan.set_up(index)
    finally:
        wan.close()


def _file(name: str) -> str:
    return f"{paths.short_hash(name)}.json"


def _write(directory: Path, name: str, thing: Deployment) -> None:
    paths.write_private(directory / _file(name), json.dumps(wire.to_document(thing)))
