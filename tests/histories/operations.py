"""I-01, I-02, I-10, I-12, I-20: what was accepted ends, once, where and as it shall; all comes to rest."""

import math
from typing import Any

from farsite.vims.drivers.simulated.effects import Effect
from farsite.vims.drivers.simulated.state import duplicates
from histories import Entries, Entry, Kind, of
from histories.bounds import Bounds
from histories.standing import Life, Site, journals

ENDED = ("COMPLETED", "FAILED", "ROLLED_BACK")
RESTS = "FAILED_TEMP"
NOT_OF_THE_FIRST_DAY = (
    "resource_id", "incarnation", "host", "zone", "ready_at", "sequence", "pid", "deployment", "fails",
    "fails_resource", "back_ends",
)  # fmt: skip
"""What differs from server to server however equal they are."""


def no_lost_operation(entries: Entries, bounds: Bounds) -> list[str]:
    """I-01: every request that was answered 2xx is known, has ended or rests, and says why if not well."""
    known = {one.object: one for one in of(entries, Kind.BELIEVED, "operation")}
    wrong: list[str] = []
    for one in of(entries, Kind.ASKED, "operation"):
        if not 200 <= one["status"] < 300:
            continue
        found = known.get(one.object)
        if found is None:
            wrong.append(f"{one['verb']} {one.object} was accepted and is not known any more")
        elif found["state"] not in (*ENDED, RESTS):
            wrong.append(f"{one['verb']} {one.object} was accepted and is {found['state']}")
        elif found["state"] != "COMPLETED" and not found["error"]:
            wrong.append(f"{one['verb']} {one.object} is {found['state']} and does not say why")
    return wrong


def nothing_doubled(entries: Entries, bounds: Bounds) -> list[str]:
    """I-02: nothing was created while what an earlier creation made still stood."""
    return [
        f"{vim}: {key} was created twice"
        for vim, journal in journals(entries).items()
        for key in duplicates([_effect(one) for one in journal])
    ]


def _effect(one: Entry) -> Effect:
    return Effect(sequence=one["sequence"], at=one.at, kind=one.what, key=one.object, body=one.values)


def apart(entries: Entries, bounds: Bounds) -> list[str]:
    """I-10: after every event, what must stand apart does, and what must stay in a place is there.

    A group of servers that the VIM was told of stands on different hosts; `apart` names a group with a scope
    (host, rack, zone, vim, site), of which `members` are VNFs; `stays` names the VIMs in which a VNF may be.
    With the scope physical-network, `members` are networks of which no two are carried by one; with the scope
    back-end, they are VNFs of which each has no two `volumes` of these names on one.
    """
    racks = {one.object: one["rack"] for one in of(entries, Kind.BELIEVED, "rack")}
    sites = {one.object: one["site"] for one in of(entries, Kind.BELIEVED, "vim")}
    scopes = {one.object: one for one in of(entries, Kind.BELIEVED, "apart")}
    allowed = {one.object: one["vims"] for one in of(entries, Kind.BELIEVED, "stays")}
    standing: dict[str, Life] = {}
    wrong: dict[tuple[str, ...], str] = {}
    worlds: dict[str, Site] = {}
    ordered = sorted((one for journal in journals(entries).values() for one in journal), key=_when)
    for one in ordered:
        world = worlds.setdefault(one.source, Site(one.source))
        for life in world.apply(one):
            if life.is_alive:
                standing[life.resource] = life
            else:
                standing.pop(life.resource, None)
            if life.is_alive and life.vnf in allowed and life.vim not in allowed[life.vnf]:
                wrong[life.resource, "stays"] = (
                    f"{life.vnfc} stands on {life.vim} at {one.at:.2f} s; it may on {allowed[life.vnf]}"
                )
        _together(standing, scopes, racks, sites, one.at, wrong)
        _on_one_back_end(standing, scopes, one.at, wrong)
        _on_one_physical_network(world, scopes, one.at, wrong)
    return list(wrong.values())


def _when(one: Entry) -> tuple[float, int]:
    return one.at, one["sequence"]


def _together(
    standing: dict[str, Life],
    scopes: dict[str, Entry],
    racks: dict[str, Any],
    sites: dict[str, Any],
    at: float,
    wrong: dict[tuple[str, ...], str],
) -> None:
    """Note who shares a place and must not."""
    taken: dict[tuple[str, str], Life] = {}
    for life in standing.values():
        host = f"{life.vim}/{life.host}"
        places = {
            "host": host,
            "rack": racks.get(host, host),
            "zone": f"{life.vim}/{life.zone}",
            "vim": life.vim,
            "site": sites.get(life.vim, life.vim),
        }
        groups = {f"{life.vim} {life.group}": "host"} if life.group else {}
        groups |= {
            name: one["scope"]
            for name, one in scopes.items()
            if one["scope"] in places and life.vnf in one["members"]
        }
        for group, scope in groups.items():
            other = taken.setdefault((group, places[scope]), life)
            # VNFs that must stand apart may have several servers each in one place.
            if other is not life and (group not in scopes or other.vnf != life.vnf):
                told = f"{other.vnfc} and {life.vnfc} share {scope} {places[scope]} from {at:.2f} s on"
                wrong.setdefault((group, other.resource, life.resource), told)


