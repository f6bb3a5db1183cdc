"""I-06, I-07, I-09: every fault is an alarm in time, nothing else is, it stands as long as what it tells of,
and the cause is told from its symptoms."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from histories import Entries, Kind, of
from histories.bounds import Bounds
from histories.standing import (
    DIED,
    HOST_DOWN,
    NODE_LOST,
    OF_VNFCS,
    VIM_UNREACHABLE,
    VNF_DOWN,
    Condition,
    Life,
    Site,
    blindness,
    conditions,
    faults,
    journals,
    known_by,
)

DEMANDED = (*OF_VNFCS, VNF_DOWN, VIM_UNREACHABLE, NODE_LOST)
"""Conditions that must become alarms. A host that died must too where more than one of ours stood on it."""
SAME_MOMENT_S = 1.0
PLACES = ("host-down", "zone-down", "vim-down", "site-down")
OF_SERVICES = ("ns-down", "path-broken")


@dataclass(kw_only=True)
class Standing:
    """One alarm from its raising to its clearing: when that happened, and when it was written down."""

    type: str
    object: str
    part: str
    alarm: str
    location: str
    raised: float
    raised_recorded: float
    cleared: float = math.inf
    cleared_recorded: float = math.inf

    @property
    def name(self) -> str:
        return f"{self.type} of {self.part or self.object}"


def standings(entries: Entries) -> list[Standing]:
    """Every time an alarm stood, in the order in which they were raised."""
    found: list[Standing] = []
    open_: dict[str, Standing] = {}
    for one in sorted(of(entries, Kind.BELIEVED, "alarm"), key=lambda one: one["sequence"]):
        if one["became"] == "raised":
            now = Standing(
                type=one["type"],
                object=one.object,
                part=one["part"],
                alarm=one["alarm"],
                location=one["location"],
                raised=one["happened"],
                raised_recorded=one.at,
            )
            open_[one["alarm"]] = now
            found.append(now)
        elif one["became"] == "cleared" and one["alarm"] in open_:
            over = open_.pop(one["alarm"])
            over.cleared, over.cleared_recorded = one["happened"], one.at
    return found


def alarm_complete(entries: Entries, bounds: Bounds) -> list[str]:
    """I-06: every condition that lasts is an alarm within its bound, with time, place, type and level."""
    known = conditions(entries)
    blind = blindness(entries)
    ends = entries[-1].at if entries else 0.0
    stood = standings(entries)
    wrong = [
        f"{one.object}: an alarm without {name}"
        for one in of(entries, Kind.BELIEVED, "alarm")
        for name in ("happened", "location", "event_type", "severity")
        if not one[name]
    ]
    populated = _hosts_with_several(entries)
    for one in known:
        if one.type not in DEMANDED and not (one.type == HOST_DOWN and (one.object, one.began) in populated):
            continue
        within_s = bounds.confirmed_s if one.type in (VIM_UNREACHABLE, HOST_DOWN) else bounds.told_s
        # Of its silence a VIM does not excuse us.
        unseen = blind.get("" if one.type == VIM_UNREACHABLE else one.vim, blind[""])
        due = known_by(one.began, within_s, unseen, bounds.again_s)
        if min(one.ended, ends) <= due:
            continue
        if not any(_tells_of(alarm, one, bounds) and alarm.raised_recorded <= due for alarm in stood):
            wrong.append(
                f"{one.type} of {one.part or one.object} from {one.began:.2f} s on is no alarm by {due:.2f} s"
            )
    return wrong


def no_alarm_without_cause(entries: Entries, bounds: Bounds) -> list[str]:
    """I-06: no alarm stands for which nothing was wrong."""
    scene = Scene(entries=entries, known=conditions(entries), blind=blindness(entries), bounds=bounds)
    return [
        f"{alarm.name}, raised for {alarm.raised:.2f} s, has no cause"
        for alarm in standings(entries)
        if not _EXPLAINS.get(alarm.type, _nothing)(scene, alarm)
    ]


def alarm_truth(entries: Entries, bounds: Bounds) -> list[str]:
    """I-07: an alarm is not cleared while its condition holds, and is within its bound after that ended."""
    known = conditions(entries)
    blind = blindness(entries)
    ends = entries[-1].at if entries else 0.0
    wrong: list[str] = []
    for alarm in standings(entries):
        if alarm.type not in (*DEMANDED, HOST_DOWN):
            continue
        mine = [one for one in known if _is_of(alarm, one)]
        for one in mine:
            is_within = one.began + bounds.slack_s < alarm.cleared < one.ended - bounds.slack_s
            if is_within and alarm.raised < one.ended:
                wrong.append(
                    f"{alarm.name} is cleared for {alarm.cleared:.2f} s and holds "
                    f"from {one.began:.2f} to {one.ended:.2f} s"
                )
        if alarm.type == HOST_DOWN:
            # It clears when something of ours lives there again, which nobody owes it.
            continue
        over = [one.ended for one in mine if one.began <= alarm.cleared and one.ended >= alarm.raised]
        if not over or max(over) == math.inf:
            continue
        due = known_by(max(over), bounds.cleared_s, blind.get(_vim_of(mine), blind[""]), bounds.again_s)
        if min(alarm.cleared_recorded, ends) > due:
            wrong.append(f"{alarm.name} stands after {due:.2f} s; its condition ended at {max(over):.2f} s")
    return wrong


def causes(entries: Entries, bounds: Bounds) -> list[str]:
    """I-09: of a host that died, the host is the cause; what died on it is told as its symptom."""
    records = {one.object: one for one in of(entries, Kind.BELIEVED, "alarm-stands")}
    stood = standings(entries)
    wrong: list[str] = []
    known = conditions(entries)
    for host, began in _hosts_with_several(entries):
        roots = [one for one in stood if one.type == HOST_DOWN and one.object == host and one.raised >= began]
        if not roots:
            continue  # I-06 tells of it
        root = records.get(roots[0].alarm)
        if root is None or not root["is_root_cause"]:
            wrong.append(f"host {host} died, and its alarm is no cause")
        dead = [
            one
            for one in known
            if one.type == DIED and f"{one.vim}/{one.host}" == host and abs(one.began - began) < SAME_MOMENT_S
        ]
        for one in [alarm for alarm in stood if any(_tells_of(alarm, death, bounds) for death in dead)]:
            symptom = records.get(one.alarm)
            if symptom is None or symptom["is_root_cause"] or roots[0].alarm not in symptom["correlated"]:
                wrong.append(f"{one.part} died with host {host}, and is not told as its symptom")
    return wrong


def delays(entries: Entries, bounds: Bounds) -> dict[str, list[float]]:
    """Seconds from each condition to the record of its alarm, by type, where we could know at once."""
    blind = blindness(entries)
    stood = standings(entries)
    found: dict[str, list[float]] = {}
    for one in conditions(entries):
        due = known_by(one.began, bounds.told_s, blind.get(one.vim, blind[""]), 0.0)
        if one.type not in OF_VNFCS or due > one.began + bounds.told_s:
            continue
        recorded = [alarm.raised_recorded for alarm in stood if _tells_of(alarm, one, bounds)]
        if recorded:
            found.setdefault(one.type, []).append(max(0.0, min(recorded) - one.began))
    return found


# -- what an alarm may tell of


def _is_of(alarm: Standing, one: Condition) -> bool:
    return (alarm.type, alarm.object, alarm.part) == (one.type, one.object, one.part)


def _tells_of(alarm: Standing, one: Condition, bounds: Bounds) -> bool:
    return _is_of(alarm, one) and alarm.raised < one.ended and alarm.cleared > one.began - bounds.slack_s


def _vim_of(found: Iterable[Condition]) -> str:
    return next((one.vim for one in found), "")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What an alarm may be explained by."""

    entries: Entries
    known: Sequence[Condition]
    blind: Mapping[str, Sequence[tuple[float, float]]]
    bounds: Bounds


