"""What really was so, by the journals of simulated VIMs and what was injected: lives, conditions, blindness.

A *life* is one server of a VNFC, from its creation to its removal. A *condition* is what an alarm is about: a
stretch of time in which a VNFC was dead, a VIM silent, a VNF without a living VNFC. A stretch of *blindness*
is one in which our program could not have known: it was dead, its database away, the VIM silent.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from histories import Entries, Entry, Kind, of

DIED = "vnfc-died"
LINK_DOWN = "vnfc-link-down"
DATAPATH_LOST = "vnfc-datapath-lost"
VNF_DOWN = "vnf-down"
HOST_DOWN = "host-down"
VIM_UNREACHABLE = "vim-unreachable"
NODE_LOST = "node-lost"

OF_VNFCS = (DIED, LINK_DOWN, DATAPATH_LOST)
SILENT_VIM = ("vim-silent", "vim-crashed", "vim-slow")
BLINDING = ("service-killed", "service-frozen", "service-stopped", "database-stopped", "disk-full")


@dataclass(kw_only=True)
class Life:
    """One server of a VNFC. `alive` are the stretches in which it may have served."""

    vim: str
    vnf: str
    vnfc: str
    epoch: int
    resource: str
    group: str
    host: str
    zone: str
    facts: dict[str, Any]
    began: float
    ended: float = math.inf
    is_alive: bool = True
    started: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A stretch in which an alarm of this type, object and part would be true. Ends at infinity when the
    history does not show its end."""

    type: str
    object: str
    part: str = ""
    vim: str = ""
    host: str = ""
    began: float
    ended: float = math.inf


def journals(entries: Entries) -> dict[str, list[Entry]]:
    """The journal of each VIM, in its own order, with times that never go back."""
    found: dict[str, list[Entry]] = {}
    for one in entries:
        if one.kind is Kind.SEEN and "sequence" in one.values:
            found.setdefault(one.source, []).append(one)
    for vim, journal in found.items():
        latest = -math.inf
        ordered: list[Entry] = []
        for one in sorted(journal, key=lambda one: one["sequence"]):
            latest = max(latest, one.at)
            ordered.append(replace(one, at=latest))
        found[vim] = ordered
    return found


@dataclass
class Site:
    """One VIM as it was after each effect of its journal."""

    vim: str
    lives: dict[str, Life] = field(default_factory=dict[str, Life])
    """By the VIM's id of the server."""
    wanted: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Deployment -> VNFCs."""
    networks: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Deployment -> network -> what carries it; one that belongs to none is its own."""

    def apply(self, one: Entry) -> list[Life]:
        """Take an effect in; the lives that it touched."""
        body = one.values
        match one.what:
            case "deployment.created" | "deployment.changed":
                self.wanted[body["name"]] = {vnfc for vnfc, _ in body["wanted"]}
                self.networks[body["name"]] = {
                    network["id"]: network.get("physical_network", "") for network in body["networks"]
                }
                return []
            case "network.created" | "network.changed":
                self.networks[body["id"]] = {body["id"]: body.get("physical_network", "")}
                return []
            case "network.removed":
                self.networks.pop(body["id"], None)
                return []
            case "deployment.removed":
                gone = [life for life in self.lives.values() if life.facts["deployment"] == body["name"]]
                self.wanted.pop(body["name"], None)
                self.networks.pop(body["name"], None)
                return [self._remove(life, one.at) for life in gone]
            case "vnfc.created":
                return [self._create(one)]
            case "vnfc.refused":
                return []
            case what if what.startswith("vnfc."):
                life = self.lives.get(body["resource_id"])
                return [] if life is None else [self._change(life, one)]
            case _:
                return []

    def _create(self, one: Entry) -> Life:
        body = dict(one.values)
        life = Life(
            vim=self.vim,
            vnf=body["vnf_id"],
            vnfc=body["vnfc_id"],
            epoch=body["incarnation"],
            resource=body["resource_id"],
            group=body["group"],
            host=body["host"],
            zone=body["zone"],
            facts=body,
            began=one.at,
        )
        self.lives[life.resource] = life
        return life

    def _remove(self, life: Life, at: float) -> Life:
        life.ended, life.is_alive = at, False
        return self.lives.pop(life.resource)

    def _change(self, life: Life, one: Entry) -> Life:
        body = one.values
        match one.what:
            case "vnfc.removed":
                self._remove(life, one.at)
            case "vnfc.died" | "vnfc.fenced":
                life.is_alive = False
            case "vnfc.started":
                life.started = min(life.started, _running_from(life, one.at))
            case "vnfc.configured":
                life.facts = {**life.facts, "configuration": body["configuration"]}
            case "vnfc.changed":
                told = {key: body[key] for key in ("ports", "is_stopped", "ready_at") if key in body}
                life.facts = {**life.facts, **told}
            case "vnfc.repaired":
                life.is_alive = life.is_alive or body["is_cured"]
                life.host, life.zone = body.get("host", life.host), body.get("zone", life.zone)
                told = {key: body[key] for key in ("configuration", "ready_at") if key in body}
                life.facts = {**life.facts, **told}
            case _:
                pass
        return life

    def is_wanted(self, life: Life) -> bool:
        return life.vnfc in self.wanted.get(life.facts["deployment"], ())


