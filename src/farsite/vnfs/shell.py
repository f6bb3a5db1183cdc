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
