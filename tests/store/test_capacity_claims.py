"""Claims of capacity: what is held is known, and no interleaving takes the same room twice."""

from dataclasses import replace
from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from interleaving import at_once, overtaken
from records import BEGAN, a_package, a_vim, a_vnf

from farsite.lifecycle import placing
from farsite.model.ids import DEFAULT_PROJECT, ProjectId, VimId
from farsite.model.vim import Capabilities, Zone
from farsite.model.vnf import VnfInstance
from farsite.store import capacity, instances, vims
from farsite.store.capacity import Amount, Hold, Holding
from farsite.store.database import Database, Overtaken
from farsite.store.tables import allocations, capacity_claims

VIM = VimId("vim-1")


def holding(vnf: str, zones: dict[str, Amount], *, limit: Amount | None = None, pool: str = "") -> Holding:
    return Holding(
        vnf_id=vnf,
        project_id=DEFAULT_PROJECT,
        vim_id=VIM,
        zones={zone: Hold(amount=amount, limit=limit, pool=pool) for zone, amount in zones.items()},
    )


def hold(connection: sa.Connection, vnf: str, zones: dict[str, Amount], limit: Amount | None = None) -> None:
    capacity.claimed(connection, [VIM])
    capacity.claim(connection, [holding(vnf, zones, limit=limit)])


def test_what_is_held_of_a_vim_is_the_sum_over_its_instances(database: Database) -> None:
    """Placement subtracts it from the capacity: wrong books place where there is no room."""
    with database.transaction() as connection:
        hold(connection, "a", {"z1": (1, 10, 0), "z2": (2, 20, 1)})
        hold(connection, "b", {"z1": (4, 40, 2)})
        assert capacity.claimed(connection, [VIM]) == {(VIM, "z1"): (5, 50, 2), (VIM, "z2"): (2, 20, 1)}
        without_a = capacity.claimed(connection, [VIM], but_not="a")
        assert without_a == {(VIM, "z1"): (4, 40, 2), (VIM, "z2"): (0, 0, 0)}
        hold(connection, "a", {})
        hold(connection, "b", {"z1": (1, 1, 1)})
        assert capacity.claimed(connection, [VIM]) == {(VIM, "z1"): (1, 1, 1), (VIM, "z2"): (0, 0, 0)}


def test_of_many_claims_at_once_exactly_as_many_are_granted_as_there_is_room(database: Database) -> None:
    """One more is a server that the VIM refuses after everything else was made, or a host that thrashes."""
    claims = [
        partial(hold, vnf=f"vnf-{number}", zones={"z1": (1, 8, 1)}, limit=(15, 1000, 1000))
        for number in range(20)
    ]
    results = at_once(database, *claims)
    refused = [result for result in results if isinstance(result, Exception)]
    assert len(refused) == 5, results
    assert all(isinstance(one, Overtaken) for one in refused), refused
    with database.transaction() as connection:
        assert capacity.claimed(connection, [VIM]) == {(VIM, "z1"): (15, 120, 15)}


def test_who_read_that_there_is_room_and_was_overtaken_is_told(database: Database) -> None:
    """Between reading and claiming lies a decision, and another one may be quicker."""

    def last_place(connection: sa.Connection, vnf: str) -> None:
        hold(connection, vnf, {"z1": (1, 1, 1)}, limit=(1, 1, 1))

    slow, quick = overtaken(database, partial(last_place, vnf="slow"), partial(last_place, vnf="quick"))
    assert sorted(isinstance(one, Overtaken) for one in (slow, quick)) == [False, True], (slow, quick)


async def test_a_function_that_was_overtaken_begins_anew_and_sees_what_is_left(database: Database) -> None:
    """Overtaken is no refusal: there may be room elsewhere, and only a new look tells."""
    seen: list[int] = []

    def decide(connection: sa.Connection) -> int:
        seen.append(len(seen))
        if len(seen) < 4:
            raise Overtaken("somebody was quicker")
        return len(seen)

    assert await database.run(decide) == 4

    def never(connection: sa.Connection) -> None:
        seen.append(0)
        raise Overtaken("somebody is always quicker")

    with pytest.raises(Overtaken):
        await database.run(never)
    assert len(seen) < 100, "it does not go on for ever"


def test_registrations_that_draw_on_the_same_hosts_share_the_room(database: Database) -> None:
    """Two projects on one cloud would else fill each host twice."""
    pool = "openstack https://cloud:5000"
    with database.transaction() as connection:
        for vim, project in (("vim-1", "default"), ("vim-2", "lab")):
            one = Holding(
                vnf_id=f"on-{vim}",
                project_id=ProjectId(project),
                vim_id=VimId(vim),
                zones={"z1": Hold(amount=(3, 1, 1), limit=(6, 9, 9), pool=pool)},
            )
            capacity.claim(connection, [one])
        assert capacity.claimed(connection, [pool]) == {(pool, "z1"): (6, 2, 2)}
        third = Hold(amount=(1, 1, 1), limit=(6, 9, 9), pool=pool)
        with pytest.raises(Overtaken):
            capacity.claim(
                connection,
                [Holding(vnf_id="c", project_id=DEFAULT_PROJECT, vim_id=VIM, zones={"z1": third})],
            )


