"""The VDUs of a site: launched, stopped, started again and reached into, beside what `standing` does."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.drivers.linux import paths
from farsite.vims.drivers.linux.agent import daemon, first_boot, images, namespaces, rewiring, users
from farsite.vims.drivers.linux.agent.launcher import READY_DESCRIPTOR, Launch, Launcher
from farsite.vims.drivers.linux.agent.limits import Limits
from farsite.vims.drivers.linux.agent.links import Links
from farsite.vims.drivers.linux.agent.standing import StandingVdus
from farsite.vims.drivers.linux.agent.vdu import Vdu, VduState, interface_name, mac_of

_KEPT_WITHIN_S = 5.0
_AT_ONCE = 8
_KEEPER = images.Program(arguments=(shutil.which("sleep", path="/usr/bin:/bin") or "/bin/sleep", "infinity"))
"""What stands for a function that is stopped: it does nothing and has the namespaces."""
_SEEN_AT = "/run/vdu"
"""Where a program of the host with users of its own sees its directory."""


class Vdus(StandingVdus):
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
        super().__init__(
            directory, links=links, limits=limits, label=label, has_users=has_users, changed=changed
        )
        self._launcher = launcher
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._hurried: dict[VnfcId, asyncio.Event] = {}

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