# -- conditions


def conditions(entries: Entries) -> list[Condition]:
    """Everything that was wrong, each stretch by itself."""
    found: list[Condition] = []
    for vim, journal in journals(entries).items():
        found += _of_vnfcs(vim, journal)
    found += _vnfs_down(entries, found)
    found += _injected(entries, SILENT_VIM, VIM_UNREACHABLE)
    found += _injected(entries, ("host-dead",), HOST_DOWN)
    found += [
        replace(one, ended=_started_again(entries, one))
        for one in _injected(entries, ("service-killed", "service-frozen"), NODE_LOST)
        if _has_peers(entries, one.object)
    ]
    return found


def _started_again(entries: Entries, lost: Condition) -> float:
    """When a process of that name was there again, which is before it wants requests."""
    started = [one.at for one in of(entries, Kind.INJECTED, "service-started") if one.object == lost.object]
    return min((at for at in started if lost.began <= at <= lost.ended), default=lost.ended)


def _of_vnfcs(vim: str, journal: Sequence[Entry]) -> list[Condition]:
    site, open_, found = Site(vim), dict[tuple[str, str], Condition](), list[Condition]()
    downed: dict[str, set[str]] = {}

    def begin(type_: str, life: Life, at: float) -> None:
        # What has never run is not there yet: its operation tells of it.
        if life.started < math.inf:
            now = Condition(type=type_, object=life.vnf, part=life.vnfc, vim=vim, host=life.host, began=at)
            open_.setdefault((type_, life.vnfc), now)

    def end(vnfc: str, at: float, *types: str) -> None:
        for type_ in types:
            if (type_, vnfc) in open_:
                over = open_.pop((type_, vnfc))
                found.append(replace(over, ended=max(at, over.began)))

    for one in journal:
        for life in site.apply(one):
            match one.what:
                case "vnfc.died":
                    begin(DIED, life, one.at)
                case "vnfc.hung":
                    begin(DATAPATH_LOST, life, one.at)
                case "vnfc.passes" if not one["passes_packets"]:
                    begin(DATAPATH_LOST, life, one.at)
                case "vnfc.passes":
                    end(life.vnfc, one.at, DATAPATH_LOST)
                case "vnfc.linked" if not one["is_up"]:
                    downed.setdefault(life.vnfc, set()).add(one["port"])
                    begin(LINK_DOWN, life, one.at)
                case "vnfc.linked":
                    downed.setdefault(life.vnfc, set()).discard(one["port"])
                    if not downed[life.vnfc]:
                        end(life.vnfc, one.at, LINK_DOWN)
                case "vnfc.started":
                    downed.pop(life.vnfc, None)
                    end(life.vnfc, _running_from(life, one.at), *OF_VNFCS)
                case "vnfc.removed" | "deployment.removed" if not site.is_wanted(life):
                    end(life.vnfc, one.at, *OF_VNFCS)
                case _:
                    pass
    for life in site.lives.values():
        # It runs, and nobody has asked since: the journal will say so.
        is_back = life.is_alive and not life.facts.get("fails")
        for type_ in OF_VNFCS:
            if (
                is_back
                and (type_, life.vnfc) in open_
                and life.facts["ready_at"] > open_[type_, life.vnfc].began
            ):
                end(life.vnfc, life.facts["ready_at"], type_)
    return [*found, *open_.values()]


def _running_from(life: Life, told_at: float) -> float:
    """Since when it has run: a simulated VIM writes that down when somebody asks next."""
    return min(life.facts["ready_at"], told_at)


