"""Nodes: lease rows of our own processes, and the locks that tell at once that one has died.

A process holds a session-level advisory lock for as long as its dedicated connection lives, so the lock of a
process that died is free within milliseconds. A process that is frozen, or cut off from the database, keeps
its lock but cannot renew its lease. All times are the database's: clocks of hosts may differ by hours.

Whoever declares a node gone does so in one statement that looks at lock and lease again; from then on the
node's own renewal finds nothing to renew. So there is one moment at which a node's work changes hands.

PostgreSQL only: a SQLite file has one process.
"""

import select
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import DEFAULT_PROJECT, VimId
from farsite.model.node import Node, NodeState
from farsite.store.exclusion import hold
from farsite.store.primary import Primary
from farsite.store.tables import installation, nodes, vim_auth, vims

CHANNEL = "farsite_nodes"
"""Where processes tell one another that something is worth a look; every look happens without it too."""

_LOCK_SEED = 42
_KEEP_GONE_DAYS = 1
_OWN = sa.text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
_END = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :began_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session with PostgreSQL. On a server that was promoted its number may be another process's."""

    pid: int
    began_at: datetime


def lease_engine(primary: Primary, *, lease_s: float) -> sa.Engine:
    """An engine for the one connection that a process's life hangs on.

    Both ends notice within about three seconds that the other host is off or cut off, also while data is
    under way. Every statement is a transaction of its own and is cut when it takes as long as the lease.
    """
    lease_ms = round(lease_s * 1000)
    session = {
        "tcp_keepalives_idle": 1,
        "tcp_keepalives_interval": 1,
        "tcp_keepalives_count": 2,
        "tcp_user_timeout": 3000,
        "statement_timeout": lease_ms,
    }
    engine = sa.create_engine(
        primary.url,
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": 2,
            "keepalives": 1,
            "keepalives_idle": 1,
            "keepalives_interval": 1,
            "keepalives_count": 2,
            "tcp_user_timeout": 3000,
            "application_name": "farsite-node",
            "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
        },
    )
    return primary.serve(engine)


def _lock_of(node_id: object) -> sa.ColumnElement[int]:
    return sa.func.hashtextextended(sa.func.concat("exec:", node_id), _LOCK_SEED)


def _now() -> sa.ColumnElement[Any]:
    # Not now(): that is the beginning of the transaction, which may have waited for a lock.
    return sa.func.clock_timestamp()


def _in(seconds: float) -> sa.ColumnElement[Any]:
    return sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def take_lock(
    connection: sa.Connection, node_id: str, *, former_session: Session | None = None
) -> Session | None:
    """Take a node's lock for this session; the session, None while another session has the lock.

    A former session of the same process, which the server may not know to be dead, is ended first.
    """
    if former_session is not None:
        connection.execute(_END, {"pid": former_session.pid, "began_at": former_session.began_at})
    if not connection.execute(sa.select(sa.func.pg_try_advisory_lock(_lock_of(node_id)))).scalar_one():
        return None
    row = connection.execute(_OWN).one()
    return Session(pid=row.pid, began_at=row.backend_start)


def listen(connection: sa.Connection) -> None:
    """Hear what `tell` says, on this session."""
    connection.exec_driver_sql(f"LISTEN {CHANNEL}")


def hear(connection: sa.Connection, *, within_s: float, or_readable: Sequence[int] = ()) -> list[str]:
    """What was told meanwhile, or the first that is told within so many seconds; nothing as soon as one of
    the given file descriptors is readable.

    A connection that is cut is noticed at once, as an error.
    """
    raw = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    try:
        # All of them first: the connection is theirs until they are read.
        notices = list(raw.notifies(timeout=0, stop_after=1))
        if not notices:
            poll = select.poll()  # not select(), which knows no file descriptor above 1,023
            for descriptor in (raw.fileno(), *or_readable):
                poll.register(descriptor, select.POLLIN)
            poll.poll(round(within_s * 1000))
            notices = list(raw.notifies(timeout=0, stop_after=1))
        return [notice.payload for notice in notices]
    except psycopg.OperationalError as error:
        raise OperationalError("LISTEN", None, error) from error


