"""How a compute host is, from what was seen of it: one state, since when, and why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from farsite.assurance.evidence import Action
from farsite.assurance.host_health import health_of, news, out_of_sight
from farsite.model.control_plane import (
    ControlElement,
    ControlPlane,
    ElementKind,
    ElementState,
    HostObservation,
)
from farsite.model.host_health import HostHealth, HostState
from farsite.model.ids import ProjectId, VimId
from farsite.model.vim import Vim, VimState

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
AGO = NOW - timedelta(seconds=60)
VIM = Vim(
    id=VimId("v"),
    project_id=ProjectId("default"),
    name="turin",
    type="openstack",
    site="turin",
    state=VimState.ACTIVE,
    state_since=AGO,
    created_at=AGO,
)


def a_host(**seen: object) -> HostObservation:
    stated: dict[str, object] = {"host": "h1", "service": True, "seen_at": NOW, **seen}
    return HostObservation(**stated)  # type: ignore[arg-type]


OTHER = a_host(host="h2")


def health(*hosts: HostObservation, **plane: object) -> HostHealth:
    """Of the first."""
    known = ControlPlane(read_at=NOW, hosts=(*hosts, OTHER), vim_time=NOW, **plane)  # type: ignore[arg-type]
    return health_of(VIM, known, NOW)[0]


SILENT = {"service": False, "seen_at": AGO}


@pytest.mark.parametrize(
    ("seen", "state", "because"),
    [
        ({}, HostState.UP, ""),
        ({"is_disabled": True, "detail": "new memory"}, HostState.MAINTENANCE, "new memory"),
        ({"is_disabled": True, **SILENT}, HostState.MAINTENANCE, "service is off"),
        (
            {"is_disabled": True, "detail": "AUTO: Connection to libvirt lost: 1"},
            HostState.DEGRADED,
            "libvirt lost",
        ),
        ({"management": True, **SILENT}, HostState.DEGRADED, "the host answers"),
        ({"agent": True, **SILENT}, HostState.DEGRADED, "the host answers"),
        (
            {"management": False, **SILENT, "agent": False, "tenant": True},
            HostState.DEGRADED,
            "carry traffic",
        ),
        ({"service": None}, HostState.UNKNOWN, "nobody told"),
        ({"management": False, **SILENT, "others": False}, HostState.UNKNOWN, "nobody else"),
    ],
)
def test_the_state_says_what_was_seen(seen: dict[str, object], state: HostState, because: str) -> None:
    """A host in maintenance wakes nobody, a dead agent is no dead host, what cannot be told is unknown."""
    found = health(a_host(**seen))
    assert (found.state, because in found.reason) == (state, True), found


def test_a_host_that_was_concluded_to_be_dead_is_down_until_that_is_taken_back() -> None:
    """Evidence that vanishes meanwhile, with the VIM's bus say, brings nothing back to life."""
    found = health(a_host(management=False, **SILENT), dead=("h1",))
    assert (found.state, found.verdict) == (HostState.DOWN, "host-silent")
    assert set(found.permitted) == {Action.FENCE, Action.RECOVER_AFTER_FENCE}
    assert found.evidence == {"management": "down", "others": "up", "service": "down"}
    blind = health(a_host(management=False, **SILENT, others=False), dead=("h1",))
    assert (blind.state, blind.permitted) == (HostState.DOWN, ())


def test_a_network_agent_that_does_not_report_degrades_its_host_and_no_other() -> None:
    """Servers there run on, and new ports will not work."""
    silent = ControlElement(
        service="neutron-openvswitch-agent", kind=ElementKind.NETWORK, host="h1", state=ElementState.DOWN
    )
    plane = ControlPlane(read_at=NOW, hosts=(a_host(), OTHER), elements=(silent,), vim_time=NOW)
    one, other = health_of(VIM, plane, NOW)
    assert (one.state, other.state) == (HostState.DEGRADED, HostState.UP)
    assert "neutron-openvswitch-agent" in one.reason


def test_since_is_the_moment_of_the_state_and_not_of_the_last_look() -> None:
    """Operators ask how long it has been so."""
    plane = ControlPlane(read_at=NOW, hosts=(a_host(), OTHER), vim_time=NOW)
    first = replace(plane, health=health_of(VIM, plane, AGO))
    again = health_of(VIM, first, NOW)
    assert {one.since for one in again} == {AGO}
    assert news(first.health, again) == []
    broken = replace(first, hosts=(a_host(management=True, **SILENT), OTHER))
    changed = health_of(VIM, broken, NOW)
    assert [(one.host, one.state, one.since) for one in news(first.health, changed)] == [
        ("h1", HostState.DEGRADED, NOW)
    ]


def test_hosts_of_a_vim_that_tells_nothing_any_more_are_unknown_unless_they_were_dead() -> None:
    """What is not seen is not known; an old "up" would be believed."""
    hosts = (a_host(), OTHER, a_host(host="h3", management=False, **SILENT))
    plane = ControlPlane(read_at=AGO, hosts=hosts, vim_time=NOW, dead=("h3",))
    known = replace(plane, health=health_of(VIM, plane, AGO))
    lost = {one.host: one for one in out_of_sight(known, "no answer", NOW)}
    assert {host: one.state for host, one in lost.items()} == {
        "h1": HostState.UNKNOWN,
        "h2": HostState.UNKNOWN,
        "h3": HostState.DOWN,
    }
    assert (lost["h1"].since, lost["h3"].since) == (NOW, AGO)
    assert lost["h1"].permitted == ()
    assert out_of_sight(replace(known, health=tuple(lost.values())), "still", NOW) == tuple(lost.values())
