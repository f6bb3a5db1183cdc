"""I-03, I-04, I-05, I-11, I-14 and R-26: who serves, who acts, who heals.

The journal of a simulated VIM is put into the words in which the simulation writes its history, so that both
are read by the same checkers.
"""

from collections.abc import Iterable

from histories import Entries, Entry, Kind, in_order, of
from histories.bounds import Bounds
from histories.standing import Life, Site, journals

NOT_FENCED = "not asked for"
"""What a climb says of a fence that nobody wanted: somebody had what may well be alive replaced."""


def in_words(entries: Entries) -> list[Entry]:
    """The entries, and what journals of VIMs say in the words of the simulation."""
    told: list[Entry] = []
    unfenced = {
        (one["vnfc"], one["epoch"])
        for one in of(entries, Kind.BELIEVED, "climb")
        if one.get("fence") == NOT_FENCED
    }
    heals = _heals(entries)
    for vim, journal in journals(entries).items():
        site = Site(vim)
        serving: set[str] = set()
        for effect in journal:
            for life in site.apply(effect):
                if effect.what == "vnfc.created":
                    is_recovery = life.epoch > 0 and _during(heals.get(life.vnf, ()), effect.at)
                    if is_recovery and (life.vnfc, life.epoch) not in unfenced:
                        told.append(_word("recover", effect, life))
                    told.append(_word("acts", effect, life))
                if effect.what == "vnfc.repaired" and effect["repair"] == "evacuate":
                    told.append(_word("recover", effect, life, life.epoch + 1))
                if effect.what == "vnfc.fenced":
                    told.append(_word("fenced", effect, life))
                if life.is_alive != (life.resource in serving):
                    told.append(_word("serves" if life.is_alive else "stops", effect, life))
                    (serving.add if life.is_alive else serving.discard)(life.resource)
                if effect.what in ("vnfc.removed", "deployment.removed") and not site.is_wanted(life):
                    told.append(_word("forgotten", effect, life))
    return in_order([*entries, *told])


def _word(what: str, effect: Entry, life: Life, epoch: int | None = None) -> Entry:
    values = {"epoch": life.epoch if epoch is None else epoch, "instance": life.resource}
    return Entry(
        at=effect.at, source=effect.source, kind=Kind.SEEN, what=what, object=life.vnfc, values=values
    )


def _heals(entries: Entries) -> dict[str, list[tuple[float, float]]]:
    began: dict[str, float] = {}
    found: dict[str, list[tuple[float, float]]] = {}
    for one in of(entries, Kind.BELIEVED, "heal", "healed", "given up"):
        if one.what == "heal":
            began.setdefault(one.object, one.at)
        elif one.object in began:
            found.setdefault(one.object, []).append((began.pop(one.object), one.at))
    for vnf, at in began.items():
        found.setdefault(vnf, []).append((at, float("inf")))
    return found


def _during(stretches: Iterable[tuple[float, float]], at: float) -> bool:
    return any(began <= at <= ended for began, ended in stretches)


def single_active(entries: Entries, bounds: Bounds) -> list[str]:
    """I-03: in one place at most one instance serves, at any time."""
    serving: dict[str, dict[str, int]] = {}
    wrong: list[str] = []
    for one in of(in_words(entries), Kind.SEEN, "serves", "stops"):
        here = serving.setdefault(one.object, {})
        instance = str(one.get("instance", one["epoch"]))
        if one.what == "stops":
            here.pop(instance, None)
            continue
        here[instance] = one["epoch"]
        if len(here) > 1:
            wrong.append(f"{one.object} is served by epochs {sorted(here.values())} at {one.at:.2f} s")
    return wrong


def epoch_monotone(entries: Entries, bounds: Bounds) -> list[str]:
    """I-04: nothing acts with an epoch that is not above those seen, unless the place was given up before."""
    highest: dict[str, int] = {}
    wrong: list[str] = []
    for one in of(in_words(entries), Kind.SEEN, "acts", "forgotten"):
        if one.what == "forgotten":
            highest.pop(one.object, None)
            continue
        before = highest.get(one.object)
        if before is not None and one["epoch"] <= before:
            wrong.append(f"{one.object} acts at epoch {one['epoch']} after {before}")
        highest[one.object] = max(before or 0, one["epoch"])
    return wrong


