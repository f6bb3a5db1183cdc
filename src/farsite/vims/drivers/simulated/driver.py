"""`SimulatedDriver`: the VIM seam over a simulated world.

For tests, sizing, benchmarks and game days; its capabilities say `simulated: yes`, and it never proves a
claim about a real VIM. The world it works on outlives the driver object and (in a file) the process, as a
real VIM does. `knobs.SETTINGS` lists what a registration can set, `faults.FAULT_KINDS` what `inject` can
break while it runs.

Every call passes `_call`: the world settles what the clock has brought, faults strike, the call takes
effect, and only then is the answer delayed or lost.
"""

import asyncio
import hashlib
import os
import random
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from farsite.model.control_plane import ControlElement, ElementKind, Sight
from farsite.model.deployment import (
    Chain,
    Deployment,
    DeploymentStatus,
    HopCounters,
    NetworkSpec,
    Resource,
    VimEvent,
)
from farsite.model.errors import FarsiteError, Invalid, VimFault, VimUnreachable
from farsite.model.healing import Fence, Rung
from farsite.model.ids import VnfcId, new_id
from farsite.model.vim import Capabilities, ServiceHealth, VimHealth, Zone
from farsite.vims.driver import VimConnection, refuse_evacuation
from farsite.vims.drivers.simulated import behaviour, hosts
from farsite.vims.drivers.simulated.effects import Effect
from farsite.vims.drivers.simulated.faults import FAULT_KINDS, STANDING, Fault, faults_in
from farsite.vims.drivers.simulated.knobs import SETTINGS, read_knobs
from farsite.vims.drivers.simulated.responder import respond
from farsite.vims.drivers.simulated.state import HeldVnfc, State, duplicates
from farsite.vims.drivers.simulated.world import Transaction, leave, memory_world
from farsite.vims.drivers.simulated.world_file import open_world

FEATURES = frozenset(
    {
        "networks",
        "chains",
        "inter-site",
        "events",
        "faults",
        "fence",
        "reach",
        "repair:evacuate",
        "repair:reboot_hard",
        "repair:reboot_soft",
        "repair:rebuild",
        "images:builtin",
        "images:host",
        "volumes",
        "trunk",
        "epa:cpu-pinning",
        "epa:numa",
        "epa:hugepages",
        "epa:sriov",
        "epa:pci",
        "epa:multiqueue",
        "epa:watchdog",
        "epa:guest-agent",
        "migration:live",
        "migration:none",
    }
)
"""What can be asked for; nothing of it is more than written down."""

_NOBODY = {
    "racks": "No zone has any",
    "physical-networks": "The registration names none",
    "storage-back-ends": "The registration names none",
}

