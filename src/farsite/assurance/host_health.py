"""From what is seen of hosts to the health that is published of them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime

from farsite.assurance.evidence import Evidence, Finding, Verdict
from farsite.assurance.host_states import evidence_of, findings
from farsite.model.control_plane import ControlPlane, ElementKind, ElementState, HostObservation
from farsite.model.host_health import HostHealth, HostState
from farsite.model.vim import Vim

_BY_ITSELF = "AUTO:"
"""Nova begins its reason so where it took a host out of service itself, because its hypervisor is gone."""
_PARTS = (ElementKind.NETWORK, ElementKind.STORAGE)
"""Kinds of services that stand on compute hosts beside what runs the servers."""
_SAYS_NOTHING = frozenset({Verdict.UNKNOWN, Verdict.PARTITION_OF_US})


def state_of(
    one: HostObservation, finding: Finding | None, *, is_dead: bool, silent_parts: Sequence[str] = ()
) -> tuple[HostState, str]:
    """The state of a host and why. `finding` is the verdict where there was one, `is_dead` what was concluded
    of it, now or before, and not taken back; `silent_parts` are other services there that do not report."""
    if is_dead:
        return HostState.DOWN, finding.reason if finding else "it was concluded to be dead"
    if finding is not None:
        unclear = finding.verdict in _SAYS_NOTHING
        return HostState.UNKNOWN if unclear else HostState.DEGRADED, finding.reason
    if one.is_disabled and one.detail.startswith(_BY_ITSELF):
        return HostState.DEGRADED, one.detail
    if one.is_disabled:
        stated = f": {one.detail}" if one.detail else ""
        off = "" if one.service else ", and its service is off"
        return HostState.MAINTENANCE, f"its operators took it out of service{stated}{off}"
    if one.service is None:
        return HostState.UNKNOWN, "nobody told about its service"
    if silent_parts:
        return HostState.DEGRADED, f"{', '.join(silent_parts)} on it: no report"
    if one.tenant is False:
        return HostState.DEGRADED, "its data plane reaches nobody; who is cut off, nobody can tell"
    if one.agent is False:
        return HostState.DEGRADED, "another agent on it does not report"
    return HostState.UP, ""


def health_of(vim: Vim, plane: ControlPlane, now: datetime) -> tuple[HostHealth, ...]:
    """The health of every host that the VIM names, as it was seen last. A state that the plane's own health
    has already keeps its `since`."""
    known = {(one.region, one.host): one for one in plane.health}
    found = findings(plane.hosts, plane.vim_time)
    silent: dict[tuple[str, str], list[str]] = {}
    for one in plane.elements:
        if one.kind in _PARTS and one.state in (ElementState.DOWN, ElementState.FORCED_DOWN):
            silent.setdefault((one.region, one.host), []).append(one.service)
    health: list[HostHealth] = []
    for one in plane.hosts:
        finding, place = found.get(one.host), (one.region, one.host)
        state, reason = state_of(
            one, finding, is_dead=one.host in plane.dead, silent_parts=sorted(silent.get(place, ()))
        )
        was = known.get(place)
        health.append(
            HostHealth(
                vim_id=vim.id,
                vim=vim.name,
                host=one.host,
                region=one.region,
                zone=one.zone,
                state=state,
                since=was.since if was is not None and was.state is state else now,
                verdict=finding.verdict.value if finding else "",
                confidence=finding.confidence if finding else 1.0,
                reason=reason,
                evidence=told_by(evidence_of(one, plane.hosts, plane.vim_time)),
                permitted=tuple(sorted(finding.permitted)) if finding else (),
            )
        )
    return tuple(health)


def out_of_sight(plane: ControlPlane, reason: str, now: datetime) -> tuple[HostHealth, ...]:
    """The same hosts when their VIM tells nothing any more: what is not seen is not known. What was concluded
    to be dead stays so, as do the alarms of it."""
    return tuple(
        one
        if one.state in (HostState.DOWN, HostState.UNKNOWN)
        else HostHealth(
            vim_id=one.vim_id,
            vim=one.vim,
            host=one.host,
            region=one.region,
            zone=one.zone,
            state=HostState.UNKNOWN,
            since=now,
            verdict=Verdict.UNKNOWN.value,
            confidence=0.0,
            reason=reason,
        )
        for one in plane.health
    )


def news(before: Sequence[HostHealth], now: Sequence[HostHealth]) -> list[HostHealth]:
    """Those of which something other than the reason's wording has changed."""
    known = {(one.region, one.host): one for one in before}
    return [one for one in now if _gist(known.get((one.region, one.host))) != _gist(one)]


def told_by(evidence: Evidence) -> Mapping[str, str]:
    """Observer -> what it says, of those that say anything."""
    return {
        one.name: str(getattr(evidence, one.name))
        for one in fields(evidence)
        if getattr(evidence, one.name) != "unknown"
    }


def _gist(one: HostHealth | None) -> object:
    return one and (one.state, one.verdict, one.zone)