def _vnfs_down(entries: Entries, known: Iterable[Condition]) -> list[Condition]:
    """Stretches in which every VNFC of a VNF was in a condition."""
    members: dict[str, dict[str, Stretches]] = {}
    """VNF -> VNFC -> when it did not belong to it."""
    vims: dict[str, str] = {}
    for vim, journal in journals(entries).items():
        site = Site(vim)
        for one in journal:
            for life in site.apply(one):
                absent = members.setdefault(life.vnf, {}).setdefault(life.vnfc, [(-math.inf, math.inf)])
                if one.what == "vnfc.created" and absent[-1][1] == math.inf:
                    absent[-1] = (absent[-1][0], one.at)
                elif one.what in ("vnfc.removed", "deployment.removed") and not site.is_wanted(life):
                    absent.append((one.at, math.inf))
                vims[life.vnf] = vim
    by_vnfc: dict[str, list[tuple[float, float]]] = {}
    for one in known:
        by_vnfc.setdefault(one.part, []).append((one.began, one.ended))
    found: list[Condition] = []
    for vnf, vnfcs in members.items():
        down = [(-math.inf, math.inf)]
        for vnfc, absent in vnfcs.items():
            down = both(down, merged([*by_vnfc.get(vnfc, ()), *absent]))
        # Where none belonged to it, there was no VNF.
        nothing = [(-math.inf, math.inf)]
        for absent in vnfcs.values():
            nothing = both(nothing, merged(absent))
        down = both(down, outside(nothing))
        found += [
            Condition(type=VNF_DOWN, object=vnf, vim=vims[vnf], began=began, ended=ended)
            for began, ended in down
        ]
    return found


def _injected(entries: Entries, whats: Iterable[str], type_: str) -> list[Condition]:
    return [
        Condition(type=type_, object=about, vim=about.partition("/")[0], began=began, ended=ended)
        for what in whats
        for about, began, ended in faults(entries, what)
    ]


def _has_peers(entries: Entries, name: str) -> bool:
    """Whether others were there to notice that a process of ours is gone."""
    return any(one.object != name for one in of(entries, Kind.BELIEVED, "lease"))


def faults(entries: Entries, what: str) -> list[tuple[str, float, float]]:
    """Target, begin and end of each injected fault of a name."""
    standing: dict[str, float] = {}
    found: list[tuple[str, float, float]] = []
    for one in of(entries, Kind.INJECTED, what):
        if one["phase"] == "begins":
            standing.setdefault(one.object, one.at)
        elif one.object in standing:
            found.append((one.object, standing.pop(one.object), one.at))
    return [*found, *((about, began, math.inf) for about, began in standing.items())]


# -- stretches of time

Stretches = list[tuple[float, float]]


def merged(stretches: Iterable[tuple[float, float]]) -> Stretches:
    """Without overlaps, in order."""
    found: Stretches = []
    for began, ended in sorted(stretches):
        if found and began <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ended))
        else:
            found.append((began, ended))
    return found


def both(one: Iterable[tuple[float, float]], other: Iterable[tuple[float, float]]) -> Stretches:
    """Where both are."""
    others = list(other)
    return [
        (max(began, start), min(ended, end))
        for began, ended in one
        for start, end in others
        if max(began, start) < min(ended, end)
    ]


def outside(stretches: Iterable[tuple[float, float]]) -> Stretches:
    """Where none of them is."""
    edge = -math.inf
    found: Stretches = []
    for began, ended in merged(stretches):
        if edge < began:
            found.append((edge, began))
        edge = ended
    return [*found, (edge, math.inf)] if edge < math.inf else found


def blindness(entries: Entries) -> Mapping[str, Stretches]:
    """When we could not know what happens: by VIM, and under the empty name anywhere."""
    found: dict[str, Stretches] = {"": []}
    for what in BLINDING:
        found[""] += [(began, ended) for _, began, ended in faults(entries, what)]
    for what in SILENT_VIM:
        for about, began, ended in faults(entries, what):
            found.setdefault(about, []).append((began, ended))
    return {vim: merged([*stretches, *found[""]]) for vim, stretches in found.items()}


def known_by(at: float, within_s: float, blind: Iterable[tuple[float, float]], again_s: float) -> float:
    """The end of the first stretch since then in which we saw for long enough: `within_s`, and `again_s` more
    where we had been blind before."""
    deadline = at + within_s
    for began, ended in blind:
        if began < deadline and ended > at:
            deadline = max(deadline, ended + again_s + within_s)
    return deadline
