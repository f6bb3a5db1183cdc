"""What can lie between an adapter and its device: it sees each exchange, and may do something else with it.

The engines talk through small seams (`shell`, `rest`, `netconf`). Whoever tries an adapter puts a `Between`
into it by `interpose`, and so loses answers, writes down what was exchanged, or answers in the device's
place, for every product alike. The transport at work stays the one that operators use, and whoever opens
devices knows nothing of it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from farsite.model.errors import VnfUnreachable
from farsite.vnfs.adapter import ErrorCode
from farsite.vnfs.netconf import Netconf, Reply
from farsite.vnfs.rest import HttpAnswer, Rest
from farsite.vnfs.shell import Ran, Shell


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellRequest:
    """A command, with what it is given on its standard input."""

    command: str
    given: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestRequest:
    """A request over HTTP."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetconfRequest:
    """An operation of NETCONF."""

    operation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetconfOpening:
    """A session is opened where there is none; its answer are the capabilities that the device announces."""


Request = ShellRequest | RestRequest | NetconfRequest | NetconfOpening
Answer = TypeVar("Answer", Ran, HttpAnswer, Reply, frozenset[str])
CarryOut = Callable[[], Awaitable[Answer]]


class Between:
    """Lies between one adapter and its device. As it stands it lets everything through."""

    async def exchange(
        self,
        request: Request,  # noqa: ARG002  (for those that look at it)
        carry_out: CarryOut[Answer],
    ) -> Answer:
        """The answer to a request; `carry_out` has the device do it, and may raise as the seam says."""
        return await carry_out()

    def now(self, told: Callable[[], float]) -> float:
        """What time it is (POSIX), for who asked; `told` looks at the clock."""
        return told()

    async def pause(self, seconds: float, passes: Callable[[float], Awaitable[None]]) -> None:
        """An adapter waits for its device; `passes` lets the time go by."""
        await passes(seconds)


@runtime_checkable
class Interposable(Protocol):
    """An adapter into which something can be put."""

    def interpose(self, between: Between) -> None:
        """Put it between this adapter and its device, before anything is asked.

        Raises:
            NotSupported: not everything that this adapter does goes through such a seam.
        """
        ...


class InterposedShell:
    """A shell with something before it."""

    def __init__(self, shell: Shell, between: Between) -> None:
        self._shell = shell
        self._between = between

    async def run(self, command: str, *, given: bytes = b"", timeout_s: float = 30.0) -> Ran:
        """See `Shell.run`."""
        return await self._between.exchange(
            ShellRequest(command=command, given=given),
            lambda: self._shell.run(command, given=given, timeout_s=timeout_s),
        )

    async def close(self) -> None:
        await self._shell.close()


class InterposedRest:
    """A way to send requests, with something before it."""

    def __init__(self, rest: Rest, between: Between) -> None:
        self._rest = rest
        self._between = between

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 30.0,
    ) -> HttpAnswer:
        """See `Rest.ask`."""
        return await self._between.exchange(
            RestRequest(method=method, path=path, headers=tuple((headers or {}).items()), body=body),
            lambda: self._rest.ask(method, path, headers=headers, body=body, timeout_s=timeout_s),
        )

    async def close(self) -> None:
        await self._rest.close()


class InterposedNetconf:
    """A session with something before it. An answer that did not come is its end, as the seam has it."""

    def __init__(self, netconf: Netconf, between: Between) -> None:
        self._netconf = netconf
        self._between = between
        self._capabilities: frozenset[str] = frozenset()
        self._has_ended = False

    @property
    def capabilities(self) -> frozenset[str]:
        """See `Netconf.capabilities`."""
        return self._capabilities

    async def open(self) -> None:
        """See `Netconf.open`."""
        self._capabilities = await self._between.exchange(NetconfOpening(), self._opened)
        self._has_ended = False

    async def _opened(self) -> frozenset[str]:
        await self._netconf.open()
        return self._netconf.capabilities

    async def ask(self, operation: str, *, timeout_s: float = 60.0) -> Reply:
        """See `Netconf.ask`."""
        if self._has_ended:
            raise VnfUnreachable("The session has ended.", about={"code": ErrorCode.UNREACHABLE})
        try:
            return await self._between.exchange(
                NetconfRequest(operation=operation),
                lambda: self._netconf.ask(operation, timeout_s=timeout_s),
            )
        except VnfUnreachable:
            self._has_ended = True
            raise

    async def close(self) -> None:
        await self._netconf.close()
