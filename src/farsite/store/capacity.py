"""What instances hold of VIMs' capacity, and how room is claimed where several placements want it at once.

A placement reads what is free without keeping anybody else from doing so, decides, and claims at the end of
its transaction by a compare-and-set: the sum that is held in a zone grows only if the result still fits. If
another one came first and it does not, the whole transaction begins anew and sees what was left
(`Overtaken`). So placements wait for one another no longer than the last statements take, and no interleaving
takes the same room twice.

The sums are kept per *pool*: usually that is one VIM, but several registrations may draw on the same hosts.
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from farsite.model.ids import ProjectId, VimId
from farsite.store.database import Overtaken
from farsite.store.exclusion import begin_to_write, insert_if_absent
from farsite.store.tables import allocations, capacity_claims

Amount = tuple[int, int, int]
"""vCPUs, memory MiB, disk GiB."""

NOTHING: Amount = (0, 0, 0)
_NO_LIMIT: Amount = (sys.maxsize, sys.maxsize, sys.maxsize)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What a VNF shall hold in one zone. `limit` is the most that the pool may hold there for this to be
    granted, which is less than all where some is reserved for others; None: it is granted whatever others
    hold. `pool` empty: the VIM itself."""

    amount: Amount
    limit: Amount | None = None
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one VNF shall hold, by zone; empty: nothing any more."""

    vnf_id: str
    project_id: ProjectId
    vim_id: VimId
    zones: Mapping[str, Hold]


def claimed(
    connection: sa.Connection, pools: Collection[str], *, but_not: str = ""
) -> dict[tuple[str, str], Amount]:
    """What is held in some pools by our own books: (pool, zone) -> amount, without what VNF `but_not` holds.

    Whoever reads this in order to claim is not disturbed on SQLite, where one writes at a time.
    """
    begin_to_write(connection)
    query = sa.select(capacity_claims).where(capacity_claims.c.pool.in_(pools))
    found: dict[tuple[str, str], Amount] = {
        (row.pool, row.zone): (row.vcpus, row.memory_mib, row.disk_gib) for row in connection.execute(query)
    }
    if but_not:
        query = sa.select(allocations).where(allocations.c.vnf_id == but_not)
        for row in connection.execute(query):
            key = (row.pool, row.zone)
            found[key] = less(found.get(key, NOTHING), (row.vcpus, row.memory_mib, row.disk_gib))
    return found


def claim(connection: sa.Connection, holdings: Sequence[Holding]) -> None:
    """Set what some VNFs hold, all or nothing. Called as late in a transaction as can be.

    Raises:
        Overtaken: the room was there when the transaction read it, and is not any more.
    """
    changes: dict[tuple[str, str], dict[Amount, Amount]] = {}
    rows: list[dict[str, object]] = []
    for one in holdings:
        before = _forget(connection, one.vnf_id)
        by = {key: less(NOTHING, amount) for key, amount in before.items()}
        limits: dict[tuple[str, str], Amount] = {}
        for zone, hold in one.zones.items():
            # An undo that gives a VNF back what it had finds the pool from which it had it.
            known = next((pool for pool, held in before if held == zone), one.vim_id)
            key = (hold.pool or known, zone)
            by[key] = _plus(by.get(key, NOTHING), hold.amount)
            limits[key] = hold.limit or _NO_LIMIT
            rows.append(_row(one, key, hold.amount))
        for key, amount in by.items():
            within = changes.setdefault(key, {})
            limit = limits.get(key, _NO_LIMIT)
            within[limit] = _plus(within.get(limit, NOTHING), amount)
    if rows:
        connection.execute(sa.insert(allocations), rows)
    # In one order for all, so that two transactions never wait for each other. What is given back comes
    # first, and whoever must leave a reserve free before those of the same claim who may take of it.
    for key in sorted(changes):
        steps = sorted(changes[key].items(), key=lambda step: (max(step[1]) > 0, step[0]))
        for limit, amount in steps:
            if amount != NOTHING:
                _change(connection, key, amount, limit)


def release_pool(connection: sa.Connection, vim_id: VimId) -> None:
    """Forget what is held on a VIM of its own; a claim that is under way there is waited for."""
    connection.execute(sa.delete(capacity_claims).where(capacity_claims.c.pool == vim_id))


def _row(one: Holding, key: tuple[str, str], amount: Amount) -> dict[str, object]:
    pool, zone = key
    vcpus, memory_mib, disk_gib = amount
    return {
        "vnf_id": one.vnf_id,
        "project_id": one.project_id,
        "vim_id": one.vim_id,
        "zone": zone,
        "pool": pool,
        "vcpus": vcpus,
        "memory_mib": memory_mib,
        "disk_gib": disk_gib,
    }


def _forget(connection: sa.Connection, vnf_id: str) -> dict[tuple[str, str], Amount]:
    gone = connection.execute(
        sa.delete(allocations)
        .where(allocations.c.vnf_id == vnf_id)
        .returning(
            allocations.c.pool,
            allocations.c.zone,
            allocations.c.vcpus,
            allocations.c.memory_mib,
            allocations.c.disk_gib,
        )
    )
    return {(row.pool, row.zone): (row.vcpus, row.memory_mib, row.disk_gib) for row in gone}


def _change(connection: sa.Connection, key: tuple[str, str], by: Amount, limit: Amount) -> None:
    pool, zone = key
    columns = (capacity_claims.c.vcpus, capacity_claims.c.memory_mib, capacity_claims.c.disk_gib)
    still_fits = [
        column + more <= most
        for column, more, most in zip(columns, by, limit, strict=True)
        if limit != _NO_LIMIT and more > 0
    ]
    change = (
        sa.update(capacity_claims)
        .where(capacity_claims.c.pool == pool, capacity_claims.c.zone == zone, *still_fits)
        .values({column.name: column + more for column, more in zip(columns, by, strict=True)})
    )
    if connection.execute(change).rowcount:
        return
    # The first claim there ever, or no room; only the former is settled by a row of nothing.
    insert_if_absent(
        connection, capacity_claims, pool=pool, zone=zone, project_id="", vcpus=0, memory_mib=0, disk_gib=0
    )
    if not connection.execute(change).rowcount:
        raise Overtaken(
            f"The room in zone {zone} was taken by others while it was being claimed. Ask again; if that "
            f"happens again and again, choose another place (farsite vim list).",
            about={"zone": zone},
        )


def _plus(one: Amount, other: Amount) -> Amount:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def less(one: Amount, other: Amount) -> Amount:
    """An amount without another."""
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])
