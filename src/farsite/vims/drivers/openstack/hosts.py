"""Compute hosts and control nodes as an OpenStack tells of them, and what changed among our servers.

Nova, Neutron, Cinder and Heat each list their own processes with the time at which each reported last. Only
administrators may read these lists, so for a member they are empty. Whether a host itself lives none of them
knows: where the registration names a port that its hosts have (`host_probe_port`), the host is asked too. A
connection that is refused was refused by somebody, so the host is up.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

from farsite.model import clock
from farsite.model.control_plane import (
    ControlElement,
    ElementKind,
    ElementState,
    HostObservation,
    Sight,
)
from farsite.model.errors import VimFault
from farsite.vims.drivers.openstack import hot
from farsite.vims.drivers.openstack.access import seconds_of
from farsite.vims.drivers.openstack.cloud import Cloud
from farsite.vims.drivers.openstack.hot import Json
from farsite.vims.drivers.openstack.stacks import answer, entries, inner, text
from farsite.vims.probing import answers_at

if TYPE_CHECKING:
    from openstack.connection import Connection
    from openstack.proxy import Proxy

_COMPUTE = "nova-compute"
_FORCED_DOWN_SINCE = "2.11"
_LIMIT_S = 10.0
"""A look is made anew each second; one that hangs is no news of hosts."""
_ADDRESSES_KEPT_S = 60.0
_OVERLAP = timedelta(seconds=2)
"""Nova counts changes in whole seconds, and its copies' clocks differ a little."""
_SHARE_OF_TIME = 0.05
"""Of the time at most so much is spent on asking Nova for changed servers: its list with details is dear, and
dearest while many of them change."""
_AT_LEAST_EVERY_S = 5.0
_REMEMBERED = 2000
ANY = ""
"""In place of a VNF: something of ours has changed, and nothing says of whom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one region said."""

    services: tuple[Json, ...] = ()
    agents: Mapping[str, bool] | None = None
    servers: tuple[Json, ...] | None = None
    """Those that changed; None: not asked this time."""
    servers_took_s: float = 0.0
    asked_at: datetime | None = None
    """By the clock of the VIM, or a little before."""


