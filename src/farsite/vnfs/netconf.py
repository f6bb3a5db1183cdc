"""The seam to devices that are managed over NETCONF: one session, and operations of RFC 6241 in it."""

from dataclasses import dataclass
from typing import Protocol

BASE = "urn:ietf:params:xml:ns:netconf:base:1.0"
"""Namespace of operations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcError:
    """One `rpc-error` of severity "error". Source: RFC 6241, 4.3."""

    tag: str
    app_tag: str = ""
    path: str = ""
    message: str = ""
    session_id: str = ""
    """Whose session stands in the way (`lock-denied`); "0" is somebody who came another way."""

    @property
    def words(self) -> str:
        """On one line, beginning with the tag: what error maps match."""
        said = " ".join(self.message.split())
        return f"{self.tag}: {said or self.app_tag}" + (f" at {self.path}" if self.path else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a device answered: XML of the whole `rpc-reply`, and its errors."""

    xml: str
    errors: tuple[RpcError, ...] = ()

    @property
    def words(self) -> str:
        return "\n".join(one.words for one in self.errors)


class Netconf(Protocol):
    """One NETCONF session with one device."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What the device announced when the session was opened (URIs)."""
        ...

    async def open(self) -> None:
        """Open the session where there is none.

        Raises:
            VnfUnreachable: no connection.
            VnfFault: the device refuses us (credentials, host key), or offers no NETCONF.
        """
        ...

    async def ask(self, operation: str, *, timeout_s: float = 60.0) -> Reply:
        """Have an operation done: XML in the namespace `BASE`, without its `rpc`.

        A session that has ended is not opened anew: with it went its locks.

        Raises:
            VnfUnreachable: the session broke off, or no answer in time; the session is at its end then, and
                the operation may have been done.
            VnfFault: the answer cannot be read.
        """
        ...

    async def close(self) -> None: ...
