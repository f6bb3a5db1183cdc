"""The licences of a network function: what its vendor lets it do, and until when."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class LicenceState(StrEnum):
    """What a device says of a licence, in words that are the same for every vendor."""

    VALID = "VALID"
    EXPIRED = "EXPIRED"
    MISSING = "MISSING"
    """The product could have it, and the device has not."""
    UNKNOWN = "UNKNOWN"
    """The device tells it in words that cannot be read; `Licence.said` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """One licence as the device tells it now."""

    name: str
    """As the vendor calls it."""
    state: LicenceState
    expires_at: datetime | None = None
    """UTC; None: it does not end, or, where the state is UNKNOWN, perhaps nobody could read when."""
    said: str = ""
    """The vendor's own words, and what of them could not be read."""