class Hosts:
    """The hosts of one VIM."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        settings = cloud.registration.settings
        self._port = _port(settings.get("host_probe_port"))
        self._stated = _addresses(settings.get("host_addresses"))
        self._declared = _declared(settings.get("control_plane"))
        self._probe_s = seconds_of(cloud.registration, "host_probe_timeout_s", 1.0)
        self._addresses: dict[str, Mapping[str, str]] = {}
        self._addresses_at: dict[str, float] = {}
        self._since: dict[str, datetime] = {}
        self._servers_due_at: dict[str, float] = {}
        self._seen: dict[str, dict[str, str]] = {}

    async def look(self) -> Sight:
        """See `ObservesHosts.look`."""
        regions = await self._cloud.regions()
        told = await asyncio.gather(
            *(
                self._cloud.call(
                    region,
                    partial(
                        _look,
                        since=self._since.get(region),
                        with_servers=time.monotonic() >= self._servers_due_at.get(region, 0.0),
                    ),
                    what="tell of its hosts",
                    limit_s=_LIMIT_S,
                )
                for region in regions
            )
        )
        hosts: list[HostObservation] = []
        changed: set[str] = set()
        for region, found in zip(regions, told, strict=True):
            hosts += await self._asked_themselves(region, observations(region, found.services, found.agents))
            changed |= self._news(region, found)
        reported = [_moment(one) for found in told for one in found.services]
        return Sight(
            hosts=tuple(hosts),
            vim_time=max((one for one in reported if one is not None), default=None),
            changed=frozenset(changed),
        )

    def expect_changes(self) -> None:
        """Some server is said to have changed: the next look asks for them, however long the last took."""
        self._servers_due_at.clear()

    async def control_plane(self) -> Sequence[ControlElement]:
        """See `ObservesHosts.control_plane`."""
        regions = await self._cloud.regions()
        told = await asyncio.gather(
            *(
                self._cloud.call(
                    region, partial(_elements, region=region), what="list its services", limit_s=_LIMIT_S
                )
                for region in regions
            )
        )
        announced = await self._cloud.run(_announced, what="name its endpoints")
        declared = await asyncio.gather(*(self._tried(*one) for one in self._declared))
        return [*announced, *(one for found in told for one in found), *declared]

    def _news(self, region: str, found: _Found) -> set[str]:
        """Whose servers changed since the look before. The first look has none: all is as old as we are."""
        if found.servers is None:
            return set()
        pause_s = min(found.servers_took_s / _SHARE_OF_TIME, _AT_LEAST_EVERY_S)
        self._servers_due_at[region] = time.monotonic() + pause_s
        before = self._seen.get(region)
        known = self._seen.setdefault(region, {})
        changed: set[str] = set()
        for one in found.servers:
            state = "/".join(
                text(one, key) for key in ("status", "updated", "OS-EXT-STS:task_state", _HOST, "host_status")
            )
            if known.get(text(one, "id")) != state:
                known[text(one, "id")] = state
                changed.add(text(inner(one, "metadata"), hot.VNF) or ANY)
        while len(known) > _REMEMBERED:
            del known[next(iter(known))]
        if found.asked_at is not None:
            self._since[region] = found.asked_at - _OVERLAP
        return set() if before is None else changed

    # -- the hosts themselves

    async def _asked_themselves(
        self, region: str, found: Sequence[HostObservation]
    ) -> Sequence[HostObservation]:
        """The same, with whether those answer of which Nova says that they are down."""
        silent = [one for one in found if one.service is False]
        if not self._port or not silent:
            return found
        if time.monotonic() - self._addresses_at.get(region, float("-inf")) > _ADDRESSES_KEPT_S:
            self._addresses[region] = await self._cloud.call(
                region, _hypervisors, what="tell its hosts' addresses", limit_s=_LIMIT_S
            )
            self._addresses_at[region] = time.monotonic()
        known = {**self._addresses[region], **self._stated}
        asked = [one.host for one in silent if one.host in known]
        answers = await asyncio.gather(*(answers_at(known[one], self._port, self._probe_s) for one in asked))
        answered = dict(zip(asked, answers, strict=True))
        return [replace(one, management=answered.get(one.host, one.management)) for one in found]

    async def _tried(self, service: str, host: str, port: int) -> ControlElement:
        is_up = await answers_at(host, port, self._probe_s, is_refused_up=False)
        return ControlElement(
            service=service,
            kind=ElementKind.DECLARED,
            host=f"{host}:{port}",
            state=ElementState.UP if is_up else ElementState.DOWN,
            detail="" if is_up else f"nobody takes a connection within {self._probe_s:g} s",
        )


# -- in a thread --------------------------------------------------------------------------------------------

_HOST = "OS-EXT-SRV-ATTR:host"


def _look(connection: "Connection", *, since: datetime | None, with_servers: bool) -> _Found:
    from farsite.vims.drivers.openstack.session import readable_json

    told = readable_json(connection.compute, "/os-services", microversion=_FORCED_DOWN_SINCE)
    services = tuple(entries(told or {}, "services"))
    is_all_well = all(text(one, "state") == "up" for one in services)
    when = since or clock.now() - _OVERLAP
    began = time.monotonic()
    servers = _changed_servers(connection, when) if with_servers else None
    reported = [moment for moment in map(_moment, services) if moment is not None]
    return _Found(
        services=services,
        agents=None if is_all_well else _agents_by_host(connection),
        servers=servers,
        servers_took_s=time.monotonic() - began,
        # What reported last shows the VIM's clock; ours may be another.
        asked_at=max(reported) if reported else when,
    )


def _changed_servers(connection: "Connection", since: datetime) -> tuple[Json, ...]:
    response = connection.compute.get(
        "/servers/detail", params={"changes-since": since.strftime("%Y-%m-%dT%H:%M:%SZ"), "limit": "1000"}
    )
    return tuple(entries(answer(response), "servers"))


def _agents_by_host(connection: "Connection") -> dict[str, bool]:
    """Whether any agent of Neutron lives there, of each host that has one."""
    found: dict[str, bool] = {}
    for one in _listed(connection.network, "/agents", "agents"):
        host = text(one, "host")
        found[host] = found.get(host, False) or bool(one.get("alive"))
    return found


def _hypervisors(connection: "Connection") -> dict[str, str]:
    found: dict[str, str] = {}
    for one in _listed(connection.compute, "/os-hypervisors/detail", "hypervisors"):
        host = text(inner(one, "service"), "host")
        if host and text(one, "host_ip"):
            found[host] = text(one, "host_ip")
    return found


def _listed(proxy: "Proxy", path: str, key: str, *, microversion: str | None = None) -> list[Json]:
    """A list of ours to read, or nothing where it is not for us."""
    from farsite.vims.drivers.openstack.session import readable_json

    return entries(readable_json(proxy, path, microversion=microversion) or {}, key)


def _elements(connection: "Connection", *, region: str) -> list[ControlElement]:
    nova = _listed(connection.compute, "/os-services", "services", microversion=_FORCED_DOWN_SINCE)
    return [
        *of_services(region, nova),
        *of_services(region, _listed(connection.block_storage, "/os-services", "services")),
        *of_agents(region, _listed(connection.network, "/agents", "agents")),
        *of_engines(region, _listed(connection.orchestration, "/services", "services")),
    ]


def _announced(sessions: "object") -> list[ControlElement]:
    """The APIs: where the catalogue says that they are. How they are, the heartbeats tell."""
    from farsite.vims.drivers.openstack.session import Sessions

    assert isinstance(sessions, Sessions)
    found: list[ControlElement] = []
    for region in sessions.wanted_regions():
        for service in sessions.catalogue():
            kind = str(service["type"])
            url = sessions.endpoint(region, kind)
            if url and kind != "nfv-orchestration":
                found.append(
                    ControlElement(
                        service=f"{service.get('name') or kind} API",
                        kind=ElementKind.API,
                        region=region,
                        detail=url,
                    )
                )
    return found


# -- pure


def observations(
    region: str, services: Iterable[Json], agents: Mapping[str, bool] | None
) -> list[HostObservation]:
    """What Nova's list of services, and Neutron's agents where they were asked, say of each compute host."""
    found: list[HostObservation] = []
    for one in services:
        if text(one, "binary") != _COMPUTE:
            continue
        host = text(one, "host")
        found.append(
            HostObservation(
                host=host,
                region=region,
                zone=text(one, "zone"),
                service=text(one, "state") == "up" and not one.get("forced_down"),
                agent=(agents or {}).get(host),
                is_forced_down=bool(one.get("forced_down")),
                is_disabled=text(one, "status") == "disabled",
                seen_at=_moment(one),
                detail=text(one, "disabled_reason"),
            )
        )
    return found


def of_services(region: str, services: Iterable[Json]) -> list[ControlElement]:
    """Elements of Nova's or Cinder's list."""
    found: list[ControlElement] = []
    for one in services:
        binary = text(one, "binary")
        kind = {_COMPUTE: ElementKind.COMPUTE, "cinder-volume": ElementKind.STORAGE}.get(
            binary, ElementKind.CONTROL
        )
        found.append(
            ControlElement(
                service=binary,
                kind=kind,
                region=region,
                host=text(one, "host"),
                zone=text(one, "zone"),
                state=_state(one),
                detail=text(one, "disabled_reason"),
                seen_at=_moment(one),
            )
        )
    return found


def _state(service: Json) -> ElementState:
    if service.get("forced_down"):
        return ElementState.FORCED_DOWN
    if text(service, "state") != "up":
        return ElementState.DOWN
    return ElementState.DISABLED if text(service, "status") == "disabled" else ElementState.UP


def of_agents(region: str, agents: Iterable[Json]) -> list[ControlElement]:
    """Elements of Neutron's list."""
    return [
        ControlElement(
            service=text(one, "binary") or text(one, "agent_type"),
            kind=ElementKind.NETWORK,
            region=region,
            host=text(one, "host"),
            zone=text(one, "availability_zone"),
            state=ElementState.DOWN
            if not one.get("alive")
            else ElementState.UP
            if one.get("admin_state_up", True)
            else ElementState.DISABLED,
            detail=text(one, "agent_type"),
            seen_at=_time(text(one, "heartbeat_timestamp")),
        )
        for one in agents
    ]


