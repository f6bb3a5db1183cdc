"""The takeover agent: keeps this process's lease, and takes over the work of processes that are gone.

A thread of its own with a database connection of its own, so that neither a busy event loop nor a full pool
makes a living process look dead. Twice a second it renews its lease and looks at the others:

- A lock that nobody holds belongs to a process whose connection is gone. It is looked at once more a moment
  later, because a process whose connection was merely cut comes back at once. A process of this host whose
  end the kernel has told does not: it is looked at in that moment, and its lock decides.
- A lease that is over belongs to a process that is frozen, cut off, or whose host is gone.

Either way the row is declared gone in one statement, and what it ran is put back into the queue. The process
itself, if it lives, learns of it from its next renewal and exits at once; until then it begins nothing new on
the outside, because its own clock has told it that its lease may be over (`is_held`). What it still has under
way is fenced at its checkpoints by the engine.

With every renewal it learns what time it is by the database, which is the time of every record
(`farsite.model.clock`).

A database that is away takes all leases with it. A process that cannot renew therefore does not exit: it
waits, holding back, until it learns whether it was taken over. And nobody declares another gone who has not
kept his own lease without a gap for `lease_grace_s`, so that after the database's return all have renewed
before anybody is judged. The same holds when the database's clock was set: forward it ends every lease
at once, and backward it leaves a lease that was not renewed since lasting for hours, which no lease does.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from farsite import telemetry
from farsite.model import clock
from farsite.model.errors import Conflict
from farsite.model.node import Node, NodeState
from farsite.settings import Settings
from farsite.store import nodes, subscriptions
from farsite.store.primary import Primary
from farsite.workflow.neighbours import Neighbours
from farsite.workflow.standstill import Standstill

log = structlog.get_logger()

EXIT_FENCED = 75
"""Exit code of a process that was taken over (EX_TEMPFAIL: starting it again is right)."""
EXIT_STALLED = 76
"""Exit code of a process whose event loop stood still."""

_SECOND_LOOK_S = 0.3
_SOON_S = 0.02
"""Between looks at the lock of a process that has ended: its session is about to."""
_RECONNECT_S = 0.1
_AGAIN_S = 2.0
_STRANGERS_S = 10.0
_NAME_PATIENCE_S = 5.0
_LATENESS_S = 15.0
_NICENESS = -10
_LONGEST_LEASE = 4
"""In leases."""
_WRONG_S = 2.0
"""A clock that differs by more is told of: people compare its logs with those of others."""


class Workflows(Protocol):
    """What the agent needs of the engine; all may be called from any thread."""

    def take_over(self, executor_ids: Sequence[str], served: frozenset[str]) -> int:
        """Put back into the queue what these ran that we can run; how much."""
        ...

    def adopt(self, served: frozenset[str]) -> int:
        """Make queued work of older versions our own that we can run and nobody alive runs as his own."""
        ...

    def left_of(self, executor_id: str) -> int:
        """How much work still is in an executor's name."""
        ...

    def executors(self) -> set[str]:
        """All executors in whose name work is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who is told what; called on the agent's thread, and must not wait."""

    members: Callable[[Sequence[Node]], None] = lambda _nodes: None
    """All nodes as they are now, at every look."""
    told: Callable[[str], None] = lambda _what: None
    """Another process has said something."""
    lost: Callable[[Node], None] = lambda _node: None
    """This process has declared another one gone."""
    load: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """Operations and VIMs that this process has."""


