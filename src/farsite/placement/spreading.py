"""How the units of one demand are spread over the zones and racks of one region. Pure.

Together where nothing forbids it, apart where a group demands it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from farsite.placement.problem import RackRoom, Reserved, Room, Unit


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which constraint forbids it, and why."""

    filter: str
    reason: str


@dataclass(frozen=True, slots=True)
class Barred:
    """Zones and racks of one VIM that a demand must keep out of."""

    zones: frozenset[str]
    racks: frozenset[str]


@dataclass(frozen=True, slots=True)
class Spread:
    """Where each unit goes, in their order, and what is left of the rooms by zone."""

    zones: tuple[str, ...]
    racks: tuple[str, ...]
    left: Mapping[str, Room]


@dataclass(slots=True)
class _Used:
    """Where the units of a demand were put so far, and which places each group has taken by that."""

    zones: list[str] = field(default_factory=list[str])
    racks: list[str] = field(default_factory=list[str])
    in_host_group: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    in_zones: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    in_racks: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    loose_zones: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    loose_racks: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """Group and place of units that are kept apart as a best effort, and how many they are."""

    def add(self, unit: Unit, zone: str, rack: str) -> None:
        self.zones.append(zone)
        self.racks.append(rack)
        if unit.host_group:
            key = zone, unit.host_group
            self.in_host_group[key] = self.in_host_group.get(key, 0) + 1
        if unit.zone_group:
            self.in_zones.setdefault(unit.zone_group, set()).add(zone)
        if unit.rack_group:
            self.in_racks.setdefault(unit.rack_group, set()).add(rack)
        if unit.loose_zone_group:
            self.loose_zones[unit.loose_zone_group, zone] += 1
        if unit.loose_rack_group:
            self.loose_racks[unit.loose_rack_group, rack] += 1


def spread(
    units: Sequence[Unit], offered: Iterable[Room], barred: Barred, *, is_racked: bool, priority: int = 0
) -> Spread | Refusal:
    """Give every unit a zone, and a rack where one is asked for; with `is_racked` where there are any. What
    is reserved for others than those of the class `priority` stays free."""
    left = {room.zone: room for room in offered if room.zone not in barred.zones}
    if not left:
        return Refusal("anti-affinity", "all its zones hold a member of the same rule")
    used = _Used()
    for unit in units:
        if unit.stands_in:
            used.add(unit, unit.stands_in, unit.stands_in_rack)
            continue
        choice = _place_for(unit, left, used, barred, is_racked=is_racked, priority=priority)
        if isinstance(choice, Refusal):
            return choice
        zone, rack = choice
        left[zone] = _less(left[zone], rack, unit, priority)
        used.add(unit, zone, rack)
    return Spread(tuple(used.zones), tuple(used.racks), left)


def _less(room: Room, rack: str, unit: Unit, priority: int) -> Room:
    """What is left of a room, and of the rack in it. Who may take what is reserved takes that first, so that
    it makes no difference to others placed with it who is looked at before whom."""
    return replace(
        room,
        vcpus=room.vcpus - unit.vcpus,
        memory_mib=room.memory_mib - unit.memory_mib,
        disk_gib=room.disk_gib - unit.disk_gib,
        racks=tuple(
            replace(
                one,
                vcpus=one.vcpus - unit.vcpus,
                memory_mib=one.memory_mib - unit.memory_mib,
                disk_gib=one.disk_gib - unit.disk_gib,
            )
            if one.name == rack
            else one
            for one in room.racks
        ),
        reserved=tuple(
            replace(
                one,
                vcpus=max(one.vcpus - unit.vcpus, 0),
                memory_mib=max(one.memory_mib - unit.memory_mib, 0),
                disk_gib=max(one.disk_gib - unit.disk_gib, 0),
            )
            if priority <= one.priority
            else one
            for one in room.reserved
        ),
    )


