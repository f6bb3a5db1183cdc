"""Whether a drill may begin, and what it stops: refused is whatever could hurt more than it teaches.

A drill takes away one copy, so all others have to be there: nothing of the VIM is lost already, nobody works
on it, and no other drill is under way at its site. All that stands against it is told at once.

Source: OPNFV Dovetail, high availability tests (each attack is preceded by a look at what is left).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from farsite.assurance import alarms as catalogue
from farsite.assurance.graph import servers_of
from farsite.assurance.redundancy import Audit, Check, elements_of
from farsite.model.audit_rules import DEMANDS, AuditRules, machine
from farsite.model.control_plane import ControlElement, ControlPlane, ElementKind, ElementState
from farsite.model.deployment import VimEventKind
from farsite.model.drill import Drill
from farsite.model.errors import Conflict, NotFound, NotSupported
from farsite.model.ids import new_id
from farsite.model.vim import Vim, VimState
from farsite.settings import Settings
from farsite.store import alarms, drills, instances, operations, vims
from farsite.store.database import Connection
from farsite.store.exclusion import hold

HOST_CHECK = "hosts per zone"
_WORKS = (ElementState.UP, ElementState.DISABLED)
_LOST = (ElementState.DOWN, ElementState.FORCED_DOWN)
_GRAVE = frozenset(
    one.name
    for one in (
        catalogue.MASS_FAILURE,
        catalogue.VIM_UNREACHABLE,
        catalogue.VIM_DEGRADED,
        catalogue.VIM_PATH_LOST,
        catalogue.VIM_DOWN,
        catalogue.CONTROL_SERVICE_DOWN,
    )
)
"""Alarms of a VIM while which it is left alone."""
_AFTER_S = 30.0
"""What a drill that we do is given beyond its hold and its return before its loss is undone whatever
happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillWish:
    """What is asked for. `check` may be empty where one check only is about it. `confirm` is the VIM's name.

    `is_injected`: True, we stop it; False, whoever asks does; None, we do where the driver can. `hold_s`: for
    how long a copy stays lost; `wait_s`: how long it is waited for whoever was asked to stop it, and to start
    it again.
    """

    about: str
    check: str = ""
    region: str = ""
    host: str = ""
    is_injected: bool | None = None
    hold_s: float = 30.0
    wait_s: float = 900.0
    confirm: str = ""
    may_take_last_copy: bool = False
    may_hurt_functions: bool = False
    asked_by: str = ""


CanStop = Callable[[ControlElement, bool], str]
"""Of an element, and whether its whole host is meant: empty when the driver can stop it, else why not."""