LOOK_S = 1.0
"""How long a listener of a shared world trusts that nothing has changed."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome(Generic[Answer]):
    """How a call ended inside the world, before the answer travels."""

    answer: Answer | None = None
    error: FarsiteError | None = None
    delay_s: float = 0


class SimulatedDriver:
    """One simulated VIM.

    Raises:
        Invalid: the settings of the registration contradict `knobs.SETTINGS`.
    """

    def __init__(self, connection: VimConnection) -> None:
        self._vim_id = connection.vim_id
        self._name = connection.name
        self._knobs = read_knobs(connection.settings)
        self._world = (
            memory_world(connection.vim_id)
            if self._knobs.is_in_memory
            else open_world(world_path(connection.run_dir, connection.vim_id))
        )
        self._dice = random.Random(f"{self._knobs.seed}/{connection.vim_id}")  # noqa: S311 -- not for secrets
        self._serving: set[asyncio.Task[None]] = set()
        self._is_closed = False

    # -- the core

    async def validate(self) -> None:
        if self._knobs.unknown:
            raise Invalid(
                f"A simulated VIM knows no setting {', '.join(self._knobs.unknown)}."
                f" Settings: {', '.join(sorted({*SETTINGS, *STANDING}))}."
            )
        await self._call("validate", lambda _: None)

    async def capabilities(self) -> Capabilities:
        def answer(_: Transaction) -> Capabilities:
            world = "memory" if self._knobs.is_in_memory else "file"
            knobs = self._knobs
            told = {
                "racks": any(zone.racks for zone in knobs.zones),
                "physical-networks": knobs.physical_networks,
                "storage-back-ends": knobs.storage_back_ends,
            }
            return Capabilities(
                features=(FEATURES | {one for one, has in told.items() if has}) - knobs.lacks,
                missing={"limits": "A simulated VIM runs nothing that could be limited."}
                | {"console": "Nothing boots on a simulated VIM."}
                | {one: f"{_NOBODY[one]} (setting {one.replace('-', '_')})." for one in told if not told[one]}
                | dict.fromkeys(knobs.lacks, "The registration says so (lacks)."),
                physical_networks=knobs.physical_networks,
                storage_back_ends=knobs.storage_back_ends,
                tunnel_endpoint=_endpoint(self._vim_id),
                details={"simulated": "yes", "world": world, "agent": f"simulated:{self._vim_id}"},
            )

        return await self._call("capabilities", answer)

    async def health(self) -> VimHealth:
        began = time.monotonic()
        detail = "simulated"
        try:
            await self._call("health", lambda _: None)
            is_up = True
        except FarsiteError as down:
            is_up, detail = False, down.detail
        latency_ms = (time.monotonic() - began) * 1000 if is_up else None
        service = ServiceHealth(
            name="simulator", is_vital=True, is_up=is_up, detail=detail, latency_ms=latency_ms
        )
        return VimHealth(services=(service,))

    async def zones(self) -> Sequence[Zone]:
        return await self._call("zones", lambda tx: behaviour.zones(tx.state, self._sizes(tx), tx.now))

    async def deploy(self, wanted: Deployment) -> None:
        def make(tx: Transaction) -> None:
            behaviour.check(wanted, self._knobs, tx.state)
            names = (wanted.name, str(wanted.vnf_id))
            held = tx.state.deployments.get(wanted.name)
            delay = self._strike(tx, "deploy_delay_s", *names)
            creation = behaviour.Creation(
                substrate=self._substrate(tx, wanted, *names),
                delay_s=delay.number("seconds", 0) if delay else self._knobs.deploy_delay_s,
                failure=self._strike(tx, "fail_deployment", *names) if self._creates(tx, wanted) else None,
                host=self._misplaced(tx, *names) if self._creates(tx, wanted) else "",
                refusal=self._strike(tx, "refuse_change", *names) if self._changes(tx, wanted) else None,
                is_naive=held is not None
                and (
                    self._knobs.naive_duplicates or self._strike(tx, "naive_duplicates", *names) is not None
                ),
            )
            behaviour.deploy(tx, wanted, creation, self._sizes(tx))

        await self._call("deploy", make)

    async def watch(self, names: Sequence[str]) -> Sequence[DeploymentStatus]:
        asked = tuple(names)
        return await self._list("watch", lambda state, now: [state.status(name, now) for name in asked])

    async def undeploy(self, name: str) -> None:
        await self._call("undeploy", lambda tx: behaviour.undeploy(tx, name))

    async def find(self, owner: str) -> Sequence[Resource]:
        return await self._list("find", lambda state, now: state.find(owner, now))

    async def reach(self, vnfc_id: VnfcId, port: int) -> socket.socket:
        await self._call("reach", lambda tx: self._reachable(tx, vnfc_id, port))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)

        async def ask(
            method: str, path: str, document: Mapping[str, object] | None
        ) -> tuple[int, Mapping[str, object]]:
            return await self._world.run(lambda tx: _management(tx, vnfc_id, method, path, document))

        serving = asyncio.create_task(respond(reader, writer, ask))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        return theirs

    async def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for serving in tuple(self._serving):
            serving.cancel()
        self._world.notify()
        leave(self._world)

    # -- repairs

    async def repair(self, wanted: Deployment, vnfc_id: VnfcId, kind: Rung, *, since: datetime) -> None:
        refuse_evacuation(wanted, vnfc_id, kind)

        def mend(tx: Transaction) -> None:
            began = since.timestamp()
            names = (wanted.name, str(wanted.vnf_id))
            host = self._misplaced(tx, *names) if kind is Rung.EVACUATE else ""
            behaviour.repair(tx, wanted, vnfc_id, kind, since=began, zones=self._sizes(tx), host=host)

        await self._call("repair", mend)

    async def fence(self, wanted: Deployment, vnfc_id: VnfcId) -> Fence:
        return await self._call("fence", lambda tx: behaviour.fence(tx, wanted, vnfc_id))

    # -- hosts

    async def look(self) -> Sight:
        if not self._knobs.tells_of_hosts:
            return Sight()
        return await self._call("look", lambda tx: hosts.look(tx.state, self._sizes(tx), tx.now))

    async def control_plane(self) -> Sequence[ControlElement]:
        if not self._knobs.tells_of_hosts:
            return []

        def tell(tx: Transaction) -> Sequence[ControlElement]:
            sight = hosts.look(tx.state, self._sizes(tx), tx.now)
            return hosts.elements(sight, tx.state, self._knobs.controllers, tx.now)

        return await self._call("control_plane", tell)

    # -- drills

    def can_stop(self, element: ControlElement, *, is_host: bool) -> str:
        if is_host or element.kind is ElementKind.COMPUTE or self._knobs.controllers:
            return ""
        return (
            "This simulated VIM controls itself, on no machine that could be stopped (setting controllers)."
        )

    async def stop_for_drill(self, element: ControlElement, *, is_host: bool, for_s: float) -> str:
        kind, target = _of_drill(element, is_host=is_host)
        if not is_host and self._knobs.restart_s is not None:
            for_s = min(for_s, self._knobs.restart_s)
        await self.inject(kind, target, {"for_s": for_s, "by": _DRILL})
        return f"{kind} of {target} was injected"

    async def end_drill(self, element: ControlElement, *, is_host: bool) -> None:
        aim = _of_drill(element, is_host=is_host)
        self._refuse_when_closed()

        def end(tx: Transaction) -> None:
            tx.settle()
            for fault in list(tx.state.faults.values()):
                if (fault.kind, fault.target) == aim and fault.settings.get("by") == _DRILL:
                    tx.emit("fault.ended", f"fault:{fault.id}", {"id": fault.id, "is_return": False})
            tx.settle()

        await self._world.run(end)

    # -- networks and chains

    async def ensure_network(self, wanted: NetworkSpec) -> None:
        def make(tx: Transaction) -> None:
            behaviour.check_network(wanted, self._knobs)
            fault = None
            if wanted.id not in tx.state.networks:
                fault = self._strike(tx, "misplace_substrate", wanted.id, wanted.owner)
            behaviour.ensure_network(tx, wanted, self._comes_to(fault))

        await self._call("ensure_network", make)

    async def delete_network(self, network_id: str) -> None:
        await self._call("delete_network", lambda tx: behaviour.delete_network(tx, network_id))

    async def apply_chain(self, wanted: Chain) -> None:
        await self._call("apply_chain", lambda tx: behaviour.apply_chain(tx, wanted))

    async def delete_chain(self, chain_id: str) -> None:
        await self._call("delete_chain", lambda tx: behaviour.delete_chain(tx, chain_id))

    async def chain_counters(self, chain_id: str) -> Sequence[HopCounters]:
        return await self._call(
            "chain_counters", lambda tx: tx.state.chain_counters(chain_id, self._vim_id, tx.now)
        )

    # -- events

    async def events(self, after: int) -> AsyncIterator[VimEvent]:
        """What happens, as it happens. Deployments become ready by the clock, so the listener itself
        waits for the next one that is due; with a file it also looks for what other processes did."""
        self._refuse_when_closed()
        changed = self._world.listen()
        seen = after
        try:
            while True:
                changed.clear()
                fresh, due_in_s = await self._news(seen)
                for event in fresh:
                    seen = event.sequence
                    yield event
                if fresh:
                    await asyncio.sleep(0)  # a memory world never waits: let others run between batches
                else:
                    await self._wait(changed, due_in_s)
        finally:
            self._world.unlisten(changed)

    async def _news(self, after: int) -> tuple[Sequence[VimEvent], float | None]:
        """Events after a sequence, and in how many seconds the clock brings the next."""

        def look(tx: Transaction) -> tuple[Sequence[VimEvent], float | None]:
            due = tx.state.due[0][0] - tx.now if tx.state.due else None
            return tx.state.events_after(after), due

        return await self._call("events", look)

    async def _wait(self, changed: asyncio.Event, due_in_s: float | None) -> None:
        """Until this process or the clock changed the world, or another process seems to have.

        Two changes within one tick of the file system's clock may look like one, so a second is the most
        to wait without a look.
        """
        if self._world.poll_s is not None:
            due_in_s = min(LOOK_S, LOOK_S if due_in_s is None else due_in_s)
        ends = None if due_in_s is None else time.monotonic() + due_in_s
        while not changed.is_set() and not self._is_closed:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                return
            pauses = [pause for pause in (left, self._world.poll_s) if pause is not None]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pauses, default=None)):
                    await changed.wait()
            if self._world.poll_s is not None and self._world.has_changed():
                return

    # -- faults

    def fault_kinds(self) -> Mapping[str, str]:
        return FAULT_KINDS

    async def inject(self, kind: str, target: str, settings: Mapping[str, object]) -> None:
        """Break something. Works during a partition too: this door is not the VIM's.

        Raises:
            Invalid: no such kind, or settings it does not take.
            VimFault: it acts on a resource that is not here.
        """
        wrong = faults_in(kind, settings)
        if wrong:
            raise Invalid(" ".join(wrong))
        self._refuse_when_closed()

        def do(tx: Transaction) -> FarsiteError | None:
            tx.must_write()
            tx.settle()
            try:
                if kind in STANDING:
                    _put_up(tx, kind, target, settings)
                else:
                    behaviour.act(tx, kind, target, settings)
            except FarsiteError as refused:
                return refused
            tx.settle()
            return None

        refused = await self._world.run(do)
        if refused:
            raise refused

    async def clear_faults(self) -> None:
        """End every injected fault and mend what is broken. What the registration sets stays as it is,
        and the dead stay dead."""
        self._refuse_when_closed()

        def mend(tx: Transaction) -> None:
            for fault in list(tx.state.faults.values()):
                body = {"id": fault.id, "is_return": fault.kind == "crash"}
                tx.emit("fault.ended", f"fault:{fault.id}", body)
            behaviour.mend(tx)
            tx.settle()

        await self._world.run(mend)

    # -- what tests ask the world behind the VIM's back

    async def world_journal(self) -> Sequence[Effect]:
        """Every effect on this VIM since its world began; no fault strikes this."""
        return await self._world.journal()

    async def creations(self, key: str) -> Sequence[Effect]:
        """Every creation under a key: `deployment:NAME`, `vnfc:ID/INCARNATION`, `network:ID`, `chain:ID`."""
        return [effect for effect in await self._world.journal() if effect.is_creation and effect.key == key]

    async def doubled(self) -> Sequence[str]:
        """Keys that were created while they already stood; empty is how it should be."""
        return duplicates(await self._world.journal())

    # -- how a call meets the world

    async def _call(self, method: str, work: Callable[[Transaction], Answer]) -> Answer:
        """Run a call of the seam: faults before it, its effect, faults on its answer."""
        self._refuse_when_closed()
        chance = self._dice.random()
        outcome = await self._world.run(lambda tx: self._meet(tx, method, work, chance))
        if outcome.delay_s:
            await asyncio.sleep(outcome.delay_s)
        if outcome.error:
            raise outcome.error
        # None is an answer too: the type of `work` says so.
        return outcome.answer  # type: ignore[return-value]

    def _meet(
        self, tx: Transaction, method: str, work: Callable[[Transaction], Answer], chance: float
    ) -> "_Outcome[Answer]":
        tx.chance = chance
        tx.settle()
        for kind in ("partition", "crash"):
            if self._standing(tx, kind, method):
                return _Outcome(error=VimUnreachable(f"No answer from {self._name} (simulated {kind})."))
        why = hosts.why_silent(tx.state, self._knobs.controllers, self._knobs.failover_s, tx.now)
        if why:
            return _Outcome(error=VimUnreachable(f"No answer from {self._name}: {why} (simulated)."))
        late = self._strike(tx, "answer_delay_s", method)
        delay_s = late.number("seconds", 0) if late else self._knobs.answer_delay_s
        if refusal := self._strike(tx, "error", method):
            words = refusal.words("message", "Internal Server Error (simulated)")
            return _Outcome(error=VimFault(words), delay_s=delay_s)
        if killer := self._kills(tx, method):
            tx.after_commit = _kill_ourselves
            if killer.words("when", "after") == "before":
                return _Outcome()
        is_lost = self._strike(tx, "lost_answer", method)
        try:
            answer = work(tx)
        except FarsiteError as refused:
            return _Outcome(error=refused, delay_s=delay_s)
        tx.settle()
        if is_lost:
            lost = VimUnreachable(f"The answer of {self._name} to {method} was lost (simulated).")
            return _Outcome(error=lost, delay_s=delay_s)
        return _Outcome(answer=answer, delay_s=delay_s)

    async def _list(
        self, method: str, question: Callable[[State, float], Sequence[Answer]]
    ) -> Sequence[Answer]:
        """A call that a stale list can answer from the past."""

        def ask(tx: Transaction) -> tuple[Fault | None, Sequence[Answer]]:
            stale = self._strike(tx, "stale_list", method)
            return stale, (() if stale else question(tx.state, tx.now))

        stale, answer = await self._call(method, ask)
        if stale is None:
            return answer
        if "lag_s" in stale.settings:
            at = self._world.clock() - stale.number("lag_s", 0)
            return await self._world.past(None, at, lambda state: question(state, at))
        return await self._world.past(
            stale.since_sequence, stale.since, lambda state: question(state, stale.since)
        )

    def _standing(self, tx: Transaction, kind: str, *names: str) -> list[Fault]:
        own = [fault for fault in self._knobs.faults if fault.kind == kind]
        standing = [*tx.state.standing(kind, tx.now), *own]
        if names == ("events",) and kind not in ("partition", "crash"):
            # Listening looks often; what is meant for "every call" shall not be used up by that.
            return [fault for fault in standing if fault.target == "events"]
        return [fault for fault in standing if fault.aims_at(*names)]

    def _strike(self, tx: Transaction, kind: str, *names: str) -> Fault | None:
        """The first fault of a kind that strikes now; one that is made for a number of calls is used up."""
        if not tx.state.faults and not self._knobs.faults:
            return None
        for fault in self._standing(tx, kind, *names):
            if tx.chance >= fault.number("probability", 1):
                continue
            if fault.calls is not None:
                if tx.state.uses.get(fault.id, 0) >= fault.calls:
                    continue
                tx.emit("fault.used", f"fault:{fault.id}", {"id": fault.id})
            return fault
        return None

    def _kills(self, tx: Transaction, method: str) -> Fault | None:
        """The fault whose N-th call this is. The count lasts before the kill, so it kills only once."""
        for fault in self._standing(tx, "crash_orchestrator_after", method):
            calls = fault.calls or 1
            if tx.state.uses.get(fault.id, 0) < calls:
                tx.emit("fault.used", f"fault:{fault.id}", {"id": fault.id})
                if tx.state.uses[fault.id] == calls:
                    return fault
        return None

    def _sizes(self, tx: Transaction) -> Sequence[behaviour.ZoneSize]:
        return behaviour.sizes(self._knobs, tx.state.standing("capacity", tx.now))

    def _creates(self, tx: Transaction, wanted: Deployment) -> bool:
        """Whether anything is to be built, so that a fault on building has something to strike."""
        held = tx.state.deployments.get(wanted.name)
        standing = {vnfc.vnfc_id: vnfc.incarnation for vnfc in held.vnfcs.values()} if held else {}
        return any(standing.get(vnfc.id, -1) < vnfc.incarnation for vnfc in wanted.vnfcs)

    def _substrate(self, tx: Transaction, wanted: Deployment, *names: str) -> behaviour.Substrate:
        """What networks and volumes that come now come to; a fault is only used up where any does."""
        makes = self._makes(tx, wanted)
        return self._comes_to(self._strike(tx, "misplace_substrate", *names) if makes else None)

    def _comes_to(self, fault: Fault | None) -> behaviour.Substrate:
        knobs = self._knobs
        return behaviour.Substrate(
            physical_network=next(iter(knobs.physical_networks), ""),
            back_end=next(iter(knobs.storage_back_ends), ""),
            forced_network=fault.words("physical_network", "") if fault else "",
            forced_back_end=fault.words("back_end", "") if fault else "",
        )

    def _makes(self, tx: Transaction, wanted: Deployment) -> bool:
        """Whether any network or volume is to be made."""
        held = tx.state.deployments.get(wanted.name)
        standing = {network.id for network in held.networks} if held else set[str]()
        has_volumes = any(vnfc.volumes for vnfc in wanted.vnfcs) and self._creates(tx, wanted)
        return has_volumes or any(network.id not in standing for network in wanted.networks)

    def _misplaced(self, tx: Transaction, *names: str) -> str:
        """The host that a fault has what comes now come to."""
        fault = self._strike(tx, "misplace", *names)
        return fault.words("host", "") if fault else ""

    def _changes(self, tx: Transaction, wanted: Deployment) -> bool:
        """Whether anything that stays is to be changed."""
        held = tx.state.deployments.get(wanted.name)
        standing = {(vnfc.vnfc_id, vnfc.incarnation): vnfc for vnfc in held.vnfcs.values()} if held else {}
        pairs = ((standing.get((vnfc.id, vnfc.incarnation)), vnfc) for vnfc in wanted.vnfcs)
        return any(stays is not None and not behaviour.is_as_asked(stays, ask) for stays, ask in pairs)

    def _reachable(self, tx: Transaction, vnfc_id: VnfcId, port: int) -> None:
        vnfc = tx.state.vnfc(vnfc_id)
        if vnfc is None:
            raise VimFault(f"Server {vnfc_id} could not be found.")
        if not _answers(vnfc, tx.now) or port not in self._knobs.management_ports:
            raise VimFault(f"VNFC {vnfc_id}, port {port}: Connection refused.")

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise VimUnreachable(f"The connection to {self._name} was closed; ask for the driver anew.")


def world_path(run_dir: Path, vim_id: str) -> Path:
    """The file of a VIM's simulated world. Several VIMs may share one run directory."""
    safe = vim_id if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", vim_id) else _digest(vim_id).hex()[:32]
    return run_dir / f"simulated-{safe}.sqlite"