def _on_one_back_end(
    standing: dict[str, Life], scopes: dict[str, Entry], at: float, wrong: dict[tuple[str, ...], str]
) -> None:
    """Note which volumes of a VNF share a storage back end and must not."""
    taken: dict[tuple[str, ...], str] = {}
    for name, rule in scopes.items():
        lives = [
            life for life in standing.values() if rule["scope"] == "back-end" and life.vnf in rule["members"]
        ]
        for life in lives:
            for volume in rule["volumes"]:
                place = life.facts.get("back_ends", {}).get(volume, "")
                mine = f"{volume} of {life.vnfc}"
                other = taken.setdefault((name, life.vim, life.vnf, place), mine) if place else mine
                if other != mine:
                    told = f"{other} and {mine} share back end {place} from {at:.2f} s on"
                    wrong.setdefault((name, other, mine), told)


def _on_one_physical_network(
    world: Site, scopes: dict[str, Entry], at: float, wrong: dict[tuple[str, ...], str]
) -> None:
    """Note which networks share a physical network and must not."""
    carried = {one: place for networks in world.networks.values() for one, place in networks.items() if place}
    for name, rule in scopes.items():
        if rule["scope"] != "physical-network":
            continue
        taken: dict[str, str] = {}
        for one in sorted(carried.keys() & set(rule["members"])):
            other = taken.setdefault(carried[one], one)
            if other != one:
                told = f"{other} and {one} share physical network {carried[one]} from {at:.2f} s on"
                wrong.setdefault((name, other, one), told)


def initial_state(entries: Entries, bounds: Bounds) -> list[str]:
    """I-12: what was made anew by a heal equals what stood after the last operation that was no heal."""
    effects = [one for journal in journals(entries).values() for one in journal]
    ends = [
        one
        for one in of(entries, Kind.BELIEVED, "operation")
        if one["state"] == "COMPLETED" and one.get("entered")
    ]
    first: dict[str, Life] = {}
    facts: dict[str, dict[str, Any]] = {}
    renewed: set[str] = set()
    worlds: dict[str, Site] = {}
    wrong: list[str] = []
    moments = [(one.at, 0, one["sequence"], one) for one in effects]
    moments += [(one["entered"], 1, 0, one) for one in ends]
    for _, is_end, _, one in sorted(moments, key=lambda moment: moment[:3]):
        if not is_end:
            world = worlds.setdefault(one.source, Site(one.source))
            touched = world.apply(one)
            is_renewal = one.what == "vnfc.created" or one.get("repair") in ("rebuild", "evacuate")
            renewed |= {life.vnfc for life in touched if is_renewal}
            continue
        for life in [life for world in worlds.values() for life in world.lives.values()]:
            if life.vnf != one["instance"]:
                continue
            now = {key: value for key, value in life.facts.items() if key not in NOT_OF_THE_FIRST_DAY}
            if one["verb"] != "heal_vnf":
                first[life.vnfc], facts[life.vnfc] = life, now
            elif life.vnfc in renewed and life.vnfc in first:
                different = sorted(key for key in now if now[key] != facts[life.vnfc].get(key))
                if different:
                    names = ", ".join(different)
                    wrong.append(f"{life.vnfc} was made anew with another {names} than on its first day")
            renewed.discard(life.vnfc)
    return wrong


def at_rest(entries: Entries, bounds: Bounds) -> list[str]:
    """I-20: when the last fault is over, within the bound nothing hangs, waits, holds or is held any more."""
    over = max((one.at for one in of(entries, Kind.INJECTED, "over")), default=math.inf)
    looks = [one for one in of(entries, Kind.BELIEVED, "rest") if one.at > over]
    if not looks:
        return ["the history does not say how it ended"]
    wrong = [
        f"looked at {one.at - over:.0f} s after the last fault, more than {bounds.rest_s:g} s"
        for one in looks[:1]
        if one.at > over + bounds.rest_s
    ]
    ended = {one.object: one["state"] for one in of(entries, Kind.BELIEVED, "operation")}
    wrong += [f"operation {name} is {state}" for name, state in ended.items() if state not in (*ENDED, RESTS)]
    for one in [one for one in entries if one.kind is Kind.BELIEVED and one.at > over]:
        match one.what:
            case "lock" if ended.get(one["operation"], "gone") in (*ENDED, "gone"):
                wrong.append(f"{one.object} is locked by {one['operation']}, which has ended")
            case "workflow" if one["status"] in ("PENDING", "ENQUEUED"):
                wrong.append(f"workflow {one.object} is {one['status']}")
            case "lease" if one["state"] != "gone" and one["left_s"] < 0:
                wrong.append(f"the lease of {one.object} is over")
            case "vim" if one["state"] != "ACTIVE":
                wrong.append(f"VIM {one.object} is {one['state']}")
            case "delivery" if one["state"] in ("PENDING", "SENDING"):
                wrong.append(f"notification {one['number']} to {one.object} is {one['state']}")
            case _:
                pass
    return wrong