Explains = Callable[[Scene, Standing], bool]


def _own(scene: Scene, alarm: Standing) -> bool:
    """A condition of its own held when it was raised, or had just ended when we came to look."""
    for one in scene.known:
        if _is_of(alarm, one):
            last = known_by(
                one.ended,
                scene.bounds.cleared_s,
                scene.blind.get(one.vim, scene.blind[""]),
                scene.bounds.again_s,
            )
            if one.began - scene.bounds.slack_s <= alarm.raised <= last:
                return True
    return False


def _place(scene: Scene, alarm: Standing) -> bool:
    """More than one of ours stood there, and all of them were in some condition within a short time."""
    own = [one for one in scene.known if one.type == alarm.type and one.object == alarm.object]
    if any(one.began <= alarm.raised <= one.ended + scene.bounds.cleared_s for one in own):
        return True
    silent = [one for one in scene.known if one.type == VIM_UNREACHABLE and alarm.object in (one.vim, "")]
    there = {life.vnfc for life in _lives_at(scene.entries, alarm.raised) if _is_in(life, alarm)}
    begins = alarm.raised - scene.bounds.shared_s
    wrong = {
        one.part
        for one in scene.known
        if one.part and one.began <= alarm.raised + scene.bounds.slack_s and one.ended >= begins
    }
    # What failed there may have been made anew elsewhere by now.
    fell = {
        one.part
        for one in scene.known
        if one.part in wrong and f"{one.vim}/{one.host}" == alarm.object and one.ended >= begins
    }
    is_silent = any(one.began <= alarm.raised for one in silent)
    return is_silent or (len(there & wrong | fell) >= 2 and there <= wrong)