def of_engines(region: str, engines: Iterable[Json]) -> list[ControlElement]:
    """Elements of Heat's list: an engine is a process, and the record of one that ended stays a while, so of
    a host with a living one the dead are left out."""
    by_host: dict[str, list[Json]] = {}
    for one in engines:
        by_host.setdefault(text(one, "hostname") or text(one, "host"), []).append(one)
    found: list[ControlElement] = []
    for host, of_host in sorted(by_host.items()):
        living = [one for one in of_host if text(one, "status") == "up"]
        newest = max(living or of_host, key=lambda one: text(one, "updated_at"))
        found.append(
            ControlElement(
                service=text(newest, "binary") or "heat-engine",
                kind=ElementKind.CONTROL,
                region=region,
                host=host,
                state=ElementState.UP if living else ElementState.DOWN,
                detail=f"{len(living)} engine(s)" if living else "",
                seen_at=_time(text(newest, "updated_at")),
            )
        )
    return found


def _moment(service: Json) -> datetime | None:
    return _time(text(service, "updated_at"))


def _time(stated: str) -> datetime | None:
    """OpenStack writes times in UTC and mostly does not say so."""
    try:
        found = datetime.fromisoformat(stated)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _port(given: object) -> int:
    if given in (None, ""):
        return 0
    if isinstance(given, bool) or not str(given).isdigit() or not 0 < int(str(given)) < 65536:
        raise VimFault(f'The VIM\'s setting "host_probe_port" is {given!r}; give a TCP port.')
    return int(str(given))


def _addresses(given: object) -> dict[str, str]:
    """Addresses of hosts by name, where Nova's own (`host_ip`) is not the one to be asked."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise VimFault(f'The VIM\'s setting "host_addresses" is {given!r}; give addresses by name of host.')
    return {str(host): str(address) for host, address in cast("Mapping[object, object]", given).items()}


def _declared(given: object) -> list[tuple[str, str, int]]:
    """What the registration declares: `[{"service": "mariadb", "address": "10.0.0.5:3306"}]`."""
    found: list[tuple[str, str, int]] = []
    for one in cast("list[object]", given if isinstance(given, list | tuple) else []):
        entry = cast("Mapping[str, object]", one if isinstance(one, Mapping) else {})
        host, _, port = str(entry.get("address", "")).rpartition(":")
        if not entry.get("service") or not host or not port.isdigit():
            raise VimFault(
                f'The VIM\'s setting "control_plane" has the entry {one!r}; give each a service and an '
                f"address HOST:PORT."
            )
        found.append((str(entry["service"]), host.strip("[]"), int(port)))
    return found
