"""The host of a Linux site as it can be seen without its agent, and as other sites see it.

A site is one host: its network namespace stands for the machine. Nothing here starts or ends a process. Who
says what:

* *service* and *agent*: the site's agent answers a call.
* *power*: the namespace stands, because its agent lives or the namespace holder keeps it. Without the
  namespace nothing of the site can carry a packet, whoever may still run.
* *management*: somebody answers at the address that the registration names (`host_probe`, HOST:PORT); where
  it names none, the host is this machine and is there when its namespace is.
* *neighbours*: agents of other sites of this run directory see its address on the underlay. They do not, when
  they see one another and not this site; where nobody sees anybody, nobody can tell who is cut off.
* *others*: any of these agents answers us at all. They are asked only when something is wrong.
* *tenant*: another end of the site's tunnels answers the agent on the underlay; when the agent is silent,
  what the neighbours see of it, which is that same network.
"""

import asyncio
import contextlib
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

from farsite.model import clock
from farsite.model.control_plane import ControlElement, ElementKind, ElementState, HostObservation, Sight
from farsite.model.errors import FarsiteError, VimFault
from farsite.vims.driver import VimConnection
from farsite.vims.drivers.linux import paths, rpc
from farsite.vims.drivers.linux.agent import daemon, holder
from farsite.vims.probing import answers_at

_ANSWERS_WITHIN_S = 1.5
_PROBE_S = 1.0
_REGION = "local"
Told = Mapping[str, object]


class SiteHost:
    """The host of one Linux site. Remembers what its agent told last, to find it by when that is silent."""

    def __init__(self, connection: VimConnection) -> None:
        self._run_dir = connection.run_dir
        self._directory = paths.site_directory(connection.run_dir, connection.vim_id)
        self._probe = _probe(connection.settings.get("host_probe"))
        self._zone = _first_zone(connection.settings.get("zones"))
        self._name = paths.site_namespace(connection.vim_id)
        self._namespace = 0
        self._told_at: datetime | None = None

    async def look(self) -> Sight:
        """See `ObservesHosts.look`. What changes among VNFCs the agent tells as events."""
        told, management = await asyncio.gather(self._told(), self._answers_probe())
        now = clock.now()
        if told is not None:
            self._namespace, self._told_at = int(str(told["namespace"])), now
        tenant = _tenant(told)
        stands = await asyncio.to_thread(self._stands) if told is None else True
        neighbours, others = await self._seen_by_others() if told is None or tenant is False else (None, None)
        host = HostObservation(
            host=platform.node(),
            region=_REGION,
            zone=self._zone,
            service=told is not None,
            agent=None if told is not None else False,
            management=stands if management is None else management,
            power=stands,
            tenant=neighbours if told is None else tenant,
            neighbours=neighbours,
            others=others,
            seen_at=self._told_at,
        )
        return Sight(hosts=(host,), vim_time=now)

    async def is_cut_off(self) -> bool:
        """Whether the host does not answer at its own address either, so that an agent's silence says nothing
        about the agent."""
        return await self._answers_probe() is False

    async def control_plane(self) -> Sequence[ControlElement]:
        """The agent, and the holder of the host's namespaces, which all its sites share."""
        told, keeper = await asyncio.gather(self._told(), asyncio.to_thread(holder.process_id, self._run_dir))
        return [
            ControlElement(
                service="agent",
                kind=ElementKind.COMPUTE,
                region=_REGION,
                host=platform.node(),
                zone=self._zone,
                state=ElementState.UP if told is not None else ElementState.DOWN,
                detail=f"process {told['pid']}" if told is not None else "it does not answer",
                seen_at=self._told_at,
            ),
            ControlElement(
                service="holder",
                kind=ElementKind.CONTROL,
                region=_REGION,
                host=platform.node(),
                state=ElementState.UP if keeper else ElementState.DOWN,
                detail=f"process {keeper}" if keeper else "the namespace holder is gone",
            ),
        ]

    async def _told(self) -> Told | None:
        """What the agent tells; None when it does not answer. One of an older version cannot look around."""
        socket = paths.agent_socket(self._directory)
        try:
            answer = await rpc.call(socket, "look", {}, timeout_s=_ANSWERS_WITHIN_S)
            return cast(Told, answer)
        except VimFault:
            with contextlib.suppress(FarsiteError):
                answer = await rpc.call(socket, "ping", {}, timeout_s=_ANSWERS_WITHIN_S)
                return {"namespace": self._namespace, **cast(Told, answer)}
        except FarsiteError:
            pass
        return None

    async def _answers_probe(self) -> bool | None:
        if self._probe is None:
            return None
        return await answers_at(*self._probe, _PROBE_S)

    def _stands(self) -> bool | None:
        """Whether the site's namespace is there; None when it was never known."""
        if daemon.living(self._directory / "agent.pid"):
            return True
        if not self._namespace:
            return None
        keeper = holder.process_id(self._run_dir)
        return bool(keeper) and self._namespace in _namespaces_kept_by(keeper)

    async def _seen_by_others(self) -> tuple[bool | None, bool | None]:
        """Whether other sites see this one, and whether any other site answers us."""
        others = [
            one for one in self._run_dir.glob("sites/*/agent.sock") if one.parent.name != self._directory.name
        ]
        if not others:
            return None, None
        known = await asyncio.to_thread(holder.endpoints, self._run_dir)
        own = known.get(self._name, "")
        answers = await asyncio.gather(
            *(
                rpc.call(one, "sees", {"addresses": sorted(known.values())}, timeout_s=_ANSWERS_WITHIN_S)
                for one in others
            ),
            return_exceptions=True,
        )
        seen = [frozenset(cast("list[str]", one)) for one in answers if isinstance(one, list)]
        # An agent that refuses has answered.
        is_anybody = bool(seen) or any(isinstance(one, VimFault) for one in answers)
        if any(own in one for one in seen):
            return True, is_anybody
        return (False if own and any(seen) else None), is_anybody


def _tenant(told: Told | None) -> bool | None:
    """Whether the other ends of the tunnels are reached; None where there are none, or nobody looked."""
    peers = cast("Mapping[str, bool]", told.get("peers") or {}) if told else None
    return any(peers.values()) if peers else None


def _namespaces_kept_by(pid: int) -> frozenset[int]:
    """Inodes of the network namespaces that a process holds open."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError, ValueError):
                kind, _, inode = str(entry.readlink()).partition(":")
                if kind == "net":
                    found.add(int(inode.strip("[]")))
    return frozenset(found)


def _probe(given: object) -> tuple[str, int] | None:
    if given in (None, ""):
        return None
    host, _, port = str(given).rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise VimFault(f'The VIM\'s setting "host_probe" is {given!r}; give an address HOST:PORT.')
    return host.strip("[]"), int(port)


def _first_zone(given: object) -> str:
    zones = cast("list[object]", given if isinstance(given, list) else [])
    return str(zones[0]) if zones else "local"