_DRILL = "drill"
"""Who injected a fault that a drill ends."""


def _of_drill(element: ControlElement, *, is_host: bool) -> tuple[str, str]:
    """Kind and target of the fault that loses an element."""
    if is_host:
        return "host_down", element.host
    if element.kind is ElementKind.COMPUTE:
        return "host_service_down", element.host
    return "service_down", f"{element.service}@{element.host}"


def _put_up(tx: Transaction, kind: str, target: str, settings: Mapping[str, object]) -> None:
    """Let a fault stand, and do at once what it does to deployments that are being built."""
    fault_id = new_id()
    for_s = settings.get("for_s")
    until = tx.now + for_s if isinstance(for_s, int | float) else None
    body = {"id": fault_id, "kind": kind, "target": target, "settings": dict(settings), "until": until}
    if kind == "crash" and settings.get("in_progress") == "fail":
        for name in list(tx.state.deployments):
            behaviour.fail_in_progress(tx, name, "Given up in a crash of the VIM (simulated).")
    tx.emit("fault.injected", f"fault:{fault_id}", body)
    if kind == "host_down":
        behaviour.host_fails(tx, target)
    if kind == "fail_deployment":
        reason = str(settings.get("reason") or "Build of the instance aborted (simulated).")
        if behaviour.fail_in_progress(tx, target, reason):
            tx.emit("fault.used", f"fault:{fault_id}", {"id": fault_id})


