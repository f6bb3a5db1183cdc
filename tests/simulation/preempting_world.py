"""A world in which room is short: hosts are lost and come back, and functions of several classes take room
from one another, by the program's own `decide`. One seed, one schedule, always the same.

Two deciders share a store. Their books of what is free are old or wrong at times, what they ask for takes a
while, and is refused at times. `Planted` takes one safeguard out.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from farsite.assurance import alarms as catalogue
from farsite.assurance.deciding import Case, Limits, PastHeal, Short, Vnfc, decide, urgency
from farsite.assurance.preempting import Neighbour
from farsite.model.alarm import Alarm
from farsite.model.healing import Budget, HealingDecision, HealingPolicy, Held, Outcome, Preempts, Scope
from farsite.model.ids import DEFAULT_PROJECT, VimId, VnfcId, VnfInstanceId
from farsite.model.vim import VimState

BEGAN = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ROOM_OF_HOST = 3
LIMITS = Limits(
    per_vnf=1000,
    window_s=600,
    breaker=1000,
    hold_off_s={catalogue.VNFC_DIED.name: 0.0, catalogue.VNF_PREEMPTED.name: 0.0},
)
LOWEST = HealingPolicy(name="lowest", project_id=DEFAULT_PROJECT, priority=9)
"""What counts for everybody where the class of who gives is not asked."""


class Planted(StrEnum):
    """Which safeguard is missing."""

    NOTHING = "nothing"
    NO_LEAVE_TO_TAKE = "the policy of who takes is not asked"
    NO_LEAVE_TO_GIVE = "the policy of who gives is not asked"
    NO_CLASS = "the class of who gives is not asked"
    NO_TURNS = "room is made for several at once"
    NO_ASKING = "the VIM is not asked before more is taken"
    NO_RETURN = "who was preempted is forgotten"
    NO_REST = "who came back may be preempted at once"


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One thing of the history. `other` is who takes, or for whom."""

    at_s: float
    what: str
    vnf: str
    other: str = ""


@dataclass(kw_only=True)
class Record:
    """One VNF, in the store and on the VIM."""

    name: str
    level: int
    size: int
    policy: HealingPolicy
    host: str = ""
    """Where it stands; empty: nowhere."""
    died_on: str = ""
    alarm_since_s: float | None = None
    working: str = ""
    """What works on it: heal, rests (a heal without room), preempt."""
    rests_since_s: float = 0.0
    began_s: float = 0.0
    preempted_for: str = ""
    returned_s: float | None = None


@dataclass(kw_only=True)
class Taking:
    """Room that is taken for somebody."""

    winner: str
    loser: str
    at_s: float
    held: tuple[Held, ...]
    state: str = "under way"
    is_used: bool = field(default=False)
    """Its winner has asked the VIM since it was given."""


