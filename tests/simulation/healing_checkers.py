"""Checkers over the history of a simulated run. Each returns what it found wrong, one sentence per finding.

They read the history only, and know nothing of how the logic works.
"""

from collections.abc import Callable, Mapping

from healing_world import PARALLEL, PER_VNF, WINDOW_S, Happened, World

from farsite.model.healing import Recoverer


def single_active(world: World) -> list[str]:
    """I-03: of one VNF at most one instance serves, at any time."""
    serving: dict[str, set[int]] = {}
    wrong: list[str] = []
    for one in world.history:
        if one.what == "serves":
            serving.setdefault(one.vnf, set()).add(one.epoch)
        elif one.what == "stops":
            serving.setdefault(one.vnf, set()).discard(one.epoch)
        if len(serving.get(one.vnf, ())) > 1:
            wrong.append(f"{one.vnf} is served by epochs {sorted(serving[one.vnf])} at {one.at_s:.2f} s")
    return wrong


def epoch_monotone(world: World) -> list[str]:
    """I-04: nothing acts with a lower epoch after a higher one was seen."""
    highest: dict[str, int] = {}
    wrong: list[str] = []
    for one in world.history:
        if one.what == "acts" and one.epoch <= highest.get(one.vnf, 0):
            wrong.append(f"{one.vnf} acts at epoch {one.epoch} after {highest.get(one.vnf, 0)}")
        if one.what in ("acts", "recover"):
            top = max(highest.get(one.vnf, 0), one.epoch if one.what == "acts" else 0)
            highest[one.vnf] = top
    return wrong


def fence_before_recover(world: World) -> list[str]:
    """I-05: no recovery to an epoch before the one below it was fenced."""
    fenced: dict[str, int] = {}
    wrong: list[str] = []
    for one in world.history:
        if one.what == "fenced":
            fenced[one.vnf] = max(fenced.get(one.vnf, -1), one.epoch)
        elif one.what == "recover" and fenced.get(one.vnf, -1) < one.epoch - 1:
            wrong.append(f"{one.vnf} recovers to epoch {one.epoch} without a fence of {one.epoch - 1}")
    return wrong


def budgets(world: World) -> list[str]:
    """I-11: heals per VNF within the window, and heals that run at once, stay within the policy."""
    began: dict[str, list[float]] = {}
    running = 0
    wrong: list[str] = []
    for one in world.history:
        if one.what == "heal":
            running += 1
            recent = [at for at in began.setdefault(one.vnf, []) if at > one.at_s - WINDOW_S]
            began[one.vnf] = [*recent, one.at_s]
            if len(began[one.vnf]) > PER_VNF:
                wrong.append(f"{one.vnf} is healed {len(began[one.vnf])} times within {WINDOW_S:g} s")
            if running > PARALLEL:
                wrong.append(f"{running} heals run at once at {one.at_s:.2f} s")
        elif one.what in ("healed", "given up"):
            running -= 1
    return wrong


def one_recoverer(world: World) -> list[str]:
    """I-11: one heal of a VNF at a time, and none of a VNF that somebody else recovers."""
    running: dict[str, int] = {}
    wrong: list[str] = []
    for one in world.history:
        if one.what == "heal":
            running[one.vnf] = running.get(one.vnf, 0) + 1
            if running[one.vnf] > 1:
                wrong.append(f"{one.vnf} is healed twice at once at {one.at_s:.2f} s")
            if world.store[one.vnf].policy.handled_by is not Recoverer.FARSITE:
                wrong.append(f"{one.vnf} is recovered by itself and healed at {one.at_s:.2f} s")
        elif one.what in ("healed", "given up"):
            running[one.vnf] = running.get(one.vnf, 1) - 1
    return wrong


def _rank(priority_: int, waited_s: float) -> float:
    """What the invariant says of the order, in its own words: a class is worth a minute of waiting."""
    return 60.0 * priority_ - waited_s


def priority(world: World) -> list[str]:
    """I-14: when several wait and one may go, the most urgent goes; waiting makes up for a lower class."""
    waiting: dict[str, float] = {}
    running: set[str] = set()
    counts: dict[str, int] = {}
    wrong: list[str] = []
    for one in world.history:
        record = world.store[one.vnf]
        if one.what == "alarm" and record.policy.handled_by is Recoverer.FARSITE:
            waiting.setdefault(one.vnf, one.at_s)
        elif one.what == "heal":
            mine = _rank(record.priority, one.at_s - waiting.get(one.vnf, one.at_s))
            for name, since in waiting.items():
                if name == one.vnf or name in running or counts.get(name, 0) >= PER_VNF:
                    continue
                theirs = _rank(world.store[name].priority, one.at_s - since)
                if theirs < mine - 1e-6:
                    wrong.append(f"{one.vnf} is healed before {name} at {one.at_s:.2f} s")
            running.add(one.vnf)
            counts[one.vnf] = counts.get(one.vnf, 0) + 1
        elif one.what == "given up":
            running.discard(one.vnf)
        elif one.what == "healed":
            running.discard(one.vnf)
            waiting.pop(one.vnf, None)
    return wrong


def nobody_isolated_acts(world: World) -> list[str]:
    """R-26: who sees nobody decides nothing."""
    return [
        f"{one.actor} heals {one.vnf} at {one.at_s:.2f} s, cut off from everybody"
        for one in world.history
        if one.what == "heal" and one.detail == "isolated"
    ]


CHECKERS: Mapping[str, Callable[[World], list[str]]] = {
    one.__name__: one
    for one in (
        single_active,
        epoch_monotone,
        fence_before_recover,
        budgets,
        one_recoverer,
        priority,
        nobody_isolated_acts,
    )
}


def happened(world: World, what: str) -> list[Happened]:
    return [one for one in world.history if one.what == what]