def _answers(vnfc: HeldVnfc, now: float) -> bool:
    return vnfc.ready_at <= now and vnfc.runs(now) and not vnfc.hung


def _management(
    tx: Transaction, vnfc_id: str, method: str, path: str, document: Mapping[str, object] | None
) -> tuple[int, Mapping[str, object]]:
    vnfc = tx.state.vnfc(vnfc_id)
    if vnfc is None or not _answers(vnfc, tx.now):
        return 0, {}
    function = vnfc.image.rpartition(":")[2]
    match method, path:
        case "GET", "/health":
            state = "ok" if vnfc.passes_packets and all(port.is_up for port in vnfc.ports) else "degraded"
            return 200, {
                "status": state,
                "function": function,
                "vnfc": vnfc.vnfc_id,
                "uptime_s": round(tx.now - vnfc.ready_at, 3),
                "passes_packets": vnfc.passes_packets,
                "simulated": True,
            }
        case "GET", "/configuration":
            return 200, vnfc.configuration
        case "PUT", "/configuration":
            body = {"resource_id": vnfc.resource_id, "configuration": dict(document or {})}
            tx.emit("vnfc.configured", f"vnfc:{vnfc.vnfc_id}/{vnfc.incarnation}", body)
            return 200, dict(document or {})
        case "GET", "/counters":
            return 200, {"simulated": True}
        case _, "/health" | "/configuration" | "/counters":
            return 405, {"detail": f"{path} does not take {method}."}
        case _:
            return 404, {"detail": f"No {path} here: /health, /configuration, /counters."}


def _kill_ourselves() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _endpoint(vim_id: str) -> str:
    """An address that looks like a tunnel endpoint (100.64.0.0/10 is nobody's) and leads nowhere."""
    first, second = _digest(vim_id)[:2]
    return f"100.127.{first}.{second}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
