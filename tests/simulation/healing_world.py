"""A world in which the healing logic is tried over many schedules: one seed, one schedule, always the same.

Two deciders that know nothing of each other share a store, as two of our processes share a database. They
use the program's own `decide`, `next_rung` and `judge`. The world around them has a virtual clock, delivers
what is sent late, twice, out of order or never, cuts a decider off from a site, delays fences or has them
fail, and crashes deciders between any two of their acts. A history of all that happened is for the checkers.

`Planted` takes one safeguard out, so that each checker can be shown to find its violation.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from farsite.assurance import alarms as catalogue
from farsite.assurance.deciding import Case, Limits, PastHeal, Vnfc, decide, urgency
from farsite.assurance.evidence import Evidence, Seen, judge
from farsite.model.alarm import Alarm
from farsite.model.healing import (
    Budget,
    Climb,
    ClimbState,
    HealingPolicy,
    LadderRung,
    Outcome,
    Recoverer,
    Rung,
    next_rung,
)
from farsite.model.ids import DEFAULT_PROJECT, OperationId, VimId, VnfcId, VnfInstanceId
from farsite.model.vim import VimState
from histories import Entry, Kind

SEEN = ("serves", "stops", "fenced", "recover", "acts")
"""What happens on the site; all else is what deciders believe."""
BEGAN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
WINDOW_S = 120.0
PER_VNF = 4
PARALLEL = 2
LADDER = (
    LadderRung(kind=Rung.REBOOT_SOFT, deadline_s=2.0),
    LadderRung(kind=Rung.REBOOT_HARD, deadline_s=3.0),
    LadderRung(kind=Rung.RESPAWN, deadline_s=60.0),
)


class Planted(StrEnum):
    """Which safeguard is missing."""

    NOTHING = "nothing"
    NO_FENCE = "no fence before another is made"
    NO_EPOCH = "the site takes requests of any epoch"
    NO_BUDGET = "no budget"
    NO_LOCK = "deciders do not exclude each other"
    NO_ORDER = "no order of priority"
    NO_EVIDENCE = "our own isolation is not noticed"
    BLIND_TO_OWNER = "who else recovers is not asked"


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One thing of the history. `epoch` is that of the instance concerned."""

    at_s: float
    what: str
    vnf: str
    epoch: int = 0
    actor: str = ""
    detail: str = ""


@dataclass(kw_only=True)
class Instance:
    """What really stands on the site."""

    epoch: int
    is_serving: bool = True
    is_hung: bool = False
    cured_by: int = 2
    """Position of the gentlest rung that helps."""


@dataclass(kw_only=True)
class Record:
    """What the shared store holds of one VNF."""

    name: str
    priority: int
    policy: HealingPolicy
    epoch: int = 0
    alarm_since_s: float | None = None
    holder: str = ""
    """The operation that works on it."""
    climbs: list[Climb] = field(default_factory=list[Climb])
    fenced: int = -1
    """Highest epoch whose fence was confirmed."""
    version: int = 0


@dataclass(kw_only=True)
class Decider:
    name: str
    is_alive: bool = True
    is_cut: bool = False
    """It reaches the store and no site: the partition is its own."""


