"""Which PostgreSQL takes writes: addresses of several servers, promotions, and commits that are cut short."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, OperationalError

from farsite.model.errors import Invalid
from farsite.settings import Settings
from farsite.store import nodes
from farsite.store.database import CommitInDoubt, Database, is_away
from farsite.store.primary import Primary
from postgres_pair import PostgresPair, postgres_pair
from postgres_server import NoPostgres, PostgresServer

BOTH = {"host": "one,two", "port": "5432,5433", "target_session_attrs": "read-write"}


@pytest.fixture
def pair() -> Iterator[PostgresPair]:
    try:
        with postgres_pair() as made:
            yield made
    except NoPostgres as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p%40ss@one:5432,two:5433/farsite",
        "postgresql+psycopg://u:p%40ss@one:5432,two:5433/farsite?target_session_attrs=read-write",
        "postgres://u:p%40ss@one:5432,two:5433/farsite",
        "postgresql://u:p%40ss@/farsite?host=one,two&port=5432,5433",
        "postgresql://u:p%40ss@/farsite?host=one:5432&host=two:5433",
    ],
)
def test_several_servers_are_named_as_libpq_or_sqlalchemy_name_them(address: str) -> None:
    """Who has an address that works with psql or another program should not have to rewrite it."""
    url = Primary(address).url
    assert (url.username, url.password, url.database, dict(url.query)) == ("u", "p@ss", "farsite", BOTH)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://one:5432,two:5433,three/farsite?port=1,2",
        "postgresql://one:x/f",
        "postgresql://a,b/f?x=1",
    ],
)
def test_an_address_that_makes_no_sense_is_refused_in_words(address: str) -> None:
    """A traceback of a library says nothing to whoever mistyped a port."""
    with pytest.raises(Invalid, match="address of the database"):
        Primary(address)


def test_a_password_is_not_told_with_what_is_wrong() -> None:
    """Refusals stand in logs."""
    with pytest.raises(Invalid) as refused:
        Primary("postgresql://u:se%cret@one:1,two:2/f")
    assert "cret" not in refused.value.detail


def test_a_port_for_one_of_two_servers_is_for_both() -> None:
    """So libpq has it."""
    assert Primary("postgresql://u@one,two/f?port=6000").url.query["port"] == "6000,6000"


def port_of(connection: psycopg.Connection[object]) -> int:
    return connection.info.port


@pytest.mark.slow
def test_a_standby_is_not_connected_to_and_what_was_promoted_is_not_left_again(
    pair: PostgresPair, tmp_path: Path
) -> None:
    """A server of a lower timeline was the primary once, whether it takes writes or not."""
    memory = tmp_path / "database-timeline"
    database = pair.first.create()
    # The standby first: it answers, and is none that takes writes.
    where = f"127.0.0.1:{pair.second.port},127.0.0.1:{pair.first.port}"
    ours = Primary(f"postgresql://postgres@{where}/{database}", memory=memory)
    with ours.connect({}) as connection:
        assert port_of(connection) == pair.first.port
        pair.primary.await_nobody()
        pair.promote()
        # The former primary lives, is connected to, and takes writes; nobody has seen the promotion yet.
        connection.execute("CREATE TABLE lost ()")
        connection.commit()
        ours.look_around()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("CREATE TABLE lost_too ()")
    with ours.connect({}) as connection:
        assert port_of(connection) == pair.second.port
    # Nor does one that starts now, and can reach no other.
    later = Primary(pair.first.tcp_url(database, "127.0.0.1"), memory=memory)
    with pytest.raises(psycopg.OperationalError, match="timeline 1, and timeline 2 has been seen"):
        later.connect({})
    memory.unlink()
    Primary(pair.first.tcp_url(database, "127.0.0.1"), memory=memory).connect({}).close()


def test_a_role_without_privileges_may_ask_for_the_timeline(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The owner of our database is nobody else on its server; a check that he may not make would be none."""
    name = postgres_server.create()
    memory = tmp_path / "database-timeline"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
    Primary(postgres_server.url(name).replace("postgres@", "plain@"), memory=memory).connect({}).close()
    assert int(memory.read_text().split()[1]) >= 1
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("DROP ROLE plain")
    postgres_server.drop(name)


