"""Credentials of VIMs: only ciphertext in the database, only our user reads the keys."""

import stat
from pathlib import Path

import pytest

from farsite.model.errors import Conflict
from farsite.model.ids import VimId
from farsite.secrets import KeyDirectory
from farsite.vims.driver import VimConnection

ONE, OTHER = VimId("one"), VimId("other")


def test_what_is_encrypted_comes_back(tmp_path: Path) -> None:
    """Credentials are of use only if they survive the round trip, accents included."""
    keys = KeyDirectory(tmp_path / "keys")
    secret = keys.encrypt(ONE, {"username": "nfv", "password": "pässwörd"})

    assert b"nfv" not in secret
    assert keys.decrypt(ONE, secret) == {"username": "nfv", "password": "pässwörd"}


def test_the_key_directory_and_its_files_are_for_our_user_alone(tmp_path: Path) -> None:
    """A key that others can read protects nothing."""
    keys = KeyDirectory(tmp_path / "keys")
    keys.encrypt(ONE, {"password": "x"})

    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()] == [0o600]


def test_each_vim_has_a_key_of_its_own(tmp_path: Path) -> None:
    """One leaked key opens one VIM."""
    keys = KeyDirectory(tmp_path / "keys")
    keys.encrypt(OTHER, {"password": "y"})

    with pytest.raises(Conflict, match="does not fit"):
        keys.decrypt(OTHER, keys.encrypt(ONE, {"password": "x"}))


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    """A lost key file must not look like a fault of the VIM."""
    keys = KeyDirectory(tmp_path / "keys")
    secret = keys.encrypt(ONE, {"password": "x"})
    keys.forget(ONE)

    with pytest.raises(Conflict, match="farsite vim update"):
        keys.decrypt(ONE, secret)


def test_a_printed_connection_shows_no_credentials(tmp_path: Path) -> None:
    """Tracebacks and logs print what they hold."""
    connection = VimConnection(
        vim_id=ONE, name="one", site="one", credentials={"password": "hunter2"}, run_dir=tmp_path
    )

    assert "hunter2" not in repr(connection)