def tell(connection: sa.Connection, what: str) -> None:
    """Tell every process, once this transaction is committed."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, what)))


def register(connection: sa.Connection, node: Node, *, lease_s: float) -> Node:
    """Enter a node that has its lock, under a new boot; the row as it stands then."""
    values: dict[str, Any] = {
        "id": node.id,
        "project_id": DEFAULT_PROJECT,
        "boot": node.boot,
        "name": node.name,
        "host": node.host,
        "pid": node.pid,
        "url": node.url,
        "version": node.version,
        "workflow_versions": list(node.workflow_versions),
        "state": NodeState.STARTING.value,
        "reason": "",
        "operations": 0,
        "vims": 0,
        "started_at": _now(),
        "renewed_at": _now(),
        "expires_at": _in(lease_s),
        "is_recovered": False,
    }
    connection.execute(sa.delete(nodes).where(nodes.c.id == node.id))
    connection.execute(sa.insert(nodes).values(**values))
    return get(connection, node.id)


def renew(
    connection: sa.Connection, node_id: str, boot: str, *, lease_s: float, operations: int, vims: int
) -> tuple[NodeState, datetime] | None:
    """Extend a lease; the node's state as others want it, and what time it is; None when it is gone."""
    renewed = connection.execute(
        sa.update(nodes)
        .where(nodes.c.id == node_id, nodes.c.boot == boot, nodes.c.state != NodeState.GONE.value)
        .values(renewed_at=_now(), expires_at=_in(lease_s), operations=operations, vims=vims)
        .returning(nodes.c.state, nodes.c.renewed_at)
    ).first()
    return None if renewed is None else (NodeState(renewed.state), renewed.renewed_at)


def set_up(connection: sa.Connection, node: Node) -> None:
    """Have a node that has started count as one that works, unless it was asked to drain meanwhile."""
    connection.execute(
        sa.update(nodes)
        .where(nodes.c.id == node.id, nodes.c.boot == node.boot, nodes.c.state == NodeState.STARTING.value)
        .values(state=NodeState.UP.value)
    )
    tell(connection, "nodes")


def all_of(connection: sa.Connection) -> list[Node]:
    """Every node that is known, the oldest first; those long gone are forgotten."""
    rows = connection.execute(
        sa.select(nodes, (nodes.c.expires_at < _now()).label("is_expired")).order_by(
            nodes.c.started_at, nodes.c.id
        )
    )
    return [_node(row) for row in rows]


def get(connection: sa.Connection, key: str) -> Node:
    """A node by its id, or by the name of one that is not gone.

    Raises:
        NotFound: there is none.
    """
    rows = connection.execute(
        sa.select(nodes, (nodes.c.expires_at < _now()).label("is_expired"))
        .where(sa.or_(nodes.c.id == key, nodes.c.name == key))
        .order_by(nodes.c.state == NodeState.GONE.value, nodes.c.started_at.desc())
        .limit(1)
    ).all()
    if not rows:
        raise NotFound(f'No node "{key}". See farsite node list.')
    return _node(rows[0])


