"""I-08: every consumer is told everything that is for it and nothing else, numbered and in order."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from histories import Entries, Entry, Kind, of
from histories.bounds import Bounds


def in_order_to_each(entries: Entries, bounds: Bounds) -> list[str]:
    """I-08: numbers from 1 without a gap, one id under each, order within each object, nothing of others."""
    by_consumer: dict[str, list[Entry]] = defaultdict(list)
    for one in of(entries, Kind.TOLD, "notification"):
        by_consumer[one["consumer"]].append(one)
    return [
        f"{name}: {wrong}"
        for name, seen in by_consumer.items()
        for wrong in order_faults(copies_marked(seen))
    ]


def copies_marked(seen: Iterable[Entry]) -> list[Entry]:
    """What came before already, marked as a repetition: who could not write down that it was told tells it
    again under the same number, and does not know that it does."""
    known: set[int] = set()
    marked: list[Entry] = []
    for one in seen:
        is_copy = one["number"] in known
        known.add(one["number"])
        marked.append(replace(one, values={**one.values, "is_replay": is_copy or one["is_replay"]}))
    return marked


def order_faults(seen: Sequence[Entry]) -> list[str]:
    """What is wrong with what one consumer got. The end of an alarm names its id and not its object (SOL003,
    AlarmClearedNotification), so its object is that of its beginning."""
    objects = {one["alarm"]: one.object for one in seen if one.object and one.get("alarm")}
    ids: dict[int, str] = {}
    latest: dict[str, int] = defaultdict(int)
    wrong: list[str] = []
    for one in seen:
        number = one["number"]
        if ids.setdefault(number, one["id"]) != one["id"]:
            wrong.append(f"number {number} came with two ids")
        about = one.object or objects.get(one.get("alarm", ""), "")
        if number <= latest[about] and not one["is_replay"]:
            wrong.append(f"{number} came late, unmarked")
        latest[about] = max(latest[about], number)
        if not one.get("is_mine", True):
            wrong.append(f"{number} is about {one.object}, which is another's")
    missing = sorted(set(range(1, max(ids, default=0) + 1)) - set(ids))
    if missing:
        wrong.append(f"numbers {missing} never came")
    if len(set(ids.values())) != len(ids):
        wrong.append("one id came under two numbers")
    return wrong


def all_told(entries: Entries, bounds: Bounds) -> list[str]:
    """I-08: who is subscribed to all alarms is told of the raising and the end of each."""
    told: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for one in of(entries, Kind.TOLD, "notification"):
        if one["type"] in ("AlarmNotification", "AlarmClearedNotification"):
            told[one["consumer"]].add((one["alarm"], one["type"] == "AlarmClearedNotification"))
    consumers = [one.object for one in of(entries, Kind.ASKED, "subscription")]
    since = {one.object: one.at for one in of(entries, Kind.ASKED, "subscription")}
    return [
        f"{name} was not told that {one['problem']} of {one.object} was {one['became']}"
        for name in consumers
        for one in of(entries, Kind.BELIEVED, "alarm")
        if one["became"] in ("raised", "cleared") and one.at > since[name]
        if one["object_kind"] == "vnf"
        if (one["alarm"], one["became"] == "cleared") not in told[name]
    ]
