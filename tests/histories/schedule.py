"""A seeded schedule of faults on a ground: one seed, the same faults of the same kinds in the same order.

The machine decides how far the program has come when each strikes, so a seed is a schedule and not a replay.
"""

import random
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from cluster_bench import Process
from histories import Kind
from histories.ground import Ground
from histories.recorder import journal
from histories.standing import Life, Site

LAB = "lab"
STORM = "storm"
"""Type of the alarms of a storm."""
STORM_BATCHES, STORM_BATCH, STORM_SOURCES = 40, 100, 16
ON_EACH, CALM = "death-on-each", "calm"
CALM_WITHIN_S = 40.0
STEP_S = 3600
"""By how much a clock is set."""


class Schedule:
    """Strikes, and writes down what it did."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self._ground = ground
        self._dice = random.Random(seed)
        self._until = 0.0
        """Until when the longest fault stands."""
        self._struck: set[str] = set()
        """VNFCs that died with one on each VIM."""
        self._wrong = ""
        """The process whose clock is wrong."""

    @property
    def kinds(self) -> dict[str, Callable[[], None]]:
        """What can happen here. The database of SQLite is a file: it cannot be stopped alone."""
        found: dict[str, Callable[[], None]] = {
            "vnfc-dead": self._kill_vnfc,
            ON_EACH: self._kill_on_each,
            CALM: self._wait_for_calm,
            "vnfc-hung": self._hang_vnfc,
            "link-down": self._take_link,
            "host-dead": self._kill_host,
            "vim-silent": self._silence,
            "vim-slow": self._slow_down,
            "lost-answers": self._lose_answers,
            "service-killed": self._kill_service,
            "service-frozen": self._freeze_service,
            "asked": self._ask_for_something,
            "alarm-storm": self._storm,
        }
        if len(self._ground.names) > 1:
            found["database-stopped"] = self._stop_database
        if self._ground.clocks:
            found |= {
                "clock-ahead": lambda: self._set_clock(STEP_S),
                "clock-behind": lambda: self._set_clock(-STEP_S),
                "clock-right": lambda: self._set_clock(0),
                "wrong-clock-killed": self._kill_wrong_clock,
            }
        return found

    def run(self, faults: Sequence[str] = (), *, count: int = 0, pause_s: float = 1.5) -> None:
        """Let these happen, or so many at random, and wait until the last one is over."""
        kinds = self.kinds
        # Several at once, and waiting, are for schedules that name them.
        chosen = list(faults) or self._dice.choices(sorted(kinds.keys() - {ON_EACH, CALM}), k=count)
        for kind in chosen:
            kinds[kind]()
            time.sleep(self._dice.uniform(0.2, 2 * pause_s))
        time.sleep(max(0.0, self._until - time.time()))

    # -- on VIMs

    def _kill_vnfc(self) -> None:
        if one := self._someone():
            self._begins("vnfc-dead", one.vnfc, "F-42")
            self._inject(one.vim, "kill_vnfc", one.vnfc)

    def _kill_on_each(self) -> None:
        """Whoever watches which VIM: each has something to tell. Nobody is struck twice so."""
        for vim in sorted(self._ground.vims.values()):
            lives = sorted(self._alive(vim), key=lambda one: one.vnfc)
            if lives := [one for one in lives if one.vnfc not in self._struck]:
                one = self._dice.choice(lives)
                self._struck.add(one.vnfc)
                self._begins("vnfc-dead", one.vnfc, "F-42")
                self._inject(one.vim, "kill_vnfc", one.vnfc)

    def _hang_vnfc(self) -> None:
        if one := self._someone():
            self._begins("vnfc-hung", one.vnfc, "F-42")
            cure = self._dice.choice(("rebuild", "respawn"))
            self._inject(one.vim, "hang_vnfc", one.vnfc, cured_by=cure)

    def _take_link(self) -> None:
        if one := self._someone():
            self._begins("link-down", one.vnfc, "F-44")
            self._inject(one.vim, "link_down", one.vnfc)

    def _kill_host(self) -> None:
        lives = self._alive()
        if not lives:
            return
        hosts = sorted({(one.vim, one.host) for one in lives})
        counts = {place: sum((one.vim, one.host) == place for one in lives) for place in hosts}
        vim, host = self._dice.choice([place for place in hosts if counts[place] == max(counts.values())])
        self._for_a_while("host-dead", f"{vim}/{host}", "F-40", 6.0)
        self._inject(vim, "host_down", host, for_s=6.0)

    def _silence(self) -> None:
        vim = self._vim()
        for_s = self._dice.choice((1.0, 4.0, 6.0))
        self._for_a_while("vim-silent", vim, "F-10", for_s)
        self._inject(vim, "partition", "", for_s=for_s)

    def _slow_down(self) -> None:
        vim = self._vim()
        self._for_a_while("vim-slow", vim, "F-15", 4.0)
        self._inject(vim, "answer_delay_s", "", seconds=0.6, for_s=4.0)

    def _lose_answers(self) -> None:
        vim = self._vim()
        self._begins("lost-answers", vim, "F-31")
        self._inject(vim, "lost_answer", "deploy", calls=2, for_s=10.0)
        if one := self._someone(vim):
            self._begins("vnfc-dead", one.vnfc, "F-42")
            self._inject(one.vim, "kill_vnfc", one.vnfc)

    def _inject(self, vim: str, kind: str, target: str, **settings: object) -> None:
        self._ground.running.strike(vim, kind, target, **settings)

    def _vim(self) -> str:
        return self._dice.choice(sorted(self._ground.vims.values()))

    def _alive(self, vim: str = "") -> list[Life]:
        found: list[Life] = []
        for one in sorted(self._ground.vims.values()):
            site = Site(one)
            for effect in journal(self._ground.running.data_dir / "run", one):
                site.apply(effect)
            found += [life for life in site.lives.values() if life.is_alive and life.started < time.time()]
        return [one for one in found if vim in ("", one.vim)]

    def _someone(self, vim: str = "") -> Life | None:
        lives = sorted(self._alive(vim), key=lambda one: one.vnfc)
        return self._dice.choice(lives) if lives else None

    def _wait_for_calm(self) -> None:
        """Until all that was begun has come to its end; for a while at most."""
        give_up_at = time.monotonic() + CALM_WITHIN_S
        while not self._ground.is_calm() and time.monotonic() < give_up_at:
            time.sleep(0.2)

    # -- on ourselves

    def _set_clock(self, by_s: int) -> None:
        """Set the clock of whoever watches most VIMs, and of no other until it is right again."""
        running = self._ground.running
        if not self._wrong:
            alive = sorted(one.name for one in running.processes if one.is_running)
            self._wrong = max(alive, key=running.vims_of)
        self._ground.clocks[self._wrong].set(by_s)
        if by_s:
            self._begins("clock-stepped", self._wrong, "F-80", by_s=by_s)
        else:
            self._ends("clock-stepped", self._wrong)
            self._wrong = ""

    def _kill_wrong_clock(self) -> None:
        """Its clock is as wrong when it is started again."""
        self._kill_service(next(one for one in self._ground.running.processes if one.name == self._wrong))

    def _kill_service(self, process: Process | None = None) -> None:
        process = process or self._process()
        self._begins("service-killed", process.name, "F-01")
        process.kill()
        time.sleep(self._dice.uniform(0.1, 1.0))
        self._start_again(process)
        self._ends("service-killed", process.name)

    def _freeze_service(self) -> None:
        process = self._process()
        self._begins("service-frozen", process.name, "F-02")
        process.send(signal.SIGSTOP)
        time.sleep(self._dice.choice((0.5, 3.5)))
        process.send(signal.SIGCONT)
        # Whoever was taken over meanwhile finds out, and exits.
        time.sleep(1.0)
        if not process.is_running:
            self._start_again(process)
        self._ends("service-frozen", process.name)

    def _stop_database(self) -> None:
        self._begins("database-stopped", "postgresql", "F-81")
        self._ground.running.server.stop()
        time.sleep(self._dice.uniform(0.5, 3.0))
        self._ground.running.server.start()
        for process in self._ground.running.processes:
            if process.is_running:
                process.ready()
            else:
                self._start_again(process)
        self._ends("database-stopped", "postgresql")

    def _process(self) -> Process:
        return self._dice.choice([one for one in self._ground.running.processes if one.is_running])

    def _start_again(self, process: Process) -> None:
        process.kill()
        self._ground.running.processes.remove(process)
        self._begins("service-started", process.name, "")
        self._ground.start(process.name).ready()

    def _ask_for_something(self) -> None:
        """What an operator asks for while all this goes on."""
        vnf = self._dice.choice(sorted(self._ground.vnfs))
        direction = self._dice.choice(("OUT", "IN"))
        wishes = {
            "scale_vnf": ("scale", {"type": f"SCALE_{direction}", "aspect_id": "workers", "steps": 1}),
            "heal_vnf": ("heal", {"cause": "an operator asked"}),
        }
        verb = self._dice.choice(sorted(wishes))
        self._ground.ask(verb, vnf, *wishes[verb])

    # -- from outside

    def _storm(self) -> None:
        """Sources tell of thousands of objects at once; each repeats what was refused until it is taken."""
        number = self._dice.randrange(10**6)
        self._begins("alarm-storm", STORM, "F-50")
        with ThreadPoolExecutor(STORM_SOURCES) as sources:
            list(sources.map(lambda batch: self._told_by_a_source(number, batch), range(STORM_BATCHES)))
        self._ends("alarm-storm", STORM)

    def _told_by_a_source(self, storm: int, batch: int) -> None:
        now = datetime.now(UTC).isoformat()
        told = [
            {
                "time": now,
                "object": f"shelf-{storm}-{batch}-{one}",
                "location": f"elsewhere/{batch}",
                "type": "EQUIPMENT_ALARM",
                "severity": "MINOR",
                "problem": STORM,
                "kind": "shelf",
            }
            for one in range(STORM_BATCH)
        ]
        while (answer := self._ground.running.ask("POST", "/intake/webhook", json=told)).status_code == 503:
            time.sleep(0.2)
        assert answer.status_code == 200, answer.text

    # -- writing down

    def _begins(self, what: str, about: str, fault: str, at: float | None = None, **values: object) -> None:
        self._ground.history.note(
            Kind.INJECTED, what, about, source=LAB, at=at, phase="begins", fault=fault, **values
        )

    def _ends(self, what: str, about: str, at: float | None = None) -> None:
        self._ground.history.note(Kind.INJECTED, what, about, source=LAB, at=at, phase="ends")

    def _for_a_while(self, what: str, about: str, fault: str, for_s: float) -> None:
        """A fault that its VIM ends by itself."""
        now = time.time()
        self._begins(what, about, fault, now)
        self._ends(what, about, now + for_s)
        self._until = max(self._until, now + for_s)