def _is_in(life: Life, alarm: Standing) -> bool:
    """Whether it stood in the place, by the alarm's object: vim/host, vim/zone, vim; a site by its words."""
    vim, _, rest = alarm.object.partition("/")
    if alarm.type in ("vim-down", "site-down"):
        return life.vim == vim or alarm.type == "site-down"
    return life.vim == vim and rest in (life.host, life.zone, f"{life.facts['region']}/{life.zone}")


def _service(scene: Scene, alarm: Standing) -> bool:
    """Something was wrong with a VNFC or a VIM not long ago: which service needs what is not in a history."""
    begins = alarm.raised - scene.bounds.shared_s
    return any(
        one.began <= alarm.raised + scene.bounds.slack_s and one.ended >= begins for one in scene.known
    )


def _deaths(scene: Scene, alarm: Standing) -> bool:
    """More than a few died there within a short time."""
    begins = alarm.raised - scene.bounds.shared_s
    died = [one for one in scene.known if one.type == DIED and one.vim == alarm.object]
    return len([one for one in died if begins <= one.began <= alarm.raised + scene.bounds.slack_s]) >= 3


def _heals(scene: Scene, alarm: Standing) -> bool:
    """As many heals of it as the policy allows began before."""
    allowed = {one.object: one for one in of(scene.entries, Kind.BELIEVED, "policy")}.get(alarm.object)
    if allowed is None:
        return False
    begins = alarm.raised - allowed["window_s"]
    began = [
        one
        for one in of(scene.entries, Kind.BELIEVED, "heal")
        if one.object == alarm.object and begins <= one.at <= alarm.raised
    ]
    return len(began) >= allowed["per_vnf"]


def _latent(scene: Scene, alarm: Standing) -> bool:
    """Servers failed on that host more than once."""
    died = [one for one in scene.known if one.type == DIED and f"{one.vim}/{one.host}" == alarm.object]
    return len([one for one in died if one.began <= alarm.raised]) >= 2


def _slow(scene: Scene, alarm: Standing) -> bool:
    """Processor time was taken from it."""
    slow = [*faults(scene.entries, "service-slow"), *faults(scene.entries, "service-frozen")]
    return any(began <= alarm.raised <= ended + scene.bounds.cleared_s for _, began, ended in slow)


def _nothing(scene: Scene, alarm: Standing) -> bool:
    return False


def _told_from_outside(scene: Scene, alarm: Standing) -> bool:
    """Somebody told us so just then."""
    slack_s = scene.bounds.slack_s
    return any(
        began - slack_s <= alarm.raised <= ended + slack_s
        for _, began, ended in faults(scene.entries, "alarm-storm")
    )


_EXPLAINS: Mapping[str, Explains] = {
    **dict.fromkeys((*OF_VNFCS, VNF_DOWN, VIM_UNREACHABLE, NODE_LOST), _own),
    **dict.fromkeys(PLACES, _place),
    **dict.fromkeys(OF_SERVICES, _service),
    "mass-failure": _deaths,
    "heal-budget-spent": _heals,
    "latent-fault-suspected": _latent,
    "loop-lag": _slow,
    "storm": _told_from_outside,
}
"""What explains an alarm of each type; one of another type is explained by nothing that is injected."""


# -- who stood where


def _lives_at(entries: Entries, at: float) -> list[Life]:
    """All that stood at a time."""
    found: list[Life] = []
    for vim, journal in journals(entries).items():
        site = Site(vim)
        for one in journal:
            if one.at > at:
                break
            site.apply(one)
        found += site.lives.values()
    return found


def _hosts_with_several(entries: Entries) -> dict[tuple[str, float], set[str]]:
    """Hosts that were killed with more than one of ours alive on it, and the VNFCs."""
    found: dict[tuple[str, float], set[str]] = {}
    for host, began, _ in faults(entries, "host-dead"):
        lives = [one for one in _lives_at(entries, began - 0.05) if f"{one.vim}/{one.host}" == host]
        vnfcs = {one.vnfc for one in lives if one.is_alive and one.started < began}
        if len(vnfcs) >= 2:
            found[host, began] = vnfcs
    return found
