"""I-21, I-22, I-23, I-24: faults stay where they are, storms cost no more than they may, secrets are nowhere,
and clocks that are wrong break nothing."""

import hashlib
import itertools
import json
import math
from collections.abc import Sequence

from histories import Entries, Entry, Kind, of
from histories.bounds import Bounds
from histories.standing import BLINDING, faults, merged

OF_VIMS = ("vim-silent", "vim-crashed", "vim-slow", "lost-answers")
LAST_SIGHT_S = 60.0


def bulkhead(entries: Entries, bounds: Bounds) -> list[str]:
    """I-21: while one VIM is at fault, requests about the others take hardly longer than without."""
    stretches = [one for what in OF_VIMS for one in faults(entries, what)]
    blind = merged((began, ended) for what in BLINDING for _, began, ended in faults(entries, what))
    quiet: dict[str, list[float]] = {}
    during: dict[str, list[float]] = {}
    for one in of(entries, Kind.ASKED, "request"):
        if not one.get("vim") or any(began <= one.at <= ended for began, ended in blind):
            continue
        at_fault = {vim for vim, began, ended in stretches if began <= one.at <= ended}
        if not at_fault:
            quiet.setdefault(one["vim"], []).append(one["duration_s"])
        elif one["vim"] not in at_fault:
            during.setdefault(one["vim"], []).append(one["duration_s"])
    wrong: list[str] = []
    for vim, taken in during.items():
        before = quiet.get(vim, [])
        if min(len(taken), len(before)) < bounds.least_requests:
            continue
        allowed = _p99(before) * (1 + bounds.other_sites_more) + bounds.other_sites_s
        if _p99(taken) > allowed:
            wrong.append(
                f"requests about {vim} take {_p99(taken):.3f} s (p99) while another VIM is at fault, "
                f"{_p99(before):.3f} s without"
            )
    return wrong


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[math.ceil(0.99 * len(taken)) - 1]


def bounded(entries: Entries, bounds: Bounds) -> list[str]:
    """I-22: memory, threads, open files and disk stay within their limits, whatever comes."""
    most = {
        "memory_mib": bounds.memory_mib,
        "threads": bounds.threads,
        "files": bounds.files,
        "disk_mib": bounds.disk_mib,
    }
    peaks: dict[tuple[str, str], float] = {}
    for one in of(entries, Kind.SEEN, "usage"):
        for name in most:
            if name in one.values:
                peaks[one.object, name] = max(peaks.get((one.object, name), 0.0), one[name])
    return [
        f"{process} has {peak:g} {name}, more than {most[name]:g}"
        for (process, name), peak in peaks.items()
        if peak > most[name]
    ]


def no_secret(entries: Entries, bounds: Bounds) -> list[str]:
    """I-23: no credential stands in what was asked, believed, told or written by us.

    The history holds only a digest of each, so every stretch of that length is looked at whose characters
    add up to the same.
    """
    secrets = of(entries, Kind.ASKED, "credential")
    wrong: list[str] = []
    for one in entries:
        if one.what == "credential":
            continue
        text = json.dumps(one.values, ensure_ascii=False) + one.object
        sums = [0, *itertools.accumulate(map(ord, text))]
        for secret in secrets:
            length = secret["length"]
            if any(
                sums[end] - sums[end - length] == secret["weight"]
                and digest(text[end - length : end]) == secret["sha256"]
                for end in range(length, len(sums))
            ):
                wrong.append(f"credential {secret.object} stands in {one.kind} {one.what} of {one.object}")
    return wrong


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def credential(name: str, text: str, *, at: float) -> Entry:
    """The entry by which a history knows a credential without holding it."""
    values = {"length": len(text), "sha256": digest(text), "weight": sum(map(ord, text))}
    return Entry(at=at, source="lab", kind=Kind.ASKED, what="credential", object=name, values=values)


def clocks(entries: Entries, bounds: Bounds) -> list[str]:
    """I-24: with clocks that are stepped, nobody who lives is declared gone, no operation runs out of time,
    alarms are raised and cleared in turn, and what is recorded has the time at which it was so."""
    stepped = [began for _, began, _ in faults(entries, "clock-stepped")]
    if not stepped:
        return []
    ends = ("service-killed", "service-frozen", "cable-cut")
    gone = [one for what in ends for one in faults(entries, what)]
    wrong = [
        f"{one.object} lived and was declared gone, {one.at - min(stepped):.0f} s after a clock was stepped"
        for one in of(entries, Kind.BELIEVED, "declared-gone")
        if not any(
            name == one.object and began <= one.at <= ended + LAST_SIGHT_S for name, began, ended in gone
        )
    ]
    wrong += [
        f"{one['verb']} {one.object} ran out of time when a clock was stepped: {one['error']}"
        for one in of(entries, Kind.BELIEVED, "operation")
        if "deadline" in str(one["error"])
    ]
    latest: dict[str, str] = {}
    for one in sorted(of(entries, Kind.BELIEVED, "alarm"), key=lambda one: one["sequence"]):
        if one["became"] not in ("raised", "cleared"):
            continue
        before = latest.get(one["alarm"], "cleared")
        if before == one["became"]:
            wrong.append(f"{one['problem']} of {one.object} is {one['what']} twice in a row")
        latest[one["alarm"]] = one["became"]
    return wrong + _misdated(entries, bounds)


def _misdated(entries: Entries, bounds: Bounds) -> list[str]:
    """Operations that are not dated as they were asked for, and alarms whose times go against their order."""
    asked = {one.object: one.at for one in of(entries, Kind.ASKED, "operation") if one.object}
    wrong: list[str] = []
    for one in of(entries, Kind.BELIEVED, "operation"):
        off_s = one["started"] - asked.get(one.object, one["started"])
        if abs(off_s) > bounds.dated_s:
            wrong.append(f"{one['verb']} {one.object} is dated {off_s:+.0f} s from when it was asked for")
        before_s = one["started"] - one["entered"]
        if before_s > bounds.dated_s:
            wrong.append(f"{one['verb']} {one.object} ended {before_s:.0f} s before it began")
    latest = -math.inf
    for one in sorted(of(entries, Kind.BELIEVED, "alarm"), key=lambda one: one["sequence"]):
        if one.at < latest - bounds.dated_s:
            wrong.append(
                f"{one['problem']} of {one.object} is dated {latest - one.at:.0f} s before earlier ones"
            )
        latest = max(latest, one.at)
    return wrong
