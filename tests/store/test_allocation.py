"""What instances hold of what is scarce: addresses, VXLAN ids, capacity, the default VIM, site names."""

from functools import partial

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from interleaving import at_once
from records import a_package, a_vim, a_vnf, later

from farsite.lifecycle.addressing import Prefixes, with_addresses
from farsite.model.deployment import Port, WantedVnfc
from farsite.model.errors import Conflict
from farsite.model.ids import DEFAULT_PROJECT, VnfcId, new_id
from farsite.model.vnf import VnfInstance
from farsite.store import instances, vims
from farsite.store.database import Database


def reserve(connection: sa.Connection, owner: VnfInstance) -> tuple[WantedVnfc, ...]:
    vnfc = WantedVnfc(
        id=VnfcId(new_id()),
        vdu="firewall",
        image="builtin:firewall",
        ports=(Port(name="left", network_id="net-1"),),
    )
    ranges = {"net-1": Prefixes(cidr_v4="10.0.0.0/24", cidr_v6="fd00::/64")}
    return with_addresses(connection, (vnfc,), owner=owner, networks=ranges)


def test_functions_instantiated_at_once_get_addresses_of_their_own(database: Database) -> None:
    """Two functions with one address: each works until the other one speaks."""
    with database.transaction() as connection:
        package = a_package(connection)
    results = at_once(database, *(partial(reserve, owner=a_vnf(package)) for _ in range(8)))
    assert not any(isinstance(result, Exception) for result in results), results
    given_out = [address for result in results for address in result[0].ports[0].addresses]  # type: ignore[index]
    assert len(given_out) == 16
    assert len(set(given_out)) == 16
    with database.transaction() as connection:
        assert len(instances.addresses_in(connection, "net-1")) == 16


def test_addresses_given_back_are_free_again(database: Database) -> None:
    """Else a network is exhausted by what no longer stands."""
    with database.transaction() as connection:
        package = a_package(connection)
        one, other = a_vnf(package), a_vnf(package)
        first = reserve(connection, one)
        instances.release_addresses(connection, one.id, ports=["another/port"])
        assert len(instances.addresses_in(connection, "net-1")) == 2
        instances.release_addresses(connection, one.id)
        assert instances.addresses_in(connection, "net-1") == set()
        assert reserve(connection, other)[0].ports[0].addresses == first[0].ports[0].addresses


def test_services_created_at_once_get_vxlan_ids_of_their_own(database: Database) -> None:
    """Two services on one VXLAN id are one network."""
    for round_ in range(3):
        results = at_once(
            database,
            *(
                partial(
                    instances.take_vnis, project_id=DEFAULT_PROJECT, owner=f"ns-{round_}-{number}", count=3
                )
                for number in range(6)
            ),
        )
        assert not any(isinstance(result, Exception) for result in results), results
        taken = [first + offset for first in results for offset in range(3)]  # type: ignore[operator]
        assert len(set(taken)) == 18


def test_one_owner_that_asks_again_gets_the_same_vxlan_ids(database: Database) -> None:
    """A step repeated after a crash must find its first block, at once with itself too."""
    results = at_once(
        database,
        *[partial(instances.take_vnis, project_id=DEFAULT_PROJECT, owner="ns-1/path/p", count=4)] * 5,
    )
    assert len(set(results)) == 1, results


@bounded(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=12),
    room=st.integers(6, 24),
)
def test_blocks_of_vxlan_ids_never_overlap_and_gaps_are_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[bool, int, int]], room: int
) -> None:
    """The range is finite: what is given back must be found, and what is taken never given twice."""
    monkeypatch.setattr(instances, "VNI_LAST", instances.VNI_FIRST + room - 1)
    held: dict[str, range] = {}
    with database.engine.connect() as connection, connection.begin() as transaction:
        for is_taken, number, count in steps:
            owner = f"ns{number}/"
            if not is_taken:
                instances.release_vnis(connection, owner)
                held.pop(owner, None)
                continue
            used = {vni for block in held.values() for vni in block}
            fits = any(
                used.isdisjoint(range(start, start + count))
                for start in range(instances.VNI_FIRST, instances.VNI_LAST - count + 2)
            )
            if owner not in held and not fits:
                with pytest.raises(Conflict):
                    instances.take_vnis(connection, project_id=DEFAULT_PROJECT, owner=owner, count=count)
                continue
            first = instances.take_vnis(connection, project_id=DEFAULT_PROJECT, owner=owner, count=count)
            if owner in held:
                assert first == held[owner].start
                continue
            held[owner] = range(first, first + count)
            assert first >= instances.VNI_FIRST
            assert held[owner][-1] <= instances.VNI_LAST
            assert used.isdisjoint(held[owner])
        transaction.rollback()


def test_a_project_has_one_default_vim_however_many_are_asked_for_at_once(database: Database) -> None:
    """Where a function goes that names no VIM must not be chance."""
    asked = [a_vim(f"vim-{number}", is_default=True) for number in range(4)]
    results = at_once(database, *(partial(vims.insert, vim=vim, secret=None) for vim in asked))
    assert sum(isinstance(result, Conflict) for result in results) == 3, results
    with database.transaction() as connection:
        assert len([vim for vim in vims.everywhere(connection) if vim.is_default]) == 1


def test_a_vims_name_is_its_own(database: Database) -> None:
    """Operators name VIMs; two of one name would get each other's commands."""
    results = at_once(
        database, *(partial(vims.insert, vim=a_vim("north"), secret=b"encrypted") for _ in range(4))
    )
    assert sum(isinstance(result, Conflict) for result in results) == 3, results


def test_a_site_named_by_many_at_once_is_one_site(database: Database) -> None:
    """VIMs of one place are often registered together, by a script."""
    results = at_once(
        database,
        *[partial(vims.ensure_site, project_id=DEFAULT_PROJECT, name="turin", at=later(0))] * 5,
    )
    assert len({getattr(result, "id", result) for result in results}) == 1, results