def check_of(audited: Audit, wish: DrillWish) -> Check:
    """The check of an audit that is asked for.

    Raises:
        NotFound: no check is about that, or several are.
    """
    found = [
        one
        for one in audited.checks
        if one.about == wish.about
        and (not wish.check or one.name == wish.check)
        and (not wish.region or one.region == wish.region)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        known = ", ".join(sorted({f'"{one.about}"' for one in audited.checks})) or "nothing"
        raise NotFound(f'No check of this VIM is about "{wish.about}". Checks are about: {known}.')
    which = ", ".join(f"{one.name} in {one.region}" if one.region else one.name for one in found)
    raise NotFound(f'{len(found)} checks are about "{wish.about}" ({which}). Name the check and the region.')


def begin(
    connection: Connection,
    vim: Vim,
    plane: ControlPlane,
    audited: Audit,
    wish: DrillWish,
    can_stop: CanStop,
    *,
    settings: Settings,
    now: datetime,
) -> Drill:
    """Record a drill that is to be run.

    Raises:
        NotFound: there is no such check, or no such host.
        NotSupported: what it is about cannot be lost by one copy, or we are to stop it and cannot.
        Conflict: it may not begin now, with all reasons; or it was not confirmed.
    """
    hold(connection, f"drills of {vim.site}")
    check = check_of(audited, wish)
    copies = elements_of(check.name, check.about, check.region, plane.elements)
    if not copies:
        raise NotSupported(_why_no_copies(check))
    standing = _standing(connection, vim)
    is_host = check.name == HOST_CHECK
    element = _chosen(copies, wish.host, standing if is_host else {})
    why_not_us = can_stop(element, is_host)
    is_injected = not why_not_us if wish.is_injected is None else wish.is_injected
    if is_injected and why_not_us:
        raise NotSupported(f"{why_not_us} Stop it yourself: ask for a guided drill.")
    demands = DEMANDS[audited.rules]
    for_s = wish.wait_s if not is_injected else demands.back_s + _AFTER_S
    if is_injected and audited.rules is not AuditRules.SINGLE:
        for_s += wish.hold_s
    drill = Drill(
        id=new_id(),
        vim_id=vim.id,
        project_id=vim.project_id,
        check=check.name,
        about=check.about,
        region=check.region,
        element=element,
        is_host=is_host,
        is_injected=is_injected,
        rules=audited.rules,
        demands=demands,
        hold_s=wish.hold_s,
        asked_by=wish.asked_by,
        instruction="" if is_injected else f"Stop {named(element, is_host=is_host)} now.",
        begun_at=now,
        ends_at=now + timedelta(seconds=for_s),
    )
    against = [
        *_trouble(connection, vim, plane, settings, now),
        *_copies_left(copies, element, audited.rules, wish),
        *_functions_there(standing.get(element.host, ()), is_host=is_host, wish=wish),
        *_others_under_way(connection, vim),
    ]
    if against:
        raise Conflict(
            f'No drill of "{check.about}" on VIM "{vim.name}" may begin now: {"; ".join(against)}.',
            about={"vim": vim.id},
        )
    if wish.confirm != vim.name:
        raise Conflict(_to_confirm(drill, vim), about={"vim": vim.id})
    drills.insert(connection, drill)
    return drill


def named(element: ControlElement, *, is_host: bool) -> str:
    """What is lost, for people."""
    if is_host:
        return f"host {element.host}"
    return f"{element.service} on {element.host}" if element.host else element.service


def _to_confirm(drill: Drill, vim: Vim) -> str:
    what = named(drill.element, is_host=drill.is_host)
    who = "Farsite stops" if drill.is_injected else "You are asked to stop"
    most = (drill.ends_at - drill.begun_at).total_seconds()
    return (
        f'{who} {what} of VIM "{vim.name}" for up to {most:.0f} s, and it is watched what comes of it, by '
        f'the rules "{drill.rules}". Confirm it with the name of the VIM (confirm, --confirm {vim.name}).'
    )


def _why_no_copies(check: Check) -> str:
    if check.name == "zones":
        return "A whole zone is not lost for a drill. Lose one of its hosts: the check hosts per zone."
    return (
        f'Of "{check.about}" no copy is known that could be lost. Declare each in the registration '
        f'(setting control_plane): [{{"service": "{check.about}", "address": "HOST:PORT"}}, ...]'
    )


def _chosen(
    copies: Sequence[ControlElement], host: str, standing: Mapping[str, Sequence[str]]
) -> ControlElement:
    """The copy on that host; where none is named, a working one on which as little of ours stands as may
    be."""
    if host:
        for one in copies:
            if host in (one.host, machine(one.host)):
                return one
        known = ", ".join(sorted({one.host for one in copies}))
        raise NotFound(f'No copy stands on host "{host}". Hosts: {known}.')
    return min(copies, key=lambda one: (one.state not in _WORKS, len(standing.get(one.host, ())), one.host))


def _trouble(
    connection: Connection, vim: Vim, plane: ControlPlane, settings: Settings, now: datetime
) -> list[str]:
    """What of the VIM is lost already, or is worked on."""
    found: list[str] = []
    if vim.state is not VimState.ACTIVE:
        found.append(f"it is {vim.state} ({vim.state_reason})")
    silent = sorted({*plane.doubtful, *(one.host for one in plane.hosts if one.service is False)})
    for words, hosts in (
        ("down", plane.dead),
        ("not reporting", [one for one in silent if one not in plane.dead]),
        ("cut off", plane.cut_off),
    ):
        if hosts:
            found.append(f"{_some(hosts)} {'is' if len(hosts) == 1 else 'are'} {words}")
    if down := [f"{one.service} on {one.host}" for one in plane.elements if one.state in _LOST]:
        found.append(f"{_some(down)} {'is' if len(down) == 1 else 'are'} down")
    in_maintenance = sorted({one.host for one in plane.hosts if one.is_disabled})
    in_maintenance += [
        f"{one.service} on {one.host}"
        for one in plane.elements
        if one.state is ElementState.DISABLED and one.kind is not ElementKind.COMPUTE
    ]
    if in_maintenance:
        found.append(f"{_some(in_maintenance)} is in maintenance")
    since = now - timedelta(seconds=settings.heal_breaker_window_s)
    deaths = alarms.deaths_since(connection, vim_id=vim.id, kind=VimEventKind.VNFC_DIED.value, since=since)
    if deaths >= settings.heal_breaker:
        found.append(f"{deaths} functions died there within {settings.heal_breaker_window_s:g} s")
    if grave := sorted({one.fault_type for one in alarms.open_of(connection, vim.id)} & _GRAVE):
        found.append(f"alarm {', '.join(grave)} is open")
    worked_on = [
        one for one in instances.standing_on(connection, vim.id) if operations.lock_holder(connection, one)
    ]
    if worked_on:
        found.append(f"an operation works on {len(worked_on)} VNF(s) there (farsite op list)")
    return found


def _copies_left(
    copies: Sequence[ControlElement], element: ControlElement, rules: AuditRules, wish: DrillWish
) -> list[str]:
    if element.state in _LOST:
        return [f"{element.service} on {element.host} does not work now"]
    if rules is AuditRules.SINGLE or wish.may_take_last_copy:
        return []
    left = [one for one in copies if machine(one.host) != machine(element.host) and one.state in _WORKS]
    if left:
        return []
    why = (
        f"no other copy of {element.service} works: its loss is the service's. To see all the same how long "
        f"that lasts, allow the last copy to be taken (may_take_last_copy, --last-copy)"
    )
    return [why]


def _functions_there(standing: Sequence[str], *, is_host: bool, wish: DrillWish) -> list[str]:
    if not is_host or not standing or wish.may_hurt_functions:
        return []
    why = (
        f"{_some(standing)} stand(s) on that host and would have to be healed elsewhere. To see that, allow "
        f"it (may_hurt_functions, --with-functions)"
    )
    return [why]


def _others_under_way(connection: Connection, vim: Vim) -> list[str]:
    at_site = {one.id for one in vims.everywhere(connection) if one.site == vim.site}
    return [
        f"drill {one.id} is under way at its site"
        for one in drills.under_way(connection)
        if one.vim_id in at_site
    ]


def _standing(connection: Connection, vim: Vim) -> Mapping[str, Sequence[str]]:
    """Host -> names of VNFs that stand there, by our records."""
    found: dict[str, list[str]] = {}
    for vnf in instances.find_vnfs(connection, instances.standing_on(connection, vim.id)).values():
        for host in {one.host for one in servers_of(vnf) if one.host}:
            found.setdefault(host, []).append(f'VNF "{vnf.name or vnf.id}"')
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