def test_many_lesser_claims_at_once_leave_what_is_reserved_to_the_important(database: Database) -> None:
    """They may take all but the reserve, however they race, and then the important finds it there."""
    lesser = [
        partial(hold, vnf=f"low-{number}", zones={"z1": (1, 8, 1)}, limit=(11, 1000, 1000))
        for number in range(20)
    ]
    important = [
        partial(hold, vnf=f"vital-{number}", zones={"z1": (1, 8, 1)}, limit=(15, 1000, 1000))
        for number in range(4)
    ]
    refused = [one for one in at_once(database, *lesser[:16]) if isinstance(one, Exception)]
    assert len(refused) == 5, refused
    assert all(isinstance(one, Overtaken) for one in refused), refused
    results = at_once(database, *important, *lesser[16:])
    assert results[:4] == [None] * 4
    assert all(isinstance(one, Overtaken) for one in results[4:]), results
    with database.transaction() as connection:
        assert capacity.claimed(connection, [VIM]) == {(VIM, "z1"): (15, 120, 15)}
        held = set(connection.execute(sa.select(allocations.c.vnf_id)).scalars())
    assert {one for one in held if one.startswith("vital")} == {f"vital-{number}" for number in range(4)}


def test_a_claim_is_granted_only_beside_what_registrations_on_the_same_hosts_keep_free(
    database: Database,
) -> None:
    """Placement has looked long before: what counts is what is held when the claim comes, through whichever
    registration that is."""
    zone = Zone(region="r", name="z1", vcpus=10, memory_mib=1000, disk_gib=100, is_shared=True)
    with database.transaction() as connection:
        for name, extra in (("keeps", {"reserve_percent": 25, "reserve_priority": 1}), ("other", {})):
            vim = replace(a_vim(name), auth_url="https://cloud:5000/v3", extra=extra)
            vims.insert(connection, vim, None)
            inventory = vims.Inventory(
                read_at=BEGAN, zones=(zone,), capabilities=Capabilities(features=frozenset())
            )
            vims.put_inventory(connection, vim, inventory)
        package = a_package(connection)
        found: dict[str, VnfInstance] = {}
        for level, count in ((3, 12), (1, 5)):
            for number in range(count):
                vnf = a_vnf(package, name=f"{level}-{number}")
                vnf = replace(vnf, metadata={"service_availability_level": str(level)})
                instances.insert_vnf(connection, vnf)
                found[vnf.name] = vnf
        of_name = {one.name: one.id for one in vims.everywhere(connection)}

    def claim(connection: sa.Connection, name: str, vim: str) -> None:
        held = {"r/z1": (1, 8, 1)}
        one = placing.holding(connection, DEFAULT_PROJECT, found[name].id, of_name[vim], held)
        capacity.claim(connection, [one])

    def granted(level: int, count: int) -> int:
        claims = [
            partial(claim, name=f"{level}-{number}", vim=("keeps", "other")[number % 2])
            for number in range(count)
        ]
        results = at_once(database, *claims)
        assert all(one is None or isinstance(one, Overtaken) for one in results), results
        return results.count(None)

    # A quarter of ten vCPUs, rounded up, is for the important.
    assert granted(3, 12) == 7
    assert granted(1, 5) == 3


@pytest.mark.parametrize("is_important_first", [True, False])
def test_within_one_claim_the_important_does_not_keep_the_lesser_from_its_room(
    database: Database, is_important_first: bool
) -> None:
    """A service claims for all its functions at once, in whatever order it names them."""
    both = [
        holding("vital", {"z1": (2, 0, 0)}, limit=(6, 9, 9)),
        holding("low", {"z1": (4, 0, 0)}, limit=(4, 9, 9)),
    ]
    with database.transaction() as connection:
        capacity.claim(connection, both if is_important_first else both[::-1])
        assert capacity.claimed(connection, [VIM]) == {(VIM, "z1"): (6, 0, 0)}
    with pytest.raises(Overtaken), database.transaction() as connection:
        capacity.claim(connection, [holding("low", {"z1": (5, 0, 0)}, limit=(4, 9, 9))])
    with database.transaction() as connection:
        # Who has less than before takes nothing of anybody, though more be held than it could claim today.
        capacity.claim(connection, [holding("low", {"z1": (3, 0, 0)}, limit=(4, 9, 9))])


@bounded(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.dictionaries(st.sampled_from(("z1", "z2")), st.tuples(*[st.integers(0, 5)] * 3), max_size=2),
            st.sampled_from(("", "shared")),
        ),
        max_size=10,
    )
)
def test_the_sums_are_always_those_of_the_allocations(
    database: Database, steps: list[tuple[str, dict[str, Amount], str]]
) -> None:
    """The sums are what is compared; were they to drift, room would be lost or given twice."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        for vnf, zones, pool in steps:
            capacity.claim(connection, [holding(vnf, zones, pool=pool)])
            held = {
                (row.pool, row.zone): (int(row.vcpus), int(row.memory), int(row.disk))
                for row in connection.execute(
                    sa.select(
                        allocations.c.pool,
                        allocations.c.zone,
                        sa.func.sum(allocations.c.vcpus).label("vcpus"),
                        sa.func.sum(allocations.c.memory_mib).label("memory"),
                        sa.func.sum(allocations.c.disk_gib).label("disk"),
                    ).group_by(allocations.c.pool, allocations.c.zone)
                )
            }
            sums = {
                (row.pool, row.zone): (row.vcpus, row.memory_mib, row.disk_gib)
                for row in connection.execute(sa.select(capacity_claims))
            }
            assert {key: amount for key, amount in sums.items() if any(amount)} == {
                key: amount for key, amount in held.items() if any(amount)
            }
        transaction.rollback()