class World:
    """One run."""

    def __init__(self, seed: int, planted: Planted = Planted.NOTHING) -> None:
        self.dice = random.Random(seed)
        self.planted = planted
        self.now_s = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.history: list[Happened] = []
        self.deciders = [Decider(name="a"), Decider(name="b")]
        self.heals: list[PastHeal] = []
        self.alarms: dict[tuple[str, float], Alarm] = {}
        self.operations = 0
        self.site: dict[str, list[Instance]] = {}
        self.store: dict[str, Record] = {}
        for number in range(self.dice.randint(3, 8)):
            name = f"vnf-{number}"
            owner = Recoverer.VNF if number == 0 else Recoverer.FARSITE
            policy = HealingPolicy(
                name=f"policy-{number}",
                project_id=DEFAULT_PROJECT,
                handled_by=owner,
                ladder=LADDER[self.dice.randint(0, 2) :],
                budget=Budget(per_vnf=PER_VNF, window_s=WINDOW_S, parallel_per_site=PARALLEL),
                priority=self.dice.randint(1, 3),
            )
            self.store[name] = Record(name=name, priority=policy.priority or 1, policy=policy)
            self.site[name] = [Instance(epoch=0)]
            self.tell("serves", name, epoch=0)

    # -- the clock and the messages

    def at(self, delay_s: float, do: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (self.now_s + delay_s, self.count, do))

    def send(self, decider: Decider, do: Callable[[], None], *, least_s: float = 0.01) -> None:
        """A request to the site: late, out of order with others, perhaps twice, perhaps never."""
        if decider.is_cut or self.dice.random() < 0.1:
            return
        self.at(least_s + self.dice.expovariate(8), do)
        if self.dice.random() < 0.15:
            self.at(least_s + self.dice.uniform(0, 12), do)

    def tell(self, what: str, vnf: str, *, epoch: int = 0, actor: str = "", detail: str = "") -> None:
        self.history.append(
            Happened(at_s=self.now_s, what=what, vnf=vnf, epoch=epoch, actor=actor, detail=detail)
        )

    @property
    def clock(self) -> datetime:
        return BEGAN + timedelta(seconds=self.now_s)

    def as_entries(self) -> list[Entry]:
        """The history in the words that checkers read."""
        policies = [
            Entry(
                at=0.0,
                source="store",
                kind=Kind.BELIEVED,
                what="policy",
                object=one.name,
                values={
                    "per_vnf": PER_VNF,
                    "window_s": WINDOW_S,
                    "parallel": PARALLEL,
                    "handled_by": one.policy.handled_by.value,
                    "priority": one.priority,
                },
            )
            for one in self.store.values()
        ]
        return policies + [
            Entry(
                at=one.at_s,
                source=one.actor or "world",
                kind=Kind.SEEN if one.what in SEEN else Kind.BELIEVED,
                what=one.what,
                object=one.vnf,
                values={"epoch": one.epoch, "actor": one.actor, "detail": one.detail},
            )
            for one in self.history
        ]

    def run(self, seconds: float = 90.0) -> list[Happened]:
        self.at(0.0, self._next_fault)
        for decider in self.deciders:
            self.at(self.dice.random(), lambda decider=decider: self._look(decider))
        while self.queue and self.queue[0][0] <= seconds:
            self.now_s, _, do = heapq.heappop(self.queue)
            do()
        self.now_s = seconds
        return self.history

    # -- faults

    def _next_fault(self) -> None:
        dice = self.dice
        kind = dice.choice(("hang", "hang", "hang", "die", "storm", "crash", "cut"))
        names = list(self.store)
        match kind:
            case "hang" | "die":
                self._break(dice.choice(names), is_dead=kind == "die")
            case "storm":
                for name in dice.sample(names, min(len(names), 4)):
                    self._break(name, is_dead=False)
            case "crash":
                decider = dice.choice(self.deciders)
                if all(one.is_alive for one in self.deciders):
                    decider.is_alive = False
                    self.at(dice.uniform(0.5, 8), lambda: self._start(decider))
            case _:
                decider = dice.choice(self.deciders)
                decider.is_cut = True
                self.at(dice.uniform(1, 10), lambda: setattr(decider, "is_cut", False))
        self.at(dice.expovariate(0.4), self._next_fault)

    def _break(self, name: str, *, is_dead: bool) -> None:
        for one in self.site[name]:
            if one.is_serving and not one.is_hung:
                one.is_hung = True
                one.cured_by = self.dice.randint(0, 2)
                if is_dead:
                    self._stop(name, one)
        record = self.store[name]
        if record.alarm_since_s is None:
            record.alarm_since_s = self.now_s
            self.tell("waits", name)

    def _stop(self, name: str, one: Instance) -> None:
        if one.is_serving:
            one.is_serving = False
            self.tell("stops", name, epoch=one.epoch)

    def _start(self, decider: Decider) -> None:
        decider.is_alive = True
        self._look(decider)

    # -- deciding

    def _look(self, decider: Decider) -> None:
        if not decider.is_alive:
            return
        self.at(self.dice.uniform(0.3, 0.8), lambda: self._look(decider))
        waiting = [one for one in self.store.values() if one.alarm_since_s is not None]
        if self.planted is Planted.NO_ORDER:
            waiting.sort(key=lambda one: -one.priority)
        else:
            waiting.sort(
                key=lambda one: (urgency(one.priority, self.now_s - (one.alarm_since_s or 0)), one.name)
            )
        for record in waiting:
            self._decide(decider, record)

    def _decide(self, decider: Decider, record: Record) -> None:
        """What the healer does in one transaction."""
        assert record.alarm_since_s is not None
        seen = Seen.DOWN if decider.is_cut else Seen.UP
        if self.planted is Planted.NO_EVIDENCE:
            seen = Seen.UP
        finding = judge(Evidence(agent=seen, management=seen, others=seen))
        vnfc = VnfcId(f"{record.name}-0")
        alarm = self._alarm(record.name, vnfc, record.alarm_since_s)
        policy = record.policy
        if self.planted is Planted.NO_BUDGET:
            policy = replace(policy, budget=Budget(per_vnf=10_000))
        if self.planted is Planted.BLIND_TO_OWNER:
            policy = replace(policy, handled_by=Recoverer.FARSITE)
        case = Case(
            vnf_id=VnfInstanceId(record.name),
            name=record.name,
            project_id=DEFAULT_PROJECT,
            vnfd_ids=frozenset(),
            ns_id=None,
            metadata={},
            vim_id=VimId("vim"),
            site="site",
            vim_state=VimState.ACTIVE,
            vnfcs={vnfc: Vnfc(vdu="v", host="h", epoch=record.epoch)},
            alarms=(alarm,),
            is_worked_on=bool(record.holder) and self.planted is not Planted.NO_LOCK,
            history=tuple(self.heals),
            deaths=0,
            findings={"": finding},
        )
        limits = Limits(
            per_vnf=PER_VNF, window_s=WINDOW_S, breaker=100, hold_off_s={catalogue.VNFC_DIED.name: 0.0}
        )
        decision = decide(case, [policy], limits, self.clock)
        if decision is None or decision.outcome is not Outcome.HEAL:
            return
        self.operations += 1
        operation = f"op-{self.operations}"
        record.holder, record.climbs = operation, []
        self.heals.append(
            PastHeal(vnf_id=VnfInstanceId(record.name), site="site", hosts=("h",), began_at=self.clock)
        )
        isolated = "isolated" if decider.is_cut else ""
        self.tell("heal", record.name, epoch=record.epoch, actor=decider.name, detail=isolated)
        number = len(self.heals) - 1
        self.at(0.01, lambda: self._work(decider, record, operation, number, decision.ladder))

    def _alarm(self, name: str, vnfc: VnfcId, since_s: float) -> Alarm:
        if (name, since_s) not in self.alarms:
            self.alarms[name, since_s] = catalogue.raised(
                catalogue.VNFC_DIED,
                project_id=DEFAULT_PROJECT,
                object_id=name,
                location="site",
                at=BEGAN + timedelta(seconds=since_s),
                part=vnfc,
            )
        return self.alarms[name, since_s]

    # -- carrying out: whichever decider is alive goes on where the last one was

    def _work(
        self,
        decider: Decider,
        record: Record,
        operation: str,
        number: int,
        ladder: tuple[LadderRung, ...],
    ) -> None:
        if record.holder != operation and self.planted is not Planted.NO_LOCK:
            return
        again = self.dice.uniform(0.05, 0.4)
        if not decider.is_alive:
            other = next(one for one in self.deciders if one is not decider)
            self.at(again + 1.0, lambda: self._work(other, record, operation, number, ladder))
            return
        self.at(again, lambda: self._work(decider, record, operation, number, ladder))
        if self._is_well(decider, record):
            self._end(record, number, operation)
            return
        climbs = tuple(record.climbs)
        position = next_rung(ladder, climbs, self.clock)
        if position is None:
            self._end(record, number, operation, cured=False)
            return
        rung = ladder[position]
        begun = next((one for one in climbs if one.position == position), None)
        if begun is None:
            record.climbs = [
                replace(one, state=ClimbState.NOT_CURED) if one.state is ClimbState.TRYING else one
                for one in record.climbs
            ]
            begun = Climb(
                operation_id=OperationId(operation),
                vnfc_id=VnfcId(f"{record.name}-0"),
                position=position,
                kind=rung.kind,
                epoch=record.epoch,
                began_at=self.clock,
                until=self.clock + timedelta(seconds=rung.deadline_s),
            )
            record.climbs.append(begun)
        if rung.kind is not Rung.RESPAWN:
            epoch = record.epoch
            self.send(decider, lambda: self._reboot(record.name, epoch, LADDER.index(rung)))
            return
        old = begun.epoch
        if record.fenced < old and self.planted is not Planted.NO_FENCE:
            self.send(decider, lambda: self._fence(record, old, decider), least_s=self.dice.uniform(0.05, 3))
            return
        if record.epoch == old:
            record.epoch = old + 1
            self.tell("recover", record.name, epoch=record.epoch, actor=decider.name)
        wanted = record.epoch
        self.send(decider, lambda: self._make(record.name, wanted))

    def _end(self, record: Record, number: int, operation: str, *, cured: bool = True) -> None:
        if self.heals[number].ended_at is not None:
            return
        self.heals[number] = replace(self.heals[number], ended_at=self.clock)
        if record.holder == operation:
            record.holder = ""
        if cured:
            record.alarm_since_s = None
        self.tell("healed" if cured else "given up", record.name, epoch=record.epoch)

    # -- the site

    def _is_well(self, decider: Decider, record: Record) -> bool:
        if decider.is_cut:
            return False
        return any(
            one.is_serving and not one.is_hung and one.epoch == record.epoch for one in self.site[record.name]
        )

    def _reboot(self, name: str, epoch: int, strength: int) -> None:
        for one in self.site[name]:
            if one.epoch == epoch and one.is_serving and one.cured_by <= strength:
                one.is_hung = False

    def _fence(self, record: Record, epoch: int, decider: Decider) -> None:
        """A fence may fail, and its answer may be lost: then it is asked for again."""
        if self.dice.random() < 0.2:
            return
        for one in self.site[record.name]:
            if one.epoch <= epoch:
                self._stop(record.name, one)
        self.tell("fenced", record.name, epoch=epoch)
        if self.dice.random() < 0.8:
            self.at(self.dice.uniform(0.01, 1.0), lambda: self._fence_told(record, epoch))

    def _fence_told(self, record: Record, epoch: int) -> None:
        record.fenced = max(record.fenced, epoch)

    def _make(self, name: str, epoch: int) -> None:
        highest = max(one.epoch for one in self.site[name])
        if epoch < highest and self.planted is not Planted.NO_EPOCH:
            return
        if any(one.epoch == epoch and (one.is_serving or epoch == highest) for one in self.site[name]):
            return
        self.site[name].append(Instance(epoch=epoch))
        self.tell("acts", name, epoch=epoch)
        self.tell("serves", name, epoch=epoch)