class World:
    """One run."""

    def __init__(self, seed: int, planted: Planted = Planted.NOTHING) -> None:
        self.dice = random.Random(seed)
        self.planted = planted
        self.now_s = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.history: list[Happened] = []
        self.up = {f"h{number}": True for number in range(self.dice.randint(2, 4))}
        self.store: dict[str, Record] = {}
        self.takings: list[Taking] = []
        self.books = 0
        for host in self.up:
            free = ROOM_OF_HOST
            while free > 0:
                size = self.dice.randint(1, min(2, free))
                free -= size
                if self.dice.random() < 0.85:
                    self._make(f"vnf-{len(self.store)}", size, host)

    def _make(self, name: str, size: int, host: str) -> None:
        dice = self.dice
        level = dice.randint(1, 4)
        policy = HealingPolicy(
            name=name,
            project_id=DEFAULT_PROJECT,
            scope=Scope(vnf=name),
            budget=Budget(per_vnf=1000),
            priority=level,
            preempts=dice.choice((Preempts.LOWER, Preempts.NONE)),
            is_preemptible=dice.random() < 0.7,
        )
        self.store[name] = Record(name=name, level=level, size=size, policy=policy, host=host)

    # -- the clock

    def at(self, delay_s: float, do: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.queue, (self.now_s + delay_s, self.count, do))

    def tell(self, what: str, vnf: str, other: str = "") -> None:
        self.history.append(Happened(at_s=self.now_s, what=what, vnf=vnf, other=other))

    def _moment(self, at_s: float) -> datetime:
        return BEGAN + timedelta(seconds=at_s)

    def run(self, seconds: float = 500.0) -> list[Happened]:
        self.at(5.0, self._next_fault)
        self.at(0.0, self._look_at_books)
        self.at(0.5, self._census)
        for _ in range(2):
            self.at(self.dice.random(), self._look)
        while self.queue and self.queue[0][0] <= seconds:
            self.now_s, _, do = heapq.heappop(self.queue)
            do()
        return self.history

    # -- the VIM

    def free(self) -> dict[str, int]:
        """What is free on each host that works."""
        left = {host: ROOM_OF_HOST for host, is_up in self.up.items() if is_up}
        for one in self.store.values():
            if one.host in left:
                left[one.host] -= one.size
        return left

    def _next_fault(self) -> None:
        dice = self.dice
        working = [host for host, is_up in self.up.items() if is_up]
        if len(working) > 1 and self.now_s < 350:
            host = dice.choice(working)
            self.up[host] = False
            for one in self.store.values():
                if one.host == host:
                    one.host, one.died_on = "", host
                    if one.alarm_since_s is None:
                        one.alarm_since_s = self.now_s
            self.at(dice.uniform(10, 100), lambda: self.up.__setitem__(host, True))
        self.at(dice.uniform(10, 50), self._next_fault)

    def _look_at_books(self) -> None:
        self.books = sum(self.free().values()) + (self.dice.random() < 0.2)
        self.at(self.dice.uniform(1, 10), self._look_at_books)

    def _census(self) -> None:
        """Who is away although there is room, and nobody else waits for it."""
        most = max(self.free().values(), default=0)
        waiting = [one for one in self.store.values() if not one.host]
        for one in waiting:
            if one.preempted_for and most >= one.size and len(waiting) == 1:
                self.tell("could stand", one.name)
        self.at(1.0, self._census)

    # -- deciding

    def _look(self) -> None:
        self.at(self.dice.uniform(0.5, 3.5), self._look)
        # What an operation works on waits, whatever else; only one that rests is decided about.
        waiting = [
            one
            for one in self.store.values()
            if one.alarm_since_s is not None and one.working in ("", "rests")
        ]
        waiting.sort(key=lambda one: (urgency(one.level, self.now_s - (one.alarm_since_s or 0)), one.name))
        awaited: set[str] = set()
        for record in waiting:
            if record.preempted_for and self.planted is Planted.NO_RETURN:
                continue
            policies = [LOWEST, *(self._policy(one.policy) for one in self.store.values())]
            turns = frozenset[str]() if self.planted is Planted.NO_TURNS else frozenset(awaited)
            decision = decide(self._case(record, turns), policies, LIMITS, self._moment(self.now_s))
            if decision is None:
                continue
            if decision.awaits:
                awaited.add(decision.awaits)
            self._do(record, decision)

    def _policy(self, policy: HealingPolicy) -> HealingPolicy:
        if self.planted is Planted.NO_LEAVE_TO_TAKE:
            policy = replace(policy, preempts=Preempts.LOWER)
        if self.planted is Planted.NO_LEAVE_TO_GIVE:
            policy = replace(policy, is_preemptible=True)
        return policy

    def _case(self, record: Record, awaited: frozenset[str]) -> Case:
        kind = catalogue.VNF_PREEMPTED if record.preempted_for else catalogue.VNFC_DIED
        return Case(
            vnf_id=VnfInstanceId(record.name),
            name=record.name,
            project_id=DEFAULT_PROJECT,
            vnfd_ids=frozenset(),
            ns_id=None,
            metadata={},
            vim_id=VimId("vim"),
            site="site",
            vim_state=VimState.ACTIVE,
            vnfcs={_vnfc(record): Vnfc(vdu="v", host=record.died_on, amount=(record.size, 0, 0))},
            alarms=(self._alarm(kind, record),),
            is_worked_on=bool(record.working),
            history=tuple[PastHeal, ...](),
            deaths=0,
            awaited=awaited,
            short=self._short(record) if record.working == "rests" else None,
            is_preempted=bool(record.preempted_for),
            has_room=self.books >= record.size,
            room_is_for="" if self.planted is Planted.NO_TURNS else self._room_is_for(record),
            neighbours=tuple(self._neighbour(one) for one in self.store.values() if one is not record),
        )

    def _alarm(self, kind: catalogue.AlarmType, record: Record) -> Alarm:
        return catalogue.raised(
            kind,
            project_id=DEFAULT_PROJECT,
            object_id=record.name,
            location="site",
            at=self._moment(record.alarm_since_s or 0.0),
            part="" if record.preempted_for else _vnfc(record),
        )

    def _short(self, record: Record) -> Short:
        mine = [one for one in self.takings if one.winner == record.name and one.at_s >= record.began_s]
        done = [one for one in mine if one.state == "done"]
        is_asking = self.planted is not Planted.NO_ASKING
        return Short(
            lacking=(_vnfc(record),),
            since=self._moment(record.rests_since_s),
            is_taking=is_asking and any(one.state == "under way" for one in mine),
            given_by=", ".join(one.loser for one in done if not one.is_used and is_asking),
            given=tuple(held for one in done for held in one.held) if is_asking else (),
            in_vain=frozenset(one.loser for one in mine if one.state == "failed"),
        )

    def _room_is_for(self, record: Record) -> str:
        for one in self.takings:
            is_open = one.state == "under way" or (one.state == "done" and not one.is_used)
            if is_open and one.winner != record.name:
                return one.winner
        return ""

    def _neighbour(self, one: Record) -> Neighbour:
        returned = None if one.returned_s is None else self._moment(one.returned_s)
        return Neighbour(
            vnf_id=VnfInstanceId(one.name),
            name=one.name,
            project_id=DEFAULT_PROJECT,
            vnfd_ids=frozenset(),
            ns_id=None,
            metadata={"healing_policy": LOWEST.name} if self.planted is Planted.NO_CLASS else {},
            vdus=frozenset({"v"}),
            holds=(Held(host=one.host, vcpus=one.size),) if one.host else (),
            is_worked_on=bool(one.working),
            returned_at=None if self.planted is Planted.NO_REST else returned,
        )

    # -- carrying out

    def _do(self, record: Record, decision: HealingDecision) -> None:
        match decision.outcome:
            case Outcome.HEAL:
                record.working, record.began_s = "heal", self.now_s
                self.tell("heals", record.name)
                self._ask_soon(record)
            case Outcome.RETRY:
                record.working = "heal"
                self._ask_soon(record)
            case Outcome.PREEMPT:
                self._preempt(record, self.store[str(decision.takes_from)], decision)
            case _:
                pass

    def _ask_soon(self, record: Record) -> None:
        self.at(self.dice.uniform(0.1, 3), lambda: self._ask(record))

    def _ask(self, record: Record) -> None:
        """The VIM is asked for it; what room there is it gives."""
        for one in self.takings:
            if one.winner == record.name and one.state == "done":
                one.is_used = True
        host = next((name for name, free in sorted(self.free().items()) if free >= record.size), "")
        if not host:
            record.working, record.rests_since_s = "rests", self.now_s
            self.tell("refused", record.name)
            if record.policy.preempts is Preempts.NONE and not record.preempted_for:
                self.at(20.0, lambda: self._by_hand(record))
            return
        record.host, record.died_on, record.working = host, "", ""
        record.alarm_since_s = None
        if record.preempted_for:
            record.preempted_for, record.returned_s = "", self.now_s
            self.tell("returns", record.name)
        self.tell("stands", record.name)

    def _by_hand(self, record: Record) -> None:
        if record.working == "rests":
            record.working = "heal"
            self._ask_soon(record)

    def _preempt(self, winner: Record, loser: Record, decision: HealingDecision) -> None:
        taking = Taking(winner=winner.name, loser=loser.name, at_s=self.now_s, held=decision.takes)
        self.takings.append(taking)
        loser.working = "preempt"
        self.tell("preempts", loser.name, winner.name)
        self.at(self.dice.uniform(0.1, 4), lambda: self._gone(taking))

    def _gone(self, taking: Taking) -> None:
        loser = self.store[taking.loser]
        loser.working = ""
        if self.dice.random() < 0.2:
            taking.state = "failed"
            self.tell("not preempted", loser.name, taking.winner)
            return
        taking.state = "done"
        loser.host, loser.died_on, loser.preempted_for = "", "", taking.winner
        loser.alarm_since_s = self.now_s
        self.tell("preempted", loser.name, taking.winner)


def _vnfc(record: Record) -> VnfcId:
    return VnfcId(f"{record.name}-0")