def unlocked(connection: sa.Connection, node_ids: Sequence[str]) -> set[str]:
    """Those of the nodes whose lock nobody holds. Takes no lock itself, so it can keep nobody from one."""
    if not node_ids:
        return set()
    held = {
        (row.classid << 32 | row.objid)
        for row in connection.exec_driver_sql(
            "SELECT classid::bigint AS classid, objid::bigint AS objid FROM pg_locks "
            "WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    }
    keys = connection.execute(
        sa.select(nodes.c.id, _lock_of(nodes.c.id).label("key")).where(nodes.c.id.in_(node_ids))
    )
    return {row.id for row in keys if row.key % 2**64 not in held}


def declare_gone(
    connection: sa.Connection,
    node: Node,
    reason: str,
    *,
    by: Node,
    patience_s: float = 0.0,
    longest_s: float | None = None,
) -> bool:
    """Declare a node gone whose lock is free or whose lease is over, at this moment; whether it was so.

    Of two that declare, and of one that declares and the node that renews, one finds that it came second.
    Whose own lease is over declares nobody: what held him up may have held up the other. A lease counts as
    over when it has been so for `patience_s`, and when it lasts for longer than `longest_s` from now: it was
    taken before the database's clock was set back, and not renewed since.
    """
    judge = nodes.alias("judge")
    is_judge_alive = (
        sa.exists()
        .where(judge.c.id == by.id, judge.c.boot == by.boot, judge.c.state != NodeState.GONE.value)
        .where(judge.c.expires_at > _now())
    )
    is_unlocked = sa.func.pg_try_advisory_xact_lock(_lock_of(nodes.c.id))
    is_over = nodes.c.expires_at < _in(-patience_s)
    if longest_s is not None:
        is_over = sa.or_(is_over, nodes.c.expires_at > _in(longest_s))
    declared = connection.execute(
        sa.update(nodes)
        .where(
            nodes.c.id == node.id,
            nodes.c.boot == node.boot,
            nodes.c.state != NodeState.GONE.value,
            is_judge_alive,
            sa.or_(is_over, is_unlocked),
        )
        .values(state=NodeState.GONE.value, reason=reason, operations=0, vims=0)
        .returning(nodes.c.id)
    )
    return declared.first() is not None


def sessions_of(boot: str) -> str:
    """Under what name the database shows the sessions of a process: its locks end with them."""
    return f"farsite {boot}"


def end_sessions(connection: sa.Connection, boot: str) -> int:
    """End what a process that is gone still has open in the database; how many sessions.

    One that is frozen, or cut off, keeps its transactions, and whoever takes over its work would wait for
    what it has locked for as long as it is away.
    """
    ended = connection.exec_driver_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = %s",
        (sessions_of(boot),),
    )
    return len(ended.all())


def leave(connection: sa.Connection, node_id: str, boot: str, *, is_recovered: bool) -> None:
    """Have a node that stops in an orderly way be gone."""
    connection.execute(
        sa.update(nodes)
        .where(nodes.c.id == node_id, nodes.c.boot == boot, nodes.c.state != NodeState.GONE.value)
        .values(state=NodeState.GONE.value, reason="stopped", operations=0, vims=0, is_recovered=is_recovered)
    )


def set_recovered(connection: sa.Connection, node_id: str) -> None:
    """Note that nothing is left to be taken over from a node that is gone."""
    connection.execute(
        sa.update(nodes)
        .where(nodes.c.id == node_id, nodes.c.state == NodeState.GONE.value)
        .values(is_recovered=True)
    )


def forget_old(connection: sa.Connection) -> list[Node]:
    """Forget nodes that have been gone for a day, and return them."""
    rows = connection.execute(
        sa.delete(nodes)
        .where(
            nodes.c.state == NodeState.GONE.value,
            nodes.c.is_recovered,
            nodes.c.expires_at < _now() - sa.func.make_interval(0, 0, 0, _KEEP_GONE_DAYS),
        )
        .returning(nodes, sa.literal(True).label("is_expired"))
    )
    return [_node(row) for row in rows]


def ask_to_drain(connection: sa.Connection, key: str, *, is_wanted: bool) -> Node:
    """Ask a node to hand over what it has and take on nothing (or to work again); it hears that at once.

    Raises:
        NotFound: no such node.
        Conflict: it is gone.
    """
    node = get(connection, key)
    state = NodeState.DRAINING if is_wanted else NodeState.UP
    changed = connection.execute(
        sa.update(nodes)
        .where(nodes.c.id == node.id, nodes.c.state != NodeState.GONE.value)
        .values(state=state.value, reason="asked to drain" if is_wanted else "")
        .returning(nodes.c.id)
    ).first()
    if changed is None:
        raise Conflict(f'Node "{node.name}" is gone ({node.reason}). Its work has been taken over.')
    tell(connection, "nodes")
    return get(connection, node.id)


def installation_of(connection: sa.Connection, proposed: str) -> tuple[str, bool]:
    """The id of the installation that this database belongs to, and whether it is new.

    `proposed` becomes it when there is none. Others who ask wait until this transaction ends.
    """
    hold(connection, "installation")
    known = connection.execute(sa.select(installation.c.id)).scalar()
    if known is not None:
        return known, False
    connection.execute(sa.insert(installation).values(id=proposed, project_id=DEFAULT_PROJECT))
    return proposed, True


def registrations(connection: sa.Connection, only: VimId | None = None) -> dict[str, str]:
    """Every VIM, or only that one, with a digest of what it was registered with: another digest, another
    registration."""
    wanted = sa.true() if only is None else vims.c.id == only
    if connection.dialect.name != "postgresql":
        return {row.id: "" for row in connection.execute(sa.select(vims.c.id).where(wanted))}
    digest = sa.func.md5(
        sa.func.concat(
            vims.c.name, "/", vims.c.type, "/", sa.cast(vims.c.body, sa.Text), "/",
            sa.func.encode(vim_auth.c.secret, "hex"),
        )
    )  # fmt: skip
    rows = connection.execute(
        sa.select(vims.c.id, digest.label("digest"))
        .select_from(vims.outerjoin(vim_auth, vim_auth.c.vim_id == vims.c.id))
        .where(wanted)
    )
    return {row.id: row.digest for row in rows}


def _node(row: sa.Row[Any]) -> Node:
    return Node(
        id=row.id,
        boot=row.boot,
        name=row.name,
        host=row.host,
        pid=row.pid,
        url=row.url,
        version=row.version,
        workflow_versions=tuple(row.workflow_versions),
        state=NodeState(row.state),
        reason=row.reason,
        operations=row.operations,
        vims=row.vims,
        started_at=row.started_at,
        renewed_at=row.renewed_at,
        expires_at=row.expires_at,
        is_expired=row.is_expired,
        is_recovered=row.is_recovered,
    )
