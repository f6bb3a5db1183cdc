"""Hashes of passwords as devices keep them: YANG type `crypt-hash`, of which SHA-512 is written and verified.

Python lost its `crypt` with 3.13, and not every libc has one with SHA-512: libpass has it everywhere.

Source: RFC 7317, module iana-crypt-hash; U. Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6.
"""

import re
from typing import Any

from passlib.handlers.sha2_crypt import (  # pyright: ignore[reportMissingTypeStubs] - libpass has none
    sha512_crypt,
)

_HASH = re.compile(r"\$(1|5|6)\$(rounds=\d+\$)?[A-Za-z0-9./]{0,16}\$[A-Za-z0-9./]{22,86}")
_SHA512: Any = sha512_crypt
_ROUNDS = 5_000
"""The specification's own: the hash of no device says them."""
_MOST_HERE = 1_000_000
"""More is not verified: a device's text must not keep us busy for minutes."""


def is_hash(text: str) -> bool:
    """Whether it is a hash already, and no password: `$6$SALT$HASH`, also of MD5 and SHA-256."""
    return _HASH.fullmatch(text) is not None


def verifies(password: str, known: str) -> bool:
    """Whether a hash with SHA-512 is of that password. One that cannot be verified here is of another."""
    try:
        return bool(_SHA512.from_string(known).rounds <= _MOST_HERE and _SHA512.verify(password, known))
    except ValueError:
        return False


def new_hash(password: str) -> str:
    """Of a password, with SHA-512 and a salt of its own: `$6$SALT$HASH`.

    Raises:
        ValueError: it has a NUL, which no `crypt` takes.
    """
    return str(_SHA512.using(rounds=_ROUNDS).hash(password))