@pytest.mark.slow
async def test_who_only_listens_is_cut_off_from_a_former_primary_too(pair: PostgresPair) -> None:
    """A connection that only waits would wait for news of a server that has none any more."""
    database = pair.first.create()
    ours = Primary(pair.url(database))
    listening = await ours.connect_async({})
    assert listening.info.port == pair.first.port
    pair.primary.await_nobody()
    pair.promote()
    ours.look_around()
    with pytest.raises(psycopg.OperationalError):
        await listening.execute("SELECT 1")
    again = await ours.connect_async({})
    assert again.info.port == pair.second.port
    await again.close()


@pytest.mark.slow
def test_a_commit_whose_end_nobody_saw_is_in_doubt_and_not_refused(
    pair: PostgresPair, data_dir: Path
) -> None:
    """It waits for the standby while the primary dies: whether it happened, the standby will tell."""
    name = pair.first.create()
    database = Database(Settings(data_dir=data_dir, database_url=pair.url(name)))
    with database.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (number int)")
    ended: list[BaseException] = []

    def write() -> None:
        try:
            with database.transaction() as connection:
                connection.exec_driver_sql("INSERT INTO kept VALUES (1)")
        except BaseException as error:
            ended.append(error)

    pair.standby.freeze()
    try:
        writing = threading.Thread(target=write)
        writing.start()
        give_up_at = time.monotonic() + 30
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        with psycopg.connect(pair.first.url(name), autocommit=True) as watching:
            while not watching.execute(waiting).fetchall():
                assert time.monotonic() < give_up_at
                time.sleep(0.02)
        pair.primary.kill()
        writing.join(30)
    finally:
        pair.standby.freeze(is_frozen=False)
    (error,) = ended
    assert isinstance(error, CommitInDoubt)
    assert is_away(error), "who may repeat it does"
    pair.promote()
    # What could not be begun is refused, and nothing was done.
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM kept").scalar_one() in (0, 1)
    database.close()


def test_a_server_that_takes_no_writes_any_more_counts_as_lost(
    postgres_server: PostgresServer, data_dir: Path
) -> None:
    """Connections outlive the moment at which a primary is made read-only to be switched from."""
    name = postgres_server.create()
    database = Database(Settings(data_dir=data_dir, database_url=postgres_server.url(name)))

    def write() -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            connection.exec_driver_sql("INSERT INTO kept VALUES (1)")

    try:
        with database.transaction() as connection:
            connection.exec_driver_sql("CREATE TABLE kept (number int)")
        with pytest.raises(DBAPIError) as refused:
            write()
        assert is_away(refused.value)
    finally:
        database.close()
        postgres_server.drop(name)


def test_the_session_that_is_ended_is_our_own_former_one(postgres_server: PostgresServer) -> None:
    """On the server that was promoted another process's session may have the number that ours had."""
    name = postgres_server.create()
    primary = Primary(postgres_server.url(name))
    engine = nodes.lease_engine(primary, lease_s=2.0)
    with engine.connect() as others, engine.connect() as former, engine.connect() as ours:
        innocent = nodes.take_lock(others, "other")
        mine = nodes.take_lock(former, "me")
        assert innocent is not None
        assert mine is not None
        namesake = nodes.Session(pid=innocent.pid, began_at=mine.began_at)
        assert nodes.take_lock(ours, "me", former_session=namesake) is None
        others.exec_driver_sql("SELECT 1")
        # A session ends a moment after it was told to.
        give_up_at = time.monotonic() + 10
        while nodes.take_lock(ours, "me", former_session=mine) is None:
            assert time.monotonic() < give_up_at
        with pytest.raises(OperationalError):
            former.exec_driver_sql("SELECT 1")
    engine.dispose()
    postgres_server.drop(name)
