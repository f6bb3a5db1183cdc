"""The VDUs that stand on a site: watched, removed, adopted after an agent's death, swept when orphaned.

The record of a VDU is written before its program executes and tells process id, start time and
network-namespace inode; a process is only taken for the VDU when all three agree.
"""

import asyncio
import contextlib
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from farsite.model.errors import VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import CONSOLE_MOST
from farsite.vims.drivers.linux import paths, wire
from farsite.vims.drivers.linux.agent import daemon, logs, orphans, users
from farsite.vims.drivers.linux.agent.launcher import LIFELINE_DESCRIPTOR
from farsite.vims.drivers.linux.agent.limits import Limits
from farsite.vims.drivers.linux.agent.links import Links
from farsite.vims.drivers.linux.agent.vdu import Vdu, VduState


class StandingVdus:
    """What stands on the site, by VNFC: looked at, watched, removed, adopted."""

    def __init__(
        self,
        directory: Path,
        *,
        links: Links,
        limits: Limits,
        label: str,
        has_users: bool,
        changed: Callable[[Vdu], None],
    ) -> None:
        """`changed` is called at once when a VDU has died or begun to serve, before anything slow."""
        self._records = paths.make_private(directory / "vdus")
        self._work = paths.make_private(directory / "work")
        self._logs = logs.Logs(directory / "logs")
        self._links = links
        self._limits = limits
        self._label = label
        self._has_users = has_users
        self._changed = changed
        self._found: dict[VnfcId, Vdu] = {}
        self._pidfds: dict[VnfcId, int] = {}
        self._ended: dict[VnfcId, asyncio.Event] = {}
        self._lifelines: dict[VnfcId, int] = {}
        self._leaving: set[VnfcId] = set()

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

    def console(self, vnfc_id: str) -> str:
        """The end of what a VNFC wrote, dead or alive, and the host keys that it told before.

        Raises:
            VimFault: the VNFC is not there.
        """
        vdu = self.get(vnfc_id)
        if vdu is None:
            raise VimFault(f'VNFC "{vnfc_id}" is not on this site.', about={"vnfc_id": vnfc_id})
        return logs.console(self.log(vdu), CONSOLE_MOST)

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

    def _last_words(self, vdu: Vdu) -> str:
        if vdu.vnfc.holds_secrets:
            return "What it wrote may hold secrets of its boot data: see farsite vnf console."
        words = logs.last_lines(self.log(vdu), 4)
        return f"Its last words: {' | '.join(words)}" if words else ""

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
        for pid in orphans.labelled(self._label):
            if pid not in known and orphans.leads_vdu(pid):
                daemon.kill(pid)
                swept.append(f"process {pid}")
        devices = {name for vdu in self for name in vdu.devices.values()}
        for link in self._links.all():
            if link.kind == "veth" and link.name.startswith("v") and link.name not in devices:
                self._links.delete(link.index)
                swept.append(f"interface {link.name}")
        return swept


def _open_lifeline(pid: int) -> int | None:
    """The lifeline of a VDU that an earlier agent started, through the VDU's own end of it."""
    path = f"/proc/{pid}/fd/{LIFELINE_DESCRIPTOR}"
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(Path(path).stat().st_mode):
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    return None
