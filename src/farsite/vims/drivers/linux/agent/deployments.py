"""The deployments of a site.

A deployment is stated, not commanded: the statement is stored, and `_converge` makes the difference between
it and what stands. So a repeated request, a request that comes while the last one is being worked on, and a
new agent that finds an old statement all end in the same place.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from farsite.model.deployment import (
    Deployment,
    DeploymentState,
    DeploymentStatus,
    Port,
    Resource,
    VimEventKind,
    WantedVnfc,
)
from farsite.model.errors import FarsiteError, VimFault
from farsite.model.ids import VnfcId
from farsite.vims.drivers.linux import paths, wire
from farsite.vims.drivers.linux.agent import images
from farsite.vims.drivers.linux.agent.chains import Chains
from farsite.vims.drivers.linux.agent.events import Journal
from farsite.vims.drivers.linux.agent.networks import SiteNetworks
from farsite.vims.drivers.linux.agent.registration import Registration
from farsite.vims.drivers.linux.agent.vdu import Vdu, VduState, interface_name
from farsite.vims.drivers.linux.agent.vdus import Vdus


class Deployments:
    """What was stated, and how it is made to stand."""

    def __init__(
        self,
        directory: Path,
        *,
        registration: Registration,
        no_users: str,
        vdus: Vdus,
        chains: Chains,
        networks: SiteNetworks,
        journal: Journal,
        resources_of: Callable[[Vdu], Sequence[Resource]],
        failed_to_start: Callable[[Vdu], None],
    ) -> None:
        """`no_users`: why the site has no users to give; empty: it has."""
        self._records = paths.make_private(directory / "deployments")
        self._registration = registration
        self._no_users = no_users
        self._vdus = vdus
        self._chains = chains
        self._networks = networks
        self._journal = journal
        self._resources_of = resources_of
        self._failed_to_start = failed_to_start
        self._wanted: dict[str, Deployment] = {}
        self._converging: dict[str, asyncio.Task[None]] = {}
        self._retrying: set[str] = set()
        self._worked_on: set[str] = set()
        self._failures: dict[str, str] = {}

    def __iter__(self) -> Iterator[Deployment]:
        return iter(tuple(self._wanted.values()))

    def converge(self) -> None:
        """Make all stand as they were stated."""
        for name in self._wanted:
            self._converge_soon(name)

    def deploy(self, wanted: Deployment) -> None:
        """Accept a statement of what a deployment shall be.

        Raises:
            VimFault: this site cannot hold it; nothing was changed.
        """
        self._check(wanted)
        before = self._wanted.get(wanted.name)
        self._wanted[wanted.name] = wanted
        _write(self._records, wanted.name, wanted)
        if before != wanted:
            self._vdus.hurry(wanted.name)
            self._tell_deployment(wanted, "was stated anew" if before else "was stated")
        # A VNFC that never served may be tried again: nothing depended on it.
        self._retrying.add(wanted.name)
        self._converge_soon(wanted.name)

    async def undeploy(self, name: str) -> None:
        """Remove a deployment and all it holds. An absent one is well."""
        deployment = self._wanted.pop(name, None)
        (self._records / _file(name)).unlink(missing_ok=True)
        self._vdus.hurry(name)
        self._converge_soon(name)
        await self._converging[name]
        if name in self._failures:
            raise VimFault(f"Deployment {name} is not wholly removed: {self._failures[name]}")
        if deployment is not None:
            self._tell_deployment(deployment, "was removed")

    def status(self, name: str) -> DeploymentStatus:
        """How far a deployment is."""
        wanted = self._wanted.get(name)
        standing = {vdu.vnfc.id: vdu for vdu in self._vdus if vdu.deployment == name}
        if wanted is None:
            state = DeploymentState.IN_PROGRESS if standing else DeploymentState.ABSENT
            return DeploymentStatus(name=name, state=state)
        resources = tuple(self._resources(name))
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
            program = images.resolve(vnfc, self._registration.profile_directories())
            if program.needs_users and self._no_users:
                raise VimFault(
                    f'Image "{vnfc.image}" needs users of its own, and this site has none to give: '
                    f"{self._no_users}"
                )
            self._check_vnfc(wanted, vnfc)
        capacity = self._registration.capacity()
        others = [d for d in self._wanted.values() if d.name != wanted.name]
        used = usage(vnfc for deployment in [*others, wanted] for vnfc in deployment.vnfcs)
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
        zones = self._registration.zone_names()
        if vnfc.zone and vnfc.zone not in zones:
            raise VimFault(f'Zone "{vnfc.zone}" does not exist; there are {", ".join(zones)}.')
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
                if name in self._worked_on and name in self._wanted:
                    self._tell_deployment(self._wanted[name], "was worked on")
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
        wanted = self._wanted.get(name)
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
            self._vdus.rewire(vnfc.id, vnfc, lambda port: self.bridge_of(vnfc, port))
        if vnfc.is_stopped and vdu.state is VduState.RUNNING:
            self._vdus.leave(vnfc.id)
            self._chains.changed(vnfc.id, "it is being stopped")
            try:
                await self._vdus.stop(vnfc.id, vnfc)
            except OSError:
                self._chains.changed(vnfc.id, "it was not stopped")
                raise
        elif not vnfc.is_stopped and vdu.state is VduState.STOPPED:
            await self._vdus.start_again(vnfc.id, vnfc, profiles=self._registration.profile_directories())

    def _is_surplus(self, vdu: Vdu, wanted: WantedVnfc | None, is_retry: bool) -> bool:
        if wanted is None or wanted.incarnation > vdu.vnfc.incarnation:
            return True
        return is_retry and vdu.state is VduState.DEAD and not vdu.has_served

    async def _launch(self, deployment: Deployment, vnfc: WantedVnfc) -> None:
        vdu = await self._vdus.launch(
            vnfc,
            deployment=deployment.name,
            vnf_id=deployment.vnf_id,
            profiles=self._registration.profile_directories(),
            bridge_of=lambda port: self.bridge_of(vnfc, port),
        )
        if vdu.state is VduState.DEAD and not vdu.has_served:
            self._failed_to_start(vdu)

    def bridge_of(self, vnfc: WantedVnfc, port: Port) -> int:
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
        record = self._records / f"{paths.short_hash(name)}.networks"
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
        self._journal.tell(
            VimEventKind.DEPLOYMENT_CHANGED,
            f"Deployment {deployment.name} {what}.",
            deployment=deployment.name,
            vnf_id=deployment.vnf_id,
            details={"revision": deployment.revision, "state": self.status(deployment.name).state},
        )

    def _resources(self, name: str) -> list[Resource]:
        found = [r for vdu in self._vdus if vdu.deployment == name for r in self._resources_of(vdu)]
        internal = {spec.id for spec in self._wanted[name].networks}
        return found + [each for each in self._networks.resources() if each.id in internal]

    def read(self) -> None:
        """Read what an earlier agent was told."""
        for path in sorted(self._records.glob("*.json")):
            with contextlib.suppress(ValueError):
                deployment = wire.from_document(Deployment, json.loads(path.read_text()))
                self._wanted[deployment.name] = deployment


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


def usage(vnfcs: Iterable[WantedVnfc]) -> dict[str, float]:
    used = {"vcpus": 0.0, "memory_mib": 0.0, "disk_gib": 0.0}
    for vnfc in vnfcs:
        used["vcpus"] += vnfc.vcpus
        used["memory_mib"] += vnfc.memory_mib
        used["disk_gib"] += vnfc.disk_gib
    return used


def _file(name: str) -> str:
    return f"{paths.short_hash(name)}.json"


def _write(directory: Path, name: str, thing: Deployment) -> None:
    paths.write_private(directory / _file(name), json.dumps(wire.to_document(thing)))
