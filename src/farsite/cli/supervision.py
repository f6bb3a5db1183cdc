"""Tells whoever started this process how it is: systemd, or another that speaks its protocol.

A supervisor sees by itself that a process has ended. That one is frozen, or that its event loop stands still,
it sees only if the process says again and again that it runs, and stops saying so. The protocol is a datagram
on a socket whose name the supervisor leaves in the environment; where it left none, nothing is told.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, MutableMapping

_BEATS = 4
"""How often it is told, within the time after which silence counts as a standstill, that the loop runs."""
_LOOK_S = 1.0


class Supervisor:
    """The supervisor of this process, if it has one that wants to be told."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes what concerns it out of the environment: what we start has nothing to tell there."""
        self._address = environment.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        pid = environment.pop("WATCHDOG_PID", "")
        within_us = environment.pop("WATCHDOG_USEC", "")
        is_meant = pid in ("", str(os.getpid())) and within_us.isdecimal()
        self.watchdog_s = int(within_us) / 1e6 if is_meant and self._address else 0.0
        """After so many silent seconds it takes us for hung; 0: it does not ask."""
        self._status = ""

    def tell(self, *words: str) -> None:
        """Say something in sd_notify's words; a supervisor that does not listen is no reason to stop."""
        if not self._address or not words:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            # On the event loop: a queue that is full must not hold up what it is told about.
            to.setblocking(False)
            to.sendto("\n".join(words).encode(), self._address)

    async def keep_telling(self, status: Callable[[], str]) -> None:
        """Say, until cancelled, that the event loop runs, and how the process is whenever that changes."""
        if not self._address:
            return
        while True:
            now = status()
            news = [f"STATUS={now}"] if now != self._status else []
            self._status = now
            self.tell("WATCHDOG=1", *news)
            await asyncio.sleep(min(self.watchdog_s / _BEATS, _LOOK_S) if self.watchdog_s else _LOOK_S)
