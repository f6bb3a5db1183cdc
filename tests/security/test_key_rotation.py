"""The key of a VIM is replaced without a moment in which its credentials cannot be read."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farsite.model.ids import VimId
from farsite.secrets import KeyDirectory

ONE = VimId("one")


def test_a_new_key_encrypts_and_the_old_one_is_forgotten_when_it_is_no_longer_needed(tmp_path: Path) -> None:
    """A key that leaked is worth rotating only if it opens nothing afterwards."""
    keys = KeyDirectory(tmp_path / "keys")
    before = keys.encrypt(ONE, {"password": "x"})
    old = (tmp_path / "keys" / ONE).read_bytes()

    keys.add_key(ONE)
    after = keys.encrypt(ONE, {"password": "x"})
    assert keys.decrypt(ONE, before) == keys.decrypt(ONE, after) == {"password": "x"}

    keys.drop_old_keys(ONE, after)
    kept = (tmp_path / "keys" / ONE).read_bytes()
    assert old not in kept
    assert len(kept.split()) == 1
    assert keys.decrypt(ONE, after) == {"password": "x"}


@given(st.lists(st.sampled_from(["add", "encrypt", "drop"]), max_size=12))
def test_whatever_was_stored_last_can_be_read(steps: list[str]) -> None:
    """Rotations that died half way, in any order, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        keys = KeyDirectory(Path(directory) / "keys")
        stored = keys.encrypt(ONE, {"password": "x"})
        for step in steps:
            if step == "add":
                keys.add_key(ONE)
            elif step == "encrypt":
                stored = keys.encrypt(ONE, {"password": "x"})
            else:
                keys.drop_old_keys(ONE, stored)
            assert keys.decrypt(ONE, stored) == {"password": "x"}


@pytest.mark.slow
def test_a_death_at_any_line_of_a_rotation_loses_nothing(data_dir: Path) -> None:
    """Killed before each line of it, one death after the other: the credentials are there every time."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("rotation_lab.py"), data_dir],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
    # The rotation that went through has tidied up after all that did not.
    (key,) = (data_dir / "keys").iterdir()
    assert len(key.read_bytes().split()) == 1
