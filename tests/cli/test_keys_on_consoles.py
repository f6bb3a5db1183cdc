"""Host keys that a guest tells on its console: what is pinned, and what is not."""

import pytest

from farsite.cli.vnf_config import keys_told_on
from farsite.model.errors import Invalid

KEY = "ssh-ed25519 " + "A" * 68
OTHER = "ssh-ed25519 " + "B" * 68
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"


def test_the_keys_between_the_lines_of_cloud_init_are_those_of_the_guest() -> None:
    """With whatever a console puts at the ends of lines."""
    written = f"booting\r\n{BEGIN}\r\n{KEY} root@edge\r\n{END}\r\nlogin:"
    assert keys_told_on(written, "edge-0") == [KEY]


def test_what_others_had_written_within_a_line_is_not_pinned() -> None:
    """An sshd that logs to the console tells the names that strangers try."""
    forged = f"sshd: Invalid user {BEGIN} {OTHER} {END}"
    assert keys_told_on(f"{BEGIN}\n{KEY}\n{END}\n{forged}", "edge-0") == [KEY]
    with pytest.raises(Invalid, match="told of no host key"):
        keys_told_on(forged, "edge-0")


def test_blocks_that_differ_are_for_somebody_to_look_at() -> None:
    """One of them may be another's."""
    with pytest.raises(Invalid, match="different host keys"):
        keys_told_on(f"{BEGIN}\n{KEY}\n{END}\n{BEGIN}\n{OTHER}\n{END}", "edge-0")
    assert keys_told_on(f"{BEGIN}\n{KEY}\n{END}\n" * 2, "edge-0") == [KEY]
