"""The seam to devices that are managed by running programs in them: what a shell can do."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended and what it said."""

    status: int
    output: str
    errors: str

    @property
    def words(self) -> str:
        """What it said, errors first: vendors differ in where they put them."""
        return "\n".join(part for part in (self.errors.strip(), self.output.strip()) if part)


class Shell(Protocol):
    """Runs programs inside one device."""

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        """Run a POSIX shell command with `given` on its standard input.

        The locale is C, there is no terminal and no paging; output beyond 32 MiB is a fault.

        Raises:
            VnfUnreachable: no connection, or it broke off, or the command did not end in time. It may have
                been executed.
            VnfFault: the device refuses us (credentials, host key).
        """
        ...

    async def close(self) -> None: ...


class Held(Protocol):
    """A command that goes on while it is spoken with, over a session of its own."""

    async def opened(self, *, timeout_s: float) -> str:
        """The first line that it prints; empty when it ended without one.

        Raises:
            VnfUnreachable: no line in time.
        """
        ...

    async def say(self, word: str) -> None:
        """Write it a line.

        Raises:
            VnfUnreachable: the session is at its end.
        """
        ...

    async def ended(self, *, timeout_s: float | None = None) -> Ran:
        """Wait until it ends, None: however long that takes. May be asked again after a time that ran out.

        Raises:
            TimeoutError: it goes on.
            VnfUnreachable: the session broke off.
            VnfFault: the device refused us.
        """
        ...

    async def drop(self) -> None:
        """Let go of it; the device sees its input end."""
        ...


class Holds(Shell, Protocol):
    """A shell that can hold a session open beside the commands that it runs."""

    async def hold(self, command: str, *, given: bytes) -> Held:
        """Start a command, with `given` as the beginning of its standard input."""
        ...
