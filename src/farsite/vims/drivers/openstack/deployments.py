"""Deployments as Heat stacks: declared, looked for before anything is made, watched all at once.

A stack's name is derived from the deployment, and whoever finds it taken looks at what stands under it. Heat
refuses a second stack of a name, but without a lock: requests at once, or one that arrives after its sender
gave up, can make two. So every look chooses the same one of them and removes the others. A stack's tags
carry the revision it was last asked for and a digest of that wish: repeating a wish costs one list request.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from farsite.model.deployment import Deployment, DeploymentState, DeploymentStatus, Resource, WantedVnfc
from farsite.model.errors import VimFault, VimUnreachable
from farsite.vims.drivers.openstack import base_hot, hot, moving, stacks, standing
from farsite.vims.drivers.openstack.cloud import Cloud, T
from farsite.vims.drivers.openstack.flavours import Flavours
from farsite.vims.drivers.openstack.flight import Flight
from farsite.vims.drivers.openstack.hot import Chosen, Json
from farsite.vims.drivers.openstack.images import Images
from farsite.vims.drivers.openstack.lists import Lists
from farsite.vims.drivers.openstack.racks import KnownRacks
from farsite.vims.drivers.openstack.stacks import Stack, StackResource, text
from farsite.vims.drivers.openstack.standing import Record, Server, Standing

if TYPE_CHECKING:
    from openstack.connection import Connection

REMOVED = "removed"
"""Revision of a status that tells of a removal: who waits for absence waits for no other revision."""
NO_HOST = "No valid host was found"
"""How Nova says that there is no room, whatever Heat puts around it."""

_PAUSE_S = 0.2
_READY_KEPT_S = 5.0
"""How long what stands of an unchanged stack is believed."""
_TRANSIT_KEPT_S = 20.0
"""The same, but for the servers, while Nova is at work on one of them or one is repaired."""
_DELETIONS = 3
"""Times a removal that failed is asked for again before it is reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much at a time, and how patient. Set per VIM by settings of the same names."""

    stacks_in_flight: int = 24
    """Stacks, nested ones counted, that are created or changed at a time in one region. Every nested stack
    holds threads of Heat's engine while it waits for its children; without a bound they block each other
    for ever, silently."""
    stack_settle_s: float = 20.0
    """How long a change waits for another one that is still under way."""
    stack_silence_s: float = 240.0
    """A stack in progress without any event for so long counts as failed."""
    stack_timeout_min: int = 60
    """Heat's own limit for one action."""


