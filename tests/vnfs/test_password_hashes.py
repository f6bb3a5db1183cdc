"""Hashes of passwords: the ones that every device and libc would make."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from farsite.vnfs.crypt_hash import is_hash, new_hash, verifies

# Test vectors of the specification (U. Drepper, SHA-crypt.txt).
VECTORS = [
    (
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    (
        "Hello world!",
        (
            "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9"
            "qs/y3RnOaw5v."
        ),
    ),
]


@pytest.mark.parametrize(("password", "known"), VECTORS)
def test_a_hash_is_the_one_of_the_specification(password: str, known: str) -> None:
    """A user whose hash is slightly wrong is locked out."""
    assert verifies(password, known)
    assert not verifies(password + " ", known)
    assert is_hash(known)


@given(password=some.text(some.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_a_new_hash_is_of_its_password_and_like_no_other(password: str) -> None:
    """Two users with one password must not be told by it."""
    one, other = new_hash(password), new_hash(password)

    assert verifies(password, one)
    assert is_hash(one)
    assert one != other


def test_what_no_device_can_hash_is_refused() -> None:
    """Their `crypt` ends a password at a NUL."""
    with pytest.raises(ValueError, match="NULL"):
        new_hash("half\0whole")


def test_a_hash_that_would_keep_us_busy_for_minutes_is_not_tried() -> None:
    """The device says how many rounds, and may be hostile."""
    assert not verifies("x", f"$6$rounds=999999999$salt${'a' * 86}")
