"""What a simulated VIM tells of its compute hosts and of itself, as an OpenStack tells an administrator."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from farsite.model.control_plane import ControlElement, ElementKind, ElementState, HostObservation, Sight
from farsite.vims.drivers.simulated.faults import Fault
from farsite.vims.drivers.simulated.knobs import ZoneSize, host_names
from farsite.vims.drivers.simulated.state import State

SERVICES = ("api", "scheduler", "store")
"""Control services of a VIM that has machines for them."""
_SILENCE = timedelta(seconds=60)
"""How long a service has been silent when it is called down."""


def look(state: State, zones: Sequence[ZoneSize], now: float) -> Sight:
    """Every host of every zone. One that fails has not answered since, one whose service does not report
    answers itself."""
    moment = datetime.fromtimestamp(now, UTC)
    hosts: list[HostObservation] = []
    for zone in zones:
        for host in host_names(zone):
            is_down = bool(_aimed_at(state, "host_down", host, now))
            is_silent = is_down or bool(_aimed_at(state, "host_service_down", host, now))
            disabled = _aimed_at(state, "host_disabled", host, now)
            hosts.append(
                HostObservation(
                    host=host,
                    region=zone.region,
                    zone=zone.name,
                    service=not is_silent,
                    management=not is_down if is_silent else None,
                    is_disabled=bool(disabled),
                    seen_at=moment - _SILENCE if is_silent else moment,
                    detail=disabled[0].words("reason", "") if disabled else "",
                )
            )
    return Sight(hosts=tuple(hosts), vim_time=moment)


def _aimed_at(state: State, kind: str, host: str, now: float) -> list[Fault]:
    return [one for one in state.standing(kind, now) if one.aims_at(host)]


def elements(sight: Sight, state: State, controllers: int, now: float) -> list[ControlElement]:
    """One service per host, and those that control them: a copy of each on every controller, or the one that
    answers for all."""
    of_hosts = [
        ControlElement(
            service="simulated-compute",
            kind=ElementKind.COMPUTE,
            region=one.region,
            host=one.host,
            zone=one.zone,
            state=ElementState.DOWN
            if one.service is False
            else ElementState.DISABLED
            if one.is_disabled
            else ElementState.UP,
            detail=one.detail,
            seen_at=one.seen_at,
        )
        for one in sight.hosts
    ]
    if not controllers:
        one_of_all = ControlElement(service="simulator", kind=ElementKind.CONTROL, state=ElementState.UP)
        return [one_of_all, *of_hosts]
    down = {one.target for one in state.standing("service_down", now)}
    copies = [
        ControlElement(
            service=service,
            kind=ElementKind.CONTROL,
            host=host,
            state=ElementState.DOWN if f"{service}@{host}" in down else ElementState.UP,
        )
        for service in SERVICES
        for host in controller_names(controllers)
    ]
    return [*copies, *of_hosts]


def controller_names(controllers: int) -> list[str]:
    """Names of the machines that control a VIM."""
    return [f"control-{number}" for number in range(1, controllers + 1)]


def why_silent(state: State, controllers: int, failover_s: float, now: float) -> str:
    """Why no call gets through now, because of copies of control services that are down; empty: it does."""
    down = state.standing("service_down", now) if controllers and state.faults else []
    for service in SERVICES:
        lost = {one.target for one in down if one.target.partition("@")[0] == service}
        if lost >= {f"{service}@{host}" for host in controller_names(controllers)} and lost:
            return f"no copy of {service} works"
        if any(one.target in lost and now < one.since + failover_s for one in down):
            return f"another copy of {service} takes over"
    return ""
