"""What functions lost to failures of the VIM they stood on, for placement to go by. Pure.

A VIM may answer every heartbeat while its hosts die under the functions, so what they suffered counts beside
what it suffered itself. Only what correlation has tied to a failed place of the VIM (a host, a zone, all of
it) is laid to its charge: a function that dies by itself says nothing about where it stood, however often it
does. Nor does a place that was concluded to have failed from the deaths of one function alone: a bug that
takes all of its VNFCs down looks the same. And since all functions' time is counted together, none weighs
more than its own time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from farsite.assurance import alarms
from farsite.assurance.availability import timeline
from farsite.model.alarm import Alarm, HistoryEntry, Transition
from farsite.model.ids import AlarmId

DEATHS = (alarms.VNFC_DIED.name, alarms.LINK_DOWN.name, alarms.DATAPATH_LOST.name)
"""Alarms by which a VNFC is away."""
PLACES = (alarms.HOST_DOWN.name, alarms.ZONE_DOWN.name, alarms.VIM_DOWN.name, alarms.SITE_DOWN.name)
"""Alarms about what VNFCs stand on."""
LEAST_PER_DEATH = timedelta(minutes=1)
"""What the death of a VNFC counts for at least: sessions are lost however quickly it is healed."""
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """An alarm by which a VNFC of a function is or was away; `location`: where it stood when it died."""

    alarm_id: AlarmId
    vnf_id: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stood:
    """A function that stands, or stood, on a VIM. `parts`: how many VNFCs it has; `entries`: the history of
    the deaths that are laid to the VIM's charge, in any order."""

    since: datetime
    parts: int = 1
    entries: Sequence[HistoryEntry] = ()


def is_by_its_own_word(place: Alarm) -> bool:
    """Whether the VIM itself said that the place failed; else it was concluded from what died there."""
    return place.fault_type == alarms.HOST_DOWN.name and bool(place.fault_details)


def is_of_one_function(place: Alarm, deaths: Mapping[AlarmId, Death]) -> bool:
    """Whether a place was concluded to have failed from the deaths of one function alone."""
    who = {deaths[one].vnf_id for one in place.correlated_alarm_ids if one in deaths}
    return len(who) == 1 and not is_by_its_own_word(place)


def laid_to_the_vim(places: Iterable[Alarm], deaths: Mapping[AlarmId, Death]) -> dict[AlarmId, Alarm]:
    """Which deaths a failed place explains, and which place."""
    return {
        one: place
        for place in places
        if not is_of_one_function(place, deaths)
        for one in place.correlated_alarm_ids
        if one in deaths
    }


def functions_availability(stood: Sequence[Stood], *, since: datetime, until: datetime) -> float | None:
    """Share of their time that a VIM's failures left the functions on it; None where none stood there.

    All functions' time counts together, and at least the time looked at: of the few that have just come, none
    can say much.
    """
    if not stood or since >= until:
        return None
    window_s = (until - since).total_seconds()
    all_s = sum(max((until - max(one.since, since)).total_seconds(), 0.0) for one in stood)
    lost_s = sum(min(_lost_s(one, since=since, until=until), window_s) for one in stood if one.entries)
    return round(1.0 - min(lost_s / max(all_s, window_s), 1.0), _DIGITS)


def _lost_s(one: Stood, *, since: datetime, until: datetime) -> float:
    """Seconds of a whole function that were lost: a VNFC that is away takes its share of it along."""
    line = timeline(one.entries, since=since, until=until, parts=one.parts)
    deaths = sum(
        entry.what is Transition.RAISED and entry.type in DEATHS and since <= entry.at < until
        for entry in one.entries
    )
    away_s = sum(segment.seconds * segment.lost for segment in line)
    return max(away_s, deaths * LEAST_PER_DEATH.total_seconds() / max(one.parts, 1))
