"""One OpenStack as the rest of the driver uses it: calls in threads of its own, and two kinds of failure.

openstacksdk is synchronous. Each VIM has a small pool of threads, so that one that hangs fills its own pool
and delays nobody else. Every call ends within a limit, whatever the VIM does.
"""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from farsite.model.errors import VimFault, VimUnreachable
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.openstack.access import Access, read_access
from farsite.vims.drivers.openstack.own_threads import OwnThreads

if TYPE_CHECKING:
    import openstack.connection

    from farsite.vims.drivers.openstack.session import Sessions

T = TypeVar("T")

THREADS = 8
"""Calls to one VIM at a time; more wait in line."""
_LIMIT_S = 120


class Cloud:
    """The way to one VIM: one token for all its regions, used by all calls until it is refused."""

    def __init__(self, connection: VimConnection) -> None:
        self._connection = connection
        self._pool = OwnThreads(THREADS, name=f"vim-{connection.name}")
        self._sessions: Sessions | None = None
        self._access: Access | None = None
        self._regions_of: tuple[object, tuple[str, ...]] = (None, ())
        """A token, and the regions that its catalogue lets us use."""
        self._is_closed = False
        self._making = threading.Lock()

    @property
    def name(self) -> str:
        """The VIM's name, for people."""
        return self._connection.name

    @property
    def registration(self) -> VimConnection:
        """The registration this cloud was made from."""
        return self._connection

    @property
    def logins(self) -> int:
        """How often the password or secret was presented so far."""
        return self._sessions.logins if self._sessions else 0

    async def call(
        self,
        region: str,
        work: "Callable[[openstack.connection.Connection], T]",
        *,
        what: str,
        limit_s: float = _LIMIT_S,
    ) -> T:
        """Do `work` with the SDK connection of a region, in a thread; an empty region is the default one.

        `what` completes the sentence "the VIM refuses to ...". A call that is given up goes on in its
        thread until the VIM answers or the read limit ends it: its outcome is unknown.

        Raises:
            VimFault: the VIM refuses, in its own words, with status and request id in `about`; or it has
                no such region.
            VimUnreachable: no answer within `limit_s`, a broken one, or the connection was lost.
        """
        return await self.run(
            lambda sessions: work(sessions.connection(self._region(sessions, region))),
            what=what,
            limit_s=limit_s,
        )

    async def run(self, work: "Callable[[Sessions], T]", *, what: str, limit_s: float = _LIMIT_S) -> T:
        """Like `call`, with the sessions themselves."""
        if self._is_closed:
            raise VimUnreachable(f'VIM "{self.name}" was not asked to {what}: its driver is closed.')
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._pool, functools.partial(self._guarded, work, what))
        try:
            async with asyncio.timeout(limit_s):
                return await done
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_closed and task is not None and not task.cancelling():
                # Nobody cancelled the caller; its call went with the line of those that were waiting.
                raise VimUnreachable(
                    f'VIM "{self.name}" was not asked to {what}: its registration has changed meanwhile.'
                ) from None
            raise
        except TimeoutError as error:
            raise VimUnreachable(
                f'VIM "{self.name}" did not {what} within {limit_s:g} s. Look at its services '
                f"(farsite vim show {self.name}); what was under way may still happen."
            ) from error

    async def regions(self) -> tuple[str, ...]:
        """The regions we may use, the default one first.

        Raises:
            VimFault: the registration names regions that the VIM does not have.
        """
        # Everything that is asked of a VIM begins with this, and a thread costs more than the answer.
        token = self._sessions.held if self._sessions and not self._is_closed else None
        if token is not None and self._regions_of[0] is token:
            return self._regions_of[1]
        self._regions_of = await self.run(
            lambda sessions: (sessions.token(), self._regions(sessions)), what="list its regions"
        )
        return self._regions_of[1]

    async def default_region(self) -> str:
        """The region that is meant where none is named."""
        return (await self.regions())[0]

    async def project_id(self) -> str:
        """Id of the project that everything is deployed in."""
        return await self.run(lambda sessions: sessions.token().project_id or "", what="name the project")

    async def account(self) -> dict[str, str]:
        """What the token says of us, in the words of a registration; without what it leaves out."""
        return await self.run(lambda sessions: sessions.account(), what="say who we are")

    async def roles(self) -> tuple[str, ...]:
        """Names of the roles that the registered user has in the project."""
        return await self.run(
            lambda sessions: tuple(sessions.token().role_names or ()), what="name our roles"
        )

    async def has_service(self, region: str, service_type: str) -> bool:
        """Whether the catalogue has an endpoint of this type (`orchestration`, `block-storage` ...)."""
        return bool(await self.endpoint(region, service_type))

    async def endpoint(self, region: str, service_type: str) -> str:
        """URL of a service in a region; empty if the catalogue has none."""
        return (await self.endpoints(region, service_type))[service_type]

    async def endpoints(self, region: str, *service_types: str) -> dict[str, str]:
        """The same of several services, by their type."""

        def find(sessions: "Sessions") -> dict[str, str]:
            there = self._region(sessions, region)
            return {one: sessions.endpoint(there, one) for one in service_types}

        return await self.run(find, what=f"name its {' and '.join(service_types)} endpoint")

    async def newest_microversion(self, region: str, service_type: str) -> tuple[int, int]:
        """The newest microversion of a service in a region; (0, 0) if it is not told."""
        return await self.run(
            lambda sessions: sessions.newest_microversion(self._region(sessions, region), service_type),
            what=f"tell the versions of its {service_type} API",
        )

    async def close(self) -> None:
        """Let go of threads and connections; calls that are under way end by themselves."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._sessions:
            await asyncio.to_thread(self._sessions.close)

    # -- in a thread of the pool

    def _guarded(self, work: "Callable[[Sessions], T]", what: str) -> T:
        from farsite.vims.drivers.openstack.faults import translate
        from farsite.vims.drivers.openstack.session import Sessions

        with self._making:
            if self._sessions is None:
                self._access = read_access(self._connection)
                self._sessions = Sessions(self._access, connections=THREADS)
            sessions = self._sessions
        try:
            return work(sessions)
        except Exception as error:
            meant = translate(error, vim=self.name, what=what, service_at=sessions.service_at)
            if meant is None or meant is error:
                raise
            raise meant from error

    def _regions(self, sessions: "Sessions") -> tuple[str, ...]:
        assert self._access is not None
        offered, wanted = sessions.regions(), self._access.regions
        unknown = [one for one in wanted if one not in offered]
        if unknown or not offered:
            raise VimFault(
                f'VIM "{self.name}" has no region "{unknown[0]}" for this project. '
                f"Its regions: {', '.join(offered) or 'none'}."
                if unknown
                else f'The catalogue of VIM "{self.name}" is empty for this project, so nothing can be '
                "deployed in it. Ask its operator for endpoints, or register another project."
            )
        return sessions.wanted_regions()

    def _region(self, sessions: "Sessions", region: str) -> str:
        usable = self._regions(sessions)
        if region and region not in usable:
            raise VimFault(f'VIM "{self.name}" has no region "{region}". Its regions: {", ".join(usable)}.')
        return region or usable[0]
