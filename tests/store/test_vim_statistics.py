"""How VIMs answered, as it is stored: added up over those who counted, and gone with the VIM."""

from datetime import UTC, datetime, timedelta

from farsite.model.ids import DEFAULT_PROJECT, VimId
from farsite.model.latency import HourOfVim, Tally
from farsite.model.vim import Vim
from farsite.settings import Settings
from farsite.store import vim_statistics, vims
from farsite.store.database import Database

NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)
TURIN = VimId("turin-id")


def hour(at: datetime, counted_by: str, answers: int) -> HourOfVim:
    tally = Tally(misses=1)
    for _ in range(answers):
        tally.answered(5.0)
    return HourOfVim(vim_id=TURIN, hour=at, services={"heat": tally}, counted_by=counted_by)


def register(database: Database) -> Vim:
    vim = Vim(
        id=TURIN, name="turin", type="simulated", site="turin", project_id=DEFAULT_PROJECT,
        state_since=NINE, created_at=NINE,
    )  # fmt: skip
    with database.transaction() as connection:
        vims.insert(connection, vim, None)
    return vim


def test_an_hour_that_two_processes_counted_is_told_as_one(settings: Settings) -> None:
    """A VIM changes hands when a process dies, and its figures must not be those of the second one only."""
    database = Database(settings)
    register(database)
    with database.transaction() as connection:
        vim_statistics.write(connection, [hour(NINE, "a", 2)])
        # What one has counted so far is written again and again.
        vim_statistics.write(connection, [hour(NINE, "a", 3), hour(NINE + timedelta(hours=1), "a", 7)])
        vim_statistics.write(connection, [hour(NINE, "b", 10)])
        later, first = vim_statistics.since(connection, TURIN, NINE)
        assert (first.hour, later.hour) == (NINE, NINE + timedelta(hours=1))
        assert (first.services["heat"].answers, first.services["heat"].misses) == (13, 2)
        assert later.services["heat"].answers == 7
        assert len(vim_statistics.since(connection, TURIN, NINE + timedelta(minutes=1))) == 1
        assert vim_statistics.forget_before(connection, NINE + timedelta(hours=1)) == 2
        assert vim_statistics.since(connection, TURIN, NINE) == [later]
    database.close()


def test_a_vim_that_is_deleted_takes_its_figures_along(settings: Settings) -> None:
    """Its checks may end a moment after it: what they write must neither stand nor fail."""
    database = Database(settings)
    vim = register(database)
    with database.transaction() as connection:
        vim_statistics.write(connection, [hour(NINE, "a", 2)])
        vims.delete(connection, vim)
        vim_statistics.write(connection, [hour(NINE, "b", 2)])
        assert vim_statistics.since(connection, TURIN, NINE) == []
    database.close()


def test_the_same_project_of_the_same_vim_is_found_among_others_by_where_it_is(settings: Settings) -> None:
    """Registering the thousandth VIM must not read the nine hundred and ninety-nine before."""
    database = Database(settings)
    with database.transaction() as connection:
        for number, url in enumerate(("http://A.example:80/v3", "http://b.example/v3")):
            vim = Vim(
                id=VimId(f"v{number}"), name=f"v{number}", type="openstack", site="s",
                project_id=DEFAULT_PROJECT, auth_url=url, identity={"project_name": "nfv"},
                state_since=NINE, created_at=NINE,
            )  # fmt: skip
            vims.insert(connection, vim, None)
        rows = connection.exec_driver_sql("SELECT endpoint FROM vims ORDER BY id").scalars().all()
        assert rows == ["http://a.example:80", "http://b.example:80"]
    database.close()
