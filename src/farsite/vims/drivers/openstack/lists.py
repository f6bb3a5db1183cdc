"""Lists of stacks, and of servers, asked for together: every list keeps Heat or Nova from its work.

Whoever asks while a list is under way waits for the next one, which is asked for all of them at once. So each
is told what was so after it asked, never before; and ten operations that begin in the same moment cost two
lists, not twenty.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 1.0
"""A list that takes longer is not waited for by the next: an answer that was lost delays nobody else."""


class _Next(Generic[T]):
    """A list that is still to be asked for; whoever comes before that joins it."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.found: asyncio.Future[list[T]] = asyncio.get_running_loop().create_future()
        # Those who asked may all have given up; then nobody takes a failure.
        self.found.add_done_callback(lambda done: None if done.cancelled() else done.exception())


class Lists(Generic[T]):
    """The lists of one kind of one region of a VIM; `name_of` says which of the names asked for one has."""

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Awaitable[list[T]]],
        name_of: Callable[[T], str],
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._ask = ask
        self._name_of = name_of
        self._patience_s = patience_s
        self._next: _Next[T] | None = None
        self._last: asyncio.Task[None] | None = None

    async def named(self, names: Sequence[str]) -> list[T]:
        """Those that have one of these names, as the VIM lists them after this call.

        Raises:
            VimFault, VimUnreachable: as the request that was made for all.
        """
        if self._next is None:
            self._next = _Next()
            self._last = asyncio.create_task(self._run(self._next, self._last), name="list")
        joined = self._next
        joined.names |= set(names)
        # Whoever gives up leaves the others their answer.
        found = await asyncio.shield(joined.found)
        return [one for one in found if self._name_of(one) in names]

    async def _run(self, mine: _Next[T], before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait({before}, timeout=self._patience_s)
        self._next = None
        try:
            found = await self._ask(sorted(mine.names))
        except asyncio.CancelledError:
            mine.found.cancel()
            raise
        except Exception as fault:
            mine.found.set_exception(fault)
        else:
            mine.found.set_result(found)
