"""SSH sessions that are kept for a few seconds, for the next step of the same piece of work on a device.

A change goes to its device in steps, and a session for each would be most of what they cost. A session is
one's own while it is used, and goes on only for whoever shows the same pins and credentials. It ends at the
first thing that goes wrong on it.
"""

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass

from farsite.vnfs.shell import Held, Ran
from farsite.vnfs.transports.passage import Through
from farsite.vnfs.transports.ssh import SshAccess, SshShell

_KEPT_S = 5.0
_MOST = 128


@dataclass(slots=True)
class _Kept:
    shell: "KeptShell"
    expires: asyncio.TimerHandle


class KeptSessions:
    """The sessions of one process that nobody uses just now. Used on one event loop."""

    def __init__(self, *, kept_s: float = _KEPT_S, most: int = _MOST) -> None:
        """`kept_s`: seconds until a session that nobody uses ends. `most`: how many there may be."""
        self._kept_s = kept_s
        self._most = most
        self._kept: dict[str, _Kept] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def shell(
        self, whose: str, device: str, access: SshAccess, through: Through | None, *, afresh: bool
    ) -> SshShell:
        """A shell on the session that was kept for `whose`, else on one of its own. Its `close` keeps the
        session.

        `whose` names one device and the work on it; nobody else's session is ever used. `afresh`: on a new
        session whatever is kept, because an old one does not show whether we still get in.

        Raises:
            NotSupported: this host has no SSH client.
        """
        kept = self._kept.pop(whose, None)
        if kept is not None:
            kept.expires.cancel()
            if kept.shell.client.access == access and not afresh:
                return kept.shell
            self._end(kept.shell)
        return KeptShell(self, whose, device, access, through)

    def shells(self, whose: str, *, afresh: bool) -> Callable[[str, SshAccess, Through | None], SshShell]:
        """What opens such shells for whom; see `shell`."""
        return functools.partial(self.shell, whose, afresh=afresh)

    def keep(self, shell: "KeptShell") -> bool:
        """Keep a shell's session for the next; whether there is room for it."""
        if self._is_closed or shell.whose in self._kept or len(self._kept) >= self._most:
            return False
        expires = asyncio.get_running_loop().call_later(self._kept_s, self._expire, shell)
        self._kept[shell.whose] = _Kept(shell, expires)
        return True

    async def close(self) -> None:
        """End all of them; from now on none is kept."""
        self._is_closed = True
        for kept in self._kept.values():
            kept.expires.cancel()
            self._end(kept.shell)
        self._kept.clear()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _expire(self, shell: "KeptShell") -> None:
        kept = self._kept.get(shell.whose)
        if kept is not None and kept.shell is shell:
            del self._kept[shell.whose]
            self._end(shell)

    def _end(self, shell: "KeptShell") -> None:
        task = asyncio.get_running_loop().create_task(shell.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class KeptShell(SshShell):
    """A shell whose session outlives it, unless something went wrong on it."""

    def __init__(
        self, sessions: KeptSessions, whose: str, device: str, access: SshAccess, through: Through | None
    ) -> None:
        super().__init__(device, access, through)
        self.whose = whose
        self._sessions = sessions
        self._is_sound = False

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        """See `Shell.run`."""
        # Only until it has ended well: who is cut in between leaves we do not know what on it.
        self._is_sound = False
        ran = await super().run(command, given=given, timeout_s=timeout_s)
        self._is_sound = True
        return ran

    async def hold(self, command: str, *, given: bytes) -> Held:
        """See `Holds.hold`. What is held may outlast us, so its session is not kept."""
        self._is_sound = False
        return await super().hold(command, given=given)

    async def close(self) -> None:
        """Keep the session for the next, or end it."""
        if not (self._is_sound and self._sessions.keep(self)):
            await self.end()

    async def end(self) -> None:
        """End the session, and remove what was written for it."""
        await super().close()
