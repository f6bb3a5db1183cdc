"""The VDUs of a site: launched, watched, adopted after an agent's death, swept when orphaned.

The record of a VDU is written before its program executes and tells process id, start time and
network-namespace inode; a process is only taken for the VDU when all three agree.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import CONSOLE_MOST
from farsite.vims.drivers.linux import paths, wire
from farsite.vims.drivers.linux.agent import daemon, first_boot, images, logs, namespaces, rewiring, users
from farsite.vims.drivers.linux.agent.launcher import LIFELINE_DESCRIPTOR, READY_DESCRIPTOR, Launch, Launcher
from farsite.vims.drivers.linux.agent.limits import Limits
from farsite.vims.drivers.linux.agent.links import Links

_KEPT_WITHIN_S = 5.0
_AT_ONCE = 8
_KEEPER = images.Program(arguments=(shutil.which("sleep", path="/usr/bin:/bin") or "/bin/sleep", "infinity"))
"""What stands for a function that is stopped: it does nothing and has the namespaces."""
_SEEN_AT = "/run/vdu"
"""Where a program of the host with users of its own sees its directory."""
_INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")


class VduState(StrEnum):
    """How a VDU is."""

    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    """Stopped on purpose: a process that does nothing keeps its network namespace and ports."""
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vdu:
    """A VNFC as it stands on this site."""

    vnfc: WantedVnfc
    deployment: str
    vnf_id: str
    state: VduState = VduState.STARTING
    has_served: bool = False
    reason: str = ""
    pid: int = 0
    started: int = 0
    namespace: int = 0
    """Inode of the network namespace."""
    devices: Mapping[str, str] = field(default_factory=dict[str, str])
    """Port -> host-side interface."""
    created_at: str = ""

    @property
    def key(self) -> str:
        """Short name for files and control groups, distinct per incarnation."""
        return paths.short_hash(self.vnfc.id, str(self.vnfc.incarnation))

    @property
    def hostname(self) -> str:
        """What it is called within."""
        return re.sub(r"[^A-Za-z0-9-]", "-", self.vnfc.id)[-63:].strip("-") or "vdu"


def interface_name(port: str) -> str:
    """What a port is called inside its VDU: its own name where the kernel allows it."""
    if _INTERFACE_NAME.fullmatch(port) and port not in ("lo", ".", "..", "all", "default"):
        return port
    return paths.device_name("p", port)


def mac_of(vnfc_id: str, port: Port) -> str:
    """The MAC address wanted, or a locally administered one derived from VNFC and port."""
    if port.mac:
        return port.mac.lower()
    digits = paths.short_hash(vnfc_id, port.name, length=10)
    return ":".join(["02", *(digits[i : i + 2] for i in range(0, 10, 2))])


class Vdus:
    """All VDUs of the site, by VNFC. One object per agent; lives on its event loop."""

    def __init__(
        self,
        directory: Path,
        *,
        links: Links,
        launcher: Launcher,
        limits: Limits,
        label: str,
        has_users: bool,
        changed: Callable[[Vdu], None],
    ) -> None:
        """`has_users`: the site has users to give to programs of the host. `changed` is called at once when a
        VDU has died or begun to serve, before anything slow."""
        self._records = paths.make_private(directory / "vdus")
        self._work = paths.make_private(directory / "work")
        self._logs = logs.Logs(directory / "logs")
        self._links = links
        self._launcher = launcher
        self._limits = limits
        self._label = label
        self._has_users = has_users
        self._changed = changed
        self._found: dict[VnfcId, Vdu] = {}
        self._pidfds: dict[VnfcId, int] = {}
        self._ended: dict[VnfcId, asyncio.Event] = {}
        self._lifelines: dict[VnfcId, int] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._leaving: set[VnfcId] = set()
        self._hurried: dict[VnfcId, asyncio.Event] = {}

    def __iter__(self) -> Iterator[Vdu]:
        return iter(tuple(self._found.values()))

    def get(self, vnfc_id: str) -> Vdu | None:
        """The VDU of a VNFC, dead or alive."""
        return self._found.get(VnfcId(vnfc_id))

    def is_serving(self, vnfc_id: str) -> bool:
        """Whether the VNFC's process lives, is ready, and is not about to be removed."""
        vdu = self.get(vnfc_id)
        return vdu is not None and vdu.state is VduState.RUNNING and vnfc_id not in self._leaving

    def device(self, vnfc_id: str, port: str) -> str:
        """Host-side interface of a port; empty when there is none."""
        vdu = self.get(vnfc_id)
        return vdu.devices.get(port, "") if vdu and vdu.state is not VduState.DEAD else ""

    def log(self, vdu: Vdu) -> Path:
        """What the VDU wrote on standard output and error."""
        return self._logs.path(vdu.vnfc.id, vdu.key)

    async def bound_logs(self) -> None:
        """Begin the logs anew that have become too long."""
        await asyncio.to_thread(logs.bound, [self.log(vdu) for vdu in self])

    # -- launching ------------------------------------------------------------------------------------------

    async def launch(
        self,
        wanted: WantedVnfc,
        *,
        deployment: str,
        vnf_id: str,
        profiles: Sequence[Path],
        bridge_of: Callable[[Port], int],
    ) -> Vdu:
        """Start a VNFC and wait until it serves or fails; what became of it is in the answer.

        `bridge_of` gives the index of the bridge that a port belongs on, or 0.
        """
        vdu = Vdu(
            vnfc=wanted,
            deployment=deployment,
            vnf_id=vnf_id,
            devices={
                port.name: paths.device_name("v", wanted.id, port.name, str(wanted.incarnation))
                for port in wanted.ports
            },
            created_at=datetime.now(UTC).isoformat(),
        )
        self._found[wanted.id] = vdu
        async with self._slots:
            try:
                program = images.resolve(wanted, profiles)
                await self._start(vdu, _keeper_of(program) if wanted.is_stopped else program, bridge_of)
            except (OSError, VimFault) as error:
                await self._give_up(wanted.id, str(error))
        return self._found[wanted.id]

    async def _start(
        self,
        vdu: Vdu,
        program: images.Program,
        bridge_of: Callable[[Port], int],
        *,
        network: int | None = None,
    ) -> None:
        """Start the program in namespaces of its own, or in network namespace `network` with its ports."""
        loop = asyncio.get_running_loop()
        owner = self._owner_of(vdu, program, network)
        launch = self._launch_of(vdu, program, self._prepare(vdu, program, owner=owner), owner=owner)
        control, theirs = socket.socketpair()
        control.setblocking(False)
        ready, ready_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        log = os.open(self.log(vdu), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        lifeline, lifeline_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(ready_end, True)
            try:
                pid = self._launcher.start(
                    launch,
                    control=theirs.fileno(),
                    log=log,
                    ready=ready_end,
                    lifeline=lifeline_end,
                    network=network,
                )
            finally:
                theirs.close()
                for descriptor in (ready_end, log, lifeline_end):
                    os.close(descriptor)
            async with _within(program.ready_within_s):
                said = await loop.sock_recv(control, 4096)
                if said != b"unshared":
                    raise VimFault(f"The VDU could not get its namespaces: {said.decode(errors='replace')}")
                if owner and network is None:
                    users.give(pid, owner)
                vdu = replace(vdu, pid=pid, started=daemon.start_time(pid))
                if network is None:
                    vdu = self._move_ports_in(vdu, bridge_of)
                self._limits.apply(f"farsite-{vdu.key}", vdu.vnfc, pid)
                self._keep(vdu)
                self._watch(vdu, lifeline=os.dup(lifeline))
                await loop.sock_sendall(control, b"go")
                complaint = await loop.sock_recv(control, 4096)
                if complaint:
                    raise VimFault(f"The VDU could not execute {complaint.decode(errors='replace')}")
                await self._until_ready(vdu, program, ready)
        finally:
            control.close()
            os.close(ready)
            os.close(lifeline)
        if self._found[vdu.vnfc.id].state is not VduState.STARTING:
            return
        if vdu.vnfc.is_stopped:
            self._keep(replace(vdu, state=VduState.STOPPED))
            self._switch_ports(vdu, is_up=False)
            return
        vdu = replace(vdu, state=VduState.RUNNING, has_served=True)
        self._keep(vdu)
        self._changed(vdu)

    def _switch_ports(self, vdu: Vdu, *, is_up: bool) -> None:
        """Switch our ends of its ports, so that nobody answers on the networks for one that is stopped."""
        for device in vdu.devices.values():
            index = self._links.index(device)
            if index and is_up:
                self._links.set_up(index)
            elif index:
                self._links.set_down(index)

    # -- stopping and starting ------------------------------------------------------------------------------

    async def stop(self, vnfc_id: VnfcId, wanted: WantedVnfc) -> None:
        """End the function of a VDU that `leave` was called for; its network namespace, ports and addresses
        stay. It gets SIGTERM and `stop_grace_s` to end by itself.

        Raises:
            OSError: the process that keeps the namespace cannot be started; the function runs on.
        """
        vdu = self._found[vnfc_id]
        self._hurried[vnfc_id] = asyncio.Event()
        ended = self._ended[vnfc_id]
        try:
            keeper = await self._keep_namespace(vdu)
            # From here on an agent that comes after us finds it stopped, and sweeps the function.
            self._keep(
                replace(
                    vdu, vnfc=wanted, state=VduState.STOPPED, pid=keeper, started=daemon.start_time(keeper)
                )
            )
            if wanted.stop_grace_s:
                await self._terminate(vnfc_id, ended, wanted.stop_grace_s)
            await self._kill(vnfc_id)
            stopped = self._found[vnfc_id]
            self._switch_ports(stopped, is_up=False)
            self._watch(stopped, lifeline=None)
        finally:
            del self._hurried[vnfc_id]
            self._leaving.discard(vnfc_id)

    async def _terminate(self, vnfc_id: VnfcId, ended: asyncio.Event, grace_s: float) -> None:
        with contextlib.suppress(ProcessLookupError, KeyError):
            signal.pidfd_send_signal(self._pidfds[vnfc_id], signal.SIGTERM)
        waits = [asyncio.ensure_future(one.wait()) for one in (ended, self._hurried[vnfc_id])]
        try:
            await asyncio.wait(waits, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    def hurry(self, deployment: str) -> None:
        """Wait no longer for functions of a deployment that are ending by themselves."""
        for vnfc_id, hurried in self._hurried.items():
            if self._found[vnfc_id].deployment == deployment:
                hurried.set()

    async def _keep_namespace(self, vdu: Vdu) -> int:
        """Start the process that keeps a VDU's network namespace; its process id."""
        control, theirs = socket.socketpair()
        control.setblocking(False)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        network = os.open(f"/proc/{vdu.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            directory = self._work / vdu.key
            pid = self._launcher.start(
                replace(self._launch_of(vdu, _KEEPER, directory, owner=0), ports=()),
                control=theirs.fileno(), log=nothing, ready=nothing, lifeline=nothing, network=network,
            )  # fmt: skip
            theirs.close()
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(_KEPT_WITHIN_S):
                said = await loop.sock_recv(control, 4096)
                if said == b"unshared":
                    await loop.sock_sendall(control, b"go")
                    said = await loop.sock_recv(control, 4096)
            if said:
                raise OSError(f"{vdu.vnfc.id} cannot be stopped: {said.decode(errors='replace')}")
            return pid
        finally:
            theirs.close()
            control.close()
            os.close(nothing)
            os.close(network)

    async def start_again(self, vnfc_id: VnfcId, wanted: WantedVnfc, *, profiles: Sequence[Path]) -> Vdu:
        """Start the function of a stopped VDU again, with the ports it has; what became of it is in the
        answer."""
        stopped = self._found[vnfc_id]
        keeper = os.pidfd_open(stopped.pid)
        network = os.open(f"/proc/{stopped.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._unwatch(vnfc_id)
        self._found[vnfc_id] = starting = replace(stopped, vnfc=wanted, state=VduState.STARTING)
        try:
            async with self._slots:
                self._switch_ports(starting, is_up=True)
                program = images.resolve(wanted, profiles)
                await self._start(starting, program, lambda _port: 0, network=network)
        except (OSError, VimFault) as error:
            await self._give_up(vnfc_id, str(error))
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(keeper, signal.SIGKILL)
            os.close(keeper)
            os.close(network)
        return self._found[vnfc_id]

    def rewire(self, vnfc_id: VnfcId, wanted: WantedVnfc, bridge_of: Callable[[Port], int]) -> None:
        """Give a VDU's ports the addresses, MACs and bridges that are wanted now.

        Raises:
            VimFault: its ports cannot be changed so.
            OSError: the kernel refuses.
        """
        vdu = self._found[vnfc_id]
        rewiring.rewire(
            vdu.vnfc, wanted, pid=vdu.pid,
            interface_of=lambda port: interface_name(port.name), mac_of=lambda port: mac_of(vnfc_id, port),
        )  # fmt: skip
        for port in wanted.ports:
            index = self._links.index(vdu.devices[port.name])
            if index:
                self._links.set_master(index, bridge_of(port))
        self._keep(replace(vdu, vnfc=replace(vdu.vnfc, ports=wanted.ports)))

    def _owner_of(self, vdu: Vdu, program: images.Program, network: int | None) -> int:
        """The host's id of a VDU's root, where the site has users for a program of the host; else 0.

        The users of one that is started again are those that its network belongs to.
        """
        if network is not None:
            has_own = users.own_network(network)
        else:
            has_own = program.is_confined and self._has_users
        return users.claim(vdu.key, paths.make_private(self._work / vdu.key)) if has_own else 0

    def _prepare(self, vdu: Vdu, program: images.Program, *, owner: int) -> Path:
        directory = self._work / vdu.key
        ports = [
            {
                "name": interface_name(port.name),
                "port": port.name,
                "mac": mac_of(vdu.vnfc.id, port),
                "addresses": list(port.addresses),
            }
            for port in vdu.vnfc.ports
        ]
        first_boot.write(
            directory,
            vdu.vnfc,
            ports=ports,
            hostname=vdu.hostname,
            files=program.files,
            owner=owner,
        )
        return directory

    def _launch_of(self, vdu: Vdu, program: images.Program, directory: Path, *, owner: int) -> Launch:
        seen = _SEEN_AT if owner else str(directory)
        return Launch(
            arguments=program.arguments,
            environment={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": seen,
                "LANG": "C.UTF-8",
                "FARSITE_VNFC": vdu.vnfc.id,
                "FARSITE_VDU": f"{vdu.vnfc.id}@{vdu.vnfc.incarnation}",
                "FARSITE_SITE": self._label,
                "FARSITE_DIRECTORY": seen,
                "FARSITE_CONFIG": f"{seen}/configuration.json",
                "FARSITE_READY_FD": str(READY_DESCRIPTOR),
            },
            directory=str(directory),
            hostname=vdu.hostname,
            ports=[(interface_name(port.name), port.addresses) for port in vdu.vnfc.ports],
            is_confined=program.is_confined,
            mounted_at=seen,
            first_user=owner,
        )

    def _move_ports_in(self, vdu: Vdu, bridge_of: Callable[[Port], int]) -> Vdu:
        namespace = os.open(f"/proc/{vdu.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for port in vdu.vnfc.ports:
                index = self._links.add_veth(
                    vdu.devices[port.name],
                    peer=interface_name(port.name),
                    peer_namespace=namespace,
                    peer_mac=mac_of(vdu.vnfc.id, port),
                )
                bridge = bridge_of(port)
                if bridge:
                    self._links.set_master(index, bridge)
            inode = os.fstat(namespace).st_ino
        finally:
            os.close(namespace)
        return replace(vdu, started=daemon.start_time(vdu.pid), namespace=inode)

    async def _until_ready(self, vdu: Vdu, program: images.Program, ready: int) -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.ensure_future(self._ended[vdu.vnfc.id].wait())
        if program.ready_line:
            arrived: asyncio.Future[None] = loop.create_future()
            loop.add_reader(ready, lambda: arrived.done() or arrived.set_result(None))
            waiting: asyncio.Future[None] = arrived
        elif program.ready_port:
            waiting = asyncio.ensure_future(self._until_port_answers(vdu, program.ready_port))
        else:
            waiting = asyncio.ensure_future(asyncio.sleep(0))
        try:
            await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
            # The pipe also becomes readable when the function closes it without a word, or ends.
            if program.ready_line and (not waiting.done() or not os.read(ready, 64)):
                raise VimFault("The function ended before it was ready.")
            if not waiting.done():
                raise VimFault("The program ended before it was ready.")
        finally:
            if program.ready_line:
                loop.remove_reader(ready)
            waiting.cancel()
            ended.cancel()

    async def _until_port_answers(self, vdu: Vdu, port: int) -> None:
        while True:
            with contextlib.suppress(VimFault):
                (await self.reach(vdu.vnfc.id, port)).close()
                return
            await asyncio.sleep(0.02)

    async def _give_up(self, vnfc_id: VnfcId, reason: str) -> None:
        await self._kill(vnfc_id)
        vdu = self._found[vnfc_id]
        reason = f"{reason} {self._last_words(vdu)}".strip()
        self._keep(replace(vdu, state=VduState.DEAD, reason=reason))
        self._clean(vdu)

    def _last_words(self, vdu: Vdu) -> str:
        if vdu.vnfc.holds_secrets:
            return "What it wrote may hold secrets of its boot data: see farsite vnf console."
        words = logs.last_lines(self.log(vdu), 4)
        return f"Its last words: {' | '.join(words)}" if words else ""

    # -- watching -------------------------------------------------------------------------------------------

    def _watch(self, vdu: Vdu, *, lifeline: int | None) -> None:
        loop = asyncio.get_running_loop()
        vnfc_id = vdu.vnfc.id
        self._pidfds[vnfc_id] = os.pidfd_open(vdu.pid)
        self._ended[vnfc_id] = asyncio.Event()
        loop.add_reader(self._pidfds[vnfc_id], self._on_end, vnfc_id)
        if lifeline is not None:
            self._lifelines[vnfc_id] = lifeline
            loop.add_reader(lifeline, self._on_lifeline, vnfc_id)

    def _unwatch(self, vnfc_id: VnfcId) -> None:
        descriptor = self._pidfds.pop(vnfc_id, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self._drop_lifeline(vnfc_id)

    def _on_lifeline(self, vnfc_id: VnfcId) -> None:
        """The VDU let go of its lifeline: because it dies, or because its program closes what it inherits."""
        self._drop_lifeline(vnfc_id)
        vdu = self._found.get(vnfc_id)
        is_concerned = vdu is not None and vdu.state is VduState.RUNNING and vnfc_id not in self._leaving
        if vdu is not None and is_concerned and daemon.is_exiting(vdu.pid):
            self._declare_dead(vdu)

    def _drop_lifeline(self, vnfc_id: VnfcId) -> None:
        descriptor = self._lifelines.pop(vnfc_id, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _declare_dead(self, vdu: Vdu) -> Vdu:
        dead = replace(vdu, state=VduState.DEAD, reason=f"Its process {vdu.pid} has ended.")
        self._found[vdu.vnfc.id] = dead
        self._changed(dead)
        return dead

    def _on_end(self, vnfc_id: VnfcId) -> None:
        descriptor = self._pidfds.pop(vnfc_id)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._drop_lifeline(vnfc_id)
        self._ended[vnfc_id].set()
        vdu = self._found.get(vnfc_id)
        # One that is still starting is waited for by its launch, which hears of the end as well.
        if vdu is None or vnfc_id in self._leaving or vdu.state is VduState.STARTING:
            return
        if vdu.state in (VduState.RUNNING, VduState.STOPPED):
            vdu = self._declare_dead(vdu)
        self._keep(replace(vdu, reason=f"{vdu.reason} {self._last_words(vdu)}".strip()))
        self._clean(vdu)

    # -- removing -------------------------------------------------------------------------------------------

    def leave(self, vnfc_id: VnfcId) -> None:
        """Count a VNFC as gone before it is, so that chains are steered around it without loss."""
        self._leaving.add(vnfc_id)

    async def remove(self, vnfc_id: VnfcId) -> None:
        """Kill a VDU and forget it; its log stays. An absent one is well."""
        vdu = self._found.get(vnfc_id)
        if vdu is not None:
            self.leave(vnfc_id)
            await self._kill(vnfc_id)
            self._clean(vdu)
            self._remove_files(vdu)
            del self._found[vnfc_id]
            self._ended.pop(vnfc_id, None)
            (self._records / f"{vdu.key}.json").unlink(missing_ok=True)
            self._logs.prune({self.log(vdu) for vdu in self})
        self._leaving.discard(vnfc_id)

    def end(self, vnfc_id: VnfcId) -> None:
        """SIGKILL a VDU's first process, and so all of it, without waiting."""
        descriptor = self._pidfds.get(vnfc_id)
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)

    async def _kill(self, vnfc_id: VnfcId) -> None:
        if vnfc_id not in self._pidfds:
            return
        self.end(vnfc_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._ended[vnfc_id].wait()

    def _clean(self, vdu: Vdu) -> None:
        for device in vdu.devices.values():
            # The kernel removes them with the namespace, but some time later.
            index = self._links.index(device)
            if index:
                self._links.delete(index)
        self._limits.remove(f"farsite-{vdu.key}")

    def _remove_files(self, vdu: Vdu) -> None:
        directory = self._work / vdu.key
        for path in sorted(directory.rglob("*"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        with contextlib.suppress(OSError):
            directory.rmdir()
        if self._has_users:
            users.release(directory)

    def _keep(self, vdu: Vdu) -> None:
        self._found[vdu.vnfc.id] = vdu
        paths.write_private(self._records / f"{vdu.key}.json", json.dumps(wire.to_document(vdu)))

    # -- adoption -------------------------------------------------------------------------------------------

    def adopt(self) -> list[Vdu]:
        """Take over the VDUs of an earlier agent; returns those found dead that it knew alive.

        One that was still starting is not taken over but ended: nobody knows how far it was.
        """
        lost: list[Vdu] = []
        for path in sorted(self._records.glob("*.json")):
            try:
                vdu = wire.from_document(Vdu, json.loads(path.read_text()))
            except ValueError:
                path.unlink()
                continue
            if vdu.state in (VduState.RUNNING, VduState.STOPPED) and self._is_alive(vdu):
                self._found[vdu.vnfc.id] = vdu
                self._watch(vdu, lifeline=_open_lifeline(vdu.pid))
                self._claim_again(vdu)
                continue
            if vdu.state is VduState.STARTING:
                self._end_process(vdu)
                self._clean(vdu)
                if not vdu.has_served:
                    # Its next start is a first boot again.
                    self._remove_files(vdu)
                path.unlink()
                continue
            self._found[vdu.vnfc.id] = vdu
            if vdu.state in (VduState.RUNNING, VduState.STOPPED):
                self._end_process(vdu)
                self._keep(replace(vdu, state=VduState.DEAD, reason="It died while the site had no agent."))
                self._clean(vdu)
                lost.append(self._found[vdu.vnfc.id])
        return lost

    def _claim_again(self, vdu: Vdu) -> None:
        """Keep a VDU's users from others, though the host's claims were lost or an older agent made none."""
        directory = self._work / vdu.key
        if self._has_users and users.has_own(directory):
            with contextlib.suppress(OSError, VimFault):
                users.claim(vdu.key, directory)

    def _is_alive(self, vdu: Vdu) -> bool:
        if not vdu.started or daemon.start_time(vdu.pid) != vdu.started:
            return False
        try:
            inode = Path(f"/proc/{vdu.pid}/ns/net").stat().st_ino
        except OSError:
            return False
        return inode == vdu.namespace and all(self._links.index(name) for name in vdu.devices.values())

    def _end_process(self, vdu: Vdu) -> None:
        if vdu.started and daemon.start_time(vdu.pid) == vdu.started:
            daemon.kill(vdu.pid)

    def sweep(self) -> list[str]:
        """End processes that carry this site's label and belong to no VDU, and delete ports of none.

        Returns what was swept, for the log.
        """
        swept: list[str] = []
        known = {vdu.pid for vdu in self if vdu.pid}
        # A VDU between fork and execution has no label yet, so none of ours can be caught by mistake.
        for pid in labelled(self._label):
            if pid not in known and _leads_vdu(pid):
                daemon.kill(pid)
                swept.append(f"process {pid}")
        devices = {name for vdu in self for name in vdu.devices.values()}
        for link in self._links.all():
            if link.kind == "veth" and link.name.startswith("v") and link.name not in devices:
                self._links.delete(link.index)
                swept.append(f"interface {link.name}")
        return swept

    def console(self, vnfc_id: str) -> str:
        """The end of what a VNFC wrote, dead or alive, and the host keys that it told before.

        Raises:
            VimFault: the VNFC is not there.
        """
        vdu = self.get(vnfc_id)
        if vdu is None:
            raise VimFault(f'VNFC "{vnfc_id}" is not on this site.', about={"vnfc_id": vnfc_id})
        return logs.console(self.log(vdu), CONSOLE_MOST)

    # -- reaching in ----------------------------------------------------------------------------------------

    async def reach(self, vnfc_id: str, port: int, *, timeout_s: float = 3.0) -> socket.socket:
        """A stream connected to a TCP port inside a VNFC: on its loopback, else on its addresses.

        Raises:
            VimFault: the VNFC is not there or dead, or nothing accepts the connection.
        """
        vdu = self.get(vnfc_id)
        if vdu is None or vdu.state in (VduState.DEAD, VduState.STOPPED):
            raise VimFault(f'VNFC "{vnfc_id}" does not run on this site.', about={"vnfc_id": vnfc_id})
        try:
            namespace = os.open(f"/proc/{vdu.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise VimFault(f'VNFC "{vnfc_id}" has just died.', about={"vnfc_id": vnfc_id}) from error
        addresses = ["127.0.0.1", *(a.partition("/")[0] for p in vdu.vnfc.ports for a in p.addresses)]

        def connect() -> socket.socket:
            refusals: list[str] = []
            for address in addresses:
                try:
                    return socket.create_connection((address, port), timeout=timeout_s)
                except OSError as error:
                    refusals.append(f"{address}: {error.strerror or error}")
            raise VimFault(
                f'VNFC "{vnfc_id}" accepts no connection to TCP port {port} ({"; ".join(refusals)}).',
                about={"vnfc_id": vnfc_id},
            )

        try:
            return await asyncio.to_thread(namespaces.inside, namespace, connect)
        finally:
            os.close(namespace)


def _keeper_of(program: images.Program) -> images.Program:
    """What keeps the namespaces that a program will need, while it is stopped."""
    return replace(_KEEPER, is_confined=program.is_confined)


@contextlib.asynccontextmanager
async def _within(limit_s: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise VimFault(f"It was not ready within {limit_s:g} s.") from error


def _open_lifeline(pid: int) -> int | None:
    """The lifeline of a VDU that an earlier agent started, through the VDU's own end of it."""
    path = f"/proc/{pid}/fd/{LIFELINE_DESCRIPTOR}"
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(Path(path).stat().st_mode):
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return None


def labelled(label: str) -> list[int]:
    """Processes whose environment says that they are a VDU of the site with this label."""
    wanted = f"FARSITE_SITE={label}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and any(each.startswith(b"FARSITE_VDU=") for each in environment):
            found.append(int(entry.name))
    return found


def _leads_vdu(pid: int) -> bool:
    """Whether a process is the first of a process namespace right below ours, as a VDU's first is; its others
    end with it. Further below are namespaces that a function makes within its own, and inherit our label."""
    ours, its = _ids_of(os.getpid()), _ids_of(pid)
    return len(its) == len(ours) + 1 and its[-1] == "1"


def _ids_of(pid: int) -> list[str]:
    """A process's ids in the process namespaces that it is in, the outermost first; of an absent one none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return []
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return line.split()[1:]
    return []