def read_limits(settings: Mapping[str, object]) -> Limits:
    """The limits that a registration sets, the rest by default.

    Raises:
        VimFault: a value is not a positive number.
    """

    def positive(name: str, otherwise: float) -> float:
        value = settings.get(name, otherwise)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise VimFault(f'The VIM\'s setting "{name}" is {value!r}; give a number above 0.')
        return value

    usual = Limits()
    return Limits(
        stacks_in_flight=int(positive("stacks_in_flight", usual.stacks_in_flight)),
        stack_settle_s=positive("stack_settle_s", usual.stack_settle_s),
        stack_silence_s=positive("stack_silence_s", usual.stack_silence_s),
        stack_timeout_min=int(positive("stack_timeout_min", usual.stack_timeout_min)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """A deployment in Heat's words."""

    wanted: Deployment
    template: Json
    parameters: Json
    files: dict[str, str] = field(default_factory=dict[str, str])
    weight: int = 1

    @property
    def content(self) -> str:
        """Digest of all but the revision and what is hidden: who reads it could try secrets against it."""
        declared = stacks.inner(self.template, "parameters")
        shown = {
            name: value
            for name, value in self.parameters.items()
            if not stacks.inner(declared, name).get("hidden")
        }
        whole = json.dumps([self.template, shown, self.files], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:32]

    def body(self, limits: Limits) -> Json:
        return {
            "template": self.template,
            "parameters": self.parameters,
            "files": self.files,
            "tags": stacks.tags(self.wanted.vnf_id, self.wanted.revision, self.content, self.wanted.tags),
            "timeout_mins": limits.stack_timeout_min,
        }

    def is_of(self, stack: Stack) -> bool:
        return (
            stack.tags.get("content") == self.content and stack.tags.get("revision") == self.wanted.revision
        )


@dataclass(slots=True)
class _Silence:
    """Since when a stack in progress says nothing new."""

    event_id: str
    since: float
    look_at: float
    told: str = ""


class Deployments:
    """All deployments on one VIM."""

    def __init__(self, cloud: Cloud, racks: KnownRacks) -> None:
        self._cloud = cloud
        self._racks = racks
        self._limits = read_limits(cloud.registration.settings)
        self._flavours = Flavours(cloud)
        self._images = Images(cloud)
        self._regions: dict[str, str] = {}
        """Deployment -> the region it was last seen in."""
        self._turns: dict[str, asyncio.Lock] = {}
        self._flights: dict[str, Flight] = {}
        self._lists: dict[str, Lists[Stack]] = {}
        self._ids: dict[str, str] = {}
        """Deployment -> id of the stack that was last seen to be it."""
        self._ready: dict[str, tuple[Stack, float, DeploymentStatus]] = {}
        self._moving: dict[str, tuple[Stack, float, Standing]] = {}
        """What stood, and since when, of stacks on a server of which Nova is at work."""
        self._consists: dict[str, tuple[Stack, float, tuple[StackResource, ...]]] = {}
        """What Heat said, and when, that a stack consists of which it has no work on."""
        self._documents: dict[str, Lists[Json]] = {}
        self._silences: dict[str, _Silence] = {}
        self._stuck: set[str] = set()
        self._deletions: dict[str, int] = {}
        self._records: dict[str, tuple[str, Record]] = {}
        """Deployment -> digest of what was last asked of Heat here, and the record in it."""

    # -- what the driver offers

    async def deploy(self, wanted: Deployment) -> None:
        """Make the deployment as wanted; see `VimDriver.deploy`.

        Raises:
            VimFault: the VIM refuses.
            VimUnreachable: its answer is unknown, or it is busy with the stack; repeat.
        """
        region = wanted.region or await self._cloud.default_region()
        is_unheard_of = wanted.name not in self._regions
        self._regions[wanted.name] = region
        async with self._turns.setdefault(wanted.name, asyncio.Lock()):
            # Heat refuses a name that is taken, so what is most likely new needs no look before.
            if is_unheard_of and await self._create(region, wanted):
                return
            while True:
                found = await self._look(region, wanted.name)
                if found is None:
                    is_done = await self._create(region, wanted)
                elif found.is_going:
                    is_done = False
                    await self._until_gone(region, found)
                else:
                    is_done = await self._change(region, wanted, found)
                if is_done:
                    return

    async def watch(self, names: Sequence[str]) -> list[DeploymentStatus]:
        """State of many deployments, one list request per region; unknown ones are ABSENT."""
        everywhere = await self._cloud.regions()
        asked: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            known = self._regions.get(name)
            for region in (known,) if known else everywhere:
                asked.setdefault(region, []).append(name)
        answers = await asyncio.gather(*(self._watch(region, of) for region, of in asked.items()))
        found = {status.name: status for statuses in answers for status in statuses}
        return [
            found.get(name) or DeploymentStatus(name=name, state=DeploymentState.ABSENT) for name in names
        ]

    async def undeploy(self, name: str) -> None:
        """Ask for the removal of a deployment; absent is success."""
        known = self._regions.get(name)
        seen = self._ids.pop(name, "")
        if known and seen:
            # What we know goes first; whatever else has the name is seen after that.
            await self._remove(known, Stack(id=seen, name=name, action="", status=""))
        for region in (known,) if known else await self._cloud.regions():
            found = await self._listed(region, [name])
            for one in found:
                self._regions[name] = region
                if one.id != seen and not (one.is_going and one.status == "IN_PROGRESS"):
                    await self._remove(region, one)
            if found:
                return

    async def _remove(self, region: str, stack: Stack) -> None:
        self._forget(stack)
        await self._call(region, partial(stacks.delete, stack=stack), f"remove stack {stack.name}")

    async def find(self, owner: str) -> list[Resource]:
        """What stands for a VNF instance, everything of ours for an empty owner."""
        found: list[Resource] = []
        for region in await self._cloud.regions():
            found += await self._call(region, partial(_find, owner=owner), "list what stands")
        return found

    async def servers_of(self, wanted: Deployment, vnfc_id: str) -> tuple[str, list[Server]]:
        """The servers that stand of one VNFC, and their region; more than one only while it is replaced."""
        region = wanted.region or await self._cloud.default_region()
        stack = await self._look(region, wanted.name)
        if stack is None or stack.is_going:
            return region, []
        consists_of, since_s, resources = self._consists.get(stack.name, (None, 0.0, ()))
        is_known = consists_of == stack and time.monotonic() - since_s < _TRANSIT_KEPT_S
        held = await self._standing(
            region, stack, resources=resources if is_known else None, with_ports=False
        )
        return region, held.of(vnfc_id)

    def doubt(self, vnf_ids: Collection[str]) -> None:
        """What stands of these VNFs has changed, past us or not: the next look asks. An empty id: of any."""
        for name, (stack, _, _) in list(self._ready.items()):
            if "" in vnf_ids or stack.tags.get("vnf", "") in vnf_ids:
                del self._ready[name]

    # -- one deployment

    async def _create(self, region: str, wanted: Deployment) -> bool:
        wish = await self._wish(region, wanted)
        await self._take_off(region, wish)
        is_made = await self._asked(
            region,
            wish,
            partial(stacks.create, name=wanted.name, body=wish.body(self._limits)),
            "create",
        )
        if not is_made:
            self._land(region, wanted.name)
            return False
        # Whoever made the last of several stacks sees them all here.
        await self._look(region, wanted.name)
        return True

    async def _asked(self, region: str, wish: _Wish, work: "Callable[[Connection], bool]", verb: str) -> bool:
        """Ask Heat for a change. A refusal ends the flight, and what we believed of flavours may be why."""
        try:
            is_taken = await self._call(region, work, f"{verb} stack {wish.wanted.name}")
        except VimFault:
            self._land(region, wish.wanted.name)
            self._flavours.forget(region)
            raise
        self._records[wish.wanted.name] = wish.content, standing.read_record(wish.parameters)
        return is_taken

    async def _change(self, region: str, wanted: Deployment, stack: Stack) -> bool:
        """Have a standing stack become what is wanted; whether that was asked for or was so already."""
        wish = await self._wish(region, wanted)
        if wish.is_of(stack) and stack.status != "FAILED" and stack.id not in self._stuck:
            return True
        if stack.status == "IN_PROGRESS" and stack.id not in self._stuck:
            await self._until_settled(region, stack)
        held = await self._standing(region, stack, with_ports=False)
        lifted = _lifted(wanted, held)
        if lifted != wanted:
            wish = await self._wish(region, lifted)
            if wish.is_of(stack) and stack.status != "FAILED":
                return True
        await self._make_room(region, wish.wanted, held)
        await self._take_off(region, wish)
        self._forget(stack)
        is_taken = await self._asked(
            region, wish, partial(stacks.update, stack=stack, body=wish.body(self._limits)), "update"
        )
        if not is_taken:
            await asyncio.sleep(_PAUSE_S)
        return is_taken

    async def _make_room(self, region: str, wanted: Deployment, held: Standing) -> None:
        """Remove the servers that are replaced, and those that never came up, before their successors come.

        A successor takes over ports and, in a full group or quota, the place of the one before; Heat would
        start it first and Nova would refuse the port that is in use.
        """
        leaving = [
            one for one in held.servers if one.document and (one.state == "ERROR" or _is_older(one, wanted))
        ]
        if leaving:
            names = ", ".join(one.vnfc_id or one.resource.name for one in leaving)
            await self._call(region, partial(_delete_servers, servers=leaving), f"remove servers of {names}")
            await self._until(
                partial(self._call, region, partial(_are_gone, servers=leaving), "look for servers"),
                f"the servers of {names} to go",
            )
        if wanted.template is not None:
            ids = {one.id for one in wanted.vnfcs}
            replaced = [one for one in held.servers if one in leaving or _is_older(one, wanted)]
            surplus = [one for one in held.servers if one.vnfc_id and one.vnfc_id not in ids]
            await self._call(
                region,
                partial(base_hot.mark, held=held, replaced=replaced, surplus=surplus),
                f"mark what is replaced in stack {wanted.name}",
            )

    async def _wish(self, region: str, wanted: Deployment) -> _Wish:
        for image, properties in _of_own_images(wanted).items():
            await self._images.check(region, image, properties)
        chosen = Chosen(
            images=await self._images.ensure(region, wanted.images),
            flavours=await self._flavours.choose(region, _with_patterns(wanted)),
        )
        if wanted.template is None:
            return _Wish(
                wanted=wanted, template=hot.template(wanted, chosen), parameters=hot.parameters(wanted)
            )
        made = base_hot.read(wanted, chosen)
        return _Wish(
            wanted=wanted,
            template=made.template,
            parameters=made.parameters,
            files=made.files,
            weight=made.weight,
        )

    async def _look(self, region: str, name: str) -> Stack | None:
        return await self._only_one(region, await self._listed(region, [name]))

    async def _listed(self, region: str, names: Sequence[str]) -> list[Stack]:
        """The stacks of these names now, asked for together with what others want to know at this moment."""
        if region not in self._lists:

            async def ask(names: Sequence[str]) -> list[Stack]:
                return await self._call(region, partial(stacks.named, names=names), "list stacks")

            self._lists[region] = Lists(ask, lambda stack: stack.name)
        return await self._lists[region].named(names)

    async def _servers(self, region: str, ids: Sequence[str]) -> list[Json]:
        """Nova's documents of these servers now, asked for together with those that others want."""
        if region not in self._documents:

            async def ask(ids: Sequence[str]) -> list[Json]:
                return await self._call(region, partial(standing.documents, ids=ids), "list servers")

            self._documents[region] = Lists(ask, lambda server: text(server, "id"))
        return await self._documents[region].named(ids)

    async def _only_one(self, region: str, found: Sequence[Stack]) -> Stack | None:
        """The one that counts of several stacks of one name; the removal of the others is asked for."""
        chosen = stacks.standing_one(found)
        if chosen is not None and not chosen.is_going:
            self._ids[chosen.name] = chosen.id
        for other in found:
            if other is not chosen and not other.is_going:
                await self._call(
                    region, partial(stacks.delete, stack=other), f"remove the second stack {other.name}"
                )
        return chosen

    async def _until_gone(self, region: str, stack: Stack) -> None:
        async def is_gone() -> bool:
            found = await self._look(region, stack.name)
            if found is not None and found.is_going and found.status == "FAILED":
                await self._call(region, partial(stacks.delete, stack=found), f"remove stack {stack.name}")
            return found is None or not found.is_going

        await self._until(is_gone, f"the removal of stack {stack.name}")

    async def _until_settled(self, region: str, stack: Stack) -> None:
        """Wait a while for a stack in progress. One that takes longer is changed on the way: Heat lets a new
        change overtake the one before."""

        async def is_settled() -> bool:
            found = await self._look(region, stack.name)
            return found is None or found.status != "IN_PROGRESS"

        try:
            await self._until(is_settled, f"stack {stack.name} to settle")
        except VimUnreachable:
            return

    async def _until(self, is_so: Callable[[], Awaitable[bool]], what: str) -> None:
        ends = time.monotonic() + self._limits.stack_settle_s
        while not await is_so():
            if time.monotonic() > ends:
                raise VimUnreachable(
                    f'VIM "{self._cloud.name}" still works on {what} after {self._limits.stack_settle_s:g} s.'
                )
            await asyncio.sleep(_PAUSE_S)

    async def _call(self, region: str, work: "Callable[[Connection], T]", what: str) -> T:
        return await self._cloud.call(region, work, what=what)

    # -- flights

    async def _take_off(self, region: str, wish: _Wish) -> None:
        flight = self._flights.setdefault(region, Flight(self._limits.stacks_in_flight))

        async def under_way(names: Sequence[str]) -> set[str]:
            found = await self._listed(region, names)
            return {one.name for one in found if one.status == "IN_PROGRESS"}

        await flight.take_off(wish.wanted.name, wish.weight, under_way)

    def _land(self, region: str, name: str) -> None:
        if region in self._flights:
            self._flights[region].land(name)

    def _forget(self, stack: Stack) -> None:
        self._ready.pop(stack.name, None)
        self._moving.pop(stack.name, None)
        self._consists.pop(stack.name, None)
        self._records.pop(stack.name, None)
        self._silences.pop(stack.id, None)
        self._stuck.discard(stack.id)
        self._deletions.pop(stack.id, None)

    # -- watching

    async def _watch(self, region: str, names: Sequence[str]) -> list[DeploymentStatus]:
        found = await self._listed(region, names)
        by_name: dict[str, Stack] = {}
        several: set[str] = set()
        for name in names:
            same = [one for one in found if one.name == name]
            stack = await self._only_one(region, same)
            if stack is not None:
                by_name[name] = stack
            if len(same) > 1:
                several.add(name)
            if stack is not None:
                self._regions.setdefault(name, region)
            if stack is None or stack.status != "IN_PROGRESS":
                self._land(region, name)
        statuses = await asyncio.gather(*(self._status(region, stack) for stack in by_name.values()))
        statuses = [self._racks.on(region, one) for one in statuses]
        # While a second stack of the name is on its way out, neither presence nor absence is settled.
        return [
            replace(one, state=DeploymentState.IN_PROGRESS) if one.name in several else one
            for one in statuses
        ]

    async def _status(self, region: str, stack: Stack) -> DeploymentStatus:
        if stack.is_going:
            return await self._status_of_removal(region, stack)
        if stack.status == "IN_PROGRESS":
            return await self._status_in_progress(region, stack)
        self._silences.pop(stack.id, None)
        kept = self._ready.get(stack.name)
        if kept is not None and kept[0] == stack and time.monotonic() - kept[1] < _READY_KEPT_S:
            return kept[2]
        if (held := await self._still_in_transit(region, stack)) is not None:
            return _settled(stack, held)
        held = await self._standing(region, stack)
        if stack.status == "COMPLETE" and standing.in_transit(held):
            self._moving[stack.name] = stack, time.monotonic(), held
        status = _settled(stack, held)
        if stack.status == "FAILED":
            self._flavours.forget(region)
        if await self._is_corrected(region, stack, held):
            return replace(status, state=DeploymentState.IN_PROGRESS)
        if status.state is DeploymentState.READY:
            self._ready[stack.name] = stack, time.monotonic(), status
        return status

    async def _still_in_transit(self, region: str, stack: Stack) -> Standing | None:
        """What stands, while Nova is at work on a server of a stack in which nothing else happens. Of fifty
        that are evacuated at once each is looked at every few seconds, so no more is asked than whether it is
        over; Heat, Neutron and Nova have the rest of their time for the work itself."""
        stood, since_s, held = self._moving.get(stack.name, (None, 0.0, None))
        if held is None or stood != stack or time.monotonic() - since_s > _TRANSIT_KEPT_S:
            self._moving.pop(stack.name, None)
            return None
        ids = [one.resource.physical_id for one in held.servers if one.resource.physical_id]
        held = standing.seen_again(held, await self._servers(region, ids))
        if standing.in_transit(held):
            return held
        self._moving.pop(stack.name, None)
        return None

    async def _is_corrected(self, region: str, stack: Stack, held: Standing) -> bool:
        """Start, stop and connect what is not as it was left; whether there was anything."""
        if stack.status != "COMPLETE":
            return False
        wrong = standing.astray(held)
        if suspects := standing.off_unasked(held):
            work = partial(moving.arrived_stopped, servers=suspects)
            moved = await self._call(region, work, f"see why servers of {stack.name} are off")
            wrong += [(one, standing.START) for one in moved]
        if wrong:
            await self._call(
                region, partial(_power, servers=wrong), f"start and stop servers of {stack.name}"
            )
        if cut := moving.no_longer_fenced(held):
            await self._call(region, partial(moving.connect, ports=cut), f"connect ports of {stack.name}")
        return bool(wrong or cut)

    async def _standing(
        self,
        region: str,
        stack: Stack,
        *,
        resources: Sequence[StackResource] | None = None,
        with_ports: bool = True,
    ) -> Standing:
        content, record = self._records.get(stack.name, ("", None))
        known = record if content and content == stack.tags.get("content") else None
        work = partial(standing.look, stack=stack, record=known, resources=resources, with_ports=with_ports)
        held = await self._call(region, work, f"look at stack {stack.name}")
        if resources is None and stack.status == "COMPLETE":
            self._consists[stack.name] = stack, time.monotonic(), held.resources
        return held

    async def _status_of_removal(self, region: str, stack: Stack) -> DeploymentStatus:
        # DELETE_COMPLETE is still listed for a moment, and holds its name; gone is what is not listed.
        going = DeploymentStatus(name=stack.name, state=DeploymentState.IN_PROGRESS, revision=REMOVED)
        if stack.status != "FAILED":
            return going
        tried = self._deletions.get(stack.id, 0)
        if tried < _DELETIONS:
            self._deletions[stack.id] = tried + 1
            await self._call(region, partial(stacks.delete, stack=stack), f"remove stack {stack.name}")
            return going
        self._deletions.pop(stack.id, None)
        held = await self._standing(region, stack)
        return replace(_failed(stack, held), revision=REMOVED)

    async def _status_in_progress(self, region: str, stack: Stack) -> DeploymentStatus:
        status = DeploymentStatus(
            name=stack.name, state=DeploymentState.IN_PROGRESS, revision=stack.tags.get("revision", "")
        )
        now = time.monotonic()
        silence = self._silences.setdefault(
            stack.id, _Silence("", now, now + self._limits.stack_silence_s / 4)
        )
        if now < silence.look_at:
            return status
        silence.look_at = now + self._limits.stack_silence_s / 4
        newest = await self._call(region, partial(stacks.last_event, stack=stack), "list events of a stack")
        if newest is not None and newest.id != silence.event_id:
            silence.event_id, silence.told, silence.since = newest.id, newest.text, now
        if now - silence.since < self._limits.stack_silence_s:
            return status
        self._stuck.add(stack.id)
        return replace(
            status,
            state=DeploymentState.FAILED,
            reason=f"Heat says {stack.action}_IN_PROGRESS, but nothing has happened in the stack for "
            f"{now - silence.since:.0f} s (last event: {silence.told or 'none'}). Its engine is dead or "
            f"blocked. Look at heat-engine, then retry: the stack is asked for anew.",
        )


# -- in a thread of the pool


def _find(connection: "Connection", owner: str) -> list[Resource]:
    found: list[Resource] = []
    seen: set[str] = set()
    for stack in stacks.by_tag(connection, owner):
        if stack.is_going and stack.status == "COMPLETE":
            continue
        vnf_id = stack.tags.get("vnf", "")
        found += standing.described(standing.look(connection, stack), vnf_id)
        seen |= {one.id for one in found}
    for document in standing.servers_of_project(connection):
        metadata = stacks.inner(document, "metadata")
        vnf_id = text(metadata, hot.VNF)
        if vnf_id and owner in ("", vnf_id) and text(document, "id") not in seen:
            found.append(standing.orphan(document, vnf_id))
    return found


def _delete_servers(connection: "Connection", servers: Sequence[Server]) -> None:
    for one in servers:
        response = connection.compute.delete(f"/servers/{one.resource.physical_id}")
        if response.status_code != 404:
            stacks.answer(response)


def _are_gone(connection: "Connection", servers: Sequence[Server]) -> bool:
    for one in servers:
        response = connection.compute.get(f"/servers/{one.resource.physical_id}")
        if response.status_code != 404:
            stacks.answer(response)
            return False
    return True


def _power(connection: "Connection", servers: Sequence[tuple[Server, str]]) -> None:
    for one, action in servers:
        standing.power(connection, one, action)


# -- pure


def _of_own_images(wanted: Deployment) -> dict[str, dict[str, str]]:
    """Images that the VIM has already -> what VNFCs that boot from them ask of them."""
    uploaded = {one.name for one in wanted.images}
    found: dict[str, dict[str, str]] = {}
    for one in _with_patterns(wanted):
        boot = next((volume.image for volume in one.volumes if volume.is_boot), "") or one.image
        if one.image_properties and boot and boot not in uploaded:
            found.setdefault(boot, {}).update(one.image_properties)
    return found


def _with_patterns(wanted: Deployment) -> list[WantedVnfc]:
    """The VNFCs, and of VDUs that have none what one would be."""
    present = {one.vdu for one in wanted.vnfcs}
    patterns = wanted.template.patterns if wanted.template else ()
    return [*wanted.vnfcs, *(one for one in patterns if one.vdu not in present)]


def _is_older(server: Server, wanted: Deployment) -> bool:
    """Whether a server is of an incarnation before the one that is wanted."""
    return any(one.id == server.vnfc_id and one.incarnation > server.incarnation for one in wanted.vnfcs)


def _lifted(wanted: Deployment, held: Standing) -> Deployment:
    """The wish at incarnations no lower than those that were asked for already: a late repetition of an
    older wish must not bring an old one back."""
    known = held.record.incarnations
    vnfcs = tuple(
        replace(one, incarnation=max(one.incarnation, known.get(one.id, 0))) for one in wanted.vnfcs
    )
    return replace(wanted, vnfcs=vnfcs)


def _settled(stack: Stack, held: Standing) -> DeploymentStatus:
    """The status of a stack that is not in progress."""
    if stack.status == "FAILED":
        return _failed(stack, held)
    status = DeploymentStatus(
        name=stack.name,
        state=DeploymentState.READY,
        revision=stack.tags.get("revision", ""),
        resources=standing.described(held, stack.tags.get("vnf", "")),
    )
    lacking = standing.dead(held)
    if not lacking:
        return status
    first = min(lacking)
    reason = "; ".join(f"{vnfc_id}: {why}" for vnfc_id, why in sorted(lacking.items()))
    return replace(status, state=DeploymentState.FAILED, resource=first, reason=reason)


def _failed(stack: Stack, held: Standing) -> DeploymentStatus:
    leaf = standing.failing(held)
    reason, resource = stack.reason, ""
    if leaf is not None:
        place = "/".join((*leaf.parents, leaf.name))
        reason = f"{place} ({leaf.type}) {leaf.action}_{leaf.status}: {leaf.reason or stack.reason}"
        resource = standing.vnfc_of(held, leaf) or place
    return DeploymentStatus(
        name=stack.name,
        state=DeploymentState.FAILED,
        revision=stack.tags.get("revision", ""),
        reason=reason,
        resource=resource,
        resources=standing.described(held, stack.tags.get("vnf", "")),
        lacks_room=NO_HOST in reason,
    )
