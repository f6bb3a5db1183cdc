"""By what processes recognise that a VIM was registered anew: a digest of its registration."""

from dataclasses import replace

from farsite.model.ids import VimId
from farsite.store import nodes, vims
from farsite.store.database import Database
from store.records import a_vim


def test_a_registration_is_known_alone_as_it_is_among_all(database: Database) -> None:
    """Whoever registers the thousandth VIM looks at that one, and must remember what the comparison of all
    will find: another digest would have its driver thrown away."""
    with database.transaction() as connection:
        for name, secret in (("turin", b"one"), ("milan", b"other"), ("bari", None)):
            vims.insert(connection, a_vim(name), secret)
        every = nodes.registrations(connection)
        assert len(every) == 3
        for vim_id, digest in every.items():
            assert nodes.registrations(connection, VimId(vim_id)) == {vim_id: digest}
        assert nodes.registrations(connection, VimId("nobody's")) == {}


def test_a_changed_registration_of_several_processes_has_another_digest(database: Database) -> None:
    """The others have drivers of their own, made with what was said before."""
    with database.transaction() as connection:
        vims.insert(connection, vim := a_vim("turin"), b"one")
        before = nodes.registrations(connection, vim.id)
        vims.update(connection, replace(vim, auth_url="https://elsewhere.example/v3"))
        after = nodes.registrations(connection, vim.id)
        # A process that is alone on its SQLite has made every change itself.
        assert (before == after) == (connection.dialect.name == "sqlite")