class Takeover:
    """This process among its equals.

    `register` must have been called, and have returned, before anything is taken from the queue.
    """

    def __init__(
        self,
        settings: Settings,
        primary: Primary,
        me: Node,
        listener: Listener,
        workflows: Workflows | None = None,
    ) -> None:
        self._settings = settings
        self._me = me
        self._listener = listener
        self._workflows = workflows
        self._primary = primary
        self._engine = nodes.lease_engine(primary, lease_s=settings.lease_s)
        self._connection: sa.Connection | None = None
        self._session: nodes.Session | None = None
        self._held_until = 0.0
        self._renewed_at = 0.0
        self._steady_since = 0.0
        self._looked_at = 0.0
        self._lateness = Lateness()
        self._lease_s = settings.lease_s
        """What was asked for at the last renewal: a host on which we come late asks for more."""
        self._due_at = time.monotonic()
        self._suspects: dict[str, float] = {}
        self._neighbours = Neighbours(me)
        self._recovering: dict[str, float] = {}
        self._recovered: set[str] = set()
        self._strangers_at = time.monotonic()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._recovery = ThreadPoolExecutor(1, thread_name_prefix="takeover", initializer=_go_first)
        self._standstill = Standstill()
        self._is_away = False
        self._is_wrong = False
        self.state = NodeState.UP
        """As the operators want it."""
        self.members: tuple[Node, ...] = ()
        """All nodes as they were last seen."""

    @property
    def is_held(self) -> bool:
        """Whether nobody can have taken us over yet, by our own clock, which runs on while we are frozen."""
        return time.monotonic() < self._held_until

    @property
    def is_connected(self) -> bool:
        """Whether our lock is ours as far as we know: who lost it may be declared gone in a moment."""
        return self._connection is not None

    @property
    def me(self) -> Node:
        return self._me

    def heard(self) -> None:
        """The event loop is alive; it says so every so often, on its own thread."""
        self._standstill.heard()

    def register(self) -> None:
        """Take the lock and the lease.

        Raises:
            Conflict: another process works under this id.
        """
        give_up_at = time.monotonic() + _NAME_PATIENCE_S
        while not self._connect():
            # One that was just killed may be gone before its connection is.
            if time.monotonic() > give_up_at:
                self._disconnect()
                raise Conflict(
                    f'Another process works as "{self._me.id}" on this database. Give each process its own '
                    f"FARSITE_EXECUTOR_ID, or leave it empty, or stop the other one."
                )
            time.sleep(_RECONNECT_S)
        asked_at = time.monotonic()
        assert self._connection is not None
        self._me = nodes.register(self._connection, self._me, lease_s=self._settings.lease_s)
        self._renewed(asked_at, self._me.renewed_at)
        self._steady_since = asked_at
        self.members = tuple(nodes.all_of(self._connection))

    def look_after(self, workflows: Workflows) -> None:
        """Begin to judge the others, and our own event loop."""
        self._standstill.heard()
        self._workflows = workflows

    def start(self) -> None:
        """Keep the lease from now on: the rest of a start may take longer than it lasts."""
        self._standstill.turn()
        self._thread = threading.Thread(target=self._work, name="takeover", daemon=True)
        self._thread.start()
        # Beside the agent's own thread, which may wait for a server that will never answer.
        self._primary.keep_looking(lambda: not self.is_held)

    def leave(self, *, is_recovered: bool) -> None:
        """Stop, and be gone in an orderly way: nobody has to find out."""
        self._stopping.set()
        self._primary.stop_looking()
        if self._thread is not None:
            self._thread.join()
        self._recovery.shutdown(wait=True, cancel_futures=True)
        try:
            if self._connection is not None:
                nodes.leave(self._connection, self._me.id, self._me.boot, is_recovered=is_recovered)
                nodes.tell(self._connection, "nodes")
        except DBAPIError as error:
            log.info("node.left_unsaid", reason=_words(error))
        self._disconnect()
        self._neighbours.close()
        self._engine.dispose()

    # -- the agent's thread

    def _work(self) -> None:
        _go_first()
        while not self._stopping.is_set():
            was_connected = self._connection is not None
            try:
                if self._connection is None and not self._come_back():
                    self._stopping.wait(_RECONNECT_S)
                    continue
                self._one_turn()
            except DBAPIError as error:
                # Told once an outage: a refused connection fails within a millisecond, time and again.
                if not self._is_away:
                    log.warning("node.database_away", reason=_words(error))
                self._is_away = True
                self._disconnect()
                if not was_connected:
                    self._stopping.wait(_RECONNECT_S)
            except Exception:
                log.exception("node.agent_failed")
                self._disconnect()
                self._stopping.wait(_RECONNECT_S)

    def _one_turn(self) -> None:
        self._look_at_the_loop()
        now = time.monotonic()
        self._lateness.noted(now - self._due_at)
        if now - self._renewed_at >= self._settings.lease_renew_s:
            self._renew()
        is_over = now - self._looked_at >= self._settings.lease_renew_s
        if is_over or self._neighbours.ended() or self._is_second_look_due():
            self._look()
        self._due_at = self._next_turn()
        self._hear(until=self._due_at)

    def _next_turn(self) -> float:
        due = min(self._renewed_at, self._looked_at) + self._settings.lease_renew_s
        if self._neighbours.ended():
            due = min(due, time.monotonic() + _SOON_S)
        return min([due, *(seen + _SECOND_LOOK_S for seen in self._suspects.values())])

    def _is_second_look_due(self) -> bool:
        now = time.monotonic()
        return any(now >= seen + _SECOND_LOOK_S for seen in self._suspects.values())

    def _hear(self, *, until: float) -> None:
        """Wait for what others say; a connection that is cut is noticed at once."""
        assert self._connection is not None
        within_s = max(until - time.monotonic(), 0.01)
        heard = nodes.hear(self._connection, within_s=within_s, or_readable=self._neighbours.descriptors)
        if heard or self._neighbours.ended():
            self._due_at = time.monotonic()
        for what in heard:
            if what == "nodes":
                self._looked_at = 0.0
                self._renew()
            self._listener.told(what)

    def _connect(self) -> bool:
        """Connect and take our lock; whether it is ours."""
        if self._connection is None:
            self._connection = self._engine.connect()
        session = nodes.take_lock(self._connection, self._me.id, former_session=self._session)
        if session is None:
            return False
        self._session = session
        nodes.listen(self._connection)
        return True

    def _come_back(self) -> bool:
        """After a lost connection: take the lock again, and learn whether we were taken over meanwhile."""
        self._look_at_the_loop()
        if not self._connect():
            self._disconnect()
            return False
        self._renew()
        # Whatever cut us off may have cut off the others too, and they may be slower to come back.
        self._steady_since = time.monotonic()
        log.info("node.database_back", held=self.is_held)
        self._is_away = False
        # What was said meanwhile was not heard.
        self._listener.told("everything")
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._suspects.clear()
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except Exception as error:
                log.debug("node.not_closed", reason=str(error))

    def _renew(self) -> None:
        assert self._connection is not None
        operations, vims = self._listener.load()
        self._lease_s = lease_s = self._settings.lease_s + min(
            2 * self._lateness.worst_s, self._settings.lease_s
        )
        asked_at = time.monotonic()
        renewed = nodes.renew(
            self._connection,
            self._me.id,
            self._me.boot,
            lease_s=lease_s,
            operations=operations,
            vims=vims,
        )
        if renewed is None:
            _exit(EXIT_FENCED, "node.fenced", node=self._me.name, why="another process has taken over")
            return
        self.state, shown = renewed
        self._renewed(asked_at, shown)

    def _renewed(self, asked_at: float, shown: datetime) -> None:
        now = time.monotonic()
        self._keep_time(shown, asked_s=asked_at, answered_s=now)
        if now - self._renewed_at > self._gap_s:
            self._steady_since = now
        self._renewed_at = now
        self._lateness.noted(now - asked_at)
        # The database counts from when it got the statement, which is later than when we sent it.
        self._held_until = asked_at + self._lease_s

    def _keep_time(self, shown: datetime, *, asked_s: float, answered_s: float) -> None:
        """Follow the database's clock, and say when this host's differs from it."""
        moved_s = clock.SHARED.read(shown, asked_s=asked_s, answered_s=answered_s)
        if abs(moved_s) > _WRONG_S:
            log.warning("node.database_clock_set", by_s=round(moved_s, 1))
        if abs(moved_s) > self._settings.lease_s / 4:
            # Every lease but ours is of another time. Who lives renews his before we judge again.
            self._steady_since = answered_s
        ahead_s = clock.SHARED.machine_ahead().total_seconds()
        telemetry.CLOCK_AHEAD.set(ahead_s)
        is_wrong = abs(ahead_s) > _WRONG_S
        if is_wrong != self._is_wrong:
            self._is_wrong = is_wrong
            say = log.warning if is_wrong else log.info
            say("node.clock_differs" if is_wrong else "node.clock_agrees", ahead_s=round(ahead_s, 1))

    @property
    def _longest_lease_s(self) -> float:
        """Nobody has taken a lease for longer: a late process takes one for twice the time at most, and its
        settings are ours, or were."""
        return _LONGEST_LEASE * self._settings.lease_s

    @property
    def _gap_s(self) -> float:
        """Half a lease without a renewal is a gap: with the others it may have been a little longer."""
        return max(self._lease_s / 2, self._settings.lease_renew_s * 1.5)

    def _look(self) -> None:
        assert self._connection is not None
        self._looked_at = time.monotonic()
        known = nodes.all_of(self._connection)
        self.members = tuple(known)
        self._listener.members(self.members)
        self._neighbours.watch(known)
        if self._workflows is None:
            return
        others = [one for one in known if one.id != self._me.id]
        standing = [one for one in others if one.state is not NodeState.GONE]
        self._declare_ended(standing)
        if not self._may_judge():
            self._suspects.clear()
            return
        standing = [one for one in standing if one.boot not in self._neighbours.ended()]
        free = nodes.unlocked(self._connection, [one.id for one in standing])
        now = time.monotonic()
        for node in standing:
            if node.is_expired:
                self._declare(node, f"its lease was over at {node.expires_at:%H:%M:%S} UTC")
            elif node.expires_at > clock.now() + timedelta(seconds=self._longest_lease_s):
                self._declare(node, "its lease is of before the database's clock was set back")
            elif node.id not in free:
                self._suspects.pop(node.id, None)
            elif now - self._suspects.setdefault(node.id, now) < _SECOND_LOOK_S:
                continue
            elif self._lives_here(node):
                # Its connection was cut and it has no processor to make another: its lease decides.
                self._suspects[node.id] = now
            else:
                self._declare(node, "its connection to the database ended")
        for node_id in set(self._suspects) - {one.id for one in standing}:
            del self._suspects[node_id]
        for node in others:
            if node.state is NodeState.GONE and not node.is_recovered:
                self._recover(node)
        self._look_for_strangers()

    def _declare_ended(self, standing: Sequence[Node]) -> None:
        """Declare those gone that have ended on this host and whose session has ended with them.

        That needs no second look and no grace: nothing that holds others up ends a process.
        """
        ended = {one.id: one for one in standing if one.boot in self._neighbours.ended()}
        assert self._connection is not None
        for node_id in nodes.unlocked(self._connection, list(ended)):
            self._declare(ended[node_id], "its process has ended")

    def _may_judge(self) -> bool:
        """Whether we have kept our own lease long enough, up to this moment: what has just been read may have
        hung with the database, and the next renewal would be the first to tell of the gap."""
        now = time.monotonic()
        return (
            now - self._renewed_at <= self._gap_s and now - self._steady_since >= self._settings.lease_grace_s
        )

    def _lives_here(self, node: Node) -> bool:
        """Whether it is a process of this host that still runs; dead and not yet buried is dead."""
        if node.host != self._me.host:
            return False
        try:
            status = Path(f"/proc/{node.pid}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] not in "ZX"

    def _declare(self, node: Node, reason: str) -> None:
        assert self._connection is not None
        self._suspects.pop(node.id, None)
        # Where we come late ourselves, others may: as late as we were of late is no sign of anything.
        patience_s = min(self._lateness.worst_s, self._settings.lease_s)
        if not nodes.declare_gone(
            self._connection,
            node,
            reason,
            by=self._me,
            patience_s=patience_s,
            longest_s=self._longest_lease_s,
        ):
            return
        # What it delivered is free at once: by its own clock and connection it delivers no more.
        subscriptions.end_deliveries(self._connection, node.id)
        telemetry.TAKEOVERS.inc()
        log.warning("node.lost", node=node.name, executor_id=node.id, reason=reason)
        self._recover(node)
        nodes.tell(self._connection, "nodes")
        self.members = tuple(
            replace(one, state=NodeState.GONE) if one.id == node.id else one for one in self.members
        )
        self._listener.members(self.members)
        self._listener.lost(replace(node, state=NodeState.GONE, reason=reason))

    def _look_for_strangers(self) -> None:
        """Work in the name of an executor that has no row: of an older release, or of a restored database."""
        if time.monotonic() - self._strangers_at < _STRANGERS_S:
            return
        self._strangers_at = time.monotonic()
        self._recovery.submit(self._recover_strangers)

    def _recover_strangers(self) -> None:
        assert self._workflows is not None
        try:
            if adopted := self._workflows.adopt(self.served()):
                log.info("node.adopted_older_versions", operations=adopted)
            # In this order: who has work now was entered before it took any.
            working = self._workflows.executors()
            with self._engine.connect() as connection:
                known = {one.id for one in nodes.all_of(connection)}
            for executor_id in working - known:
                count = self._workflows.take_over([executor_id], self.served())
                log.warning("node.stranger_recovered", executor_id=executor_id, operations=count)
        except Exception:
            log.exception("node.strangers_not_recovered")

    def served(self) -> frozenset[str]:
        """Workflow versions that some other living process runs as its own."""
        return frozenset(
            one.workflow_versions[0]
            for one in self.members
            if one.is_alive and one.id != self._me.id and one.workflow_versions
        )

    def _recover(self, node: Node) -> None:
        """Have its work put back into the queue, beside the agent's own: a renewal must not wait for it.

        Whoever declared it gone does so at once, all others a little later if something is left then.
        """
        now = time.monotonic()
        if node.boot in self._recovered or now < self._recovering.get(node.boot, 0.0):
            return
        is_declared_here = node.state is not NodeState.GONE
        if not is_declared_here and node.boot not in self._recovering:
            self._recovering[node.boot] = now + _AGAIN_S
            return
        self._recovering[node.boot] = now + _AGAIN_S
        assert self._connection is not None
        if ended := nodes.end_sessions(self._connection, node.boot):
            log.info("node.sessions_ended", node=node.name, sessions=ended)
        self._recovery.submit(self._recover_now, node)

    def _recover_now(self, node: Node) -> None:
        assert self._workflows is not None
        began = time.monotonic()
        try:
            count = self._workflows.take_over([node.id], self.served())
            left = self._workflows.left_of(node.id)
            if not left:
                with self._engine.connect() as connection:
                    nodes.set_recovered(connection, node.id)
                self._recovered.add(node.boot)
            if count or not left:
                took_s = round(time.monotonic() - began, 3)
                log.info("node.recovered", node=node.name, operations=count, left=left, took_s=took_s)
        except Exception:
            log.exception("node.not_recovered", node=node.name)

    def _look_at_the_loop(self) -> None:
        stood_s = self._standstill.lasts_s()
        if self._workflows is not None and stood_s > self._settings.loop_stall_s:
            _exit(EXIT_STALLED, "node.stalled", node=self._me.name, for_s=round(stood_s, 1))


class Lateness:
    """How late this thread came at worst within the last half minute or so.

    It tells of a host without a processor to spare, and of a database that answers slowly. Either may delay
    a renewal as much again.
    """

    def __init__(self) -> None:
        self._before_s = self._now_s = 0.0
        self._turns_at = time.monotonic() + _LATENESS_S

    def noted(self, late_s: float) -> None:
        now = time.monotonic()
        if now >= self._turns_at:
            is_recent = now < self._turns_at + _LATENESS_S
            self._before_s, self._now_s = (self._now_s if is_recent else 0.0), 0.0
            self._turns_at = now + _LATENESS_S
        self._now_s = max(self._now_s, late_s)

    @property
    def worst_s(self) -> float:
        return max(self._before_s, self._now_s)


def _go_first() -> None:
    """Have the kernel prefer this thread, where we may ask for that (CAP_SYS_NICE, systemd's LimitNICE)."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _exit(code: int, event: str, **facts: object) -> None:
    """End this process now: whatever it would still do, another one does by now."""
    log.critical(event, **facts, exits_with=code)
    os._exit(code)


def _words(error: DBAPIError) -> str:
    return str(error.orig or error).strip().splitlines()[0][:200]
