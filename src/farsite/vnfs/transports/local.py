"""A shell of this machine, for products that run beside a broker."""

import asyncio
import contextlib
import os
import signal

from farsite.model.errors import VnfUnreachable
from farsite.vnfs.shell import Ran


class LocalShell:
    """Runs commands here; with `within`, by a program in front (such as `ip netns exec NAME`)."""

    def __init__(self, within: tuple[str, ...] = ()) -> None:
        self._within = within
        self._running: asyncio.subprocess.Process | None = None
        self._is_cut = False

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *self._within, "sh", "-c", command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, start_new_session=True,
        )  # fmt: skip
        self._running = process
        try:
            async with asyncio.timeout(timeout_s):
                output, errors = await process.communicate(given)
        except TimeoutError as error:
            self._kill()
            raise VnfUnreachable(f"The command did not end within {timeout_s:g} s.") from error
        if self._is_cut:
            raise VnfUnreachable("The connection broke off.")
        return Ran(status=process.returncode or 0, output=output.decode(), errors=errors.decode())

    def cut(self) -> None:
        """End whatever runs, as sshd does with a session whose connection is lost."""
        self._is_cut = True
        self._kill()

    def _kill(self) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)

    async def close(self) -> None:
        pass