def fence_before_recover(entries: Entries, bounds: Bounds) -> list[str]:
    """I-05: no recovery to an epoch before the one below it was fenced."""
    fenced: dict[str, int] = {}
    wrong: list[str] = []
    for one in of(in_words(entries), Kind.SEEN, "fenced", "recover", "serves"):
        if one.what == "fenced":
            fenced[one.object] = max(fenced.get(one.object, -1), one["epoch"])
        elif one.what == "serves":
            # It serves again: the fence that it had is gone.
            fenced[one.object] = min(fenced.get(one.object, -1), one["epoch"] - 1)
        elif fenced.get(one.object, -1) < one["epoch"] - 1:
            wrong.append(f"{one.object} recovers to epoch {one['epoch']} without a fence of the one before")
    return wrong


def budgets(entries: Entries, bounds: Bounds) -> list[str]:
    """I-11: heals per VNF within the window, and heals that run at once, stay within the policy."""
    policies = {one.object: one for one in of(entries, Kind.BELIEVED, "policy")}
    began: dict[str, list[float]] = {}
    running = 0
    wrong: list[str] = []
    for one in of(entries, Kind.BELIEVED, "heal", "healed", "given up"):
        if one.what != "heal":
            running -= 1
            continue
        running += 1
        policy = policies.get(one.object)
        if policy is None:
            continue
        recent = [at for at in began.setdefault(one.object, []) if at > one.at - policy["window_s"]]
        began[one.object] = [*recent, one.at]
        if len(began[one.object]) > policy["per_vnf"]:
            times = len(began[one.object])
            wrong.append(f"{one.object} is healed {times} times within {policy['window_s']:g} s")
        if policy.get("parallel") and running > policy["parallel"]:
            wrong.append(f"{running} heals run at once at {one.at:.2f} s")
    return wrong


def one_recoverer(entries: Entries, bounds: Bounds) -> list[str]:
    """I-11: one heal of a VNF at a time, and none of a VNF that somebody else recovers."""
    owners = {one.object: one["handled_by"] for one in of(entries, Kind.BELIEVED, "policy")}
    running: dict[str, int] = {}
    wrong: list[str] = []
    for one in of(entries, Kind.BELIEVED, "heal", "healed", "given up"):
        if one.what != "heal":
            running[one.object] = running.get(one.object, 1) - 1
            continue
        running[one.object] = running.get(one.object, 0) + 1
        if running[one.object] > 1:
            wrong.append(f"{one.object} is healed twice at once at {one.at:.2f} s")
        if owners.get(one.object, "farsite") != "farsite":
            wrong.append(f"{one.object} is recovered by {owners[one.object]} and healed at {one.at:.2f} s")
    return wrong


def _rank(priority_: int, waited_s: float) -> float:
    """What the invariant says of the order, in its own words: a class is worth a minute of waiting."""
    return 60.0 * priority_ - waited_s


def priority(entries: Entries, bounds: Bounds) -> list[str]:
    """I-14: when several wait and one may go, the most urgent goes; waiting makes up for a lower class.

    For histories of the simulation, which say when a VNF began to wait.
    """
    policies = {one.object: one for one in of(entries, Kind.BELIEVED, "policy")}
    waiting: dict[str, float] = {}
    running: set[str] = set()
    counts: dict[str, int] = {}
    wrong: list[str] = []
    for one in of(entries, Kind.BELIEVED, "waits", "heal", "healed", "given up"):
        vnf = one.object
        if one.what == "waits" and policies[vnf]["handled_by"] == "farsite":
            waiting.setdefault(vnf, one.at)
        elif one.what == "heal":
            if vnf in waiting:
                mine = _rank(policies[vnf]["priority"], one.at - waiting[vnf])
                for name, since in waiting.items():
                    if name == vnf or name in running or counts.get(name, 0) >= policies[name]["per_vnf"]:
                        continue
                    theirs = _rank(policies[name]["priority"], one.at - since)
                    if theirs < mine - 1e-6:
                        wrong.append(f"{vnf} is healed before {name} at {one.at:.2f} s")
            running.add(vnf)
            counts[vnf] = counts.get(vnf, 0) + 1
        elif one.what == "given up":
            running.discard(vnf)
        elif one.what == "healed":
            running.discard(vnf)
            waiting.pop(vnf, None)
    return wrong


def nobody_isolated_acts(entries: Entries, bounds: Bounds) -> list[str]:
    """R-26: who sees nobody decides nothing."""
    return [
        f"{one.get('actor')} heals {one.object} at {one.at:.2f} s, cut off from everybody"
        for one in of(entries, Kind.BELIEVED, "heal")
        if one.get("detail") == "isolated"
    ]