def _place_for(
    unit: Unit, left: Mapping[str, Room], used: _Used, barred: Barred, *, is_racked: bool, priority: int
) -> tuple[str, str] | Refusal:
    """Zone and rack of one unit; the rack is empty where any will do."""
    refusals: list[Refusal] = []
    # The zone of the units before first, then the one with most room.
    open_ = [room for room in left.values() if unit.grows_in in ("", room.zone)]
    if not open_:
        return Refusal("zone", f"has no zone {unit.grows_in} any more")
    # What is to be apart as a best effort goes where the fewest of its group are.
    preferred = sorted(
        open_,
        key=lambda room: (
            used.loose_zones[unit.loose_zone_group, room.zone],
            room.zone not in used.zones[-1:],
            -room.vcpus,
            room.zone,
        ),
    )
    for room in preferred:
        if unit.zone_group and room.zone in used.in_zones.get(unit.zone_group, set()):
            refusals.append(Refusal("anti-affinity", f"fewer zones than {unit.zone_group} needs"))
        elif unit.host_group and used.in_host_group.get((room.zone, unit.host_group), 0) >= room.hosts:
            refusals.append(
                Refusal(
                    "hosts", f"zone {room.zone} has {room.hosts} host(s), too few to keep the group apart"
                )
            )
        elif shortfall := _shortfall(unit, room):
            refusals.append(Refusal("capacity", f"zone {room.zone}: {shortfall}"))
        elif kept := _kept_from(unit, room, priority):
            refusals.append(Refusal("reserve", f"zone {room.zone}: {kept}"))
        elif not unit.rack_group and not (is_racked and (room.racks or barred.racks)):
            return room.zone, _loose_rack(unit, room, used)
        else:
            rack = _rack_for(unit, room, used, barred.racks)
            if isinstance(rack, str):
                return room.zone, rack
            refusals.append(rack)
    return refusals[0]


def _loose_rack(unit: Unit, room: Room, used: _Used) -> str:
    """The rack of a zone with the fewest of a unit's loose group, of those that have room; else whichever."""
    if not unit.loose_rack_group:
        return ""
    fitting = [rack for rack in room.racks if not _shortfall(unit, rack)]
    best = min(
        fitting,
        key=lambda rack: (used.loose_racks[unit.loose_rack_group, rack.name], -rack.vcpus, rack.name),
        default=None,
    )
    return best.name if best else ""


def _rack_for(unit: Unit, room: Room, used: _Used, barred: frozenset[str]) -> str | Refusal:
    """The rack of a zone with the most room that holds none of its group, nor of a rule it is in."""
    if not room.racks:
        return Refusal("racks", f"zone {room.zone} has no racks that are told apart")
    taken = barred | used.in_racks.get(unit.rack_group, set())
    apart = [rack for rack in room.racks if rack.name not in taken]
    if not apart:
        names = ", ".join(rack.name for rack in room.racks)
        reason = f"zone {room.zone} has {len(room.racks)} rack(s) ({names}), too few to keep the group apart"
        return Refusal("racks", reason)
    short = {rack.name: _shortfall(unit, rack) for rack in apart}
    fitting = [rack for rack in apart if not short[rack.name]]
    if not fitting:
        reasons = "; ".join(f"rack {name}: {why}" for name, why in short.items())
        return Refusal("capacity", f"zone {room.zone}: {reasons}")
    # What need not stand apart stays in the rack of the units before: a rack that is lost takes less along.
    best = min(fitting, key=lambda rack: (rack.name not in used.racks[-1:], -rack.vcpus, rack.name))
    return best.name


def _shortfall(unit: Unit, room: Room | RackRoom) -> str:
    short = [
        f"{wanted} {what} asked for, {max(free, 0)} free"
        for what, wanted, free in _compared(unit, room)
        if wanted > free
    ]
    return "; ".join(short)


def _kept_from(unit: Unit, room: Room, priority: int) -> str:
    """What of the room is reserved for others and would be needed; empty: nothing."""
    short = [
        f"{wanted} {what} asked for, {free} free of which {min(kept, free)} are reserved for class "
        f"{one.priority} and more important ones, and this is of class {priority}"
        for one in room.reserved
        if priority > one.priority
        for (what, wanted, free), (_, _, kept) in zip(
            _compared(unit, room), _compared(unit, one), strict=True
        )
        if wanted and wanted > free - kept
    ]
    return "; ".join(short)


def _compared(unit: Unit, room: Room | RackRoom | Reserved) -> tuple[tuple[str, int, int], ...]:
    """Of each kind what is asked for, and what there is."""
    return (
        ("vCPU", unit.vcpus, room.vcpus),
        ("MiB memory", unit.memory_mib, room.memory_mib),
        ("GiB disk", unit.disk_gib, room.disk_gib),
    )
